"""Messages of as many records as are allowed whose numbers or times are texts, and their feeds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable


def decoder_of(limits: IngestConfig, **feed: object) -> FeedDecoder:
    """A decoder of one feed, with a table of its own."""
    settings = {"topic": "in/{device}", "channels": {"x": {}}, **feed}
    return FeedDecoder("f", FeedConfig.model_validate(settings), ChannelTable(), limits)


def topic_of_texts(feed: Mapping[str, object]) -> bytes:
    """The topic of such a message."""
    return b"in" if feed.get("topic") == "in" else b"in/d"


_TIMES = [
    datetime(2026, 11, 28, tzinfo=UTC) + timedelta(seconds=second) for second in range(10_000)
]


def _records(*, x: str = '"%d,5"', t: str = "%d.%m.%Y %H:%M:%S", name: str = "a") -> bytes:
    """As many records as are allowed, with numbers or times that are written as texts."""
    each = [
        f'{{"id":"{name % at if "%" in name else name}","t":"{when.strftime(t)}",'
        f'"x":{x % at if "%" in x else x}}}'
        for at, when in enumerate(_TIMES)
    ]
    return f"[{','.join(each)}]".encode()


def _lines(*, x: str = "%d,5", t: str = "%d.%m.%Y %H:%M:%S") -> bytes:
    return "\n".join(f"{when.strftime(t)};{x % at}" for at, when in enumerate(_TIMES)).encode()


_PATTERN = {"path": "t", "pattern": "%d.%m.%Y %H:%M:%S", "zone": "Europe/Berlin"}
_ISO = {"path": "t", "unit": "iso8601", "zone": "Europe/Berlin"}
_DECIMAL = {"x": {"decimal": ",", "suffix": ["C", "°C"]}}
_LINES = {"type": "csv", "columns": ["t", "x"], "delimiter": ";"}

#: Messages whose numbers or times are texts: what the feed says, and the message.
TEXTS: dict[str, tuple[dict[str, object], bytes]] = {
    "numbers": ({"time": {"path": "t"}}, _records(x='"%d.5"', t="%Y-%m-%dT%H:%M:%SZ")),
    "decimal": ({"channels": _DECIMAL}, _records()),
    "suffix": ({"channels": _DECIMAL}, _records(x='"%d,5 °C"')),
    "groups": ({"channels": _DECIMAL}, _records(x='"1.234.567,5 C"')),
    "digits": ({"channels": {"x": {"base": 16}}}, _records(x='"0x%x"')),
    "words": ({"channels": {"x": {"states": {"on": 1}, "missing": ["off"]}}}, _records(x='"ON"')),
    "bad numbers": ({"channels": _DECIMAL}, _records(x='"%d,5,"')),
    "no numbers": ({}, _records(x='"%x g"')),
    "one bad number": ({}, _records(x="1").replace(b'"x":1}', b'"x":"on"}', 1)),
    "truth": ({}, _records(x="true")),
    "pattern": ({"time": _PATTERN, "channels": _DECIMAL}, _records()),
    "names": (
        {"time": {"path": "t", "pattern": "%a, %d %b %Y %I:%M:%S %p"}},
        _records(x="1", t="%a, %d %b %Y %I:%M:%S %p"),
    ),
    "offset": (
        {"time": {"path": "t", "pattern": "%Y-%m-%d %H:%M:%S.%f%z"}},
        _records(x="1", t="%Y-%m-%d %H:%M:%S.%f123+0130"),
    ),
    "odd digits": (
        {"time": _PATTERN},
        _records(x="1").replace(b".11.", "１1.".encode().join([b"."] * 2)),
    ),
    "no such hour": ({"time": _PATTERN}, _records(x="1", t="%d.%m.%Y 25:%M:%S")),
    "no such notation": ({"time": _PATTERN}, _records(x="1", t="%Y-%m-%d")),
    "local": ({"time": _ISO}, _records(x="1", t="%Y-%m-%d %H:%M:%S")),
    "twice": ({"time": _ISO}, _records(x="1", t="2026-10-25 02:%M:%S")),
    "leap seconds": ({"time": _ISO}, _records(x="1", t="%Y-%m-%dT%H:%M:60Z")),
    "no iso": ({"time": _ISO}, _records(x="1", t="tomorrow %S")),
    "iso or number": ({"time": {"path": "t"}}, _records(x="1", t="tomorrow %S")),
    "no clock": (
        {"time": {**_ISO, "fallback": "arrival"}},
        _records(x="1", t="0000-00-00 00:00:00"),
    ),
    "names of devices": (
        {"topic": "in", "device": "id", "time": _PATTERN, "channels": _DECIMAL},
        _records(name="d%d"),
    ),
    "pairs": (
        {
            "pairs": {"name": "id", "value": "x"},
            "time": _PATTERN,
            "channels": {"a": {"decimal": ","}},
        },
        _records(),
    ),
    "quality": ({"quality": {"path": "id", "good": ["a"]}, "channels": _DECIMAL}, _records()),
    "not listed": (
        {"other_channels": {"decimal": ","}, "time": _PATTERN, "channels": {}},
        _records(),
    ),
    "arrays": (
        {"arrays": {}, "time": _PATTERN, "channels": _DECIMAL},
        json.dumps(
            {
                "t": [when.strftime("%d.%m.%Y %H:%M:%S") for when in _TIMES],
                "x": [f"{at},5" for at in range(len(_TIMES))],
            }
        ).encode(),
    ),
    "text channel": (
        {"time": _PATTERN, "channels": {**_DECIMAL, "id": {"type": "text"}}},
        _records(),
    ),
    "passed over": ({"time": _PATTERN, "channels": _DECIMAL, "skip": {"id": "b"}}, _records()),
    "blanks": (
        {"time": _PATTERN, "channels": _DECIMAL},
        re.sub(rb'"t":"0?(\d)', rb'"t":"  \1', _records()),
    ),
    "lines": ({"format": _LINES, "time": _PATTERN, "channels": _DECIMAL}, _lines()),
    "lines of numbers": ({"format": _LINES, "time": _PATTERN}, _lines(x="%d.5")),
    "msgpack": (
        {"format": "msgpack", "time": _PATTERN, "channels": _DECIMAL},
        msgspec.msgpack.encode(json.loads(_records())),
    ),
}
