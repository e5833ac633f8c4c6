"""Fields that a device leaves out, and what they mean then."""

from __future__ import annotations

import pytest

from headgate.config.feed import FeedConfig
from tests.unit.formats.decoding import Decoding
from tests.unit.formats.test_typed import decoded_by

_FEED = {
    "channels": {
        "volts": {"path": "object.voltage", "default": 0, "scale": 2, "offset": 1},
        "rssi": {"default": -120.5},
    }
}


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("content", "values"),
    [
        ({"object": {"voltage": 230}, "rssi": -97}, {"volts": 461, "rssi": -97}),
        ({"object": {}, "rssi": -97}, {"volts": 1, "rssi": -97}),
        ({"object": {"other": 1}}, {"volts": 1, "rssi": -120.5}),
        ({"object": None, "rssi": 1}, {"rssi": 1}),
        ({"rssi": 1}, {"rssi": 1}),
        ({"object": {"voltage": None}, "rssi": None}, {"volts": None, "rssi": None}),
        ({}, {"rssi": -120.5}),
    ],
)
def test_an_absent_field_has_its_default(
    content: object, values: dict[str, float | None], is_typed: bool
) -> None:
    """Where the object is there that it would stand in; null stays a reading that is missing."""
    found = Decoding(content, is_typed=is_typed, **_FEED)
    assert {channel: value for _, channel, _, value in found.readings} == values
    assert not found.refused


def test_both_ways_agree_to_the_bit() -> None:
    """For many messages in one go."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", **_FEED})
    payloads = [b"{}", b'{"object":{}}', b'{"object":null}', b"[{},{}]", b'{"object":[]}', b"[]"]
    topics = [b"in/a"] * len(payloads)
    assert decoded_by(feed, payloads, topics, is_typed=True) == decoded_by(
        feed, payloads, topics, is_typed=False
    )


@pytest.mark.parametrize(
    ("feed", "problem"),
    [
        ({"channels": {"x": {"default": 0, "required": True}}}, "default and required"),
        ({"pairs": {}, "channels": {"x": {"default": 0}}}, "channels.x.default: with pairs"),
        (
            {"format": {"type": "value", "channel": "x"}, "channels": {"x": {"default": 0}}},
            "channels.x.default: a message has one channel",
        ),
    ],
)
def test_a_default_needs_a_record_of_all_channels(feed: dict[str, object], problem: str) -> None:
    """Elsewhere each record would say something of all the others."""
    with pytest.raises(ValueError, match=problem):
        FeedConfig.model_validate({"topic": "in/{device}", **feed})


@pytest.mark.parametrize(
    ("base", "text", "value"),
    [
        (16, "0x1A", 26),
        (16, "1a", 26),
        (16, " -FF ", -255),
        (16, "10", 16),
        (16, 10, 10),
        (16, "0x", None),
        (16, "1_0", None),
        (16, "G1", None),
        (8, "0o17", 15),
        (2, "0b101", 5),
        (10, "0x1A", None),
    ],
)
def test_whole_numbers_in_another_base(base: int, text: object, value: float | None) -> None:
    """In texts; a number is what it is."""
    found = Decoding({"x": text}, channels={"x": {"base": base}})
    assert [each for *_, each in found.readings] == [value]
    bare = {"type": "value", "channel": "x"}
    assert Decoding(text, format=bare, channels={"x": {"base": base}}).readings
