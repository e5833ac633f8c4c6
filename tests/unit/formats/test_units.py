"""Values that are kept in another unit than they are sent in: the order, on both ways."""

from __future__ import annotations

import json
import math
import re
import tomllib
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
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
def test_a_unit_behind_the_number_is_only_looked_at(strict: bool) -> None:
    """``suffix`` says which there may be, and converts nothing."""
    channel = {"unit": "°F", "to": "°C", "suffix": "°F", "decimal": ","}
    found = _read({"channels": {"x": channel}, "strict": strict}, '{"x": "212,0 °F"}')
    assert found["x"][0] == pytest.approx(100)
    assert found["x"][1] == "°C"


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


def test_the_page_says_what_comes_of_its_example() -> None:
    """The table, the message below it and its five values, to as many digits as stand there."""
    page = (ROOT / "connectors/formats/README.md").read_text()
    section = page.split("\n## Units\n")[1].split("\n## ")[0]
    table = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    message = re.search(r"`(\{.*?\})` is ([^`]*?)\.\s+These", section, re.DOTALL)
    assert table is not None
    assert message is not None
    feed = tomllib.loads(table[1])["feed"]["press"]
    found = _read({**feed, "topic": "in/{device}"}, message[1])
    texts = re.split(r",\s+|\s+and\s+", message[2])

    assert [(f"{value:.6g}", unit) for value, unit in found.values()] == [
        (text.split()[0], text.split()[1].replace("°C", unit))
        for text, (_, unit) in zip(texts, found.values(), strict=True)
    ]
