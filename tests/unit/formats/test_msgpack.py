"""The format ``msgpack``: as JSON, in other bytes, and as safe."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from tests.examples import tried
from tests.unit.formats.test_cost import calls, peak_bytes
from tests.unit.formats.texts import decoder_of

pytestmark = pytest.mark.slow

_NOW_NS = 1_800_000_000 * 10**9
_MAX_PAYLOAD = 1 << 20
_pack = msgspec.msgpack.encode

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.sampled_from(["", "5", "-1.5", "on", "nan", "é"]),
    st.lists(st.integers(0, 300), max_size=3),
)
_records = st.dictionaries(
    st.sampled_from(["t", "x", "n", "other"]),
    st.one_of(_values, st.dictionaries(st.sampled_from(["y", "z"]), _values, max_size=2)),
    max_size=4,
)


def _decoded(payloads: list[bytes], form: str) -> tuple[Any, ...]:
    table = ChannelTable()
    channels = {"x": {}, "y": {"path": "n.y"}}
    feed = FeedConfig.model_validate({"topic": "in/{device}", "format": form, "channels": channels})
    decoder = FeedDecoder("f", feed, table, IngestConfig())
    found = decoder.decode([b"in/a"] * len(payloads), payloads, np.full(len(payloads), _NOW_NS))
    return (
        found.owner.tolist(),
        [table.channels[row].field for row in found.channel.tolist()],
        np.nan_to_num(found.value, nan=-1e300).tolist(),
        found.quality.tolist(),
        [(position, str(error)) for position, error in found.refused],
    )


@tried(300)
@given(st.lists(st.one_of(_records, st.lists(_records, max_size=3)), max_size=4))
def test_it_says_what_json_says(contents: list[object]) -> None:
    """The same readings and the same refusals of the same contents."""
    packed = [_pack(content) for content in contents]
    written = [json.dumps(content).encode() for content in contents]
    assert _decoded(packed, "msgpack") == _decoded(written, "json")


def test_a_timestamp_is_an_event_time() -> None:
    """Whatever the unit of numbers would be; before it is believed it is looked at as any other."""
    feed = {
        "topic": "in/{device}",
        "format": "msgpack",
        "channels": {"x": {}},
        "time": {"path": "t"},
    }
    decoder = FeedDecoder("f", FeedConfig.model_validate(feed), ChannelTable(), IngestConfig())
    times = [datetime(2026, 1, 1, 0, 0, 0, 250000, UTC), datetime(1970, 1, 2, tzinfo=UTC)]
    payloads = [_pack({"t": time, "x": 1}) for time in times]
    found = decoder.decode([b"in/a"] * 2, payloads, np.full(2, _NOW_NS))

    assert found.time_ns.tolist() == [1767225600250000000]
    assert [error.reason for _, error in found.refused] == ["bad_time"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\xc1", "not_msgpack"),
        (b"\x82\xa1x", "not_msgpack"),
        (b'{"x": 1}', 'not_msgpack: .*; it looks like JSON, which format = "json" reads'),
        (b"\x82\xa1x\x01\xa1o\xa1\xff", "not_utf8"),
        (b"\x81\xa1x\xc7\xff\xff", "not_msgpack"),
        (b"\x05", "not_object"),
        (b"\x81\x80\x05", "not_msgpack"),
        (b"\x91" * 5000, "too_deep"),
    ],
)
def test_what_can_not_be_read_is_refused(payload: bytes, reason: str) -> None:
    """With its reason; its neighbours are taken."""
    good = _pack({"x": 1})
    owner, _, _, _, refused = _decoded([good, payload, good], "msgpack")
    assert owner == [0, 2]
    assert [position for position, _ in refused] == [1]
    assert __import__("re").match(reason, refused[0][1])


def _array(unit: bytes) -> bytes:
    """Many of the same, as large as a message may be."""
    count = (_MAX_PAYLOAD - 5) // len(unit)
    return b"\xdd" + count.to_bytes(4, "big") + unit * count


_HOSTILE = {
    "numbers of one byte": _array(b"\x05"),
    "numbers of two bytes": _array(b"\xcc\xff"),
    "numbers of three bytes": _array(b"\xcd\xff\xff"),
    "fractions": _array(b"\xcb?\xf8\x01\x02\x03\x04\x05\x06"),
    "nothing": _array(b"\xc0"),
    "empty maps": _array(b"\x80"),
    "small maps": _array(b"\x81\xa1x\x05"),
    "maps of numbers": _array(b"\x81\x05\x05"),
    "as many as are allowed": b"\xdc\x27\x10" + b"\x81\xa1x\x05" * 10_000,
    "one map": b"\xdf\x00\x02\x00\x00"
    + b"".join(b"\xa5%05x\x05" % number for number in range(2 << 16)),
    "empty arrays": _array(b"\x90"),
    "arrays of one": _array(b"\x91\x05"),
    "arrays of five": _array(b"\x95" + b"\x05" * 5),
    "texts of one letter": _array(b"\xa1x"),
    "texts of two letters": _array(b"\xa2xy"),
    "wide texts": _array(b"\xa4" + "😀".encode()),
    "bytes": _array(b"\xc4\x01x"),
    "extensions": _array(b"\xd4\x05x"),
    "times": _array(b"\xd6\xff\x00\x00\x00\x05"),
    "deep": b"\x91" * _MAX_PAYLOAD,
    "many deep": _array(b"\x91" * 100 + b"\x05"),
    "a text": b"\x81\xa1x\xdb\x00\x0f\xff\xf0" + b"a" * 0xFFFF0,
    "a waveform": b"\x82\xa1x\x01\xa1w\xdd\x00\x01\xc0\x00"
    + b"\xcb?\xb9\x99\x99\x99\x99\x99\x9a" * 114688,
    "more than there is": b"\xdd\xff\xff\xff\xff" + b"\x05" * 9000,
    "a text longer than there is": b"\x81\xa1x\xdb\xff\xff\xff\xff" + b"a" * 9000,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_message_takes_little_memory(name: str) -> None:
    """At most 16 times its size, or what is always free."""
    payload = _HOSTILE[name]
    decoder = decoder_of(IngestConfig(), format="msgpack")
    found: list[Decoded] = []

    def work() -> None:
        found.append(decoder.decode([b"in/d"], [payload], np.array([_NOW_NS])))

    assert peak_bytes(work) < 16 * max(len(payload), 1 << 20)
    assert len(found[0].refused) <= 1


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_message_takes_few_calls(name: str) -> None:
    """Not one for each of its bytes."""
    payload = _HOSTILE[name]
    decoder = decoder_of(IngestConfig(), format="msgpack")
    count = calls(lambda: decoder.decode([b"in/d"], [payload], np.array([_NOW_NS])))
    assert count < 700_000


def test_an_honest_waveform_is_taken() -> None:
    """However its bytes look: what they are is told where the first look is in doubt."""
    wave = np.random.default_rng(1).normal(size=100_000).tolist()
    found = _decoded([_pack({"x": 1, "w": wave})], "msgpack")
    assert found[2] == [1.0]
    assert not found[4]


_NANS = [b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\x0b\xad", b"\xca\x7f\xc0\0\0"]


@pytest.mark.parametrize("number", [*_NANS, b"\xcb\xff\xf0\0\0\0\0\0\0", b"\xca\x7f\x80\0\0"])
def test_a_number_that_is_none_is_told(number: bytes) -> None:
    """It is not nil, and not nothing, whichever way it is decoded and whatever its bits are."""
    _, fields, _, quality, refused = _decoded([b"\x82\xa1x" + number + b"\xa1o\x01"], "msgpack")
    assert fields == ["x"]
    assert Quality.BAD_FIELD | Quality.NOT_FINITE | Quality.MISSING in Quality(quality[0])
    assert not refused


def test_arrays_for_keys_are_refused_before_they_are_hashed() -> None:
    """Their hash is known beforehand: many of one hash take each as long as there are."""
    keys = b"".join(b"\x92" + b"\xcd%c%c\x01" % (n >> 8, n & 255) + b"\x01" for n in range(3000))
    payload = b"\x82\xa1x\x01\xa1m\xde" + (3000).to_bytes(2, "big") + keys
    _, _, _, _, refused = _decoded([payload], "msgpack")
    assert refused == [(0, "not_msgpack: an array or a map for a key")]


def test_many_arrays_are_no_keys_elsewhere() -> None:
    """As values, in and around maps."""
    honest = {"x": 1, "n": {"y": 2}, "w": [[n, [n]] for n in range(2000)], "z": {"a": [[1]] * 600}}
    _, fields, _, _, refused = _decoded([_pack(honest)], "msgpack")
    assert fields == ["x", "y"]
    assert not refused


def test_an_extension_is_shown_as_what_it_is() -> None:
    """The same each time."""
    decoder = decoder_of(IngestConfig(), format="msgpack")
    found = decoder.decode([b"in/d"], [b"\x81\xa1x\xd4\x05a"], np.array([_NOW_NS]))
    (bad,) = found.bad_fields.values()
    assert bad.detail == "x: expected a number, got an extension of type 5"
