"""The format ``value``: one value a message."""

from __future__ import annotations

import math

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9
_CHANNELS = {"t": {"scale": 2.0, "offset": 1.0}, "door": {"path": "Door State"}}
_FEED = {
    "topic": "hall/{line}/{device}/{channel}",
    "format": "value",
    "channels": _CHANNELS,
}


class Decoding:
    """What comes of messages of one feed."""

    def __init__(self, messages: dict[str, bytes], **feed: object) -> None:
        table = ChannelTable()
        decoder = FeedDecoder(
            "f", FeedConfig.model_validate({**_FEED, **feed}), table, IngestConfig()
        )
        found = decoder.decode(
            [topic.encode() for topic in messages],
            list(messages.values()),
            np.full(len(messages), _NOW_NS),
        )
        self.channels = [table.channels[row] for row in found.channel.tolist()]
        self.values = found.value.tolist()
        self.quality = [Quality(bits) for bits in found.quality.tolist()]
        self.refused = {position: str(error) for position, error in found.refused}
        self.bad = {key: each.count for key, each in found.bad_fields.items()}


def test_the_topic_names_device_channel_and_tags() -> None:
    """A channel by its name or, where it has one, by its path, blanks and all."""
    found = Decoding({"hall/a/n/t": b"20", "hall/b/n/Door State": b"true"})

    assert [(each.device, each.tags, each.field) for each in found.channels] == [
        ("n", (("line", "a"),), "t"),
        ("n", (("line", "b"),), "door"),
    ]
    assert found.values == [41.0, 1.0]
    assert found.quality == [Quality.ARRIVAL_TIME] * 2


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"21.5", 44.0),
        (b" 21.5\r\n", 44.0),
        (b"21.5\0", 44.0),
        (b"\xef\xbb\xbf21.5", 44.0),
        (b'"21.5"', 44.0),
        (b"+21.5", 44.0),
        (b"007", 15.0),
        (b"-3e-1", 0.4),
        (b".5", 2.0),
        (b"false", 1.0),
    ],
)
def test_numbers_as_devices_write_them(payload: bytes, value: float) -> None:
    """With blanks, quotes, signs, zeros before."""
    found = Decoding({"hall/a/n/t": payload})
    assert found.values == [value]
    assert not found.refused
    assert not found.bad


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"ON", "text"),
        (b"21,5", "text"),
        ("21.5 °C".encode(), "text"),
        (b"unavailable", "text"),
        (b'""', "empty"),
        (b"nan", "not_finite"),
        (b"-inf", "not_finite"),
        (b"1e999", "not_finite"),
    ],
)
def test_what_is_no_number_is_a_bad_field(payload: bytes, word: str) -> None:
    """The device is there, and what it sent is told; in a strict feed it is refused."""
    found = Decoding({"hall/a/n/t": payload})
    assert [math.isnan(each) for each in found.values] == [True]
    assert Quality.BAD_FIELD in found.quality[0]
    assert found.bad == {("t", word): 1}


def test_null_is_missing() -> None:
    """And nothing is wrong with it."""
    found = Decoding({"hall/a/n/t": b"null"})
    assert found.quality == [Quality.ARRIVAL_TIME | Quality.MISSING]
    assert not found.bad


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("hall/a/n/t", b"", "empty"),
        ("hall/a/n/t", b'{"t": 5}', "not_value: expected one value, got an object of 1, which"),
        ("hall/a/n/t", b"[1, 2]", "not_value: expected one value, got an array of 2"),
        ("hall/a/n/t", b"1" * 2000, "not_value: 2000 bytes"),
        ("hall/a/n/t", b"\xff\xfe\x00", "not_utf8"),
        ("hall/a/n/t", b"\x1f\x8b\x08\x00", "compressed"),
        (
            "hall/a/n/humidity",
            b"5",
            "no_channels: no channel of the feed is at {channel}, which is",
        ),
        ("hall/a//t", b"5", "bad_device"),
        ("elsewhere", b"5", "unknown_topic"),
    ],
)
def test_what_is_no_value_is_refused(topic: str, payload: bytes, reason: str) -> None:
    """With its reason, and without a word about its neighbours."""
    found = Decoding({"hall/a/m/t": b"1", topic: payload, "hall/a/o/t": b"2"})
    assert found.values == [3.0, 5.0]
    assert list(found.refused) == [1]
    assert found.refused[1].startswith(reason)


def test_the_configuration_names_the_channel() -> None:
    """Where the topic does not; {channel} is a tag like any other then."""
    fixed = {"type": "value", "channel": "door"}
    found = Decoding({"hall/a/n/x": b"1"}, format=fixed)
    assert [(each.field, each.tags) for each in found.channels] == [
        ("door", (("channel", "x"), ("line", "a")))
    ]


_OBJECTS = {
    "format": {"type": "value", "path": "v.value"},
    "time": {"path": "at", "unit": "s"},
    "quality": {"path": "q"},
}


def test_a_value_in_an_object_has_what_stands_beside_it() -> None:
    """Its time, and what the sender says of it."""
    found = Decoding(
        {
            "hall/a/n/t": b'{"v": {"value": 20}, "at": 1799999990}',
            "hall/a/n/Door State": b'{"v": {"value": "1"}, "at": 1799999990.5, "q": "BAD"}',
        },
        **_OBJECTS,
    )
    assert [each.field for each in found.channels] == ["t", "door"]
    assert found.values[0] == 41.0
    assert found.quality == [Quality.GOOD, Quality.MISSING | Quality.BAD_AT_SOURCE]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"20", "not_object: expected an object, got 20"),
        (b'{"value": 20, "at": 1799999990}', 'no_channels: no value at "v.value"'),
        (b'{"v": {"value": 20}}', "bad_time: no event time"),
        (b'{"v": {"value": 20}, "at": 1799999990, "o": "' + b"x" * 9000 + b'"}', "not_value"),
    ],
)
def test_objects_without_a_value_are_refused(payload: bytes, reason: str) -> None:
    """With what is wrong."""
    found = Decoding({"hall/a/n/t": payload}, **_OBJECTS)
    assert found.refused[0].startswith(reason)


def test_a_value_that_is_none_is_a_bad_field_in_an_object() -> None:
    """As in any other object."""
    found = Decoding({"hall/a/n/t": b'{"v": {"value": []}, "at": 1799999990}'}, **_OBJECTS)
    assert found.bad == {("t", "array"): 1}


def test_other_keys_of_the_object_are_no_readings() -> None:
    """The topic says what was sent; and a channel may be called as another key is."""
    found = Decoding(
        {
            "hall/a/n/t": b'{"v": {"value": 1}, "Door State": 9, "at": 1799999990}',
            "hall/a/n/at": b'{"v": {"value": 5}, "at": 1799999990}',
        },
        **{**_OBJECTS, "channels": {**_CHANNELS, "at": {}}},
    )
    assert [each.field for each in found.channels] == ["t", "at"]
    assert found.values == [3.0, 5.0]


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"1.000", 1000.0),
        (b'"1.000"', 1000.0),
        (b"1.000,5", 1000.5),
        (b"999,5", 999.5),
        (b"7", 7.0),
    ],
)
def test_a_bare_number_is_written_as_the_channel_says(payload: bytes, value: float) -> None:
    """JSON would take a point between thousands for one before a fraction."""
    found = Decoding({"hall/a/n/x": payload}, channels={"x": {"decimal": ","}})
    assert found.values == [value]


@pytest.mark.parametrize(
    ("payload", "value"), [(b"0", 1.0), (b"1", 0.0), (b"true", 5.0), (b"2", 2.0)]
)
def test_bare_numbers_are_words_where_they_stand_among_them(payload: bytes, value: float) -> None:
    """Of a contact that is closed at 0."""
    states = {"0": 1, "1": 0, "true": 5}
    found = Decoding({"hall/a/n/x": payload}, channels={"x": {"states": states}})
    assert found.values == [value]


def test_no_channel_is_required() -> None:
    """A message has one."""
    with pytest.raises(ValueError, match=r"channels\.t\.required: a message has one channel"):
        Decoding({}, channels={"t": {"required": True}, "u": {}})
