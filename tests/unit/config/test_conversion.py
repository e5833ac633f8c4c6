"""Units: what they are called, what makes one the other, and what no scale and offset can."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from math import pi
from pathlib import Path

import pytest
from pydantic import ValidationError

from headgate.cli import main
from headgate.config.channel import ChannelConfig, OtherChannelsConfig
from headgate.config.conversion import Straight, conversion
from tests.unit.docs.test_docs import ROOT

#: A value and its unit, and the same in another one; by definition, or by tables of physicists.
_SAME = [
    (212, "degF", 100, "degC"),
    (32, "°F", 0, "°C"),
    (-40, "F", -40, "C"),
    (37, "C", 98.6, "°F"),
    (0, "degC", 273.15, "K"),
    (0, "K", -459.67, "degF"),
    (25, "Cel", 298.15, "kelvin"),
    (20, "deg C", 68, "℉"),
    (68, "degf", 20, "Deg. C"),
    (9, "delta_degF", 5, "delta_degC"),
    (18, "°F/min", 10, "K/min"),
    (1, "bar", 14.5037737730, "psi"),
    (100, "psi", 6.894757293168, "bar"),
    (1013.25, "hPa", 1.01325, "bar"),
    (1, "mbar", 0.1, "kPa"),
    (1, "inHg", 33.86389, "hPa"),
    (760, "mmHg", 101.325, "kPa"),
    (1, "mmH2O", 9.80665, "Pa"),
    (1000, "l/min", 60, "m³/h"),
    (1, "m3/h", 1000 / 3600, "l/s"),
    (1, "gal/min", 3.785411784, "l/min"),
    (1, "gpm", 0.22712470704, "m^3/h"),
    (1, "imperial_gallon", 4.54609, "l"),
    (1, "bbl", 158.987294928, "l"),
    (1, "kbbl", 1000, "bbl"),
    (24, "barrel/d", 0.158987294928, "m³/h"),
    (100, "cfm", 169.901079552, "m³/h"),
    (60, "rpm", 2 * pi, "rad/s"),
    (3000, "U/min", 50, "Hz"),
    (1, "Hz", 360, "deg/s"),
    (60, "min⁻¹", 1, "1/s"),
    (60, "min-1", 1, "s^-1"),
    (36, "km/h", 10, "m/s"),
    (1, "knot", 1.852, "km/h"),
    (1, "mph", 0.44704, "m/s"),
    (1, "in/s", 25.4, "mm/s"),
    (1, "kWh", 3.6e6, "J"),
    (1500, "Wh", 1.5, "kWh"),
    (1, "PS", 735.49875, "W"),
    (1, "hp", 745.6998715822702, "W"),
    (1500, "mV", 1.5, "V"),
    (1, "kOhm", 1000, "Ω"),
    (1, "Ah", 3600, "C"),
    (500, "ppm", 0.05, "%"),
    (2, "ppb", 0.002, "ppm"),
    (45, "%RH", 0.45, "1"),
    (1000, "µS/cm", 100, "mS/m"),
    (1000, "μS/cm", 1, "mS/cm"),
    (1, "g", 9.80665, "m/s²"),
    (1000, "g", 1, "kg"),
    (1, "t/h", 1000 / 3600, "kg/s"),
    (1, "mg/m³", 1, "µg/l"),
    (1, "Nm", 1, "J"),
    (3, "kvar", 3000, "var"),
    (1500, "VA", 1.5, "kVA"),
    (2, "kVAh", 2000, "VAh"),
    (1, "mPas", 1, "cP"),
    (1, "Pas", 1, "Pa s"),
    (1, "W/(m² K)", 1, "W/(m2 C)"),
    (180, "°", pi, "rad"),
]


@pytest.mark.parametrize(("value", "unit", "same", "to"), _SAME)
def test_a_value_is_the_same_in_another_unit(value: float, unit: str, same: float, to: str) -> None:
    there, back = conversion(unit, to), conversion(to, unit)

    assert value * float(there.scale) + float(there.offset) == pytest.approx(same, rel=1e-6)
    assert there.scale * back.scale == 1
    assert there.scale * back.offset + there.offset == 0


@pytest.mark.parametrize("unit", ["degF", "furlongs of the miller", "dB", "pH"])
def test_a_unit_that_stays_may_be_any(unit: str) -> None:
    assert conversion(unit, unit) == Straight(Fraction(1), Fraction(0))


def _told(unit: str, to: str) -> str:
    with pytest.raises(ValidationError) as error:
        ChannelConfig.model_validate({"unit": unit, "to": to})
    (problem,) = error.value.errors()
    assert problem["loc"] == ("to",)
    return str(problem["ctx"]["error"])


@pytest.mark.parametrize(
    ("unit", "to", "near"),
    [
        ("degX", "degC", "degC"),
        ("degF", "celcius", "Celsius"),
        ("PSI", "bar", "psi"),
        ("BAR", "mbar", "bar"),
        ("bar", "bra", "bar"),
        ("KWH", "J", "kWh"),
        ("Liter/min", "m³/h", "liter/min"),
        ("RPM", "rad/s", "rpm"),
        ("W", "Kw", "kW"),
    ],
)
def test_a_unit_that_is_not_known_is_told_with_the_nearest(unit: str, to: str, near: str) -> None:
    """Small letters are no large ones: a milliwatt is no megawatt."""
    assert _told(unit, to).endswith(f'; did you mean "{near}"?')


@pytest.mark.parametrize("unit", ["NTU", "mm Hg", "Hx"])
def test_a_unit_like_none_has_no_nearest(unit: str) -> None:
    """Two letters are like too much: one of them is an hour."""
    assert _told(unit, "FNU") == f'expected a known unit in unit, got "{unit}"'


@pytest.mark.parametrize(
    ("unit", "to", "told"),
    [
        ("degC", "bar", 'temperature, as "degC" is, got "bar", one of pressure'),
        ("l/min", "kg/h", 'flow, as "l/min" is, got "kg/h", one of mass flow'),
        ("kvar", "kW", 'reactive power, as "kvar" is, got "kW", one of power'),
        ("VA", "W", 'apparent power, as "VA" is, got "W", one of power'),
        ("kVA", "kvar", 'apparent power, as "kVA" is, got "kvar", one of reactive power'),
        ("mPas", "mbar", 'viscosity, as "mPas" is, got "mbar", one of pressure'),
        ("C", "bar", 'charge, as "C" is, got "bar", one of pressure'),
    ],
)
def test_kinds_that_differ_are_told(unit: str, to: str, told: str) -> None:
    assert _told(unit, to) == f"expected a unit of {told}"


@pytest.mark.parametrize("unit", ["VAh", "varh"])
def test_energy_is_of_power_only(unit: str) -> None:
    assert 'expected a unit of the same kind as "' in _told(unit, "Wh")


@pytest.mark.parametrize(("unit", "to"), [("1/min", "rpm"), ("Hz", "1/s"), ("rad/s", "s⁻¹")])
def test_turns_are_no_pure_numbers(unit: str, to: str) -> None:
    """Or one turn a second would be 6.28 of them, without a word."""
    assert "one of " in _told(unit, to)
    assert _told(unit, to).endswith("is how often something comes")


@pytest.mark.parametrize(("unit", "to"), [("dB", "%"), ("dBm", "mW"), ("V", "dBm"), ("dB", "Np")])
def test_logarithms_are_refused(unit: str, to: str) -> None:
    told = _told(unit, to)
    assert "logarithm" in told or "expected a unit of" in told


def test_a_logarithm_is_said_to_be_one() -> None:
    assert _told("dBm", "W") == (
        'expected a conversion by a scale and an offset, got "dBm" to "W", which is a logarithm; '
        "leave to out"
    )


def test_a_difference_is_no_temperature() -> None:
    assert _told("delta_degF", "degC") == (
        'expected two temperatures, or two differences of some ("delta_degF", "delta_degC"), got '
        '"delta_degF" to "degC"'
    )


@pytest.mark.parametrize(
    "unit",
    [
        *("m//s", "(m", "m)", "m/", "/s", "m**99", "l/100km", "3 m", "$", "m s)", "()", "m^", "^2"),
        *("__import__('os')", "m" * 1000, "(" * 60, "m\n;", "1e9 m", "m**m", "%%"),
    ],
)
def test_what_is_no_unit_is_refused(unit: str) -> None:
    assert "expected a unit such as" in _told(unit, "m") or "did you mean" in _told(unit, "m")


def test_what_it_is_divided_by_must_not_be_guessed() -> None:
    """``J/kg K`` is said of what is ``J/(kg K)``, and means another thing."""
    assert _told("J/kg K", "kJ/(kg K)") == (
        'expected parentheses around what it is divided by, as in "W/(m² K)", got "J/kg K"'
    )


@pytest.mark.parametrize("given", [{"to": "degC"}, {"to": "degC", "unit": " "}])
def test_to_needs_a_unit(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="expected unit, what the device sends, beside to"):
        ChannelConfig.model_validate(given)


@pytest.mark.parametrize("unit", ["furlong per fortnight", "C", "°dH", "", "???", "dB(A)"])
def test_a_unit_alone_may_be_any_text(unit: str) -> None:
    channel = ChannelConfig.model_validate({"unit": unit})
    assert channel.kept_unit == unit
    assert channel.line() == (1, 0)


def test_scale_and_offset_come_first() -> None:
    """They make counts the unit that the device sends: (150 * 0.1 + 17) °F are 0 °C."""
    given = {"unit": "degF", "to": "degC", "scale": 0.1, "offset": 17}
    scale, offset = ChannelConfig.model_validate(given).line()
    assert 150 * scale + offset == pytest.approx(0, abs=1e-12)
    assert scale == pytest.approx(1 / 18)


@pytest.mark.parametrize("scale", [1e307, 1e-320])
def test_no_number_may_be_left(scale: float) -> None:
    units = {"unit": "kWh", "to": "mJ"} if scale > 1 else {"unit": "mJ", "to": "TWh"}
    with pytest.raises(ValidationError, match="too large or too small for a number"):
        ChannelConfig.model_validate({**units, "scale": scale})
    with pytest.raises(ValidationError, match="too large or too small for a number"):
        OtherChannelsConfig.model_validate({"units": {"x*": units}, "scale": scale})


def _modules_after(code: str) -> set[str]:
    """What of these two a process has imported that has run this."""
    code = f"{code}\nimport sys\nprint(*{{'pint', 'pydantic'}} & {{*sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.slow
def test_who_converts_nothing_does_not_wait_for_pint() -> None:
    """Neither the configuration that is shipped, nor a preset, nor a decoder needs it."""
    load = (
        "from pathlib import Path\n"
        "from headgate.config.load import load_config\n"
        "from headgate.config.preset import presets\n"
        "from headgate.config.schema import Config\n"
        "import headgate.gateway.lane, streams.ingest.lane\n"
        f"load_config(Path({str(ROOT / 'headgate.toml')!r}), check_files=False)\n"
        "for name in presets():\n"
        "    raw = {'local_store': {}, 'feed': {name: {'preset': name}}}\n"
        "    try:\n"
        "        Config.model_validate(raw)\n"
        "    except ValueError as error:\n"
        "        assert 'topic' in str(error), error\n"
    )
    channel = "from headgate.config.channel import ChannelConfig\n"

    assert _modules_after(load) == {"pydantic"}
    assert _modules_after(f"{channel}ChannelConfig(unit='V', to='V')") == {"pydantic"}
    assert _modules_after(f"{channel}ChannelConfig(unit='V', to='mV')") == {"pydantic", "pint"}


def test_check_shows_what_it_comes_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(
        'sink.s = "local_store"\n[feed.pump]\ntopic = "plant/{device}"\n'
        'channels.oil = { unit = "degF", to = "degC", scale = 0.1 }\n'
        'channels.flow = { unit = "l/min" }\n'
        'channels.power = { unit = "W", suffix = ["W", "kW", "watts"] }\n'
        'other_channels.units."z*" = { unit = "K", to = "°C" }\n'
    )

    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "feed.pump.channels.oil: degF to degC: value * 0.05555555556 - 17.77777778",
        "feed.pump.channels.power: kW to W: value * 1000",
        'feed.pump.other_channels.units."z*": K to °C: value * 1 - 273.15',
    ]
    assert main(["check", "-c", str(file), "--json"]) == 0
    assert '"unit": "degF", "to": "degC", "scale": 0.0555' in capsys.readouterr().out
