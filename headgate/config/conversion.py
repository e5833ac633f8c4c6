"""From the unit that a device sends to the one that is kept: a scale and an offset, and no more.

What units there are, and how they are related, is pint's. It is imported only where something is to
be converted, once, when the configuration is read: readings know nothing of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.config.unit_text import OTHERWISE, UnknownNameError, as_expression

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

#: What plants have beside pint's units, or mean otherwise. Turns are no pure numbers here: if they
#: were, 1 Hz would be 9.5 rpm. Nor is reactive power power, nor apparent power. What pint takes
#: ``Nm`` and ``cfm`` for is a measure of yarn, and hundredths of a femtometre; ``Pas`` would be
#: several pascals, a barrel one of dry goods, ``Min`` a million inches, and ``Grad`` 10⁹ radians.
_OWN = (
    "radian = [angle] = rad",
    "hertz = turn / second = Hz",
    "volt_ampere_reactive = [reactive_power] = var",
    "volt_ampere_reactive_hour = volt_ampere_reactive * hour = varh",
    "volt_ampere = [apparent_power] = VA",
    "volt_ampere_hour = volt_ampere * hour = VAh",
    "part_per_billion = 1e-9 = ppb",
    "newton_meter = newton * meter = Nm",
    "pascal_second = pascal * second = Pas",
    "barrel = 42 * gallon = bbl",
    "revolution_per_minute = turn / minute = Upm",
    "gallon_per_minute = gallon / minute = gpm",
    "liter_per_minute = liter / minute = lpm",
    "cubic_foot_per_minute = foot ** 3 / minute = cfm",
    "@alias degree_Celsius = Celsius = Cel",
    "@alias degree_Fahrenheit = Fahrenheit",
    "@alias kelvin = Kelvin",
    "@alias ohm = Ohm",
    "@alias torr = Torr",
    "@alias turn = rev",
    "@alias minute = Min = Minute = Minuten",
    "@alias hour = Std = Stunde = Stunden",
    "@alias second = Sek = Sekunde = Sekunden",
    "@alias day = Tag = Tage",
    "@alias degree = Grad",
    "kilometer_per_hour = kilometer / hour = kmh = kph",
)

#: What pint takes single letters for that no device means by them.
_CONSTANTS = frozenset(
    ["speed_of_light", "boltzmann_constant", "elementary_charge", "molar_gas_constant"]
)

#: Units of one letter that is another one's in large or small; that is meant sooner: Kg, KB, KA.
_RARE = frozenset(["gauss", "barn", "molar", "debye", "poise", "year", "unified_atomic_mass_unit"])

#: Letters one after the other; so many of them are tried large and small each by itself, and so
#: many units that they may be.
_LETTERS = re.compile(r"[^\W\d_]+")
_LONGEST_CASES, _MOST_SPELLINGS = 6, 32

#: Texts of which it is remembered whether they are units.
_MOST_KNOWN = 4096

#: Units that are thought of first where one is misspelled.
_USUAL = (
    "degC", "degF", "K", "°C", "°F", "bar", "mbar", "Pa", "hPa", "kPa", "MPa", "psi", "inHg",
    "mmHg", "m³", "l", "ml", "m", "cm", "mm", "µm", "km", "kg", "g", "mg", "t", "s", "min",
    "h", "d", "gal", "gpm", "cfm", "lpm", "rpm", "Hz", "kHz", "V", "mV", "kV", "A", "mA", "kA",
    "W", "kW", "MW", "VA", "kVA", "var", "kvar", "J", "kJ", "MJ", "Wh", "kWh", "MWh", "Ah",
    "N", "kN", "Nm", "Ohm", "ppm", "ppb", "percent", "rad", "µS", "mS", "mol", "lx", "knot",
    "mph", "ft", "inch", "lb", "hp",
)  # fmt: skip

#: By what people call them, a unit of each kind of quantity.
_KINDS = {
    "temperature": "kelvin",
    "pressure": "pascal",
    "length": "meter",
    "area": "meter**2",
    "volume": "meter**3",
    "mass": "kilogram",
    "time": "second",
    "speed": "meter/second",
    "acceleration": "meter/second**2",
    "flow": "meter**3/second",
    "mass flow": "kilogram/second",
    "density": "kilogram/meter**3",
    "force": "newton",
    "energy": "joule",
    "power": "watt",
    "reactive power": "var",
    "apparent power": "VA",
    "viscosity": "pascal*second",
    "current": "ampere",
    "charge": "coulomb",
    "voltage": "volt",
    "resistance": "ohm",
    "capacitance": "farad",
    "conductivity": "siemens/meter",
    "angle": "radian",
    "rotation": "radian/second",
    "frequency": "1/second",
    "ratio": "1",
}


class Straight(NamedTuple):
    """A straight line: what a value is times ``scale``, and ``offset`` added. Exact."""

    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


@cache
def conversion(unit: str, to: str) -> Straight:
    """What makes values in one unit values in another.

    Args:
        unit: The unit that values are in, as it is written.
        to: The unit that they are to be in; the same text, whatever it is, leaves them alone.

    Raises:
        ValueError: One of them is not known, they measure different things, or what makes one the
            other is no straight line.
    """
    if unit == to:
        return Straight()
    from pint import DimensionalityError, PintError  # noqa: PLC0415

    units = _registry()
    try:
        one = _unit(units, unit, "a known unit in unit")
        other = _unit(units, to, "a known unit")
        if one.dimensionality != other.dimensionality:
            one, other = _otherwise(units, unit, to, one, other)
        return _straight(units, one, other)
    except DimensionalityError:
        raise ValueError(
            'expected two temperatures, or two differences of some ("delta_degF", "delta_degC"), '
            f'got "{unit}" to "{to}"'
        ) from None
    except (PintError, ArithmeticError, TypeError):
        # Exact numbers have no logarithm, and pint makes no products of those.
        raise ValueError(
            f'expected a conversion by a scale and an offset, got "{unit}" to "{to}", which is a '
            "logarithm; leave to out"
        ) from None


@lru_cache(_MOST_KNOWN)
def is_unit(text: str) -> bool:
    """Whether a text is a known unit."""
    try:
        _unit(_registry(), text, "a known unit")
    except (ValueError, ArithmeticError):
        return False
    return True


@lru_cache(_MOST_KNOWN)
def spellings(text: str) -> tuple[str, ...]:
    """The units that a text may be whose letters are large or small otherwise, sorted.

    ``KW`` may be ``kW`` alone, ``mw`` may be ``mW`` or ``MW``.
    """
    units = _registry()
    found = [""]
    at = 0
    for word in _LETTERS.finditer(text):
        between = text[at : word.start()]
        names = [each for each in _cases(word[0]) if _is_known(units, each)]
        names = [each for each in names if not _is_rare(units, each)] or names or [word[0]]
        found = [f"{before}{between}{name}" for before in found for name in names][:_MOST_SPELLINGS]
        at = word.end()
    every = {f"{each}{text[at:]}" for each in found} - {text}
    return tuple(sorted(each for each in every if is_unit(each)))


def _cases(name: str) -> set[str]:
    """A name in large and small letters; of a long one not each by itself."""
    if len(name) > _LONGEST_CASES:
        return {name.lower(), name[:1] + name[1:].lower()}
    return set(map("".join, product(*({each.lower(), each.upper()} for each in name))))


class Measure(NamedTuple):
    """What a unit measures, and how large it is.

    Attributes:
        powers: By the names of base quantities, their powers; sorted, none of them 0.
        scale: How many base units it is.
        offset: What it is at 0 of it, in base units: other than 0 of temperatures only.
        has_turns: Whether it measures turns, which stand in no product of its quantity.
    """

    powers: tuple[tuple[str, Fraction], ...]
    scale: float
    offset: float
    has_turns: bool


@cache
def measure(unit: str) -> Measure | None:
    """What a unit measures; None for a text that is none, or may mean one or the other.

    Reactive and apparent power are power here: a product of volts and amperes may be any of them.
    """
    if unit.strip() in OTHERWISE:
        return None
    from pint import PintError  # noqa: PLC0415

    units = _registry()
    try:
        found = _unit(units, unit, "a known unit")
        zero, one = (
            units.Quantity(Fraction(number), found).to_base_units().magnitude for number in (0, 1)
        )
        scale, offset = float(one - zero), float(zero)
    except (PintError, ValueError, ArithmeticError, TypeError):
        return None
    powers: dict[str, Fraction] = {}
    for name, power in found.dimensionality.items():
        parts = {name: 1}
        if name in _POWERS:
            parts = _POWER
            watt = units.Quantity(Fraction(1), units.watt).to_base_units().magnitude
            scale *= float(watt) ** float(str(power))
        for part, times in parts.items():
            powers[part] = powers.get(part, Fraction(0)) + Fraction(str(power)) * times
    turns = powers.pop(_TURNS, 0)
    kept = tuple(sorted((name, power) for name, power in powers.items() if power))
    return Measure(kept, scale, offset, has_turns=bool(turns))


@cache
def kind_of(powers: tuple[tuple[str, Fraction], ...]) -> str:
    """What people call what has these powers of base quantities; empty where there is no word."""
    if not powers:
        return "a plain number"
    found = (
        kind
        for kind, text in _KINDS.items()
        if (known := measure(text)) is not None and known.powers == powers
    )
    return next(found, "")


#: What turns measure; what power is made of, and what else is power.
_TURNS = "[angle]"
_POWER = {"[mass]": 1, "[length]": 2, "[time]": -3}
_POWERS = ("[reactive_power]", "[apparent_power]")


@cache
def _registry() -> UnitRegistry[Any]:
    """Pint's units and those that plants have beside them, in exact numbers."""
    import pint  # noqa: PLC0415  (slow to import, and seldom needed)

    # Ours come before anything is worked out, or pint would remember what it was.
    units: UnitRegistry[Any] = pint.UnitRegistry(
        None, non_int_type=Fraction, on_redefinition="ignore"
    )
    units.load_definitions(Path(pint.__file__).with_name("default_en.txt"))
    units.load_definitions(_OWN)
    return units


def _unit(
    units: UnitRegistry[Any], text: str, wanted: str, otherwise: Mapping[str, str] | None = None
) -> Unit:
    def is_known(name: str) -> bool:
        return _is_known(units, name)

    try:
        return units.parse_units(as_expression(text, is_known, otherwise))
    except UnknownNameError as error:
        (name,) = error.args
        near = _nearest(name, dir(units))
        hint = f'; did you mean "{text.replace(name, near)}"?' if near else ""
        raise ValueError(f'expected {wanted}, got "{text}"{hint}') from None


def _is_known(units: UnitRegistry[Any], name: str) -> bool:
    return any(unit not in _CONSTANTS for _, unit, _ in units.parse_unit_name(name))


def _is_rare(units: UnitRegistry[Any], name: str) -> bool:
    return all(unit in _RARE for _, unit, _ in units.parse_unit_name(name))


def _nearest(name: str, known: Iterable[str]) -> str:
    """The name of a unit that is most like this one, the first of several; empty when none is.

    One or two letters are like too much: they may only differ as small and large ones do.
    """
    plain = name.casefold()
    is_short = len(name) < 3
    for names, least in ((_USUAL, 0.6), (sorted(known), 0.85)):
        likeness = {
            each: difflib.SequenceMatcher(None, plain, each.casefold()).ratio()
            for each in names
            if each.casefold()[:1] == plain[:1]
        }
        near = max(likeness, key=likeness.__getitem__, default="")
        if near and likeness[near] >= (1 if is_short else least):
            return near
    return ""


def _otherwise(
    units: UnitRegistry[Any], unit: str, to: str, one: Unit, other: Unit
) -> tuple[Unit, Unit]:
    """Both units, with letters taken for what only plants mean by them: C is no coulomb there."""
    first, second = (_unit(units, text, "", OTHERWISE) for text in (unit, to))
    if first.dimensionality == second.dimensionality:
        return first, second
    kind, of = _kind(units, one), _kind(units, other)
    said = f"expected a unit of {kind}, as" if kind else "expected a unit of the same kind as"
    said = f'{said} "{unit}"{" is" if kind else ""}, got "{to}"{f", one of {of}" if of else ""}'
    turns = units.radian.dimensionality
    if turns in ((one / other).dimensionality, (other / one).dimensionality):
        said += '; turns are "rpm" or "Hz", and "1/min" is how often something comes'
    raise ValueError(said)


def _kind(units: UnitRegistry[Any], unit: Unit) -> str:
    """What people call what a unit measures; empty where there is no word for it."""
    return next(
        (
            kind
            for kind, text in _KINDS.items()
            if units.parse_units(text).dimensionality == unit.dimensionality
        ),
        "",
    )


def _straight(units: UnitRegistry[Any], one: Unit, other: Unit) -> Straight:
    """The line through four values; raises ArithmeticError for a curve, or what pint raises."""
    found = [units.Quantity(Fraction(number), one).to(other).magnitude for number in (-1, 0, 1, 2)]
    steps = {after - before for before, after in pairwise(found)}
    if len(steps) > 1 or not all(isinstance(each, Fraction) for each in found):
        raise ArithmeticError
    return Straight(steps.pop(), found[1])
