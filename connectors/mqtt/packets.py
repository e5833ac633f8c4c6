"""Splitting what a broker sends into packets, many at a time.

Only what there is much of is done here: PUBLISH and PUBREL packets, and what answers them. All else
is a packet's length here and paho-mqtt's to understand. Numbers of sections are those of the MQTT
5.0 and 3.1.1 standards, which agree in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from connectors.mqtt.properties import MalformedError, PropertyReader, TooManyError
from headgate.core.properties import NOTHING, Properties

#: The upper half of a packet's first byte is its type, the lower half of a PUBLISH's its flags.
TYPE_MASK = 0xF0
PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x30, 0x40, 0x50, 0x60, 0x70
_RETAIN, _QOS_1, _QOS_2, _QOS_BITS, REPEATED = 0x01, 0x02, 0x04, 0x06, 0x08
_REPEATED_QOS_2 = REPEATED | _QOS_2

#: So much of a packet holds its topic, which has 65,535 bytes at most, its packet id, and, unless
#: its properties are absurd, its properties and the first bytes of its payload.
HEAD_BYTES = 128 << 10


@dataclass(slots=True)
class Publishes:
    """PUBLISH packets in the order they came in, as columns.

    Attributes:
        topics: Topic names as they were sent, UTF-8 if the sender is honest.
        payloads: What was published.
        packet_ids: Those of the packets with QoS 1, in order; a PUBACK is owed for each.
        qos2_ids: Those of the packets with QoS 2, in order; a PUBREC is owed for each.
        retained: Positions of those that the broker had kept for new subscribers.
        cut: By position, the bytes of a payload that was too large to be kept as a whole, or of
            one with more properties than are looked at.
        reader: Finds what is asked for of their properties; None: nothing is.
        properties: By position, what those say of that which have any.
    """

    topics: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    packet_ids: list[int] = field(default_factory=list)
    qos2_ids: list[int] = field(default_factory=list)
    retained: list[int] = field(default_factory=list)
    cut: dict[int, int] = field(default_factory=dict)
    reader: PropertyReader | None = None
    properties: dict[int, Properties] = field(default_factory=dict)


def take_publishes(  # noqa: C901, PLR0912  (one loop over bytes; calls would double its time)
    data: bytes, at: int, into: Publishes, *, is_v5: bool
) -> int:
    """Take PUBLISH packets (section 3.3) until there is anything else.

    Args:
        data: What was received.
        at: Where to begin; a packet begins there.
        into: Gets the packets.
        is_v5: Whether packets have properties.

    Returns:
        Where the first packet that was not taken begins: one of another kind, one with QoS 2 that
        is repeated, one that is not there as a whole, or one that is malformed. What stands in
        properties is looked at only where somebody asks for it.
    """
    end = len(data)
    asks = into.reader is not None
    add_topic, add_payload = into.topics.append, into.payloads.append
    while at + 1 < end:
        first = data[at]
        if first & TYPE_MASK != PUBLISH:
            break
        length = data[at + 1]
        body = at + 2
        if length > 127:
            length, body = number(data, at + 1)
            if body < 0:
                break
        stop = body + length
        has_id = first & _QOS_1
        if first & _QOS_2:
            if has_id or first & _REPEATED_QOS_2 == _REPEATED_QOS_2:
                break
            has_id = 2
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
                if asks and not _note(data, (rest - properties, rest, stop), into):
                    break
        if has_id:
            ids = into.packet_ids if first & _QOS_1 else into.qos2_ids
            ids.append(data[topic_end] << 8 | data[topic_end + 1])
        if first & _RETAIN:
            into.retained.append(len(into.topics))
        add_topic(data[topic:topic_end])
        add_payload(data[rest:stop])
        at = stop
    return at


def _note(data: bytes, places: tuple[int, int, int], into: Publishes) -> bool:
    """Note what the properties of the next message say.

    Args:
        data: What was received.
        places: Where the properties begin and end, and where the payload ends.
        into: Gets it.

    Returns:
        Whether they are well-formed.
    """
    begin, end, stop = places
    position = len(into.topics)
    assert into.reader is not None  # noqa: S101  (for the type checker)
    try:
        found = into.reader.read(data, begin, end)
    except MalformedError:
        return False
    except TooManyError:
        # What it is, is not known: it is refused as one of which not all is there.
        into.cut[position] = stop - end
        return True
    if found != NOTHING:
        into.properties[position] = found
    return True


def take_head(head: bytes, size: int, *, is_v5: bool) -> Publishes | None:
    """Take a PUBLISH packet of which only the first ``HEAD_BYTES`` are there.

    Args:
        head: These bytes.
        size: Bytes of the whole packet.
        is_v5: Whether packets have properties.

    Returns:
        The packet, its payload cut; None if it is malformed.
    """
    first = head[0]
    qos = first & _QOS_BITS
    _, body = number(head, 1)
    topic = body + 2
    topic_end = topic + (head[body] << 8 | head[body + 1])
    rest = topic_end + (2 if qos else 0)
    if is_v5:
        properties, rest = number(head, rest)
        rest += properties
    if qos == _QOS_BITS or rest > size:
        return None
    found = Publishes([head[topic:topic_end]], [head[rest:]], cut={0: size - rest})
    if qos:
        ids = found.packet_ids if qos == _QOS_1 else found.qos2_ids
        ids.append(head[topic_end] << 8 | head[topic_end + 1])
    if first & _RETAIN:
        found.retained.append(0)
    return found


def take_releases(data: bytes, at: int, ids: list[int]) -> int:
    """Take PUBREL packets (section 3.6), with any reason code, until there is anything else.

    Args:
        data: What was received.
        at: Where to begin; a packet begins there.
        ids: Gets their packet ids.

    Returns:
        Where the first packet that was not taken begins.
    """
    end = len(data)
    while at + 3 < end and data[at] & TYPE_MASK == PUBREL:
        stop = packet_end(data, at)
        body = number(data, at + 1)[1]
        if not body + 2 <= stop <= end:
            break
        ids.append(data[body] << 8 | data[body + 1])
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


def answers(kind: int, packet_ids: Sequence[int]) -> bytes:
    """Packets of one kind for all of these, with the reason code left out: success.

    Args:
        kind: ``PUBACK``, ``PUBREC`` or ``PUBCOMP`` (sections 3.4, 3.5, 3.7).
        packet_ids: What they answer.
    """
    packets = np.empty((len(packet_ids), 2), ">u2")
    packets[:, 0] = kind << 8 | 2
    packets[:, 1] = packet_ids
    return packets.tobytes()
