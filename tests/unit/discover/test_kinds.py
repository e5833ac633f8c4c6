"""What kinds of channels traffic is recognized to have: counters, texts, states of devices."""

from __future__ import annotations

import json
import tomllib

import pytest

from headgate.discover.fields import Values, completed
from headgate.discover.plan import plan
from headgate.discover.written import configuration
from tests.unit.discover.reading import MQTT, config_of, decoded_by
from tests.unit.discover.traffic import STYLES, Sent, heard


def _channels(*sent: Sent) -> dict[str, dict[str, object]]:
    """The channels of all feeds that are written, without what names them."""
    config = tomllib.loads(configuration(plan(heard(iter(sent))), MQTT, "a test"))
    return {
        name: {key: value for key, value in table.items() if key != "path"}
        for feed in config.get("feed", {}).values()
        for name, table in feed["channels"].items()
    }


def test_what_only_rises_and_is_called_as_counts_are_is_a_counter() -> None:
    """By each topic alone; a temperature that rises is none, nor a count that falls."""
    sent = []
    for at in range(12):
        for number, press in enumerate(("a", "b")):
            body = {
                "energy": 812.4 + 100 * number + at / 10,
                "totalParts": 7 * at,
                "temperature": 20.5 + at,
                "cycles": 5 + at % 4,
                "hours": 312.5,
            }
            sent.append((at * 10.0, f"hall/{press}/state", json.dumps(body).encode(), False))
    found = _channels(*sent)

    counters = {name for name, table in found.items() if table.get("counter")}
    assert counters == {"energy", "totalParts"}
    assert found.keys() >= {"temperature", "cycles", "hours"}


@pytest.mark.parametrize(
    ("name", "unit", "is_one"),
    [
        ("ENERGY.Total", "", True),
        ("total_kwh", "", True),
        ("production", "kWh", True),
        ("production", "", False),
        ("energy.voltage", "", False),
        ("power_total_w", "", False),
        ("tank_total_percent", "", False),
        ("total_act_power", "", False),
        ("total", "W", False),
        ("current_consumption", "", False),
    ],
)
def test_what_a_count_is_called(name: str, unit: str, is_one: bool) -> None:
    """By its own name and unit, and not by what it stands in: a power that rises is no count."""
    keys: dict[str, object] = {"unit": unit} if unit else {}
    found = completed(name, keys, Values(count=9, low=1, high=9, rises=8), [unit] if unit else [])
    assert found.get("counter", False) is is_one


def test_a_few_words_that_come_again_are_a_text_channel() -> None:
    """In objects and alone; names, versions and messages that say ever new things are none."""
    modes = ["cutting", "idle", "tool change", "cutting", "cutting", "idle"] * 2
    sent = []
    for at, mode in enumerate(modes):
        body = {
            "mode": mode,
            "load": 40.5 + at % 3,
            "firmware": "v1.2",
            "message": f"job {at} is done",
        }
        sent.append((at * 10.0, "hall/lathe/state", json.dumps(body).encode(), False))
        sent.append((at * 10.0, "cells/press/program", mode.encode(), False))
        sent.append((at * 10.0, "cells/press/note", f"{mode} of {at} parts".encode(), False))
    found = _channels(*sent)

    assert found["mode"] == {"type": "text"}
    assert found["program"] == {"type": "text"}
    assert found.keys() == {"mode", "load", "program"}


def test_texts_and_counters_are_read_as_they_are_written_down() -> None:
    """By the gateway's decoder, as all that is proposed is."""
    sent = [
        (
            at * 10.0,
            "hall/lathe/state",
            json.dumps({"mode": mode, "energy": 5 + at}).encode(),
            False,
        )
        for at, mode in enumerate(["cutting", "idle", "tool change"] * 4)
    ]
    traffic = heard(iter(sent))
    config = config_of(plan(traffic))
    count, good, found = decoded_by(config, traffic)

    assert (count, good) == (12, 12)
    assert {field for _, field in found} == {"mode", "energy"}
    (feed,) = config.feed.values()
    assert feed.counters == ("energy",)


def test_topics_that_say_whether_devices_are_there_are_their_feeds() -> None:
    """As each product has them; what a bridge says of itself, or a topic of readings, is none."""
    config = config_of(plan(heard(*(style() for style in STYLES.values()))))
    found = {}
    for feed in config.feed.values():
        if (said := feed.availability) is not None:
            found[said.topic[0]] = (said.path, said.online, said.offline)

    assert found == {
        "zigbee2mqtt/{device}/availability": ("state", ("online",), ("offline",)),
        "tele/{device}/LWT": (None, ("online",), ("offline",)),
        "shellies/{device}/online": (None, ("true",), ("false",)),
        "{device}/online": (None, ("true",), ("false",)),
        "{device}/status": (None, ("online",), ("offline",)),
    }
