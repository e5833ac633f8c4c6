"""The format ``line_protocol``: what Telegraf publishes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9
_T = 1_767_225_600 * 10**9


class Decoding:
    """What comes of one message, by both ways."""

    def __init__(self, text: str | bytes, **feed: object) -> None:
        payload = text.encode() if isinstance(text, str) else text
        given: dict[str, Any] = {"topic": "in/{device}", "channels": {"x": {}, "y": {}}, **feed}
        config = FeedConfig.model_validate({**given, "format": "line_protocol"})
        both = []
        for is_typed in (True, False):
            table = ChannelTable()
            decoder = FeedDecoder("f", config, table, IngestConfig(), takes_fast_way=is_typed)
            found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
            rows = found.channel.tolist()
            self.readings = [
                (table.channels[row].device, table.channels[row].field, time_ns, value)
                for row, time_ns, value in zip(
                    rows, found.time_ns.tolist(), found.value.tolist(), strict=True
                )
            ]
            self.quality = found.quality.tolist()
            self.refused = [str(error) for _, error in found.refused]
            both.append((repr(self.readings), self.quality, self.refused))
        assert both[0] == both[1]

    @property
    def values(self) -> list[float]:
        return [value for *_, value in self.readings]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("m x=1", [1.0]),
        ("m x=-1.5e3,y=2i", [-1500.0, 2.0]),
        ("m x=18446744073709551615u", [2.0**64]),
        ("m x=t,y=FALSE", [1.0, 0.0]),
        ('m x="21.5"', [21.5]),
        ("m,a=b\\ c,d\\,e=f\\=g x=1", [1.0]),
        ('m note="a, b=c \\"d\\" \\\\",x=1', [1.0]),
        ("m z=7,x=1\n\n# by hand\r\nm y=2\r\n", [1.0, 2.0]),
        ('m note="first\nsecond",x=1\nm y=2', [1.0, 2.0]),
        ('m,size=5" x=1\nm y=2\nm x=3', [1.0, 2.0, 3.0]),
        ("x x=5", [5.0]),
    ],
)
def test_a_field_is_a_channel(line: str, values: list[float]) -> None:
    """Whatever type it is of, with escapes, comments and breaks in texts."""
    found = Decoding(line)
    assert found.values == values
    assert not found.refused


@pytest.mark.parametrize(("unit", "count"), [("s", 1), ("ms", 10**3), ("us", 10**6)])
def test_a_time_in_another_precision_is_told(unit: str, count: int) -> None:
    """Taken for one of a device without a clock, an old line would be of now, without a word."""
    line = f"m x=1 {_NOW_NS // 10**9 * count - 3600 * count}"
    (refused,) = Decoding(line).refused
    assert refused.endswith(f'with time.unit = "{unit}" it would be one')
    assert Decoding(line, time={"unit": unit}).values == [1.0]


def test_a_line_without_a_time_is_of_now() -> None:
    """And is marked so; times are nanoseconds unless the feed says otherwise."""
    found = Decoding(f"m x=1 {_T}\nm y=2")
    assert [time_ns for _, _, time_ns, _ in found.readings] == [_T, _NOW_NS]
    assert [bool(each & Quality.ARRIVAL_TIME) for each in found.quality] == [False, True]

    found = Decoding("m x=1 1767225600\nm y=2", time={"path": "time", "unit": "s"})
    assert [time_ns for _, _, time_ns, _ in found.readings] == [_T]
    assert found.refused[0].startswith("bad_time: ")


def test_a_precision_alone_leaves_the_rest_as_it_is() -> None:
    """A line of seconds taken for nanoseconds would be of 1970, and so of now."""
    found = Decoding("m x=1 1767225600\nm y=2", time={"unit": "s"})
    assert [time_ns for _, _, time_ns, _ in found.readings] == [_T, _NOW_NS]
    assert not found.refused


def test_a_field_may_be_called_as_its_measurement() -> None:
    """As Telegraf's are of temperatures: the whole path leads to all of them."""
    channels = {"t": {"path": "temp.temp"}, "same": {"path": "temp"}, "other": {"path": "temp.x"}}
    found = Decoding("temp,host=a temp=21.5,x=3\nheat temp=1", channels=channels)
    assert [(field, value) for _, field, _, value in found.readings] == [
        ("t", 21.5),
        ("same", 21.5),
        ("other", 3.0),
        ("same", 1.0),
    ]


def test_tags_name_devices_and_measurements_tell_fields_apart() -> None:
    """Where several lines have fields of one name."""
    feed = {
        "topic": "in/+",
        "device": ["tags.host", "tags.cpu"],
        "channels": {"x": {}, "other": {"path": "mem.x"}, "t": {"path": "mem.time"}},
    }
    found = Decoding(
        "cpu,cpu=0,host=a x=1\ncpu,cpu=1,host=a x=2\nmem,host=a,cpu=- x=3,time=4", **feed
    )
    assert [(device, field, value) for device, field, _, value in found.readings] == [
        ("a/0", "x", 1.0),
        ("a/1", "x", 2.0),
        ("a/-", "x", 3.0),
        ("a/-", "other", 3.0),
        ("a/-", "t", 4.0),
    ]


def test_lines_of_others_are_passed_over() -> None:
    """Unless there is nothing else."""
    assert Decoding("m x=1\nm z=2").values == [1.0]
    assert not Decoding("m x=1\nm z=2").refused
    assert Decoding("m z=2").refused[0].startswith("no_channels")
    assert Decoding("m z=2\nm z=3").refused[0].startswith("no_channels: 2 of 2")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\n# nothing\n", "empty"),
        (b"m x=\xff", "not_utf8"),
        ("m", "not_line_protocol"),
        ("m x=", "not_line_protocol"),
        ("m x=nan", "not_line_protocol"),
        ("m x=0x10", "not_line_protocol"),
        ("m x=1_0", "not_line_protocol"),
        ('m x="a', "not_line_protocol"),
        ("m x=1 1 1", "not_line_protocol"),
        ("m\0 x=1", "not_line_protocol"),
        ('{"x": 1}', 'not_line_protocol: .*; it looks like JSON, which format = "json" reads'),
        ("m x=1\n" * 10_001, "too_many_records"),
    ],
)
def test_what_can_not_be_read_is_refused(text: str | bytes, reason: str) -> None:
    """With its reason."""
    found = Decoding(text)
    assert not found.readings
    assert __import__("re").match(reason, found.refused[0], 16), found.refused


def test_a_bad_line_takes_no_other_down() -> None:
    """It is one bad record."""
    found = Decoding("m x=1\nm x=oops\nm y=2")
    assert found.values == [1.0, 2.0]
    (refusal,) = found.refused
    assert refusal.startswith("not_line_protocol: 1 of 3 records; the first, number 2: ")


def test_words_are_states() -> None:
    """As in JSON."""
    found = Decoding('m x="ON"', channels={"x": {"states": {"on": 1}}})
    assert found.values == [1.0]
    assert math.isnan(Decoding('m x="ON"').values[0])
