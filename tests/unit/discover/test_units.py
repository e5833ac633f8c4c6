"""Units that discover finds behind values and beside them, and codes of how good values are."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from headgate.discover.plan import plan
from headgate.discover.written import configuration
from tests.unit.discover.reading import MQTT, config_of
from tests.unit.discover.traffic import heard


def _found(topic: str, payloads: list[Any], rounds: int = 4) -> tuple[dict[str, Any], str]:
    """The only feed, empty where there is none, and the whole file."""
    sent = []
    for at, payload in enumerate(payloads * rounds):
        body = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        sent.append((at * 10.0, topic, body.encode(), False))
    found = plan(heard(iter(sent)))
    text = configuration(found, MQTT, "a test")
    if found.feeds:
        config_of(found)
    feeds = [*tomllib.loads(text).get("feed", {}).values()]
    assert len(feeds) <= 1
    return (feeds or [{}])[0], text


@pytest.mark.parametrize(
    ("texts", "channel"),
    [
        (["850 W", "1.2 KW"], {"unit": "W", "suffix": ["W", "KW"]}),
        (["1.2 KW", "1.4 KW"], {"unit": "kW", "suffix": "KW"}),
        (["1.2 KW", "850 W"], {"unit": "kW", "suffix": ["KW", "W"]}),
        (["1 KB", "2 KB"], {"unit": "kB", "suffix": "KB"}),
        (["1 GB", "200 MB", "30 KB"], {"unit": "GB", "suffix": ["GB", "MB", "KB"]}),
        (["5 g", "1 Kg"], {"unit": "g", "suffix": ["g", "Kg"]}),
        (["5 wh", "6 kwh"], {"unit": "Wh", "suffix": ["wh", "kwh"]}),
        (["30 Min", "2 Std"], {"unit": "Min", "suffix": ["Min", "Std"]}),
        (["3 Kg", "- Kg"], {"unit": "kg", "missing": "- Kg", "suffix": "Kg"}),
        (["3 °C", "--- °C"], {"unit": "C", "missing": "--- °C", "suffix": "°C"}),
        (["80 st.C", "81 st.C"], {"unit": "st.C", "suffix": "st.C"}),
        (["230 V~", "231 V~", "229 V~"], {"unit": "V~", "suffix": "V~"}),
        (["3 mm/m²", "4 mm/m²", "5 mm/m²"], {"unit": "mm/m²", "suffix": "mm/m²"}),
        (["5 Karton", "6 Karton"], {"unit": "Karton", "suffix": "Karton"}),
        (["21C", "70F", "22C"], {"unit": "C", "suffix": ["C", "F"]}),
        (["21c", "22c", "23c"], {"unit": "C", "suffix": "c"}),
        (["000C", "001A", "002F"], {"base": 16}),
        (["12ab", "34cd", "56ef"], {"base": 16}),
        (["08FD", "00FF", "12AB"], {"base": 16}),
        (["21C", "1A2", "15B"], {"base": 16}),
        (["3 bar", "850 W"], None),
        (["850 W", "3 XW"], None),
        (["850 W", "3 mw"], None),
        (["5 Karton", "3 Stk"], None),
        (["850", "1.2k"], None),
        (["21C", "15A", "30F"], None),
    ],
)
def test_units_behind_values_are_one_unit_or_none(
    texts: list[str], channel: dict[str, Any] | None
) -> None:
    """What does not go together is left out, and said to be."""
    feed, text = _found("m/d1/data", [{"x": each, "q": 1} for each in texts])
    left_out = "# Left out: x, with units behind its numbers that don't go together: "

    assert feed["channels"].get("x") == channel
    assert (left_out in text) == (channel is None)
    alone, text = _found("m/d1/x", texts)
    assert alone.get("channels", {}).get("x") == channel
    assert (left_out[2:] in text) == (channel is None)


@pytest.mark.parametrize(
    "record",
    [
        lambda value, unit: {"p": {"value": value, "unit": unit}},
        lambda value, unit: {"p": value, "p_unit": unit},
        lambda value, unit: {"p": value, "unit": unit, "state": "on"},
        lambda value, unit: {"list": [{"name": "p", "value": value, "unit": unit}]},
        lambda value, unit: {"value": value, "unit": unit},
        lambda value, unit: {"p": [value, unit]},
        lambda value, unit: {"values": {"p": value}, "units": {"p": unit}},
        lambda value, unit: [{"n": "p", "u": unit, "v": value}],
        lambda value, unit: f"p;unit\n{value};{unit}\n",
        lambda value, unit: f"{value};{unit}",
    ],
)
def test_a_unit_beside_a_value_that_changes_mixes_nothing(record: Any) -> None:  # noqa: ANN401
    """Units that are one unit are that."""
    texts = []
    for units in (["kW", "W"], ["kW", "KW"]):
        feed, text = _found("m/d1/p", [record(1.2, units[0]), record(850, units[1])])
        channels = feed.get("channels", {}).values()
        assert ("kW" in [each.get("unit") for each in channels]) == (units[1] == "KW")
        numbers = [each for each in channels if each.get("type") != "text" and "states" not in each]
        assert len(numbers) == (units[1] == "KW")
        texts.append(text)

    assert 'whose unit stands beside it and changes: "kW", "W"' in texts[0]
    assert "Left out" not in texts[1]


@pytest.mark.parametrize(
    ("key", "said", "quality"),
    [
        ("q", [192, 0, 192], {"good": [192]}),
        ("quality", [192, 64, 0, 192], {"good": [192]}),
        ("q", [192, 216, 192, 0], {"good": 192, "mask": 192}),
        ("quality", ["good", 0, "good"], {"good": ["good"]}),
        ("isGood", [True, 0, True], {"good": [True]}),
        ("quality", [0, 0x80340000], {"good": [0]}),
        ("status", [0, 0], {"good": [0]}),
        ("q", [0, 0], None),
        ("q", [0, 1, 0], None),
        ("good", [0, 0, 1], None),
        ("quality", [0, 24, 0], None),
    ],
)
def test_a_code_of_what_is_bad_is_never_good(
    key: str, said: list[object], quality: dict[str, Any] | None
) -> None:
    """0 is bad in OPC DA and good in OPC UA; where nothing tells them apart, a person decides."""
    values = [{"values": [{"id": "a", "v": 1.5, key: each}]} for each in said]
    feed, text = _found("plc/g/data", values)

    assert feed.get("quality") == (None if quality is None else {"path": key, **quality})
    assert (f"# {key} says 0, which is good in OPC UA and bad in OPC DA" in text) == (
        quality is None
    )


@pytest.mark.parametrize(
    ("record", "channels"),
    [
        ({"t": "20.5 °C", "h": "40 %"}, {"t": "C", "h": "%"}),
        ({"t": 20.5, "t_unit": "°C"}, {"t": "°C"}),
        ({"temps": 20.5, "h": 40}, {"temps": "", "h": ""}),
        ({"v": 3.3, "t": 21.5}, {"v": "", "t": ""}),
        ({"date": "5 d", "h": 4}, {"date": "d", "h": ""}),
        ({"t": 1_795_900_000, "h": 40}, {"h": ""}),
    ],
)
def test_what_has_a_unit_is_no_time(record: dict[str, Any], channels: dict[str, str]) -> None:
    """Whatever it is called."""
    feed, _ = _found("m/d1/data", [record])

    assert {name: each.get("unit", "") for name, each in feed["channels"].items()} == channels


def test_a_unit_that_changes_and_may_be_of_several_values_is_told() -> None:
    """But not where the values say theirs."""
    texts = []
    for values in ([1.2, 850], ["1.2 kW", "850 W"]):
        both = zip(values, ("kW", "W"), strict=True)
        said = [{"p": value, "unit": unit, "q": 1} for value, unit in both]
        texts.append(_found("m/d1/data", said)[1])

    assert '# unit changes ("kW", "W"): leave out the channel whose unit it is.' in texts[0]
    own = [{"p": {"value": text, "unit": text[-2:]}, "q": 1} for text in ("1.2 kW", "850  W")]
    assert "leave out" not in _found("m/d1/data", own)[1].casefold()


def test_numbers_in_several_ways_are_told() -> None:
    """And a sign behind a number that may be its own is no unit."""
    feed, text = _found("m/d1/data", [{"x": each, "y": "7.5-", "q": 1} for each in ("1,5", "2.5")])

    assert feed["channels"] == {"q": {}}
    assert "# Left out: x, whose numbers are written in several ways: '1,5', '2.5'." in text


def test_a_table_may_have_units_behind_its_numbers() -> None:
    feed, _ = _found("m/d1/data", ["t;h\n20.5 °C;40 %\n", "t;h\n21.5 °C;41 %\n"])

    assert feed["channels"] == {
        "t": {"unit": "C", "suffix": "°C"},
        "h": {"unit": "%", "suffix": "%"},
    }
