"""From a refused message to the line that takes it; what does not take it is never told."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.inspect.remedies import Refused, Remedy, new_feed, remedies

_NOW_NS = 1_795_900_000 * 10**9


def _config(feed: str) -> Config:
    return Config.model_validate(tomllib.loads(f"[local_store]\n[feed.f]\n{feed}"))


def _remedies(feed: str, topic: str, payload: bytes) -> tuple[str, list[Remedy]]:
    """Why the feed refuses a message, and what would take it."""
    config = _config(feed)
    decoder = FeedDecoder("f", config.feed["f"], ChannelTable(), config.ingest)
    decoded = decoder.decode([topic.encode()], [payload], np.array([_NOW_NS]))
    if decoded.refused:
        reason, detail = decoded.refused[0][1].reason, decoded.refused[0][1].detail
    else:
        reason, detail = "bad_field", next(iter(decoded.bad_fields.values())).detail
    refused = Refused(topic.encode(), payload, _NOW_NS, reason, detail)
    return reason, remedies(config, "f", refused)


_PLAIN = 'topic = "m/{device}"\nchannels.temp = { unit = "C" }'
_TWO = 'topic = "m/{device}"\nchannels = { temp = {}, flow = {} }'
_TIMED = 'topic = "m/{device}"\ntime = { path = "ts", unit = "ms" }\nchannels.v = {}'


@pytest.mark.parametrize(
    ("feed", "topic", "payload", "reason", "line"),
    [
        (_PLAIN, "m/1", b'{"temp": "13,9"}', "bad_field", 'temp = { unit = "C", decimal = "," }'),
        (_PLAIN, "m/1", b'{"temp": "20.6 C"}', "bad_field", 'temp = { unit = "C", suffix = "C" }'),
        (
            _PLAIN,
            "m/1",
            '{"temp": "1.234,5 °C"}'.encode(),
            "bad_field",
            'temp = { unit = "C", decimal = ",", suffix = "°C" }',
        ),
        (_PLAIN, "m/1", b'{"temp": "n/a"}', "bad_field", 'temp = { unit = "C", missing = "n/a" }'),
        (_TWO, "m/1", b'{"temp": 1, "flow": ""}', "bad_field", 'flow = { missing = "" }'),
        (_PLAIN, "m/1", b'{"temp": 1, "unit": "\xb0C"}', "not_utf8", 'charset = "cp1252"'),
        (_TWO, "m/1", b'{"temp": 1, "flow": NaN}', "bad_field", 'flow = { missing = "NaN" }'),
        (_TWO, "m/1", b'{"temp": "ON"}', "bad_field", "temp = { states = { ON = 1, OFF = 0 } }"),
        (_TWO, "m/1", b'{"temp": "brewing"}', "bad_field", "temp = { states = { brewing = 1 } }"),
        (
            _PLAIN.replace('"C"', '"C", missing = ["x"]'),
            "m/1",
            b'{"temp": "nil"}',
            "bad_field",
            'temp = { unit = "C", missing = ["x", "nil"] }',
        ),
        (_PLAIN, "m/1", b"21.5", "not_object", 'format = { type = "value", channel = "temp" }'),
        (_PLAIN, "m/1", b"21,5", "not_json", 'format = { type = "value", channel = "temp" }'),
        (_PLAIN, "m/1", b'{"temp": 1}\n{"temp": 2}', "not_json", 'format = { type = "json", lines'),
        (_PLAIN, "m/1", b"temp;flow\n1;2\n", "not_json", 'format = { type = "csv", header = true'),
        (_PLAIN, "m/1", b"\x81\xa4temp\x01", "not_utf8", 'format = "msgpack"'),
        (
            'topic = "m/{device}/temp"\ntime = { path = "t" }\nchannels.temp = {}',
            "m/1/temp",
            b"5",
            "not_object",
            'format = { type = "value", channel = "temp" }',
        ),
        (_TIMED, "m/1", b'{"ts": "1795900000", "v": 1}', "bad_time", 'unit = "s"'),
        (_TIMED, "m/1", b'{"ts": "2026-11-29 12:00:00", "v": 1}', "bad_time", 'unit = "iso8601"'),
        (
            _TIMED,
            "m/1",
            b'{"ts": "28.11.2026 13:59:38", "v": 1}',
            "bad_time",
            'pattern = "%d.%m.%Y %H:%M:%S"',
        ),
        (_TIMED, "m/1", b'{"time": 1795900000, "v": 1}', "bad_time", 'path = "time", unit = "s"'),
        (_TIMED, "m/1", b'{"v": 1}', "bad_time", "without time"),
        (_PLAIN, "m/1", b'{"Temp": 3}', "no_channels", 'path = "Temp"'),
        (_PLAIN, "m/1", b'{"data": {"pressure": 3}}', "no_channels", 'path = "data.pressure"'),
        (_PLAIN, "m/1", b'{"s": [{"temp": 3}]}', "no_channels", 'records = "s"'),
        (
            _PLAIN,
            "m/1",
            b'{"values": [{"id": "temp", "v": 3}]}',
            "no_channels",
            'pairs = { name = "id", value = "v" }',
        ),
        (
            'topic = "m/{device}/{channel}"\nformat = "value"\nchannels.temp = {}',
            "m/1/flow",
            b"3",
            "no_channels",
            "flow = {}",
        ),
        (
            'topic = "m/{device}/{channel}"\nformat = "value"\nchannels.temp = {}',
            "m/1/temp",
            b'{"value": 3}',
            "not_value",
            'format = { type = "value", path = "value" }',
        ),
        (
            'topic = "m"\ndevice = "serial"\nchannels.temp = {}',
            "m",
            b'{"id": "a1", "temp": 3}',
            "bad_device",
            'device = "id"',
        ),
        (_PLAIN + "\nstrict = true", "m/1", b'{"temp": "3"}', "wrong_type", "strict"),
        (
            'topic = "m/{device}"\nchannels = { a = { required = true }, b = {} }',
            "m/1",
            b'{"b": 3}',
            "missing_field",
            "a = {}",
        ),
    ],
)
def test_a_refusal_has_the_line_that_takes_the_message(
    feed: str, topic: str, payload: bytes, reason: str, line: str
) -> None:
    """Among the nearest ones."""
    found, told = _remedies(feed, topic, payload)

    assert found == reason
    assert any(line in text for remedy in told for _, text in remedy.lines), told


@pytest.mark.parametrize(
    ("feed", "payload"),
    [
        (_PLAIN, b"\x00\x01\x02\xff"),
        (_PLAIN, b"{"),
        (_PLAIN, b'{"temp": [1, 2]}'),
        (_TIMED, b"[[]]"),
        (_PLAIN, b"hello world, how are you"),
        (_PLAIN, b'{"temp": {"a": "b"}}'),
        (_PLAIN, b'{"\\ud800": "x", "temp": "\\ud800"}'),
    ],
)
def test_what_is_told_reads_the_message_when_it_is_done(feed: str, payload: bytes) -> None:
    """Written into the file as it is told; and garbage has no remedy that makes readings of it."""
    _, told = _remedies(feed, "m/1", payload)

    for remedy in told:
        table: dict[str, Any] = tomllib.loads(f"[feed.f]\n{feed}")
        for name, line in remedy.lines:
            place = table
            for key in name.strip("[]").split("."):
                place = place.setdefault(key, {})
            if line.startswith("without "):
                place.pop(line.removeprefix("without "))
            else:
                place.update(tomllib.loads(line))
        config = Config.model_validate({"local_store": {}, **table})
        decoder = FeedDecoder("f", config.feed["f"], ChannelTable(), config.ingest)
        decoded = decoder.decode([b"m/1"], [payload], np.array([_NOW_NS]))
        assert len(decoded.value)
        assert not decoded.refused


def test_a_message_of_no_feed_gets_one() -> None:
    """Made from it alone, with a name that is free; and none where nothing reads it."""
    config = Config.model_validate(
        {"local_store": {}, "feed": {"hall": {"topic": "{device}", "channels": {"x": {}}}}}
    )
    payload = b'{"ts": 1795900000, "temp": "13,9 C"}'
    refused = Refused(b"hall/oven-7/data", payload, _NOW_NS, "unknown_topic", "")
    (remedy,) = new_feed(config, refused)

    assert remedy.gives == "temp 13.9"
    assert {table for table, _ in remedy.lines} == {"[feed.hall_data]"}
    assert ("[feed.hall_data]", 'topic = "hall/{device}/data"') in remedy.lines
    garbage = Refused(b"hall/oven-7/data", b"\xff\x00", _NOW_NS, "unknown_topic", "")
    assert new_feed(config, garbage) == []


def test_a_message_that_nothing_takes_has_no_remedy() -> None:
    """Rather none than one that does not help."""
    assert _remedies(_PLAIN, "m/1", b"\x00\x01\x02\xff")[1] == []
    assert _remedies(_PLAIN, "m/1", b"{")[1] == []
