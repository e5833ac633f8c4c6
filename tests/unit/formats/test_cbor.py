"""The format ``cbor``: as JSON, in other bytes, and as safe."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.cbor.payload import UNREADABLE, content_of, contents_of
from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.examples import tried
from tests.unit.formats.test_cost import calls, peak_bytes
from tests.unit.formats.texts import decoder_of

pytestmark = pytest.mark.slow

_NOW_NS = 1_800_000_000 * 10**9
_MAX_PAYLOAD = 1 << 20

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "5", "-1.5", "on", "nan", "é"]),
    st.lists(st.integers(0, 300), max_size=3),
)
_records = st.dictionaries(
    st.sampled_from(["t", "x", "n", "other"]),
    st.one_of(_values, st.dictionaries(st.sampled_from(["y", "z"]), _values, max_size=2)),
    max_size=4,
)


def _decoded(payloads: list[bytes], form: str, **feed: object) -> tuple[Any, ...]:
    table = ChannelTable()
    settings = {"topic": "in/{device}", "channels": {"x": {}, "y": {"path": "n.y"}}, **feed}
    decoder = FeedDecoder(
        "f", FeedConfig.model_validate({**settings, "format": form}), table, IngestConfig()
    )
    found = decoder.decode([b"in/a"] * len(payloads), payloads, np.full(len(payloads), _NOW_NS))
    return (
        found.owner.tolist(),
        [table.channels[row].field for row in found.channel.tolist()],
        np.nan_to_num(found.value, nan=-1e300).tolist(),
        found.quality.tolist(),
        [(position, str(error)) for position, error in found.refused],
        found.time_ns.tolist(),
    )


@tried(300)
@given(st.lists(st.one_of(_records, st.lists(_records, max_size=3)), max_size=4))
def test_it_says_what_json_says(contents: list[object]) -> None:
    """The same readings and the same refusals of the same contents."""
    packed = [cbor2.dumps(content) for content in contents]
    written = [json.dumps(content).encode() for content in contents]
    assert _decoded(packed, "cbor") == _decoded(written, "json")


@pytest.mark.parametrize("content", [{"d": [{"x": 1}]}, {"p1": {"x": 1}}])
@pytest.mark.parametrize("form", ["cbor", "msgpack"])
def test_where_records_may_stand_is_told_as_of_json(form: str, content: object) -> None:
    """Their bytes do not say whether there are arrays or objects in them."""
    packed = cbor2.dumps(content) if form == "cbor" else msgspec.msgpack.encode(content)
    refused = _decoded([packed], form)[4]
    assert refused == _decoded([json.dumps(content).encode()], "json")[4]
    assert "records = " in refused[0][1]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("f93e00", 1.5),
        ("c249010000000000000000", 2.0**64),
        ("c349010000000000000000", -(2.0**64) - 1),
        ("c4822119d431", 543.21),
        ("c48220c2490100000000000000ff", (2.0**64 + 255) / 10),
        ("c5822003", 1.5),
        ("d9d9f705", 5.0),
        ("d84505", 5.0),
        ("f7", -1e300),
    ],
)
def test_a_number_may_be_written_in_many_ways(value: str, found: float) -> None:
    """Half floats, whole numbers of any size, decimal and binary fractions, tags; undefined."""
    payload = b"\xa1\x61x" + bytes.fromhex(value)
    assert _decoded([payload], "cbor")[2] == [found]


@pytest.mark.parametrize(
    ("time", "time_ns"),
    [
        ("c11a6955b900", 1767225600 * 10**9),
        ("c1fb41da556e40100000", 1767225600 * 10**9 + 250_000_000),
        ("c074323032362d30312d30315430303a30303a30305a", 1767225600 * 10**9),
        ("1b0000019b76daa800", 1767225600 * 10**9),
    ],
)
def test_a_tagged_time_is_an_event_time(time: str, time_ns: int) -> None:
    """Whatever the unit of numbers would be."""
    payload = b"\xa2\x61x\x05\x61t" + bytes.fromhex(time)
    assert _decoded([payload], "cbor", time={"path": "t"})[5] == [time_ns]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\xff", "not_cbor"),
        (b"\xa2\x61x", "not_cbor"),
        (b"\xa1\x61x\x01\x01", "not_cbor: more behind the first value"),
        (b"\xa1\x61x\x01\xff", "not_cbor"),
        (b'{"x": 1}', 'not_cbor: .*; it looks like JSON, which format = "json" reads'),
        (b"\xa2\x61x\x01\x61o\x61\xff", "not_utf8"),
        (b"\x05", "not_object"),
        (b"\xa1\x61x\xd8\x1d\x00", "not_cbor: .* refers to another one"),
        (b"\xa1\xc2\x41\x05\x05", "not_cbor: .* for a key"),
        (b"\xa2\x61x\x01\xa1\x05\x05\x05", "not_cbor: .*a map for a key"),
        (b"\xa2\x61x\x01\x81\xa1\x05\x05\x05", "not_cbor: .*a map for a key"),
        (b"\xa2\x61x\x01\xd9\xff\xf0\xd9\xff\xf1\xf6\x05", "not_cbor: .*a tag for a key"),
        (b"\xa2\x61x\x01\xc0\xd9\xff\xf1\xf6\x05", "not_cbor: .*a tag for a key"),
        (b"\x81" * 5000, "too_deep"),
        (b"\xc6" * 5000, "too_deep"),
        (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\x05", "not_cbor"),
        (b"\xa1\x61x\x7b\x7f\xff\xff\xff\xff\xff\xff\xff\x05", "not_cbor"),
    ],
)
def test_what_can_not_be_read_is_refused(payload: bytes, reason: str) -> None:
    """With its reason; its neighbours are taken."""
    good = cbor2.dumps({"x": 1})
    owner, _, _, _, refused, _ = _decoded([good, payload, good], "cbor")
    assert owner == [0, 2]
    assert [position for position, _ in refused] == [1]
    assert __import__("re").match(reason, refused[0][1])


def _array(unit: bytes, most: int = _MAX_PAYLOAD) -> bytes:
    """Many of the same, as large as a message may be."""
    count = (most - 5) // len(unit)
    return b"\x9a" + count.to_bytes(4, "big") + unit * count


_HOSTILE = {
    "numbers of one byte": _array(b"\x05"),
    "numbers of three bytes": _array(b"\x19\xff\xff"),
    "fractions": _array(b"\xfb?\xf8\x01\x02\x03\x04\x05\x06"),
    "half fractions": _array(b"\xf9\x3c\x01"),
    "simple values": _array(b"\xf0"),
    "nothing": _array(b"\xf6"),
    "undefined": _array(b"\xf7"),
    "empty maps": _array(b"\xa0"),
    "small maps": _array(b"\xa1\x61x\x05"),
    "maps of numbers": _array(b"\xa1\x05\x05"),
    "as many as are allowed": b"\x99\x27\x10" + b"\xa1\x61x\x05" * 10_000,
    "one map": b"\xba\x00\x02\x00\x00"
    + b"".join(b"\x65%05x\x05" % number for number in range(2 << 16)),
    "one map of numbers": b"\xba\x00\x02\x00\x00"
    + b"".join(b"\x1a" + number.to_bytes(4, "big") + b"\x05" for number in range(2 << 16)),
    "arrays for keys": b"\xba\x00\x02\x00\x00"
    + b"".join(b"\x81\x1a" + number.to_bytes(4, "big") + b"\x05" for number in range(2 << 16)),
    "empty arrays": _array(b"\x80"),
    "arrays of one": _array(b"\x81\x05"),
    "arrays without a length": _array(b"\x9f\xff"),
    "maps without a length": _array(b"\xbf\xff"),
    "texts of one letter": _array(b"\x61x"),
    "texts of two letters": _array(b"\x62xy"),
    "texts in parts": _array(b"\x7f\x61x\x61y\xff"),
    "wide texts": _array(b"\x64" + "😀".encode()),
    "bytes": _array(b"\x42xy"),
    "tags": _array(b"\xc6\x05"),
    "tags of maps": _array(b"\xc6\xa0"),
    "times": _array(b"\xc1\x1a\x00\x00\x00\x05"),
    "large numbers": _array(b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
    "a large number": b"\xa1\x61x\xc2\x5a\x00\x0f\xff\xf0" + b"\xff" * 0xFFFF0,
    "decimal fractions": _array(b"\xc4\x82\x20\x05"),
    "deep": b"\x81" * _MAX_PAYLOAD,
    "deep without a length": b"\x9f" * _MAX_PAYLOAD,
    "many deep": _array(b"\x81" * 90 + b"\x05"),
    "many tags in each other": _array(b"\xc6" * 90 + b"\x05"),
    "a text": b"\xa1\x61x\x7a\x00\x0f\xff\xf0" + b"a" * 0xFFFF0,
    "a waveform": b"\xa2\x61x\x01\x61w\x9a\x00\x01\xc0\x00"
    + b"\xfb?\xb9\x99\x99\x99\x99\x99\x9a" * 114688,
    "more than there is": b"\x9b\x00\xff\xff\xff\xff\xff\xff\xff" + b"\x05" * 9000,
    "a map of more than there is": b"\xbb\x00\xff\xff\xff\xff\xff\xff\xff" + b"\x05" * 9000,
    "a text longer than there is": b"\xa1\x61x\x7b\x00\xff\xff\xff\xff\xff\xff\xff" + b"a" * 9000,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_message_takes_little(name: str) -> None:
    """At most 16 times its size of memory, or what is always free; and few calls."""
    payload = _HOSTILE[name]
    decoder = decoder_of(IngestConfig(), format="cbor")
    found: list[Decoded] = []

    def work() -> None:
        found.append(decoder.decode([b"in/d"], [payload], np.array([_NOW_NS])))

    assert peak_bytes(work) < 16 * max(len(payload), 1 << 20)
    assert calls(work) < 700_000
    assert len(found[0].refused) <= 1


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    ("head", "is_taken"), [("a10005", True), ("a2000581056178", False), ("a1c1810502", False)]
)
def test_among_many_arrays_keys_may_be_numbers(head: str, is_taken: bool, is_open: bool) -> None:
    """But no arrays, of which there may be any number of one hash."""
    rows = [bytes.fromhex("82 05 7f 61 78 ff")] * 600 + [b"\xbf\x20\xf6\xff", b"\x7a\0\0\0\x01x"]
    array = b"\x9f" + b"".join(rows) + b"\xff" if is_open else b"\x99\x02\x5a" + b"".join(rows)
    payload = b"\xa3\x61h" + bytes.fromhex(head) + b"\x61d" + array + b"\x61x\x07"
    _, _, values, _, refused, _ = _decoded([payload], "cbor")
    assert values == ([7.0] if is_taken else [])
    assert bool(refused) is not is_taken
    assert is_taken or refused[0][1].startswith("not_cbor: an array for a key")


def test_an_honest_waveform_is_taken() -> None:
    """However its bytes look: what they are is told where the first look is in doubt."""
    wave = np.random.default_rng(1).normal(size=100_000).tolist()
    found = _decoded([cbor2.dumps({"x": 1, "w": wave})], "cbor")
    assert found[2] == [1.0]
    assert not found[4]


_WHOLE = [{"x": 1.5}, [1, 2], None, "headgate", 7, {"x": [1, {"y": 2}]}, "", b"\xff"]
_BROKEN = [b"", b"\xff", b"\x82\x01", b"\x01\x02", b"\x9f", b"\xa1\x61x", b"\x78", b"\x01\xff"]


@given(st.lists(st.sampled_from([*map(cbor2.dumps, _WHOLE), *_BROKEN]), min_size=1, max_size=12))
def test_many_payloads_at_once_are_what_each_is(payloads: list[bytes]) -> None:
    """Whatever stands beside them: none takes anything of another."""
    each = []
    for payload in payloads:
        try:
            each.append(content_of(payload))
        except UNREADABLE:
            each = []
            break

    together = contents_of(payloads)

    assert together is None or together == each
    assert (together is None) == (not each)
