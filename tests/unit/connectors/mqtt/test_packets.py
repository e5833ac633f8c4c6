"""Packets come out of a stream of bytes as they went in, however it was cut."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.packets import (
    HEAD_BYTES,
    PUBACK,
    PUBREC,
    Publishes,
    answers,
    number,
    packet_end,
    take_head,
    take_publishes,
    take_releases,
)

pytestmark = pytest.mark.slow

_PINGRESP = b"\xd0\x00"


@dataclass(frozen=True)
class _Message:
    topic: bytes
    payload: bytes
    qos: int
    packet_id: int
    properties: bytes
    is_retained: bool

    def packet(self, *, is_v5: bool) -> bytes:
        """The message as the standard has it, written independently of the code under test."""
        body = len(self.topic).to_bytes(2, "big") + self.topic
        if self.qos:
            body += self.packet_id.to_bytes(2, "big")
        if is_v5:
            body += _varint(len(self.properties)) + self.properties
        body += self.payload
        return bytes([0x30 | self.qos << 1 | self.is_retained]) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    digits = []
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)


_messages = st.lists(
    st.builds(
        _Message,
        topic=st.binary(max_size=40),
        payload=st.one_of(
            st.binary(max_size=60), st.integers(100, 20_000).map(lambda size: b"x" * size)
        ),
        qos=st.integers(0, 2),
        packet_id=st.integers(1, 65535),
        properties=st.one_of(st.just(b""), st.binary(max_size=200)),
        is_retained=st.booleans(),
    ),
    max_size=12,
)


@given(_messages, st.booleans())
def test_every_publish_comes_out(messages: list[_Message], is_v5: bool) -> None:
    """Topic, payload, packet id and whether it was retained of each, in order."""
    data = b"".join(message.packet(is_v5=is_v5) for message in messages)
    found = Publishes()

    assert take_publishes(data, 0, found, is_v5=is_v5) == len(data)
    assert found.topics == [message.topic for message in messages]
    assert found.payloads == [message.payload for message in messages]
    assert found.packet_ids == [message.packet_id for message in messages if message.qos == 1]
    assert found.qos2_ids == [message.packet_id for message in messages if message.qos == 2]
    assert found.retained == [at for at, message in enumerate(messages) if message.is_retained]


@given(_messages.filter(bool), st.booleans(), st.data())
def test_a_packet_that_is_not_there_as_a_whole_is_left(
    messages: list[_Message], is_v5: bool, data: st.DataObject
) -> None:
    """Cut anywhere, only what is before the cut packet is taken, and its end is known in time."""
    packets = [message.packet(is_v5=is_v5) for message in messages]
    whole = b"".join(packets)
    cut = data.draw(st.integers(0, len(whole)))
    found = Publishes()
    at = take_publishes(whole[:cut], 0, found, is_v5=is_v5)

    assert at == sum(len(packet) for packet in packets[: len(found.topics)])
    assert cut - at < (len(packets[len(found.topics)]) if at < len(whole) else 1)
    end = packet_end(whole[:cut], at)
    assert end in (-1, at + len(packets[len(found.topics)]) if at < len(whole) else -1)


@given(_messages, st.booleans(), st.integers(0, 3))
def test_other_packets_are_left_to_the_client(
    messages: list[_Message], is_v5: bool, kind: int
) -> None:
    """Taking stops at what is sent again with QoS 2, at acknowledgements, and at nonsense."""
    other = [
        _PINGRESP,
        b"\x3c" + messages[0].packet(is_v5=is_v5)[1:] if messages else _PINGRESP,
        b"\x30\x01\x00",  # a PUBLISH too short for a topic
        b"\x32\x05\x00\x04abc",  # a topic that is longer than its packet
    ][kind]
    before = b"".join(message.packet(is_v5=is_v5) for message in messages)
    found = Publishes()

    assert take_publishes(before + other, 0, found, is_v5=is_v5) == len(before)
    assert len(found.topics) == len(messages)
    assert packet_end(before + other, len(before)) == len(before + other)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_break_it(data: bytes, is_v5: bool) -> None:
    """Whatever comes, what is taken is within what there is."""
    found = Publishes()

    assert 0 <= take_publishes(data, 0, found, is_v5=is_v5) <= len(data)
    assert len(found.topics) == len(found.payloads) >= len(found.packet_ids)


@given(st.integers(0, 268_435_455), st.binary(max_size=3))
def test_lengths_are_read(value: int, before: bytes) -> None:
    """A variable byte integer of one to four bytes, and -1 while its end is missing."""
    encoded = _varint(value)

    assert number(before + encoded, len(before)) == (value, len(before + encoded))
    assert number(before + encoded[:-1], len(before)) == (0, -1)


def test_acknowledgements_are_packets_of_four_bytes() -> None:
    """One for each packet id, in order."""
    assert answers(PUBACK, [1, 0x1234]) == b"\x40\x02\x00\x01\x40\x02\x12\x34"
    assert answers(PUBREC, [7]) == b"\x50\x02\x00\x07"


@given(_messages.filter(bool), st.booleans(), st.integers(0, 3 * HEAD_BYTES))
def test_the_beginning_of_a_message_tells_what_it_is(
    messages: list[_Message], is_v5: bool, more: int
) -> None:
    """Topic, packet id and retain flag are those of the whole, and so is the payload's size."""
    message = replace(messages[0], payload=bytes(2 * HEAD_BYTES + more))
    packet = message.packet(is_v5=is_v5)
    whole = Publishes()
    take_publishes(packet, 0, whole, is_v5=is_v5)
    found = take_head(packet[:HEAD_BYTES], len(packet), is_v5=is_v5)

    assert found is not None
    assert found.cut == {0: len(message.payload)}
    assert message.payload.startswith(found.payloads[0])
    assert replace(found, payloads=whole.payloads, cut={}) == whole


@given(st.binary(max_size=40), st.booleans())
def test_no_beginning_breaks_it(head: bytes, is_v5: bool) -> None:
    """A beginning that makes no sense is refused."""
    packet = (b"\x32\xff\xff\xff\x7f" + head).ljust(HEAD_BYTES, b"\xff")
    found = take_head(packet, 268_435_460, is_v5=is_v5)

    assert found is None or len(found.topics) == len(found.payloads) == 1


@given(st.lists(st.tuples(st.integers(1, 65535), st.binary(max_size=300)), max_size=9))
def test_releases_are_taken(releases: list[tuple[int, bytes]]) -> None:
    """Their packet ids, whatever reason codes and properties follow, until something else comes."""
    packets = [
        b"\x62" + _varint(2 + len(more)) + packet_id.to_bytes(2, "big") + more
        for packet_id, more in releases
    ]
    found: list[int] = []

    assert take_releases(b"".join(packets) + _PINGRESP, 0, found) == sum(map(len, packets))
    assert found == [packet_id for packet_id, _ in releases]
