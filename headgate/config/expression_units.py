"""Whether the units in an expression go together, told when the configuration is read.

A channel without a unit, or with one that is no known unit, goes with anything. A number that is
added or compared has the unit of what stands beside it. One that multiplies may have a unit of its
own, as constants of formulas do, so that nothing is known of the product; only of a few it is plain
that they have none (``_FACTORS``), and then how large the unit is, is not known any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from headgate.config.conversion import conversion, kind_of, measure
from headgate.core.expressions.nodes import CHAINS, ExpressionError, Kind, Node

#: Numbers that count or convert, and are no constants of nature.
_FACTORS = {*range(1, 11), 12, 24, 60, 180, 360, 3600, 86_400, *(10**each for each in range(2, 13))}

#: Two units are equally large if they differ by no more than this part.
_SAME = 1e-9

_SECOND = (("[time]", Fraction(1)),)

_Powers = tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is known of the unit of a part.

    Attributes:
        powers: What it measures, as ``Measure.powers``; None: anything.
        scale: How large it is; None: it is not known.
        offset: What it is at 0; None: it is a difference, or not known.
        number: The number, where it is no more than that.
        text: How it is written; empty where it is worked out.
        is_difference: Whether it is known to be that of two values, so that no zero is meant.
    """

    powers: _Powers | None = None
    scale: float | None = None
    offset: float | None = None
    number: float | None = None
    text: str = ""
    is_difference: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it goes with anything."""
        return self.powers is None or self.number is not None

    @property
    def shown(self) -> str:
        """The unit as people write it."""
        if self.text:
            return f'"{self.text}"'
        powers = self.powers or ()
        names = (name.strip("[]") + ("" if power == 1 else f"^{power}") for name, power in powers)
        return kind_of(powers) or " · ".join(names)


_ANY = _Unit()
_PLAIN = _Unit((), 1.0)


def unit_of(
    node: Node,
    units: Mapping[str, str],
    wanted: object = None,
    to: object = None,
    differences: Collection[str] = (),
) -> bool:
    """Check that the units in an expression go together, and with that of what is worked out.

    Args:
        node: The expression.
        units: By channel, its unit; those that are not there, or empty, go with anything.
        wanted: The unit that what is worked out is said to be in, if it is said.
        to: The unit that it is converted to, if it is.
        differences: Channels whose values are differences, although their units don't say so.

    Returns:
        Whether it is known to be a difference.

    Raises:
        ExpressionError: They don't, and where.
    """
    found = _Checker(units, differences).of(node)
    _check_said(node, found, wanted)
    if found.is_difference and isinstance(wanted, str) and isinstance(to, str):
        _check_difference(node, wanted, to)
    return found.is_difference


def _check_difference(node: Node, unit: str, to: str) -> None:
    """A difference has no zero that could lie elsewhere: 5 °C more are 9 °F more, and not 41."""
    try:
        offset = conversion(unit, to).offset
    except ValueError:
        return  # told where these two stand
    if offset:
        raise ExpressionError(
            f'expected units of differences, got "{unit}" to "{to}", which adds '
            f'{float(offset):.6g}; write "delta_degC", "delta_degF" or "K" to "delta_degC"',
            node.at,
        )


def _check_said(node: Node, found: _Unit, wanted: object) -> None:
    """Hold what was found against the unit that it is said to be in."""
    if not isinstance(wanted, str) or not wanted.strip() or node.kind is Kind.CONDITION:
        return
    said = _read(wanted)
    if said.is_open or found.is_open:
        return
    if said.powers != found.powers:
        raise ExpressionError(f'expected a value in "{wanted}", got {found.shown}', node.at)
    if said.scale and found.scale and _differ(said.scale, found.scale):
        times = found.scale / said.scale
        raise ExpressionError(
            f'expected a value in "{wanted}", got one that is {times:.6g} times as large; give its '
            f'own unit, and to = "{wanted}"',
            node.at,
        )
    if _differ(said.offset, found.offset):
        raise ExpressionError(
            f'expected a value in "{wanted}", got {found.shown}; give that unit, and '
            f'to = "{wanted}"',
            node.at,
        )


def _read(text: str) -> _Unit:
    found = measure(text) if text.strip() else None
    if found is None:
        return _Unit(text=text)
    scale = None if found.has_turns else found.scale
    is_point = any(name == "[temperature]" for name, _ in found.powers) and len(found.powers) == 1
    is_difference = text.strip().startswith(("delta_", "Δ")) or not is_point
    offset = None if is_difference else found.offset
    return _Unit(found.powers, scale, offset, text=text)


def _differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return not math.isclose(one, other, rel_tol=_SAME)


class _Checker:
    """Goes through one expression."""

    def __init__(self, units: Mapping[str, str], differences: Collection[str]) -> None:
        self._units = units
        self._differences = differences
        same = ("+", "-", "%", "min", "max", "clip", "between", "<", "<=", ">", ">=", "==", "!=")
        kept = ("negative", "abs", "previous", *(f"{each} over" for each in _KEEPING))
        self._rules: dict[str, Callable[[Node, Sequence[_Unit]], _Unit]] = {
            "number": lambda node, _: _Unit((), None, number=node.number),
            "name": self._channel,
            "if": lambda node, args: self._same(node, args[1:], node.args[1:]),
            "*": self._product,
            "/": self._quotient,
            "**": self._power,
            "sqrt": lambda _, args: _raised(args[0], 0.5),
            "exp": self._plain,
            "log": self._plain,
            "round": lambda _, args: args[0],
            "rate": lambda _, args: _times(_difference(args[0]), _Unit(_SECOND, 1.0), -1),
            "integral": lambda _, args: _times(
                replace(_difference(args[0]), is_difference=False), _Unit(_SECOND, 1.0), 1
            ),
            "delta": lambda _, args: _difference(args[0]),
            "std over": lambda _, args: _difference(args[0]),
            "age": lambda *_: _Unit(_SECOND, 1.0, text="s"),
            "since": lambda *_: _Unit(_SECOND, 1.0, text="s"),
            "count over": lambda *_: _PLAIN,
            **dict.fromkeys(same, lambda node, args: self._same(node, args, node.args)),
            **dict.fromkeys(kept, lambda _, args: args[0]),
        }

    def of(self, node: Node) -> _Unit:
        """The unit of a part."""
        args = [self.of(each) for each in node.args]
        rule = self._rules.get(node.op)
        if rule is None:
            return _ANY
        if node.op not in CHAINS:
            return rule(node, args)
        found = args[0]
        for at, arg in enumerate(args[1:], 1):
            before = node.args[0] if at == 1 else replace(node, args=node.args[:at])
            found = rule(replace(node, args=(before, node.args[at])), (found, arg))
        return found

    def _same(self, node: Node, args: Sequence[_Unit], parts: Sequence[Node]) -> _Unit:
        """The unit of all of these, which must be one."""
        first: _Unit | None = None
        for unit, part in zip(args, parts, strict=True):
            if unit.is_open:
                continue
            if first is None:
                first = unit
                continue
            is_same = unit.powers == first.powers and not _differ(unit.scale, first.scale)
            if not is_same or _differ(unit.offset, first.offset):
                raise ExpressionError(
                    f"expected the same unit on both sides, {first.shown}, got {unit.shown}; "
                    "convert one where it is read (to = …)",
                    part.at,
                )
            if first.offset is None:
                first = unit
        is_minus = node.op == "-" and args[1].number is None
        if first is None:
            found = _ANY if any(unit.powers is None for unit in args) else args[0]
            return _difference(found) if is_minus and _are_alike(args, parts) else found
        if not is_minus:
            return first
        # What is less by a difference is what it was, and nothing is known beside what is open.
        is_difference = args[0].is_difference or not args[1].is_difference
        is_known = not any(unit.is_open for unit in args)
        found = _difference(first)
        return replace(found, is_difference=is_difference and is_known)

    def _channel(self, node: Node, _: Sequence[_Unit]) -> _Unit:
        unit = _read(self._units.get(node.name, ""))
        return _difference(unit) if node.name in self._differences else unit

    def _product(self, _: Node, args: Sequence[_Unit]) -> _Unit:
        return _times(args[0], args[1], 1)

    def _quotient(self, _: Node, args: Sequence[_Unit]) -> _Unit:
        return _times(args[0], args[1], -1)

    def _power(self, node: Node, args: Sequence[_Unit]) -> _Unit:
        base, power = args
        if power.number is not None:
            return _raised(base, power.number)
        for unit, part in zip(args, node.args, strict=True):
            self._check_plain(unit, part)
        return _ANY

    def _plain(self, node: Node, args: Sequence[_Unit]) -> _Unit:
        self._check_plain(args[0], node.args[0])
        return _ANY

    def _check_plain(self, unit: _Unit, part: Node) -> None:
        if unit.powers:
            raise ExpressionError(
                f"expected a plain number, got {unit.shown}; divide it by what is of the "
                "same kind, or write number(…) to leave its unit out",
                part.at,
            )


#: Functions of a span that give a value as those that they are given.
_KEEPING = ("mean", "min", "max", "median")


def _difference(unit: _Unit) -> _Unit:
    """The unit of the difference of two values."""
    return replace(unit, offset=None, number=None, is_difference=True)


def _are_alike(args: Sequence[_Unit], parts: Sequence[Node]) -> bool:
    """Whether two values of an unknown unit are surely of the same: of one channel, or one text."""
    one, other = args
    is_of_one = len(parts[0].names) == 1 and parts[0].names == parts[1].names
    return (is_of_one or bool(one.text and one.text == other.text)) and not other.is_difference


def _times(one: _Unit, other: _Unit, power: int) -> _Unit:
    """The unit of a product, or with -1 of a quotient."""
    if one.powers is None or other.powers is None:
        return _ANY
    for unit in (one, other):
        if unit.number is not None and abs(unit.number) not in _FACTORS:
            return _ANY
    if one.number is not None and other.number is not None:
        return _ANY
    powers: dict[str, Fraction] = dict(one.powers)
    for name, times in other.powers:
        powers[name] = powers.get(name, Fraction(0)) + times * power
    kept = tuple(sorted((name, each) for name, each in powers.items() if each))
    is_known = one.scale is not None and other.scale is not None
    scale = one.scale * other.scale**power if is_known else None  # type: ignore[operator]
    is_difference = any(
        unit.is_difference and _has_zero(unit.powers or ()) for unit in (one, other)
    )
    return _Unit(kept, scale, is_difference=is_difference)


def _has_zero(powers: _Powers) -> bool:
    """Whether it measures what has a zero that units differ in: temperature."""
    return any(name == "[temperature]" for name, _ in powers)


def _raised(unit: _Unit, power: float) -> _Unit:
    """The unit of a power."""
    if unit.powers is None or unit.number is not None:
        return _ANY
    exact = Fraction(power).limit_denominator(1000)
    kept = tuple((name, each * exact) for name, each in unit.powers if exact)
    try:
        return _Unit(kept, None if unit.scale is None else unit.scale**power)
    except OverflowError:
        return _Unit(kept)
