"""Values that are kept in another unit than they are sent in: the order, on both ways."""

from __future__ import annotations

import json
import math
import re
import tomllib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from connectors.formats.signals import Lines, Signal
from headgate.config.channel import ChannelConfig
from headgate.config.schema import Config
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from tests.unit.docs.test_docs import ROOT

_NOW_NS = 1_800_000_000 * 10**9


def _read(
    feed: dict[str, Any], payload: str, *, typed: bool = True
) -> dict[str, tuple[float, str]]:
    """By channel, its value and its unit."""
    raw = {"local_store": {}, "feed": {"f": {"topic": "in/{device}", **feed}}}
    config, table = Config.model_validate(raw), ChannelTable()
    decoder = FeedDecoder("f", config.feed["f"], table, config.ingest, takes_fast_way=typed)
    found = decoder.decode([b"in/a"], [payload.encode()], np.array([_NOW_NS]))
    assert not found.refused
    channels = [table.channels[row] for row in found.channel.tolist()]
    for value, quality in zip(found.value.tolist(), found.quality.tolist(), strict=True):
        assert math.isnan(value) == bool(quality & Quality.MISSING)
    return {
        channel.field: (value, channel.unit)
        for channel, value in zip(channels, found.value.tolist(), strict=True)
    }


def _one(value: object, *, typed: bool, **channel: object) -> tuple[float, str]:
    payload = json.dumps({"x": value})
    return _read({"channels": {"x": channel}}, payload, typed=typed)["x"]


@pytest.mark.parametrize("typed", [True, False])
def test_the_unit_that_goes_with_a_value_is_the_one_that_is_kept(typed: bool) -> None:
    value, unit = _one(212, typed=typed, unit="degF", to="degC")
    assert value == pytest.approx(100, rel=1e-14)
    assert unit == "degC"


@pytest.mark.parametrize("typed", [True, False])
def test_what_means_no_reading_is_in_what_the_device_sends(typed: bool) -> None:
    """It is no reading of 999 counts; and 37.22 degrees, which 99.9 °F are, is one."""
    keys: dict[str, Any] = {"unit": "degF", "to": "degC", "scale": 0.1, "missing": 999}
    assert math.isnan(_one(999, typed=typed, **keys)[0])
    assert _one(998, typed=typed, **keys)[0] == pytest.approx((99.8 - 32) / 1.8)
    assert _one(37.72222222222222, typed=typed, **keys)[0] < 0


@pytest.mark.parametrize("typed", [True, False])
def test_words_and_what_is_left_out_are_in_what_the_device_sends(typed: bool) -> None:
    keys: dict[str, Any] = {"unit": "degF", "to": "degC", "scale": 10, "offset": 2}
    assert _one("warm", typed=typed, states={"warm": 21}, **keys)[0] == pytest.approx(100)
    found = _read({"channels": {"x": {**keys, "default": 3}}}, "{}", typed=typed)
    assert found["x"][0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("strict", [True, False])
def test_the_units_own_sign_behind_the_number_is_only_looked_at(strict: bool) -> None:
    """It is converted once."""
    channel = {"unit": "°F", "to": "°C", "suffix": "°F", "decimal": ","}
    found = _read({"channels": {"x": channel}, "strict": strict}, '{"x": "212,0 °F"}')
    assert found["x"][0] == pytest.approx(100)
    assert found["x"][1] == "°C"


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_each_number_is_of_the_unit_behind_it(typed: bool, strict: bool) -> None:
    """A meter that goes over from W to kW, and one that was set to °F; what has none is of unit."""

    def read(text: str, **channel: object) -> tuple[float, str]:
        table = {"channels": {"x": channel}, "strict": strict}
        return _read(table, json.dumps({"x": text}), typed=typed)["x"]

    power = {"unit": "W", "suffix": ["W", "kW", "KW"]}
    found = [read(text, **power) for text in ("850 W", "1.2 kW", "30", "0.05kW", "4 KW")]
    assert found == [(850, "W"), (1200, "W"), (30, "W"), (50, "W"), (4000, "W")]
    assert read("1,2 kW", **power, to="MW", decimal=",") == (0.0012, "MW")
    assert read("77 °F", unit="°C", suffix=["C", "°F"]) == (25, "°C")
    assert read("25 C", unit="°C", suffix=["C", "°F"]) == (25, "°C")
    assert read("77 F", unit="C", to="K", suffix="F") == (298.15, "K")


@pytest.mark.parametrize("typed", [True, False])
def test_what_means_no_reading_is_what_stands_before_its_unit(typed: bool) -> None:
    """1000 is none, whatever unit is behind it; 1 kW is a reading of 1000 W; and words are of W."""
    keys: dict[str, Any] = {"unit": "W", "suffix": ["W", "kW"], "missing": 1000}
    assert math.isnan(_one("1000 kW", typed=typed, **keys)[0])
    assert math.isnan(_one("1000 W", typed=typed, **keys)[0])
    assert _one("1 kW", typed=typed, **keys)[0] == 1000
    assert _one("5 kW", typed=typed, states={"5 kW": 7}, **keys)[0] == 7


@pytest.mark.parametrize("typed", [True, False])
def test_a_unit_that_does_not_fit_makes_the_field_bad(typed: bool) -> None:
    """Also one that other channels have, and the known one in other letters."""

    def bad(feed: dict[str, Any], payload: str) -> list[str]:
        raw = {"local_store": {}, "feed": {"f": {"topic": "in/{device}", **feed}}}
        config = Config.model_validate(raw)
        decoder = FeedDecoder(
            "f", config.feed["f"], ChannelTable(), config.ingest, takes_fast_way=typed
        )
        found = decoder.decode([b"in/a"] * 2, [b'{"x": 1}', payload.encode()], np.arange(2))
        return [each.detail for each in found.bad_fields.values()]

    power = {"channels": {"x": {"unit": "W", "suffix": ["W", "kW"]}}}
    for text in ("1.2 KW", "5 Wh", "3 bar", "1.2k", "7 mW"):
        assert bad(power, json.dumps({"x": text})) == [f"x: expected a number, got '{text}'"]
    others = {"suffix": ["W", "kW", "°C"], "units": {"x": "°C"}, "unit": "W"}
    (told,) = bad({"other_channels": others}, '{"x": "5 W"}')
    assert told == "x: expected a number, got '5 W'"


def test_units_behind_numbers_of_channels_that_are_not_listed() -> None:
    """Each is converted to the one that its name has."""
    others = {"suffix": ["W", "kW", "°F"], "units": {"p*": "W", "t*": "°C"}, "unit": "kW"}
    payload = '{"p1": "1.2 kW", "t1": "77 °F", "p2": "3 W", "q": "500 W"}'
    assert _read({"other_channels": others}, payload) == {
        "p1": (1200, "W"),
        "t1": (25, "°C"),
        "p2": (3, "W"),
        "q": (0.5, "kW"),
    }


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        (
            {"suffix": ["W", "kW"]},
            'suffix: "W" and "kW" are different units',
        ),
        (
            {"unit": "W", "suffix": "kW", "scale": 1000},
            'scale and suffix: numbers with "kW"',
        ),
        ({"unit": "°C", "suffix": ["C", "F"], "offset": 1}, 'offset and suffix: numbers with "F"'),
        ({"unit": "W", "suffix": "kW", "power_of_ten": "e"}, "power_of_ten and suffix: numbers"),
    ],
)
def test_what_else_would_convert_them_is_refused(channel: dict[str, Any], told: str) -> None:
    """With what to write instead; and a scale of a unit that is written otherwise is none of it."""
    with pytest.raises(ValueError, match=re.escape(told)):
        ChannelConfig.model_validate(channel)
    assert ChannelConfig.model_validate({"unit": "°C", "suffix": "C", "scale": 0.1}).suffix


@pytest.mark.parametrize(
    "keys",
    [
        {"unit": "°C", "to": "°F"},
        {"unit": "°F", "to": "°C"},
        {"unit": "°C", "to": "K"},
        {"unit": "kW", "to": "W"},
        {"unit": "l/min", "to": "m³/h"},
        {"scale": 0.018, "offset": -3.5},
    ],
)
def test_a_result_is_the_number_that_is_nearest_to_what_the_digits_say(
    keys: dict[str, Any],
) -> None:
    """Of numbers with a few decimals, by one and by many at a time."""
    channel = ChannelConfig.model_validate(keys)
    scale, offset = (Fraction(each) for each in channel.exact_line()[:2])
    over = Fraction(channel.exact_line()[2])
    texts = [f"{whole}.{rest}" for whole in (-271, 0, 3, 20, 98) for rest in range(0, 1000, 7)]
    texts += ["0.57", "20.2", "1234567.891", "-0.000001", "98765.4321"]
    signal = Signal.of("x", channel, is_strict=False)
    numbers = [float(text) for text in texts]
    nearest = [float((Fraction(text) * scale + offset) / over) for text in texts]

    assert [signal.kept(number) for number in numbers] == nearest
    assert Lines([signal]).kept(np.array(numbers), 0).tolist() == nearest


@pytest.mark.parametrize("typed", [True, False])
def test_numbers_and_numbers_in_texts_are_the_same(typed: bool) -> None:
    """20.2 °C is no 68.35999999999999 °F."""
    assert _one(20.2, typed=typed, unit="°C", to="°F")[0] == 68.36
    assert _one("0.57 kW", typed=typed, unit="W", suffix="kW")[0] == 570


@pytest.mark.parametrize("typed", [True, False])
def test_a_number_that_becomes_too_large_is_none(typed: bool) -> None:
    assert math.isnan(_one(1e305, typed=typed, unit="kWh", to="J")[0])


def test_channels_that_are_not_listed_have_units_by_their_names() -> None:
    others = {
        "unit": "V",
        "to": "mV",
        "scale": 2,
        "units": {"t*": {"unit": "degF", "to": "degC"}, "n*": "any text"},
    }
    payload = '{"t1": 106, "t2": 16, "u": 3, "n": 4, "listed": 5}'
    feed = {"other_channels": others, "channels": {"listed": {"unit": "A"}}}
    assert _read(feed, payload) == {
        "listed": (5, "A"),
        "t1": (pytest.approx(100), "degC"),
        "t2": (pytest.approx(0, abs=1e-12), "degC"),
        "u": (6000, "mV"),
        "n": (8, "any text"),
    }


def test_a_channel_that_is_known_goes_on_being_converted() -> None:
    """Also where it is missing in between."""
    others = {"units": {"t*": {"unit": "degF", "to": "degC"}}, "missing": -1}
    raw = {"local_store": {}, "feed": {"f": {"topic": "in/{device}", "other_channels": others}}}
    config, table = Config.model_validate(raw), ChannelTable()
    decoder = FeedDecoder("f", config.feed["f"], table, config.ingest)
    payloads = [b'{"t": 32}', b'{"t": -1}', b'{"t": null, "u": 32}', b'{"t": 212}']
    found = decoder.decode([b"in/a"] * 4, payloads, np.arange(4) + _NOW_NS)
    assert found.value.tolist() == pytest.approx([0, math.nan, math.nan, 32, 100], nan_ok=True)


@pytest.mark.parametrize("name", ["ENERGY.Total", "*.Total", "*Total"])
def test_a_preset_may_be_converted(name: str) -> None:
    """Its unit is what the product sends; one's own keys count before those of the preset."""
    own = {"units": {name: {"unit": "kWh", "to": "MJ"}}}
    feed = {"preset": "tasmota", "other_channels": own}
    raw = {"local_store": {}, "feed": {"tasmota": feed}}
    config, table = Config.model_validate(raw), ChannelTable()
    decoder = FeedDecoder("tasmota", config.feed["tasmota"], table, config.ingest)
    payload = b'{"Time":"2026-11-28T13:59:45","ENERGY":{"Total":1.5,"Power":7}}'
    found = decoder.decode([b"tele/plug/SENSOR"], [payload], np.array([_NOW_NS]))
    assert {
        table.channels[row].field: (value, table.channels[row].unit)
        for row, value in zip(found.channel.tolist(), found.value.tolist(), strict=True)
    } == {"ENERGY.Total": (pytest.approx(5.4), "MJ"), "ENERGY.Power": (7, "W")}


def test_the_page_says_what_comes_of_its_examples() -> None:
    """Each table, the message below it and its values, to as many digits as stand there."""
    page = (ROOT / "connectors/formats/README.md").read_text()
    section = page.split("\n## Units\n")[1].split("\n## ")[0]
    tables = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    messages = re.findall(r"`(\{.*?\})` is ([^`]*?)\.\s+(?=These|A number)", section, re.DOTALL)
    assert len(tables) == len(messages) == 2
    for table, (message, said) in zip(tables, messages, strict=True):
        (feed,) = tomllib.loads(table)["feed"].values()
        found = _read({**feed, "topic": "in/{device}"}, message)
        texts = re.split(r",\s+|\s+and\s+", said)

        assert [(f"{value:.6g}", unit) for value, unit in found.values()] == [
            (text.split()[0], text.split()[1].replace("°C", unit))
            for text, (_, unit) in zip(texts, found.values(), strict=True)
        ]
