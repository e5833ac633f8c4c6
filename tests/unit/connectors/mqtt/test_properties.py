"""Content types come out of packets as they went in, and nothing that a peer sends costs much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.packets import HEAD_BYTES, Publishes, take_head, take_publishes
from connectors.mqtt.properties import (
    MOST_PROPERTIES,
    MalformedError,
    PropertyReader,
    TooManyError,
)
from headgate.core.properties import Asked, Properties
from tests.unit.formats.test_cost import calls

pytestmark = pytest.mark.slow


def _varint(value: int) -> bytes:
    digits = []
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _content_type(value: bytes) -> bytes:
    return b"\x03" + _text(value)


_texts = st.one_of(st.binary(max_size=20), st.integers(0, 300).map(lambda size: b"x" * size))

#: Whatever else may stand among the properties of a PUBLISH packet (section 2.2.2.2).
_others = st.one_of(
    st.binary(min_size=1, max_size=1).map(lambda value: b"\x01" + value),
    st.binary(min_size=4, max_size=4).map(lambda value: b"\x02" + value),
    st.binary(min_size=2, max_size=2).map(lambda value: b"\x23" + value),
    _texts.map(lambda value: b"\x08" + _text(value)),
    _texts.map(lambda value: b"\x09" + _text(value)),
    st.integers(1, 268_435_455).map(lambda value: b"\x0b" + _varint(value)),
    st.tuples(_texts, _texts).map(lambda both: b"\x26" + _text(both[0]) + _text(both[1])),
)


@st.composite
def _properties(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Properties, and the content type among them; empty for none."""
    found = draw(st.lists(_others, max_size=8))
    said = draw(st.one_of(st.just(b""), _texts))
    if said or draw(st.booleans()):
        found.insert(draw(st.integers(0, len(found))), _content_type(said))
    return b"".join(found), said


def _packet(properties: bytes, payload: bytes, qos: int = 1) -> bytes:
    packet_id = b"\x12\x34" if qos else b""
    body = _text(b"in/d") + packet_id + _varint(len(properties)) + properties + payload
    return bytes([0x30 | qos << 1]) + _varint(len(body)) + body


_ASKED = Asked(True, frozenset({b"batch", b""}))


def _asking() -> Publishes:
    return Publishes(reader=PropertyReader(_ASKED))


def content_type(data: bytes, at: int, end: int) -> bytes:
    """The content type that is found."""
    return PropertyReader(_ASKED).read(data, at, end).content_type


@given(_properties(), st.binary(max_size=5), st.binary(max_size=5))
def test_the_content_type_is_found_among_all_others(
    properties: tuple[bytes, bytes], before: bytes, behind: bytes
) -> None:
    """Wherever it stands, and whatever is around the properties."""
    block, said = properties
    found = content_type(before + block + behind, len(before), len(before) + len(block))

    assert found == said


@given(
    st.lists(st.tuples(_properties(), st.binary(max_size=30), st.integers(0, 2)), max_size=9),
    st.data(),
)
def test_each_message_has_its_own(
    messages: list[tuple[tuple[bytes, bytes], bytes, int]], data: st.DataObject
) -> None:
    """By position, in however many parts they come in; what nobody asks for changes nothing."""
    whole = b"".join(_packet(block, payload, qos) for (block, _), payload, qos in messages)
    cut = data.draw(st.integers(0, len(whole)))
    reader = PropertyReader(Asked(True, frozenset()))
    found, silent = Publishes(reader=reader), Publishes()
    at = take_publishes(whole[:cut], 0, found, is_v5=True)

    assert take_publishes(whole, at, found, is_v5=True) == len(whole)
    assert take_publishes(whole, 0, silent, is_v5=True) == len(whole)
    said = {at: said for at, ((_, said), _, _) in enumerate(messages) if said}
    assert found.properties == {at: Properties(each) for at, each in said.items()}
    assert replace(found, reader=None, properties={}) == silent


@given(st.lists(_others, max_size=8), st.lists(st.tuples(_texts, _texts), max_size=5), st.data())
def test_of_user_properties_those_are_found_that_are_asked_for(
    others: list[bytes], user: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """Of one name that stands several times the last; the content type only if it is asked for."""
    others = [other for other in others if not other.startswith(b"\x26")]
    blocks = [b"\x26" + _text(name) + _text(value) for name, value in user]
    for other in [*others, _content_type(b"a/b")]:
        blocks.insert(data.draw(st.integers(0, len(blocks))), other)
    block = b"".join(blocks)
    names = data.draw(st.sets(st.sampled_from([name for name, _ in user] or [b"none"])))
    reader = PropertyReader(Asked(False, frozenset(names)))
    found = reader.read(block, 0, len(block))

    assert reader.read(b"before" + block + b"behind", 6, 6 + len(block)) == found

    assert dict(found.user) == {name: value for name, value in user if name in names}
    assert len(dict(found.user)) == len(found.user)
    assert found.content_type == b""


@given(_properties(), st.data())
def test_properties_that_are_cut_off_are_malformed(
    properties: tuple[bytes, bytes], data: st.DataObject
) -> None:
    """They never lead into the payload: either that is seen, or a property ends there."""
    block, _ = properties
    cut = data.draw(st.integers(0, len(block)))
    found, payload = _asking(), b"\x03\x00\x00" * 200
    packet = _packet(block[:cut], payload)
    taken = take_publishes(packet, 0, found, is_v5=True)

    assert taken in (0, len(packet))
    assert found.payloads == ([payload] if taken else [])


@pytest.mark.parametrize(
    "block",
    [
        _content_type(b"a") + _content_type(b"a"),
        b"\x07",
        b"\x11\x00\x00\x00\x01",
        b"\x03",
        b"\x03\x00",
        b"\x03\x00\x05abcd",
        b"\x26\x00\x01a",
        b"\x26\x00\x01a\x00\x01",
        b"\x0b\xff\xff\xff\xff\x01",
        b"\x02\x00\x00\x00",
    ],
)
def test_malformed_properties_are_a_malformed_packet(block: bytes) -> None:
    """One that stands twice, one that a PUBLISH packet can't have, one that is not there whole."""
    found = _asking()

    with pytest.raises(MalformedError):
        content_type(block, 0, len(block))
    assert take_publishes(_packet(block, b"1" * 100), 0, found, is_v5=True) == 0
    assert not found.topics
    assert not found.packet_ids


@given(st.binary(max_size=200))
def test_no_bytes_break_it(block: bytes) -> None:
    """Whatever comes, there is an answer."""
    try:
        found = content_type(block, 0, len(block))
    except (MalformedError, TooManyError):
        return
    assert found in block
    assert PropertyReader(Asked(False, frozenset())).read(block, 0, len(block)) == Properties()


def test_what_is_remembered_of_properties_is_bounded() -> None:
    """Those that are made up, one after the other, leave as little behind as long ones."""
    reader = PropertyReader(_ASKED)
    for number in range(5000):
        block = _content_type(b"%d" % number)
        assert reader.read(block, 0, len(block)).content_type == b"%d" % number
    long = _content_type(b"x" * 1000)
    reader.read(long, 0, len(long))

    assert len(reader._known) <= 1000
    assert max(map(len, reader._known)) < 600


def test_more_properties_than_are_looked_at_make_a_message_that_is_not_known() -> None:
    """It is taken, and marked as one of which not all is there; its neighbours are not."""
    most = b"\x26\0\0\0\0" * (MOST_PROPERTIES - 1) + _content_type(b"text/csv")
    found = _asking()
    packets = [_packet(b"\x01\x01" + most, b"123"), _packet(most, b"1")]
    data = b"".join(packets)

    assert take_publishes(data, 0, found, is_v5=True) == len(data)
    assert found.payloads == [b"123", b"1"]
    assert found.cut == {0: 3}
    assert found.properties[1].content_type == b"text/csv"
    assert not found.properties.keys() - {1}
    assert found.packet_ids == [0x1234, 0x1234]


@pytest.mark.parametrize("unit", [b"\x26\0\0\0\0", b"\x01\0", b"\x0b\x01", b"\x03\0\0"])
def test_what_properties_cost_is_bounded(unit: bytes) -> None:
    """However many there are: no more calls than the parsing of so many bytes of JSON takes."""
    packet = _packet(unit * (65_535 // len(unit)), b"1")

    assert calls(lambda: take_publishes(packet, 0, _asking(), is_v5=True)) <= 6 * MOST_PROPERTIES


def test_of_a_message_that_is_too_large_the_content_type_is_of_no_interest() -> None:
    """It is refused, whatever it is."""
    packet = _packet(_content_type(b"text/csv"), bytes(2 * HEAD_BYTES))
    found = take_head(packet[:HEAD_BYTES], len(packet), is_v5=True)

    assert found is not None
    assert found.cut == {0: 2 * HEAD_BYTES}
    assert not found.properties
