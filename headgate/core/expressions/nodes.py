"""What an expression is made of, once it has been read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto


class Kind(Enum):
    """What an expression gives."""

    NUMBER = auto()
    CONDITION = auto()


#: Functions of numbers that look at one time only: how many arguments they take, at least and most.
POINTWISE = {
    "abs": (1, 1),
    "min": (2, 16),
    "max": (2, 16),
    "sqrt": (1, 1),
    "exp": (1, 1),
    "log": (1, 1),
    "round": (1, 2),
    "clip": (3, 3),
    "between": (3, 3),
    "isnan": (1, 1),
    "number": (1, 1),
}

#: Functions of the readings so far.
OVER_TIME = ("previous", "delta", "rate", "integral", "age")

#: Functions of the readings of a span of time, which is their second argument.
OVER_SPAN = ("mean", "min", "max", "std", "median", "count")

#: Readings that such a span may have; with more its value is missing.
MAX_SPAN_ROWS = 4096

#: Functions of how long a condition holds; the second of them has a span.
OF_CONDITION = ("since", "hold")

#: All names that are functions when they are called.
FUNCTIONS = tuple(dict.fromkeys([*POINTWISE, *OVER_TIME, *OVER_SPAN, *OF_CONDITION]))

#: Operators of which several in a row are one part: each takes in what came of those before it.
CHAINS = ("+", "-", "*", "/")

#: What gives a condition.
_CONDITIONS = frozenset(
    ("<", "<=", ">", ">=", "==", "!=", "and", "or", "not", "between", "isnan", "hold")
)


class ExpressionError(ValueError):
    """An expression that can't be read.

    Args:
        what: What was expected there, what was found, and what to do.
        at: Where it stands, as the number of a character from 0.
        text: The expression. Empty: it is put in where it is known.
    """

    def __init__(self, what: str, at: int, text: str = "") -> None:
        super().__init__(what)
        self.at = at
        self.text = text

    @property
    def pointer(self) -> tuple[str, ...]:
        """The expression, and below it a caret under the character; of a long one a part."""
        first = max(0, self.at - _SHOWN // 2)
        part = self.text[first : first + _SHOWN]
        line = "".join(sign if sign.isprintable() else " " for sign in part)
        return (f"    {line}", f"    {' ' * (self.at - first)}^") if self.text else ()


#: Characters of a line that a caret stands below.
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression, and all of it.

    Attributes:
        op: An operator, ``number``, ``name``, ``if``, or a function; of a span ``mean over`` …
        args: What it is worked out from; of one of ``CHAINS`` two or more.
        at: Where it stands, as the number of a character from 0. Equal parts need not stand in
            the same place.
        number: Of a number.
        name: Of a name: a channel.
        span_ns: Of a function with a span, ns.
    """

    op: str
    args: tuple[Node, ...] = ()
    at: int = field(default=0, compare=False)
    number: float = 0.0
    name: str = ""
    span_ns: int = 0

    @property
    def kind(self) -> Kind:
        """Whether it is a number or a condition."""
        return Kind.CONDITION if self.op in _CONDITIONS else Kind.NUMBER

    @property
    def names(self) -> tuple[str, ...]:
        """The channels in it, in the order in which they are named, each once."""
        return tuple(dict.fromkeys(each.name for each in self.walk() if each.op == "name"))

    def walk(self) -> Iterator[Node]:
        """All its parts, and itself first."""
        yield self
        for each in self.args:
            yield from each.walk()

    def __str__(self) -> str:
        """It in one way of writing: the same for the same."""
        if self.op == "number":
            return repr(self.number)
        if self.op == "name":
            return f"`{self.name}`"
        span = [f"{self.span_ns}ns"] if self.span_ns else []
        return f"({' '.join([self.op, *map(str, self.args), *span])})"
