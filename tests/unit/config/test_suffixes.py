"""Units behind numbers: which are understood, and what they are in the channel's own unit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from headgate.config.channel import ChannelConfig, OtherChannelsConfig
from headgate.config.suffixes import written


def _lines(**given: object) -> dict[str, float]:
    """By what stands behind a number, what 10 with it is in the channel's unit."""
    behind = ChannelConfig.model_validate(given).behind()
    return {text: float(10 * line.scale + line.offset) for text, line in behind.items()}


def _told(table: type[ChannelConfig], given: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        table.model_validate(given)
    (problem,) = error.value.errors()
    return str(problem["ctx"]["error"])


@pytest.mark.parametrize(
    ("unit", "suffix", "found"),
    [
        ("W", ["W", "KW", "Kw"], {"W": 10, "KW": 10_000, "Kw": 10_000}),
        ("W", "KW", {"KW": 10_000}),
        ("GB", ["GB", "MB", "KB"], {"GB": 10, "MB": 0.01, "KB": 1e-5}),
        ("g", ["g", "Kg"], {"g": 10, "Kg": 10_000}),
        ("Wh", ["wh", "kwh", "KWH"], {"wh": 10, "kwh": 10_000, "KWH": 10_000}),
        ("min", ["Min", "Std", "Sek."], {"Min": 10, "Std": 600, "Sek.": 10 / 60}),
        ("hPa", ["HPA", "BAR", "PSI"], {"HPA": 10, "BAR": 10_000, "PSI": 689.4757293168361}),
        ("l/min", ["L/MIN", "Liter/min"], {"L/MIN": 10, "Liter/min": 10}),
        ("°C", ["c", "C", "°C", "°F"], {"c": 10, "C": 10, "°C": 10, "°F": -110 / 9}),
        ("°F", ["°", "F"], {"°": 10, "F": 10}),
        ("°C", ["Grad"], {"Grad": 10}),
        ("delta_degC", ["°C", "°F"], {"°C": 10, "°F": 50 / 9}),
        ("delta_degF", ["K", "delta_degC"], {"K": 18, "delta_degC": 18}),
        ("kWh", ["kWh.", "Wh"], {"kWh.": 10, "Wh": 0.01}),
        ("Stk", ["Stk", "STK"], {"Stk": 10, "STK": 10}),
        # What stands alone is written so, as the unit may be any text.
        ("bar", "bar(ü)", {"bar(ü)": 10}),
        ("pieces", "pcs", {"pcs": 10}),
        ("KW", "kW", {"kW": 10}),
        ("", "Foo", {"Foo": 10}),
        ("", ["KW", "kW"], {"KW": 10, "kW": 10}),
        ("", ["C", "°C"], {"C": 10, "°C": 10}),
        # A table says what they mean.
        ("W", {"mw": "MW", "w": "W"}, {"mw": 1e7, "w": 10}),
        ("h", {"uur": "h", "Min": "min"}, {"uur": 10, "Min": 10 / 60}),
        ("W", {"k": "kW"}, {"k": 10_000}),
        ("Stk", {"Stk": "Stk", "pcs": "Stk"}, {"Stk": 10, "pcs": 10}),
    ],
)
def test_units_behind_numbers_are_understood(
    unit: str, suffix: object, found: dict[str, float]
) -> None:
    """Whether letters are large or small where that can't be mistaken."""
    assert _lines(unit=unit, suffix=suffix) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"unit": "KW", "suffix": ["W", "kW"]},
            (
                'suffix: expected a known unit in unit, which "W", "kW" can be converted to, got '
                '"KW"; did you mean "kW"?'
            ),
        ),
        ({"unit": "KW", "suffix": "W"}, 'got "KW"; did you mean "kW"?'),
        (
            {"suffix": ["W", "Wh", "kWh"]},
            (
                'suffix: expected units of the same kind as "W", got "Wh", which is of another '
                "kind; leave it out, so that numbers with it are no readings, or if the device "
                'means another one by it, say which, as in suffix = { Wh = "W" }'
            ),
        ),
        (
            {"suffix": ["X", "W", "kW"]},
            (
                'suffix: expected units of the same kind as "W", got "X", which is no known unit; '
                "leave it out, so that numbers with it are no readings, or say which unit it "
                'stands for, as in suffix = { X = "W" }'
            ),
        ),
        ({"unit": "W", "suffix": ["X", "W"]}, 'got "X", which is no known unit'),
        ({"unit": "W", "suffix": "Wh"}, 'as unit = "W", got "Wh", which is of another kind'),
        ({"unit": "W", "suffix": "mw"}, 'got "mw", which may be "mW" or "MW"'),
        ({"unit": "hPa", "suffix": ["hPa", "PA"]}, 'as in suffix = { PA = "Pa" }'),
        ({"unit": "Karton", "suffix": ["Karton", "Stück"]}, 'suffix = { "Stück" = "Karton" }'),
        ({"suffix": ["Karton", "Stück"]}, 'got "Stück", which is no known unit'),
        ({"unit": "°C", "suffix": "delta_degC"}, "which is of another kind"),
        ({"unit": "W", "suffix": "k"}, 'unit = "W", suffix = { k = "kW" }'),
        ({"suffix": "k"}, "which is a power of ten"),
        ({"suffix": ["k", "M"]}, "which is a power of ten"),
        ({"unit": "W", "suffix": {"x": "bar"}}, 'got "bar", which is of another kind'),
        ({"unit": "W", "suffix": {"x": 3}}, "or a table of what stands there"),
        ({"base": 16, "suffix": "A"}, "base and suffix: digits in base 16 have no unit"),
    ],
)
def test_units_that_do_not_go_together_are_refused(given: dict[str, Any], told: str) -> None:
    """Whatever would come of numbers with them would be wrong."""
    assert told in _told(ChannelConfig, given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"suffix": ["W", "kW"]},
            'of names that units has nothing for: "W" and "kW" are different',
        ),
        ({"suffix": ["W", "kW"], "units": {"p*": "W"}}, "of names that units has nothing for"),
        ({"suffix": ["W", "bar"], "unit": "W", "units": {"t*": "°C"}}, 'got "bar"'),
        ({"suffix": ["W", "X"], "unit": "W"}, 'got "X", which is no known unit'),
        ({"base": 16, "suffix": "A"}, "base and suffix"),
    ],
)
def test_units_of_channels_that_are_not_listed(given: dict[str, Any], told: str) -> None:
    """Each of them must be one of some channel's."""
    assert told in _told(OtherChannelsConfig, given)
    several = {"suffix": ["W", "kW", "°C"], "unit": "W", "units": {"t*": "°C"}}
    assert OtherChannelsConfig.model_validate(several).behind().keys() == {"W", "kW"}
    of_all = {"suffix": ["W", "kW"], "units": {"p*": "W", "*": "kW"}}
    assert OtherChannelsConfig.model_validate(of_all).suffix


def test_what_is_written_out_is_read_back() -> None:
    """A list as a list, a table as a table."""
    for suffix in (["W", "kW"], {"mw": "MW"}):
        channel = ChannelConfig.model_validate({"unit": "W", "suffix": suffix})
        out = channel.model_dump(mode="json", exclude_unset=True)
        assert out["suffix"] == suffix
        assert ChannelConfig.model_validate(out) == channel


@pytest.mark.parametrize(
    ("device", "person"),
    [("KW", "kW"), ("wh", "Wh"), ("kWh.", "kWh"), ("mw", "mw"), ("W", "W"), ("Foo", "Foo")],
)
def test_a_unit_as_a_person_would_write_it(device: str, person: str) -> None:
    assert written(device) == person
