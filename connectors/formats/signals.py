"""What a record says of one channel: a number, nothing, or something that is no number.

One bad field takes none of its neighbours down: it is MISSING, marked BAD_FIELD, and told of. In a
``strict`` feed it refuses its record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan

from connectors.formats.numbers import MAX_NUMBER, is_literal, number_text, shown
from connectors.formats.paths import ABSENT, getter
from headgate.core.batch import Quality
from headgate.core.errors import DataError

#: Texts that mean a number that is none, in small letters.
_NOT_FINITE = frozenset(
    sign + word for sign in ("", "+", "-") for word in ("nan", "inf", "infinity")
)

#: Stands for a value that is not there; an object of its own, told by identity.
SKIP = float("nan")

_MISSING = int(Quality.MISSING)
_BAD = int(Quality.MISSING | Quality.BAD_FIELD)
_NO_NUMBER = int(Quality.MISSING | Quality.BAD_FIELD | Quality.NOT_FINITE)
_OVERFLOWN = int(Quality.MISSING | Quality.NOT_FINITE)


@dataclass(frozen=True, slots=True)
class Signal:
    """One channel of the configuration, ready for use.

    Attributes:
        name: The channel's name.
        path: Where it stands in a record.
        scale: Multiplies what was found.
        offset: Is added to that.
        is_required: Whether a record without it is refused.
        is_strict: Whether a record in which it is no number is refused.
    """

    name: str
    path: str
    scale: float
    offset: float
    is_required: bool
    is_strict: bool
    #: The path when it is a key of the record; else None, and ``get`` looks it up.
    key: str | None = field(init=False)
    get: Callable[[object], object] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", None if "." in self.path else self.path)
        object.__setattr__(self, "get", getter(self.path))

    def odd_value(self, value: object) -> tuple[float, int, str]:
        """What a value is that is no plain number.

        Returns:
            The number, NaN where there is none and ``SKIP`` where there is no such field; quality
            bits; and the word for what is wrong with the field, empty when nothing is.

        Raises:
            DataError: It refuses its record.
        """
        if value is ABSENT:
            if self.is_required:
                raise DataError("missing_field", f"{self.name} is required and absent")
            return SKIP, 0, ""
        if value is None:
            return nan, _MISSING, ""
        if type(value) is str and not self.is_strict:
            found = _number_in(value)
            if found is not None:
                value = found
        if type(value) is int or type(value) is bool or type(value) is float:
            number = _as_float(value) * self.scale + self.offset
            return (number, 0, "") if number - number == 0 else self.overflown()
        word = word_for(value)
        if self.is_strict:
            raise DataError("wrong_type", f"{self.name}: expected a number, got {shown(value)}")
        return nan, _NO_NUMBER if word == "not_finite" else _BAD, word

    def overflown(self) -> tuple[float, int, str]:
        """What ``odd_value`` says of a number that is larger than a float can be."""
        return (nan, _OVERFLOWN, "") if self.is_strict else (nan, _NO_NUMBER, "not_finite")


def word_for(value: object) -> str:
    """One word for what stands where a number should: a counter's label."""
    if type(value) is str:
        if len(value) > MAX_NUMBER:
            return "text"
        if is_literal(value) or value.strip().lower() in _NOT_FINITE:
            return "not_finite"
        return "text" if value.strip() else "empty"
    return "array" if type(value) is list else "object"


def _number_in(text: str) -> float | None:
    number = number_text(text)
    return None if number is None else float(number)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf
