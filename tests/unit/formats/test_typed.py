"""The typed way and the careful way say the same, whatever a device sends."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import Wanted
from connectors.formats.typed import TypedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.examples import tried

pytestmark = pytest.mark.slow

_NOW_NS = 1_800_000_000 * 10**9
FEEDS: list[dict[str, Any]] = [
    {"time": {"path": "t", "unit": "ms"}, "channels": {"x": {}, "y": {"required": True}}},
    {"channels": {"x": {"scale": 1e300, "offset": -1}, "y": {"path": "n.y"}}},
    {
        "topic": "in",
        "device": "n.id",
        "time": {"path": "n.t", "unit": "iso8601"},
        "channels": {"x": {"path": "n.x"}, "y": {}},
    },
    {"time": {"path": "t", "unit": "s"}, "channels": {"x": {}, "z": {"path": "n.x"}}},
    {"topic": "in", "device": ["n.id", "t"], "channels": {"x": {}}},
    {"device": "{n.id}@{device}", "channels": {"x": {}, "y": {}}},
    {
        "strict": True,
        "time": {"path": "n.t", "unit": "iso8601", "zone": "Europe/Berlin"},
        "channels": {"x": {"scale": 1e300}, "y": {"required": True}},
    },
    {
        "channels": {
            "x": {"missing": [0, 1.5, " NAN", ""], "scale": 2.0},
            "y": {"states": {"nan": 3, "007": 8}, "missing": [8], "decimal": ","},
        },
    },
    {
        "tags": {"id": {"path": "n.id"}, "t": {}, "plant": "p"},
        "identity": ["t"],
        "channels": {"x": {"default": 0, "scale": 2.0}, "y": {"path": "n.y", "default": 1.5}},
    },
    {
        "topic": "in",
        "device": "n.id",
        "tags": {"other": {}},
        "time": {"path": "t", "unit": "s", "fallback": "arrival"},
        "channels": {"x": {}, "y": {"base": 16}},
    },
    {"time": {"path": "t", "unit": "s", "epoch": "arrival"}, "channels": {"x": {}, "y": {}}},
    {"time": {"path": "t", "unit": "100ns", "epoch": "gps"}, "channels": {"x": {}, "y": {}}},
    {
        "time": {"path": "n.t", "unit": "iso8601", "date_only": True, "fallback": "arrival"},
        "channels": {"x": {"default": 7}, "z": {"path": "n.x", "default": 0}},
    },
]

#: Shapes that the careful way alone knows.
SHAPES: list[dict[str, Any]] = [
    {"records": "n", "channels": {"x": {}}},
    {"records": "n.x.y", "time": {"path": ["t", "x"], "unit": ["s", "ns"]}, "channels": {"x": {}}},
    {"topic": "in", "records": "{device}", "channels": {"x": {}, "y": {"path": "value"}}},
    {"topic": "in", "records": "{a}.{device}", "tags": {"t": {}}, "channels": {"x": {}}},
    {"records": "*.{time}", "time": {"unit": "s"}, "channels": {"v": {"path": "value"}}},
    {"records": "{time}.n", "time": {"unit": "iso8601"}, "channels": {"x": {"default": 1}}},
    {"records": "{channel}", "channels": {"x": {}, "y": {}}},
    {"records": "n.*", "time": {"path": "0", "unit": "s"}, "channels": {"x": {"path": "1.n"}}},
    {
        "records": "n",
        "arrays": {"step": "1ms"},
        "time": {"path": "t", "unit": "s", "fallback": "arrival"},
        "channels": {"x": {}},
    },
    {"time": {"path": ["t", "x"], "pattern": "%d%m%y %H%M%S"}, "channels": {"x": {}}},
    {
        "time": {"path": ["t", "x"], "unit": ["iso8601", "ms"], "fallback": "arrival"},
        "channels": {"x": {}},
    },
]

_numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1.5, 1_750_000_000, 1_750_000_000_000, 1e308, -1e308]),
)
_words = [
    "2025-01-01T00:00:00Z",
    "2025-10-26T02:30:00",
    "2025-01-01",
    "13.9",
    " 007 ",
    "nan",
    "1e999",
]
_values = st.one_of(
    _numbers,
    st.none(),
    st.booleans(),
    st.text(max_size=4),
    st.sampled_from([*_words, math.nan, math.inf, [], {}]),
)
_names = st.sampled_from(["t", "x", "y", "id", "n", "n.x", "n.y", "other"])
objects = st.recursive(
    st.dictionaries(_names, _values, max_size=6),
    lambda inner: st.dictionaries(_names, st.one_of(_values, inner), max_size=6),
    max_leaves=8,
)
_good = st.fixed_dictionaries(
    {
        "t": st.sampled_from([1_750_000_000, 1_750_000_000_000]),
        "x": _numbers,
        "y": _numbers,
        "n": st.fixed_dictionaries(
            {"id": st.text(max_size=3), "t": st.sampled_from(_words[:2]), "x": _numbers}
        ),
    }
)
_records = st.one_of(_good, objects)
payloads_of_any_kind = st.one_of(
    _records.map(json.dumps).map(str.encode),
    st.lists(_records, max_size=3).map(json.dumps).map(str.encode),
    st.binary(max_size=20),
    _good.map(lambda record: json.dumps(record).replace('"x": ', '"x": -nan, "x2": ').encode()),
    _good.map(json.dumps).map(lambda text: text[:-2].encode()),
    _good.map(lambda record: json.dumps({**record, "other": "\xe9"}).encode("latin-1", "replace")),
    _good.map(
        lambda record: json.dumps({**record, "o": "é"}, ensure_ascii=False).encode(
            "latin1", "replace"
        )
    ),
)


def decoded_by(
    feed: FeedConfig, payloads: list[bytes], topics: list[bytes], *, is_typed: bool
) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]], dict[tuple[str, str], int]]:
    """Readings, refusals and bad fields, by one way or the other."""
    table = ChannelTable()
    decoder = FeedDecoder("f", feed, table, IngestConfig(max_devices=100), takes_fast_way=is_typed)
    assert not is_typed or decoder._typed is not None
    decoded: Decoded = decoder.decode(topics, payloads, np.full(len(payloads), _NOW_NS))
    keys = [table.channels[row].key for row in decoded.channel.tolist()]
    bits = decoded.value.view(np.int64).tolist()
    rows = list(zip(decoded.time_ns.tolist(), keys, bits, decoded.quality.tolist(), strict=True))
    refused = [(position, str(error)) for position, error in decoded.refused]
    return rows, refused, {key: bad.count for key, bad in decoded.bad_fields.items()}


@pytest.mark.parametrize("number", range(len(FEEDS)))
@tried(300)
@given(st.lists(payloads_of_any_kind, max_size=5), st.data())
def test_both_ways_agree(number: int, payloads: list[bytes], data: st.DataObject) -> None:
    """The same readings to the last bit, in the same order, and the same refusals."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", **FEEDS[number]})
    names = [b"in"] if feed.topic == "in" else [b"in/a", b"in/b", b"in/\x01", b"in/"]
    topics = [data.draw(st.sampled_from(names)) for _ in payloads]

    assert decoded_by(feed, payloads, topics, is_typed=True) == decoded_by(
        feed, payloads, topics, is_typed=False
    )


@pytest.mark.parametrize("number", range(len(SHAPES)))
@tried(300)
@given(payloads=st.lists(payloads_of_any_kind, max_size=4))
def test_no_shape_raises_for_what_a_message_holds(number: int, payloads: list[bytes]) -> None:
    """What can't be used is refused, a message once at most, and its neighbours are as alone."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", **SHAPES[number]})
    topic = b"in" if feed.topic == "in" else b"in/a"
    rows, refused, _ = decoded_by(feed, payloads, [topic] * len(payloads), is_typed=False)

    alone = [decoded_by(feed, [each], [topic], is_typed=False) for each in payloads]
    assert rows == [row for each, *_ in alone for row in each]
    assert refused == [(at, text) for at, (_, each, _) in enumerate(alone) for _, text in each]


def test_what_is_as_the_feed_says_goes_the_typed_way() -> None:
    """Numbers of any kind, null, nested fields and arrays of records; not booleans or text."""
    decoder = TypedDecoder(
        Wanted((("x", None), ("n.y", None)), (True, True), ("t", False), ()),
        lambda kind: msgspec.json.Decoder(kind).decode,
        is_utf8=True,
    )
    payloads = [b'{"t":1,"x":2,"n":{"y":null}}', b'{"t":1,"x":true}', b'[{"t":2},{"t":3,"x":4e2}]']
    typed = decoder.decode([b"in"] * 3, payloads)

    assert typed.failed == [1]
    assert typed.owner.tolist() == [0, 2, 2]
    assert typed.time == [1, 2, 3]
    assert typed.is_absent.tolist() == [[False, False], [True, True], [False, True]]
    assert typed.value[0, 0] == 2
    assert np.isnan(typed.value[0, 1])


@pytest.mark.parametrize("paths", [["v.0"], ["a", "a.b"], ["a.b", "a.b.c"]])
def test_paths_that_types_can_not_express_are_refused(paths: list[str]) -> None:
    """Positions in a list, and a value that is also an object."""
    with pytest.raises(ValueError, match=" "):
        TypedDecoder(
            Wanted(tuple((path, None) for path in paths), (True,) * len(paths), None, ()),
            lambda kind: msgspec.json.Decoder(kind).decode,
            is_utf8=True,
        )


@pytest.mark.parametrize("payload", [b'{"x":1,"other":1e999}', b'{"x":-1e999}', b'{"x":1e999,}'])
def test_numbers_that_no_float_can_hold(payload: bytes) -> None:
    """They are infinite, and of no interest where nobody wants them, whichever way they go."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}})
    ways = [decoded_by(feed, [payload], [b"in/a"], is_typed=is_typed) for is_typed in (True, False)]

    assert ways[0] == ways[1]
    assert bool(ways[0][0]) == (b",}" not in payload)
