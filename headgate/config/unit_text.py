"""Units as plants write them, to what pint reads: ``m³/h``, ``µS/cm``, ``W/(m² K)``, ``min⁻¹``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

#: A longer text is no unit.
_LONGEST = 64

#: What else a name means than what is written there.
_SPELLED = {
    "%": "percent",
    "%RH": "percent",
    "‰": "permille",
    "°": "degree",
    "°K": "kelvin",
}

#: Letters that stand for something else in a plant than in SI, where that alone makes sense.
OTHERWISE: Mapping[str, str] = {
    "C": "degC",
    "F": "degF",
    "g": "standard_gravity",
    "mg": "millistandard_gravity",
    "PS": "metric_horsepower",
    "U": "turn",
}

#: Signs that look alike, or mean the same; the second C is Cyrillic.
_SIGNS = str.maketrans(
    {"С": "C", "℃": "°C", "℉": "°F", "º": "°", "−": "-", **dict.fromkeys("·⋅×∙", "*")}
)
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

#: A temperature in two words.
_DEGREES = re.compile(r"(?:deg(?:rees?)?\.?|grad|st\.?) ?([CFK])", re.IGNORECASE)

_PIECE = re.compile(
    r"(?P<n>Δ?°?[^\W\d]\w*|%RH|[%‰°])"
    r"|(?P<p>(?:\*\*|\^)\(?(?:-?[1-9])\)?|-[1-9])"
    r"|(?P<t>\*|\.|\s+)|(?P<o>/)|(?P<l>\()|(?P<r>\))|(?P<x>1)"
)

#: What a unit is, of the letters above: factors, and what each of them is divided by.
_GROUP = re.compile(r"l(x(?:tx)*(?:ox)*)rp?")
_LOOSE = re.compile(r"l(x(?:[to]x)*)rp?")


class UnknownNameError(ValueError):
    """A name in a unit's text that stands for no unit; its argument."""


def as_expression(
    text: str, is_known: Callable[[str], bool], otherwise: Mapping[str, str] | None = None
) -> str:
    """What pint reads as the unit that a text means.

    Args:
        text: The unit as it is written.
        is_known: Whether a name is one of pint's.
        otherwise: Names that are to mean another one.

    Raises:
        UnknownNameError: A name in it is none.
        ValueError: It is no unit; with what was expected.
    """
    pieces = _pieces(text)
    meant = {**_SPELLED, **(otherwise or {})}
    found = []
    for kind, piece in pieces:
        if kind == "n":
            found.append(_known(piece, is_known, meant))
        elif kind == "p":
            found.append(f"**({piece.strip('*^()')})")
        else:
            found.append("*" if kind == "t" else piece)
    return "".join(found)


def _pieces(text: str) -> list[tuple[str, str]]:
    """The text's parts, each with the letter of its kind; they make a unit."""
    plain = unicodedata.normalize("NFC", text.strip()).translate(_SIGNS)
    if degrees := _DEGREES.fullmatch(plain):
        plain = f"°{degrees[1].upper()}"
    plain = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: f"**{found[0].translate(_DIGITS)}", plain)
    plain = re.sub(r"\s*([*/])\s*|(?<=\()\s+|\s+(?=\))", r"\1", plain)
    plain = re.sub(r"([°%]) (?=\w)", r"\1", plain)
    found = []
    at = 0
    while at < len(plain) <= _LONGEST:
        piece = _PIECE.match(plain, at)
        if piece is None or piece.lastgroup is None:
            break
        found.append((piece.lastgroup, piece[0]))
        at = piece.end()
    kinds = "".join(kind for kind, _ in found)
    is_whole = at == len(plain) and at > 0
    if not is_whole or not _is_unit(kinds, _LOOSE):
        raise ValueError(f'expected a unit such as "°C", "m³/h" or "W/(m² K)", got "{text}"')
    if not _is_unit(kinds, _GROUP):
        raise ValueError(
            f'expected parentheses around what it is divided by, as in "W/(m² K)", got "{text}"'
        )
    return found


def _is_unit(kinds: str, group: re.Pattern[str]) -> bool:
    """Whether parts of these kinds make a unit."""
    kinds = re.sub(r"np?", "x", kinds)
    before = ""
    while kinds != before:
        before, kinds = kinds, group.sub("x", kinds)
    return group.fullmatch(f"l{kinds}r") is not None


def _known(name: str, is_known: Callable[[str], bool], meant: Mapping[str, str]) -> str:
    """The name of a unit that pint knows, with a power where one is written behind it: ``m3``."""
    if name in meant:
        return meant[name]
    if is_known(name):
        return name
    base, power = name[:-1], name[-1:]
    if power in "23456789" and (base in meant or is_known(base)):
        return f"({meant.get(base, base)}**{power})"
    raise UnknownNameError(name)
