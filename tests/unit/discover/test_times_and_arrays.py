"""Times that are called nothing like it, arrays with their step, and what a format has twice."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from headgate.core.clock import NS_PER_S
from headgate.discover.plan import plan
from headgate.discover.written import configuration
from tests.unit.discover.traffic import NOW_S, Sent, heard

_MQTT = {"host": "127.0.0.1", "port": 1883}


def _feed(sent: Iterator[Sent]) -> dict[str, Any]:
    """The only feed that is written, as it is read back."""
    (feed,) = tomllib.loads(configuration(plan(heard(sent)), _MQTT, "a test"))["feed"].values()
    return dict(feed)


def _objects(topic: str, every_s: float, *told: Mapping[str, object]) -> Iterator[Sent]:
    for at, each in enumerate(told):
        yield at * every_s, topic, json.dumps(each).encode(), False


def test_a_number_that_goes_with_the_arrival_is_the_time_whatever_it_is_called() -> None:
    """One that stands still beside it, or is of another day, is not."""
    told = [
        {"rxClock": (NOW_S + 5 * at) * NS_PER_S, "built": NOW_S - 9, "level": 3 + at}
        for at in range(12)
    ]
    feed = _feed(_objects("lora/tank", 5, *told))

    assert feed["time"] == {"path": "rxClock", "unit": "ns"}
    assert set(feed["channels"]) == {"built", "level"}


@pytest.mark.parametrize(
    ("key", "value", "step"),
    [
        ("dt", 0.001, "1ms"),
        ("dt", 20, "20ms"),
        ("dt_us", 500, "500us"),
        ("sampleInterval", 0.02, "20ms"),
        ("sample_period_ms", 4, "4ms"),
    ],
)
def test_arrays_that_say_their_step_are_so_many_readings(key: str, value: float, step: str) -> None:
    """Its unit is what it is called, or what makes one array follow the other."""
    told = [
        {
            "t0": (NOW_S + 2 * at) * 1000,
            key: value,
            "samples": [at + each / 8 for each in range(50)],
        }
        for at in range(12)
    ]
    feed = _feed(_objects("vib/pump7", 2, *told))

    assert feed["arrays"] == {"step": step}
    assert feed["time"] == {"path": "t0", "unit": "ms"}
    assert set(feed["channels"]) == {"samples"}


def test_what_a_format_has_twice_is_one_channel() -> None:
    """Line protocol has fields by their names, and below the measurement's."""
    lines = [
        f"cpu,host=h1 idle={90 + at},user={at} {(NOW_S + at * 10) * NS_PER_S}" for at in range(12)
    ]
    feed = _feed((10.0 * at, "telegraf/cpu", each.encode(), False) for at, each in enumerate(lines))

    assert feed["format"] == "line_protocol"
    assert set(feed["channels"]) == {"idle", "user"}
