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


_WATTS = 'topic = "m/{device}"\nchannels.p = { unit = "W" }'
_FRAME = (
    'topic = "m/{device}"\nchannels.p = {}\nformat = { type = "binary", inside = "regs", '
    'encoding = "registers", fields = { p = { at = 0, type = "f32" }, '
    'q = { at = 4, type = "f32" } } }'
)
_WORDS = 'topic = "m/{device}"\nchannels.p = { states = { AUTO = 1, MAN = 0 } }'


@pytest.mark.parametrize(
    ("feed", "payload", "lines"),
    [
        # What is behind the number is another unit than the channel's, and is converted.
        (_WATTS, '{"p": "1.2 kW"}', {'p = { unit = "W", suffix = "kW" }': "p 1200"}),
        (
            _WATTS.replace('"W" }', '"W", suffix = "W" }'),
            '{"p": "1.2 kW"}',
            {'p = { unit = "W", suffix = ["W", "kW"] }': "p 1200"},
        ),
        (
            _WATTS.replace('unit = "W"', 'suffix = "W"'),
            '{"p": "1.2 kW"}',
            {'p = { suffix = ["W", "kW"], unit = "W" }': "p 1200"},
        ),
        (
            _WATTS.replace('"W" }', '"W", scale = 10 }'),
            '{"p": "1.2 kW"}',
            {'p = { unit = "W", suffix = "kW" }': "p 1200"},
        ),
        (
            _WATTS.replace("W", "°C"),
            '{"p": "77 °F"}',
            {'p = { unit = "°C", suffix = "°F" }': "p 25"},
        ),
        (_WATTS.replace("W", "°C"), '{"p": "3 bar"}', {}),
        *(
            (_WATTS.replace('"W"', own), f'{{"p": "{text}"}}', {})
            for own, text in (
                ('"W"', "1 XW"),
                ('"W"', "1 mw"),
                ('"W"', "1.2k"),
                ('"Stk"', "3 bar"),
                ('"W", bit = 2', "1.2 kW"),
                ('"W", bit = 2, scale = 10', "850 W"),
                ('"W", power_of_ten = "e"', "1.2 kW"),
            )
        ),
        # Whichever letters are large.
        (_WATTS, '{"p": "1.2 KW"}', {'p = { unit = "W", suffix = "KW" }': "p 1200"}),
        (
            _WATTS.replace('unit = "W"', 'suffix = "W"'),
            '{"p": "1.2 KW"}',
            {'p = { suffix = ["W", "KW"], unit = "W" }': "p 1200"},
        ),
        (
            _WATTS.replace('"W"', '"W", suffix = { w = "W" }'),
            '{"p": "1.2 KW"}',
            {'p = { unit = "W", suffix = { w = "W", KW = "kW" } }': "p 1200"},
        ),
        # What says its unit is no count, for which the scale was.
        (
            _WATTS.replace('"W"', '"W", to = "kW", scale = 0.1'),
            '{"p": "850 W"}',
            {
                'p = { unit = "W", to = "kW", suffix = "W" }': "p 0.85",
                'p = { unit = "W", to = "kW", scale = 0.1, suffix = "W" }': "p 0.085",
            },
        ),
        # Digits in base 16 are no units.
        (_WATTS, '{"p": "00FF"}', {'p = { unit = "W", base = 16 }': "p 255"}),
        (_WATTS, '{"p": "0x1F"}', {'p = { unit = "W", base = 16 }': "p 31"}),
        # No number is made of what is none.
        (_WATTS, '{"p": NaN}', {'p = { unit = "W", missing = "NaN" }': "p missing"}),
        (_WATTS, '{"p": -Infinity}', {'p = { unit = "W", missing = "-Infinity" }': "p missing"}),
        # A text that holds a value is no word for "no reading".
        *((_WATTS, f'{{"p": "{text}"}}', {}) for text in ("12.5-", "(12,5)", ">4000", "12h 30m")),
        *((_WATTS, f'{{"p": "{text}"}}', {}) for text in ("< 0.05 mg/l", "01:30:00")),
        # A new word is another state than those that are known.
        (
            _WORDS,
            '{"p": "LOCAL"}',
            {
                "p = { states = { AUTO = 1, MAN = 0, LOCAL = 2 } }": "p 2",
                'p = { states = { AUTO = 1, MAN = 0 }, missing = "LOCAL" }': "p missing",
            },
        ),
        # Where an object or array stands, the number in it.
        (
            _WATTS,
            '{"p": {"value": 3, "unit": "kW"}}',
            {'p = { unit = "kW", path = "p.value", to = "W" }': "p 3000"},
        ),
        (
            _WATTS.replace('"W" }', '"W", scale = 10, offset = 1 }'),
            '{"p": {"value": 3, "unit": "KW"}}',
            {'p = { unit = "kW", path = "p.value", to = "W" }': "p 3000"},
        ),
        (
            _WATTS.replace('"W" }', '"W", scale = 10 }'),
            '{"p": {"value": 3, "unit": "W"}}',
            {'p = { unit = "W", path = "p.value" }': "p 3"},
        ),
        (_WATTS, '{"p": {"value": 3, "unit": "X"}}', {}),
        (_WATTS.replace('"W"', '"W", bit = 0'), '{"p": {"value": 3, "unit": "W"}}', {}),
        # And the number alone again; unless nothing says in which unit it is.
        (
            _WATTS.replace('"W"', '"W", path = "p.value"'),
            '{"p": 3}',
            {'p = { unit = "W", path = ["p.value", "p"] }': "p 3"},
        ),
        (_WATTS.replace('"W"', '"kW", to = "W", path = "p.value"'), '{"p": 3}', {}),
        (_WATTS, '{"p": [3]}', {'p = { unit = "W", path = "p.0" }': "p 3"}),
        # Registers that are too few for the fields are in no other format.
        (_FRAME, '{"regs": [39322, 16709]}', {}),
    ],
)
def test_no_remedy_makes_of_a_value_what_it_is_not(
    feed: str, payload: str, lines: dict[str, str]
) -> None:
    """All that is told but that it may be a text, with what comes of it."""
    told = {str(line): each.gives for each in _remedies(feed, "m/1", payload.encode())[1]
            for _, line in each.lines}  # fmt: skip
    texts = [line for line in told if 'type = "text"' in line]

    assert {line: gives for line, gives in told.items() if line not in texts} == lines


@pytest.mark.parametrize("text", ["12.5-", ">4000", "< 0.05 mg/l", "12h 30m", "3 bar"])
def test_a_text_that_holds_a_value_may_be_a_text(text: str) -> None:
    """Without what a channel of texts has no use for."""
    feed = _WATTS.replace('unit = "W"', 'unit = "°C", range = [0, 90], missing = "n/a"')
    (remedy,) = _remedies(feed, "m/1", f'{{"p": "{text}"}}'.encode())[1]

    assert remedy.lines == (("[feed.f.channels]", 'p = { missing = ["n/a"], type = "text" }'),)


def test_a_text_of_json_is_read_as_what_it_holds() -> None:
    """Before it is a text; the rest of the format stays."""
    first, second = _remedies(_WATTS, "m/1", b'{"p": "{\\"at\\":7,\\"value\\":3}"}')[1][:2]
    last = _remedies(_WATTS, "m/1", b'{"p": "{\\"value\\":3}"}')[1][-1]

    assert first.lines == (
        ("[feed.f]", 'format = { type = "json", embedded = ["p"] }'),
        ("[feed.f.channels]", 'p = { unit = "W", path = "p.value" }'),
    )
    assert (first.gives, second.gives) == ("p 3", "p 7")
    assert last.lines == (("[feed.f.channels]", 'p = { type = "text" }'),)


def test_digits_in_base_16_are_not_base64_as_well() -> None:
    """Though each of their signs is one of base64's."""
    told = _remedies(_FRAME, "m/1", b'{"regs": "999A 4145 FFFF FFFF"}')[1]
    read_as_hex = _FRAME.replace('"registers"', '"hex"')

    assert ['encoding = "hex"' in text for each in told for _, text in each.lines] == [True]
    for text in ("999A 4145 FFFF FFF", "0x999A,0x4145,0xFFFF,0xF", "999A4145FFFFFFF"):
        assert _remedies(read_as_hex, "m/1", f'{{"regs": "{text}", "id": "A1="}}'.encode())[1] == []


def test_remedies_that_follow_each_other_end() -> None:
    """Whatever a device sends in turn, none takes back what another one said."""
    feed = _WATTS.replace('"W" }', '"W", scale = 10 }')
    for payload in ('{"p": "1.2 kW"}', '{"p": "850 W"}', '{"p": "3 KW"}'):
        remedy = _remedies(feed, "m/1", payload.encode())[1][0]
        ((_, line),) = remedy.lines
        feed = f'topic = "m/{{device}}"\nchannels.{line}'
    config = _config(feed)
    decoder = FeedDecoder("f", config.feed["f"], ChannelTable(), config.ingest)
    payloads = [b'{"p": "1.2 kW"}', b'{"p": "850 W"}', b'{"p": "3 KW"}', b'{"p": 85}']
    found = decoder.decode([b"m/1"] * 4, payloads, np.arange(4) + _NOW_NS)

    assert found.value.tolist() == [1200, 850, 3000, 85]


def test_values_with_names_are_read_by_these() -> None:
    """As Ultralight 2.0 has them."""
    told = _remedies(_TWO, "m/1", b"temp|23.4#flow|80")[1]

    assert told[0].gives == "temp 23.4, flow 80"
    assert told[0].lines == (
        ("[feed.f]", 'format = { type = "csv", assign = "|", delimiter = "#" }'),
    )
