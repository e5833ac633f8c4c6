"""What comes over a connection to the broker, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from connectors.mqtt.packets import Publishes
from headgate.core.properties import Properties

#: Bytes counted for each message on top of its packet: the objects around it.
_MESSAGE_OVERHEAD_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Received:
    """Messages that came in together, in order.

    Attributes:
        topics: Their topics, as they were sent.
        payloads: Their payloads.
        packet_ids: Packet ids of those with QoS 1, in order.
        qos2_ids: Packet ids of those with QoS 2, in order.
        connection: Which connection the packet ids belong to.
        size_bytes: What they hold in memory, about.
        retained: Positions of those that the broker had kept for new subscribers.
        cut: By position, the bytes of a payload that was too large to be kept as a whole.
        properties: By position, what those of them say that are asked for.
        held: Positions of those that are no readings, but what the broker has retained of a state.
        to_note: By topic, what to remember of it once the log has these messages.
    """

    topics: list[bytes]
    payloads: list[bytes]
    packet_ids: list[int]
    qos2_ids: list[int]
    connection: int
    size_bytes: int
    retained: Sequence[int] = ()
    cut: Mapping[int, int] = field(default_factory=dict)
    properties: Mapping[int, Properties] = field(default_factory=dict)
    held: Sequence[int] = ()
    to_note: Mapping[bytes, bytes] = field(default_factory=dict)


def received_of(publishes: Publishes, connection: int, size_bytes: int) -> Received:
    """What was read from a connection at once.

    Args:
        publishes: The messages.
        connection: Which connection.
        size_bytes: The bytes that were read.
    """
    return Received(
        publishes.topics,
        publishes.payloads,
        publishes.packet_ids,
        publishes.qos2_ids,
        connection,
        size_bytes + _MESSAGE_OVERHEAD_BYTES * len(publishes.topics),
        publishes.retained,
        publishes.cut,
        publishes.properties,
    )


class Subscription(NamedTuple):
    """What to subscribe to.

    Attributes:
        filter: Topic filter.
        qos: The best quality of service that messages are sent with.
        retain_handling: MQTT 5's option of that name, 0 to 2.
        parts: The topic filters that it stands for, which have less; itself where it is one.
    """

    filter: str
    qos: int
    retain_handling: int = 0
    parts: tuple[str, ...] = ()
