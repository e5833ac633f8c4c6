"""Many payloads at a time and each by itself say the same, in every format that has both ways."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.examples import tried
from tests.unit.formats.test_cost import calls
from tests.unit.formats.test_typed import FEEDS, decoded_by, objects

pytestmark = pytest.mark.slow

_NOW_NS = 1_800_000_000 * 10**9
_T = 1_799_999_990

#: A NaN that stands for what is absent where numbers are typed.
_ODD_NAN = struct.pack(">Q", 0x7FF8_0000_0000_0BAD)


def _encoded(encode: Callable[[object], bytes]) -> Callable[[object], bytes]:
    def encoded(content: object) -> bytes:
        try:
            return encode(content)
        except (OverflowError, UnicodeEncodeError):
            return b"\xff"  # a number or a text that the format has not

    return encoded


def _of_objects(encode: Callable[[object], bytes], *more: bytes) -> st.SearchStrategy[bytes]:
    contents = st.one_of(
        objects, st.lists(objects, max_size=3), st.dictionaries(st.integers(), objects, max_size=2)
    )
    return st.one_of(contents.map(_encoded(encode)), st.binary(max_size=20), st.sampled_from(more))


_CELLS = [
    *("1", "1.5", "-3e2", " 2 ", ".5", "5.", "007", str(_T), f"{_T}.25", f"{_T}000"),
    *("", " ", "0", "nan", "inf", "1e999", "1_0", "٣", "abc", "0x1A", "9" * 70, "\x1f5", "1 2"),
    *('"1"', '"a;b"', '"', "a\rb", "\0", "ON", "a=1", "x=2", " x = 3", "t=4", "=", "\ufeff1"),
]
_lines = st.lists(
    st.one_of(
        st.lists(st.sampled_from(_CELLS), max_size=5).map(";".join),
        st.sampled_from(
            [
                *(f"{_T};1;a;2", f"{_T};3;b;4.5", f"{_T};1;a;2;", f"{_T};1;a;2; ", "5;6;"),
                *("t;x;id;y", "t;x;id;y;;", "x;;id;", "x=1;t=5;id=a", f"x=1;t={_T}"),
            ]
        ),
    ),
    max_size=4,
)
_texts = st.builds(
    lambda lines, end, last: (end.join(lines) + last).encode(),
    _lines,
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n;;;\n"]),
    st.sampled_from(["", "\n", "\r\n", " ", "\0", "\n;;;"]),
)
_texts = st.one_of(_texts, st.sampled_from([f"{_T};1;a;2".encode(), b"\xff;1;2;3"]))

_fields = st.lists(
    st.sampled_from(
        [
            "x=1",
            "x=1.5",
            "x=2i",
            "y=3u",
            "x=true",
            "x=f",
            'x="a,b c"',
            "y=-1e3",
            "x=",
            "n=1",
            "time=5",
        ]
    ),
    min_size=1,
    max_size=3,
).map(",".join)
_points = st.builds(
    " ".join,
    st.tuples(
        st.sampled_from(["m,id=a", "m,id=b\\ c", "m", "x", "n,id=a,o=b", "m,id"]),
        _fields,
        st.sampled_from([f"{_T}", f"{_T}000000000", "0", "", "x", "1 2"]),
    ),
)
_several = st.lists(st.one_of(_points, st.sampled_from(["", "# x", "m x=1"])), max_size=3)

_SCALARS = [
    *(
        b"1",
        b" 21.5\n",
        b"-0",
        b"1e400",
        b"1" * 400,
        b"12345678901234567890",
        b"+5",
        b"1,5",
        b"5.0",
    ),
    *(
        b"true",
        b"false",
        b"null",
        b"nan",
        b"ON",
        b'"21.5"',
        b'"ON"',
        b"21 C",
        b"1\0",
        b"\xef\xbb\xbf1",
    ),
    *(b"", b"[1]", b"{}", b"1 2", b"\xff", b"[" * 2000, b'{"v":1}', b'{"v":1,"t":5}', b'{"v":"a"}'),
    *(
        b'{"v":true,"t":%d}' % _T,
        b'{"v":1,"t":"%d"}' % _T,
        b'{"t":%d}' % _T,
        b'{"v":null,"t":1e400}',
    ),
    *(b'{"v":{"y":1},"t":%d}' % _T, b'[{"v":1,"t":%d},{"v":2,"t":%d}]' % (_T, _T), b"[]"),
    *(b'{"v":2.5,"t":%d,"id":"a"}' % _T, b'{"v":2.5,"t":%d,"id":7}' % _T),
]

_BITS = {
    "t": {"at": 0, "type": "u32"},
    "x": {"at": 4, "type": "i24"},
    "y": {"at": 4, "type": "f32"},
    "z": {"at": 5, "type": "i24", "bit": 3, "bits": 20},
    "id": {"at": 7, "type": "u8"},
}
_frames = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.one_of(
            st.binary(min_size=8, max_size=8),
            st.binary(min_size=4, max_size=4).map(lambda b: struct.pack(">I", _T) + b),
        ),
        max_size=4,
    ).map(b"".join),
)

_CHANNELS = {"x": {"scale": 2.0}, "y": {"missing": [1.5, 0]}}
_TIMED = {"time": {"path": "t", "unit": "s"}, "channels": _CHANNELS}
_CSV = {"type": "csv", "delimiter": ";"}
_BINARY = {"type": "binary", "fields": _BITS}
_VALUE = {"x": {"scale": 1e300}, "y": {"missing": [1, "on"]}, "z": {"states": {"on": 1, "5": 2}}}

#: By name, a feed and what its messages may be.
_CASES: dict[str, tuple[dict[str, Any], st.SearchStrategy[bytes]]] = {
    **{
        f"{name} {number}": ({**feed, "format": name}, payloads)
        for number, feed in enumerate(FEEDS)
        for name, payloads in (
            ("msgpack", _of_objects(msgspec.msgpack.encode, b"\x81\xa1x\xcb" + _ODD_NAN)),
            ("cbor", _of_objects(cbor2.dumps, b"\xa1\x61x\xfb" + _ODD_NAN, b"\xa1\x61x\xf7")),
        )
    },
    "cbor by number": (
        {"format": "cbor", "channels": {"x": {"path": "1"}, "y": {"path": "n.2"}}},
        _of_objects(cbor2.dumps, cbor2.dumps({1: 2, "n": {2: 3}})),
    ),
    "csv": ({**_TIMED, "format": {**_CSV, "columns": ["t", "x", "id", "y"]}}, _texts),
    "csv, default": (
        {
            "format": {**_CSV, "columns": ["", "x", "id", "y"]},
            "channels": {"x": {"default": 3}, "y": {}},
        },
        _texts,
    ),
    "csv, device": (
        {**_TIMED, "topic": "in", "device": "id", "format": {**_CSV, "header": True}},
        _texts,
    ),
    "csv, names": ({**_TIMED, "tags": {"id": {}}, "format": {**_CSV, "assign": "="}}, _texts),
    "csv, texts": (
        {
            "time": {"path": "t", "unit": "iso8601"},
            "format": {**_CSV, "columns": ["t", "x", "", "y"]},
            "channels": {"x": {"default": 7}, "y": {"required": True}},
        },
        _texts,
    ),
    "csv, no clock": (
        {
            "time": {"path": "t", "unit": "s", "fallback": "arrival"},
            "format": {**_CSV, "columns": ["t", "x", "", "y"]},
            "channels": {"x": {}, "y": {}},
        },
        _texts,
    ),
    "binary": ({**_TIMED, "format": _BINARY}, _frames),
    "binary, several": (
        {**_TIMED, "tags": {"id": {}}, "format": {**_BINARY, "size": 8, "order": "little"}},
        _frames,
    ),
    "binary, text": (
        {
            "topic": "in",
            "device": "id",
            "format": {**_BINARY, "skip": 1, "encoding": "hex"},
            "channels": {"x": {}, "y": {}, "z": {}},
        },
        st.one_of(_frames, _frames.map(bytes.hex).map(str.encode)),
    ),
    "line protocol": (
        {
            "format": "line_protocol",
            "channels": {"x": {}, "y": {"path": "m.y"}},
            "tags": {"id": {"path": "tags.id"}},
        },
        _several.map("\n".join).map(str.encode),
    ),
    "line protocol, fields": (
        {**_TIMED, "time": {"path": "time", "unit": "s"}, "format": "line_protocol"},
        _several.map("\n".join).map(str.encode),
    ),
    "line protocol, no clock": (
        {
            "channels": {**_CHANNELS, "n": {}},
            "tags": {"at": {"path": "time"}},
            "format": "line_protocol",
        },
        _several.map("\n".join).map(str.encode),
    ),
    "line protocol, flat": (
        {
            **_TIMED,
            "time": {"path": "time", "unit": "s"},
            "topic": "in",
            "device": "tags.id",
            "format": "line_protocol",
        },
        _several.map("\n".join).map(str.encode),
    ),
    "value": (
        {"topic": "in/{device}/{channel}", "format": "value", "channels": _VALUE},
        st.sampled_from(_SCALARS),
    ),
    "value, true": (
        {
            "topic": "in/{device}/{channel}",
            "format": "value",
            "channels": {"x": {}, "y": {"path": "n.y"}},
        },
        st.sampled_from(_SCALARS),
    ),
    "value, one": (
        {
            "format": {"type": "value", "channel": "y"},
            "channels": {"x": {}, "y": {}},
            "strict": True,
        },
        st.sampled_from(_SCALARS),
    ),
    "value, inside": (
        {
            **_TIMED,
            "topic": "in/{channel}",
            "device": "{id}/{t}",
            "format": {"type": "value", "path": "v"},
        },
        st.sampled_from(_SCALARS),
    ),
}


@pytest.mark.parametrize("name", _CASES)
@tried(60)
@given(data=st.data())
def test_both_ways_agree(name: str, data: st.DataObject) -> None:
    """The same readings to the last bit, in the same order, and the same refusals."""
    table, payload = _CASES[name]
    feed = FeedConfig.model_validate({"topic": "in/{device}", **table})
    payloads = data.draw(st.lists(payload, max_size=5))
    names = [b"in"] if feed.topic == "in" else [b"in/a", b"in/b", b"in/"]
    if "{channel}" in feed.topic:
        names = [b"in/a/x", b"in/a/y", b"in/b/z", b"in/b/n.y", b"in/x", b"in/y", b"in/b/other"]
    topics = [data.draw(st.sampled_from(names)) for _ in payloads]

    many, each = (decoded_by(feed, payloads, topics, is_typed=way) for way in (True, False))
    assert many == each


#: By format, a feed's keys, and a message.
_GOOD: dict[str, tuple[dict[str, Any], bytes]] = {
    "json": (_TIMED, b'{"t":%d,"x":1,"y":null}' % _T),
    "msgpack": (_TIMED, msgspec.msgpack.encode({"t": _T, "x": 1, "y": None})),
    "cbor": (_TIMED, cbor2.dumps({"t": _T, "x": 1, "y": None})),
    "line_protocol": (_TIMED, b"m x=1,y=2,t=%di" % _T),
    "csv": ({**_TIMED, "format": {"type": "csv", "columns": ["t", "x", "y"]}}, b"%d,1," % _T),
    "csv, one delimiter more": (
        {**_TIMED, "format": {"type": "csv", "columns": ["t", "x", "y"]}},
        b"%d,1,," % _T,
    ),
    "csv, names": (
        {**_TIMED, "format": {"type": "csv", "header": True}},
        b"t,x,y,,\n%d,1,,,," % _T,
    ),
    "binary": ({**_TIMED, "format": _BINARY}, struct.pack(">If", _T, 2.5)),
    "value": ({"topic": "{channel}/{device}", "channels": _CHANNELS}, b"21.5"),
}
#: Calls that one more message takes at most; one by one it would be twenty and more.
_MOST_CALLS = {
    "json": 0,
    "value": 0,
    "binary": 1,
    "csv": 1,
    "csv, one delimiter more": 10,
    "csv, names": 40,
    "msgpack": 3,
    "cbor": 5,
}


@pytest.mark.parametrize("name", _GOOD)
def test_good_messages_are_read_many_at_a_time(name: str) -> None:
    """A thousand more take few calls each, and some none at all."""
    table, payload = _GOOD[name]
    feed = FeedConfig.model_validate({"topic": "x/{device}", "format": name, **table})
    decoder = FeedDecoder("f", feed, ChannelTable(), IngestConfig())

    def count(number: int) -> int:
        arrival_ns = np.full(number, _NOW_NS)
        return calls(lambda: decoder.decode([b"x/a"] * number, [payload] * number, arrival_ns))

    count(1)
    more = count(1500) - count(500)
    assert more <= 1000 * _MOST_CALLS.get(name, 16) + 100


def test_many_messages_are_read_in_pieces() -> None:
    """Whose readings are as if they had been read together, in their order."""
    feed = FeedConfig.model_validate({"topic": "x/{device}", "format": "msgpack", **_TIMED})
    good = msgspec.msgpack.encode({"t": _T, "x": 1, "y": 2})
    long = msgspec.msgpack.encode({"t": _T, "x": 3, "y": 4, "z": "z" * 70_000})
    payloads = [*[good, b"\xc1", long] * 3, *[good] * 5000, long, b"\xc1", good]
    topics = [b"x/%d" % (at % 5) for at in range(len(payloads))]

    many, each = (decoded_by(feed, payloads, topics, is_typed=way) for way in (True, False))
    assert many == each
