"""Splitting what a broker sends into packets, many at a time.

Only what there is much of is done here: PUBLISH packets of QoS 0 and 1, and their PUBACKs. All
else is a packet's length here and paho-mqtt's to understand. Numbers of sections are those of the
MQTT 5.0 and 3.1.1 standards, which agree in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

#: First byte of a PUBLISH with QoS 0 or 1: type 3, and the upper one of the QoS bits not set.
_PUBLISH_MASK, _PUBLISH = 0xF4, 0x30
_QOS_1 = 0x02

_PUBACK = 0x40


@dataclass(slots=True)
class Publishes:
    """PUBLISH packets in the order they came in, as columns.

    Attributes:
        topics: Topic names as they were sent, UTF-8 if the sender is honest.
        payloads: What was published.
        packet_ids: Those of the packets with QoS 1, in order; a PUBACK is owed for each.
    """

    topics: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    packet_ids: list[int] = field(default_factory=list)


def take_publishes(  # noqa: C901  (one loop over bytes; calls would double its time)
    data: bytes, at: int, into: Publishes, *, is_v5: bool
) -> int:
    """Take PUBLISH packets with QoS 0 or 1 (section 3.3) until there is anything else.

    Args:
        data: What was received.
        at: Where to begin; a packet begins there.
        into: Gets the packets.
        is_v5: Whether packets have properties.

    Returns:
        Where the first packet that was not taken begins: one of another kind, one that is not
        there as a whole, or one that is malformed.
    """
    end = len(data)
    add_topic, add_payload = into.topics.append, into.payloads.append
    while at + 1 < end:
        first = data[at]
        if first & _PUBLISH_MASK != _PUBLISH:
            break
        length = data[at + 1]
        body = at + 2
        if length > 127:
            length, body = number(data, at + 1)
            if body < 0:
                break
        stop = body + length
        has_id = first & _QOS_1
        if stop > end or length < 2:
            break
        topic = body + 2
        rest = topic + (data[body] << 8 | data[body + 1])
        topic_end = rest
        # What must still come before the payload: packet id, length of the properties.
        if rest + has_id + is_v5 > stop:
            break
        rest += has_id
        if is_v5:
            properties = data[rest]
            rest += 1
            if properties:
                properties, rest = number(data, rest - 1)
                rest += properties
                if rest > stop:
                    break
        if has_id:
            into.packet_ids.append(data[topic_end] << 8 | data[topic_end + 1])
        add_topic(data[topic:topic_end])
        add_payload(data[rest:stop])
        at = stop
    return at


def packet_end(data: bytes, at: int) -> int:
    """Where the packet that begins at ``at`` ends, be it there or not; -1 if that can't be told.

    It can't while its length (section 2.1.4) has not come in; a length of more than four bytes is
    taken for one of four, for paho-mqtt to refuse.
    """
    length, body = number(data, at + 1)
    return body + length if body > 0 else -1


def number(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (section 1.5.5) and where it ends; that is -1 if it is cut off."""
    value = 0
    for position, byte in enumerate(data[at : at + 4]):
        value |= (byte & 127) << 7 * position
        if byte < 128 or position == 3:
            return value, at + position + 1
    return 0, -1


def pubacks(packet_ids: Sequence[int]) -> bytes:
    """PUBACK packets (section 3.4) for all of these, with the reason code left out: success."""
    packets = np.empty((len(packet_ids), 2), ">u2")
    packets[:, 0] = _PUBACK << 8 | 2
    packets[:, 1] = packet_ids
    return packets.tobytes()
