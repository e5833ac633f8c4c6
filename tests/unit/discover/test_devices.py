"""Traffic of devices that no product page describes: what becomes of it, value by value."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.core.channels import ChannelTable
from headgate.discover.plan import plan
from headgate.discover.written import configuration
from tests.unit.discover.reading import MQTT, config_of
from tests.unit.discover.traffic import NOW_S, heard

_Body = Callable[[int, datetime], Any]


def _read(topic: str, body: _Body, rounds: int = 12) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The feed, what its channels are of the last message, with its delay, and the file."""
    sent = []
    for at in range(rounds):
        found = body(at, datetime.fromtimestamp(NOW_S + 30 * at, UTC))
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        sent.append((at * 30.0, topic, text.encode(), False))
    made = plan(heard(iter(sent)))
    config, table = config_of(made), ChannelTable()
    ((name, feed),) = config.feed.items()
    decoder = FeedDecoder(name, feed, table, config.ingest)
    at_s, _, payload, _ = sent[-1]
    arrived_ns = (NOW_S + round(at_s)) * 10**9
    decoded = decoder.decode([topic.encode()], [payload], np.array([arrived_ns]))
    assert not decoded.refused
    assert not decoded.bad_fields
    values = {
        table.channels[row].field: (table.said(row, value), table.channels[row].unit)
        for row, value in zip(decoded.channel.tolist(), decoded.value.tolist(), strict=True)
    }
    delay_s = (decoded.time_ns - arrived_ns).tolist()[0] / 1e9
    ((_, proposed),) = made.feeds.items()
    return proposed.table, {**values, "": delay_s}, configuration(made, MQTT, "a test")


@pytest.mark.parametrize(
    ("written", "time"),
    [
        (
            lambda now: {"time": f"{now:%m/%d/%Y %I:%M:%S %p}"},
            {"path": "time", "pattern": "%m/%d/%Y %I:%M:%S %p"},
        ),
        (
            lambda now: {"date": f"{now:%Y-%m-%d}", "time": f"{now:%H:%M:%S}"},
            {"path": ["date", "time"], "unit": "iso8601"},
        ),
        (
            lambda now: {
                "heure": f"{now + timedelta(hours=1):%H:%M:%S}",
                "date": f"{now + timedelta(hours=1):%d/%m/%Y}",
            },
            {"path": ["heure", "date"], "pattern": "%H:%M:%S %d/%m/%Y", "zone": "Etc/GMT-1"},
        ),
        (
            lambda now: {"ts": round(25569 + now.timestamp() / 86400, 8)},
            {"path": "ts", "unit": "d", "epoch": "1899-12-30"},
        ),
        (
            lambda now: {"t": round(now.timestamp()) - 315964800 + 18},
            {"path": "t", "unit": "s", "epoch": "gps"},
        ),
        (
            lambda now: {"ticks": 621355968000000000 + round(now.timestamp()) * 10**7},
            {"path": "ticks", "unit": "100ns", "epoch": "0001-01-01"},
        ),
        (lambda now: {"At": f"/Date({round(now.timestamp())}000)/"}, {"path": "At", "unit": "ms"}),
        (
            lambda now: {"time": f"{now:%A, %d %B %Y %H:%M:%S}"},
            {"path": "time", "pattern": "%A, %d %B %Y %H:%M:%S"},
        ),
        (
            lambda now: {"time": {"sec": round(now.timestamp()), "usec": 250_000}},
            {"path": ["time.sec", "time.usec"], "unit": ["s", "us"]},
        ),
    ],
)
def test_times_of_many_ways_are_read(
    written: Callable[[datetime], dict[str, Any]], time: dict[str, Any]
) -> None:
    """As of when they are; what only looks like days of a spreadsheet is none of a time."""
    table, found, _ = _read("m/d1/data", lambda at, now: {**written(now), "x": 1.5 * at, "y": 1})
    uptime, _, _ = _read("m/d1/data", lambda at, _: {"time": 42_000 + at, "x": 1.5 * at, "y": 1})

    assert table["time"] == time
    assert found[""] == pytest.approx(0.25 if "usec" in str(time) else 0, abs=0.01)
    assert found["x"][0] == 16.5
    assert "time" not in uptime


def test_a_heat_pump_says_units_in_other_letters_and_a_comma() -> None:
    """A count of hours in a text is one as well."""
    table, found, _ = _read(
        "wp/boiler/daten",
        lambda at, _: {
            "Vorlauf": f"35,{at % 10} °C",
            "Leistung": f"1,{at + 10} KW",
            "Laufzeit": f"{1200 + at} Std.",
            "Zulauf": f"{30 + at % 3} st.C",
            "Verdichter": "EIN" if at % 2 else "AUS",
        },
    )

    assert found == {
        "Vorlauf": (35.1, "C"),
        "Leistung": (1.21, "kW"),
        "Laufzeit": (1211, "Std"),
        "Zulauf": (32, "st.C"),
        "Verdichter": (1, ""),
        "": 0,
    }
    assert table["channels"]["Laufzeit"]["counter"]


def test_a_weather_station_with_units_glued_to_its_names() -> None:
    line = "tempinf=70.5&tempf={}&windspeedmph=5.5&uv=3&baromrelin=29.9"
    _, found, _ = _read("ecowitt/ws1", lambda at, _: line.format(50 + at % 3))

    assert {name: unit for name, (_, unit) in list(found.items())[:-1]} == {
        "tempinf": "F",
        "tempf": "F",
        "windspeedmph": "mph",
        "uv": "",
        "baromrelin": "",
    }


def test_an_inverter_with_scale_factors_and_one_with_large_keys() -> None:
    """The factor belongs to the value, and is no channel; a key is a key in large letters."""
    table, found, _ = _read(
        "inv/i1/json",
        lambda at, _: {"W": 2347 + at, "W_SF": -1, "Hz": 4998, "Hz_SF": -2, "St": 4},
    )
    _, other, _ = _read(
        "inv/i1/json",
        lambda at, _: {"PAC": {"Value": 1.5 * at, "Unit": "W"}, "E": {"Value": at, "Unit": "Wh"}},
    )

    assert table["channels"]["W"] == {"power_of_ten": "W_SF"}
    assert found == {"W": (235.8, ""), "Hz": (49.98, ""), "St": (4, ""), "": 0}
    assert other == {"PAC_Value": (16.5, "W"), "E_Value": (11, "Wh"), "": 0}


def test_a_meter_by_obis_codes_and_a_building_by_objects() -> None:
    """Energy that only rises is counted; objects are a name and a value each."""
    table, _, _ = _read(
        "sml/m1/werte",
        lambda at, _: {"1.8.0": f"{123.5 + at} kWh", "16.7.0": f"{400 + at} W"},
    )
    objects = [("ai,1", 20.5), ("bi,3", "active"), ("av,9", "55.5 %")]
    building, _, _ = _read(
        "bacnet/1001",
        lambda at, _: dict(zip(("object", "presentValue"), objects[at % 3], strict=True)),
    )

    assert [each.get("counter", False) for each in table["channels"].values()] == [True, False]
    assert building["pairs"] == {"name": "object", "value": "presentValue"}
    assert building["channels"] == {
        "ai_1": {"path": "ai,1"},
        "av_9": {"path": "av,9", "unit": "%", "suffix": "%"},
        "bi_3": {"path": "bi,3", "states": {"active": 1, "inactive": 0}},
    }


def test_names_in_other_letters_and_of_elements_stay_names() -> None:
    table, _, _ = _read(
        "pogoda/s1",
        lambda at, _: {
            "температура": 20.5 + at,
            "Temp_°C": 3.5,
            "axes": [{"pos": 1.5 + at}, {"pos": 2}],
            "дождь": "нет" if at % 2 else "да",
        },
    )

    assert [*table["channels"]] == ["temperatura", "Temp_C", "axes_0_pos", "axes_1_pos", "dozhd"]
    assert table["channels"]["Temp_C"]["unit"] == "C"


def test_a_logger_with_units_in_brackets_and_a_boiler_with_blanks_in_its_names() -> None:
    head = "Datum;Uhrzeit;Temp [°C];Pac (W);Note [old]\n"
    table, found, _ = _read(
        "logger/dl1/csv", lambda at, now: f"{head}{now:%d.%m.%Y};{now:%H:%M:%S};{at},5;{at};3\n"
    )
    _, boiler, _ = _read(
        "chaudiere/pellet", lambda at, _: f"T° départ: 6{at % 10},5 °C; Heures: {3200 + at} h"
    )

    assert table["time"] == {"path": ["Datum", "Uhrzeit"], "pattern": "%d.%m.%Y %H:%M:%S"}
    assert found == {"Temp_C": (11.5, "C"), "Pac_W": (11, "W"), "Note_old": (3, ""), "": 0}
    assert boiler == {"T_depart": (61.5, "C"), "Heures": (3211, "h"), "": 0}


def test_all_elements_of_a_short_array_are_channels() -> None:
    table, _, _ = _read(
        "robots/r1/state", lambda at, _: {"joints": [at + each for each in range(6)]}
    )

    assert [*table["channels"]] == [f"joints_{at}" for at in range(6)]


def test_what_is_now_a_number_and_now_a_word_is_told() -> None:
    _, _, text = _read("m/d1/data", lambda at, _: {"x": at if at % 2 else f"job {at}", "y": at})

    assert "# Left out: x, which is now a number and now a text: 1, 'job 0'." in text


def test_topics_that_cross_have_feeds_where_each_gets_its_own() -> None:
    """The more specific is asked first, as the gateway does."""
    sent = [
        (at * 10.0, topic, json.dumps(body).encode(), False)
        for at in range(8)
        for topic, body in (
            ("a/am/data", {"pressure": at, "flow": 2}),
            ("f/up/data", {"speed": at, "torque": 3}),
        )
    ]
    found = plan(heard(iter(sent)))

    assert len(found.feeds) == 2
    assert not found.passed
    assert found.part == 1
