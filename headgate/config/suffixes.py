"""Units behind numbers in texts: which unit each is, and what makes it the channel's own.

What a device writes is not what a person configures: there letters may be large that are small in
the unit's name, a point may stand behind it, and degrees may be those of the channel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from headgate.config.conversion import Straight, conversion, is_unit, spellings

#: Degrees of whatever the channel is in, where that is a temperature.
_DEGREES = frozenset(["°", "º", "deg", "Deg", "grad", "Grad", "degree", "degrees"])

#: Units of differences begin so.
_DIFFERENCES = ("delta_", "Δ")

#: Powers of ten, which are no units by themselves, in small letters; and those of one letter that
#: are units as well, of concentration, of fields and of temperature.
_POWERS = frozenset("k mio mln mrd tsd tausend thousand million millions".split())  # noqa: SIM905
_ALSO_UNITS = frozenset("MGTK")

#: Pairs of units that are remembered.
_MOST_KNOWN = 4096


def behind(unit: str, suffixes: Mapping[str, str]) -> dict[str, Straight]:
    """By what may stand behind a channel's numbers, what makes one with it a number in its unit.

    What is no unit, or one of something else, is not there: numbers with it are none of the
    channel's. Only what stands alone may be any text, as the unit may.

    Args:
        unit: The channel's unit; empty for none.
        suffixes: By what may stand behind its numbers, the unit that it stands for.
    """
    wanted = unit or alike(suffixes.values())
    found: dict[str, Straight] = {}
    if any(is_power(meant, unit) for meant in suffixes.values()):
        suffixes = {text: meant for text, meant in suffixes.items() if not is_power(meant, unit)}
        wanted = unit
    for text, meant in suffixes.items():
        line = line_behind(wanted, meant) if wanted else None
        if line is None and len(suffixes) == 1 and not _is_something_else(unit, meant):
            line = Straight()
        if line is not None:
            found[text] = line
    return found


def alike(units: Iterable[str]) -> str:
    """One of these texts that all others are the same unit as; empty where they differ."""
    return _common(units, Straight())


def common(units: Iterable[str]) -> str:
    """The first of these texts that all others can be converted to; empty where there is none."""
    return _common(units, None)


def problem(unit: str, suffixes: Mapping[str, str]) -> str:
    """What is wrong with what may stand behind a channel's numbers; empty where nothing is."""
    found = behind(unit, suffixes)
    if not unit and len(found) < len(suffixes):
        return _of_no_unit(suffixes.values())
    for text in suffixes:
        if text not in found:
            return unfit(unit, text, suffixes)
    return ""


def written(unit: str) -> str:
    """A unit that a device writes as a person would: ``KW`` as ``kW``, itself where it is known."""
    if not unit or is_unit(unit):
        return unit
    bare = _bare(unit)
    if is_unit(bare):
        return bare
    # A point between letters is none of a product there, but of an abbreviation.
    found = spellings(bare) if "." not in bare else ()
    return found[0] if len(found) == 1 else unit


def _common(units: Iterable[str], line: Straight | None) -> str:
    every = list(dict.fromkeys(units))
    for one in every:
        found = [line_behind(one, other) for other in every]
        if all(each is not None and line in (None, each) for each in found):
            return one
    return ""


@lru_cache(_MOST_KNOWN)
def line_behind(unit: str, text: str) -> Straight | None:
    """What makes numbers with a text behind them ones in a unit; None: it is none of that kind."""
    one, other = _bare(unit), _bare(text)
    if one == other:
        return Straight()
    if (line := _exactly(one, other)) is not None:
        return line
    if is_unit(other):
        return None
    if not is_unit(one):
        # One text, once with large letters; mW and MW are two units.
        both = [*spellings(one), *spellings(other)]
        if one.casefold() == other.casefold() and len(set(both)) <= 1:
            return Straight()
        return None
    lines = {line for each in spellings(other) if (line := _exactly(one, each)) is not None}
    return lines.pop() if len(lines) == 1 else None


def _exactly(unit: str, text: str) -> Straight | None:
    """The same by the letters as they are."""
    if text in _DEGREES and _converted("K", unit) is not None:
        return Straight()
    if unit.startswith(_DIFFERENCES) and not text.startswith(_DIFFERENCES):
        # Whoever counts differences means them with °F, too, whose zero does not matter then.
        kelvin, own = _converted("K", text), _converted("delta_degC", unit)
        return None if kelvin is None or own is None else Straight(kelvin.scale / own.scale)
    return _converted(unit, text)


def _converted(unit: str, text: str) -> Straight | None:
    try:
        return conversion(text, unit)
    except ValueError:
        return None


def _bare(text: str) -> str:
    """A unit without blanks around it, and without the point of an abbreviation."""
    return text.strip().removesuffix(".").strip()


def _is_something_else(unit: str, text: str) -> bool:
    """Whether what stands behind all of a channel's numbers can't be a way to write its unit."""
    bare = _bare(text)
    if not unit:
        return False
    if not is_unit(_bare(unit)):
        # Nothing is known of it, unless it is one in other letters.
        return any(line_behind(each, bare) != Straight() for each in spellings(_bare(unit)))
    return is_unit(bare) or bool(spellings(bare))


def is_power(text: str, unit: str = "") -> bool:
    """Whether a text is a power of ten beside this unit, and no unit."""
    bare = _bare(text)
    if bare.casefold() in _POWERS:
        return not unit or line_behind(unit, bare) is None
    return bare in _ALSO_UNITS and not unit and bare != "K"


def _of_no_unit(units: Collection[str]) -> str:
    if power := next((each for each in units if is_power(each)), ""):
        return _of_power(power)
    if kept := common(units):
        other = next(each for each in units if line_behind(kept, each) != Straight())
        return (
            f'"{kept}" and "{other}" are different units of the same; give unit, which all are '
            f'converted to, such as unit = "{written(kept)}"'
        )
    first = next((each for each in units if is_unit(_bare(each))), next(iter(units)))
    other = next(each for each in units if line_behind(first, each) is None)
    return f'expected units of the same kind as "{first}", got {_got(other, first, other)}'


def unfit(unit: str, text: str, suffixes: Mapping[str, str]) -> str:
    """Why numbers with a text behind them can't be ones in a unit, and what to do."""
    meant = suffixes[text]
    if is_power(meant, unit):
        return _of_power(text, unit)
    if not is_unit(_bare(unit)) and (known := written(unit)) != unit:
        shown = ", ".join(f'"{each}"' for each in suffixes.values())
        return (
            f'expected a known unit in unit, which {shown} can be converted to, got "{unit}"; '
            f'did you mean "{known}"?'
        )
    return f'expected units of the same kind as unit = "{unit}", got {_got(meant, unit, text)}'


def _got(meant: str, unit: str, text: str) -> str:
    """What was found in place of a unit of this kind, and what to do."""
    bare = _bare(meant)
    fitting = [each for each in spellings(bare) if _exactly(_bare(unit), each) is not None]
    fitting.sort(key=str.swapcase)
    stands_for = fitting[0] if fitting else unit
    if not is_unit(bare):
        may_be = " or ".join(f'"{each}"' for each in fitting)
        why = f"which may be {may_be}" if fitting else "which is no known unit"
        table = "say which unit it stands for"
    elif is_unit(_bare(unit)):
        why, table = "which is of another kind", "if the device means another one by it, say which"
    else:
        why = f'of which nothing is known beside "{unit}", which is no known unit'
        table = "say which unit it stands for"
    return (
        f'"{meant}", {why}; leave it out, so that numbers with it are no readings, or {table}, as '
        f'in suffix = {{ {_key(text)} = "{stands_for}" }}'
    )


def _of_power(text: str, unit: str = "") -> str:
    own = unit or "W"
    also = "" if unit else ", beside unit"
    return (
        f'expected units, got "{text}", which is a power of ten; say which unit it stands for'
        f'{also}, as in unit = "{own}", suffix = {{ {_key(text)} = "k{own}" }}'
    )


def _key(text: str) -> str:
    return text if text.isascii() and text.isalnum() else f'"{text}"'
