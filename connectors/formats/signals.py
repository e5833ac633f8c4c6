"""What a record says of one channel: a number, nothing, or something that is no number.

One bad field takes none of its neighbours down: it is MISSING, marked BAD_FIELD, and told of. In a
``strict`` feed it refuses its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.beside import DOUBTED, Beside, Odd
from connectors.formats.columns import BAD_AT_SOURCE
from connectors.formats.numbers import (
    MAX_NUMBER,
    Writing,
    as_written,
    is_literal,
    number_text,
    shown,
)
from connectors.formats.paths import ABSENT, getter_of, with_default
from headgate.config.channel import ChannelConfig, UnitsConfig, plain
from headgate.config.payload_path import parts_of
from headgate.core.batch import Quality
from headgate.core.errors import DataError

#: Texts that are true and false, as devices write them that know texts only.
_TRUTHS = {"true": True, "false": False}

#: Texts that mean a number that is none, in small letters.
_NOT_FINITE = frozenset(
    sign + word for sign in ("", "+", "-") for word in ("nan", "inf", "infinity")
)

#: By how much numbers are multiplied to be whole ones, as they are with up to six decimals; and the
#: largest of which a float has every one.
_DECIMALS = 1e6
_WHOLE = float(2**53)

#: Stands for a value that is not there; an object of its own, told by identity.
SKIP = float("nan")

_MISSING = int(Quality.MISSING)
_BAD = int(Quality.MISSING | Quality.BAD_FIELD)
#: Of a field that holds a number which is none, and of one that became so large.
NO_NUMBER = int(Quality.MISSING | Quality.BAD_FIELD | Quality.NOT_FINITE)
OVERFLOWN = int(Quality.MISSING | Quality.NOT_FINITE)


@dataclass(frozen=True, slots=True)
class Signal:
    """One channel of the configuration, ready for use.

    Attributes:
        name: The channel's name.
        path: Where it stands in a record.
        scale: Multiplies what was found, and makes it one in the unit that is kept.
        offset: Is added to that, likewise.
        line: The same exactly, as ``ChannelConfig.exact_line`` has it.
        others: Where else it may stand in a record.
        beside: What stands beside the value, or in its bits, and says what it means; None: nothing.
        by_suffix: By what stands behind a number that is another unit than the channel's, the same
            channel with the line of that.
        is_required: Whether a record without it is refused.
        is_strict: Whether a record in which it is no number is refused.
        states: By plain text, the number that it means.
        no_reading: Numbers that say there is none.
        no_reading_texts: Plain texts that say so.
        writing: How numbers are written that are texts.
        default: What a field is that is absent while what it would stand in is there.
    """

    name: str
    path: str
    scale: float
    offset: float
    is_required: bool
    is_strict: bool
    states: Mapping[str, float] = field(default_factory=dict)
    no_reading: frozenset[float] = frozenset()
    no_reading_texts: frozenset[str] = frozenset()
    writing: Writing = field(default_factory=Writing)
    default: float | None = None
    line: tuple[float, float, float] = (1.0, 0.0, 1.0)
    others: tuple[str, ...] = ()
    beside: Beside | None = None
    by_suffix: Mapping[str, Signal] = field(default_factory=dict)
    #: The path when it is a key of the record; else None, and ``get`` looks it up.
    key: str | None = field(init=False)
    get: Callable[[object], object] = field(init=False)
    #: The same without the default.
    find: Callable[[object], object] = field(init=False)
    #: Of smaller millionths the line is worked out with whole numbers; 0: of none.
    exact_below: float = field(init=False)

    def __post_init__(self) -> None:
        parts = parts_of(self.path)
        is_key = len(parts) == 1 and self.default is None and not self.others
        find = getter_of((self.path, *self.others))
        object.__setattr__(self, "key", parts[0] if is_key else None)
        object.__setattr__(self, "find", find)
        get = find if self.default is None else with_default(self.path, self.default, self.others)
        object.__setattr__(self, "get", get)
        object.__setattr__(self, "exact_below", _exact_below(*self.line))

    @classmethod
    def of(
        cls,
        name: str,
        config: ChannelConfig,
        *,
        is_strict: bool,
        units: UnitsConfig | None = None,
    ) -> Signal:
        """The channel of this name of a feed; with ``units`` in place of its own."""
        scale, offset = config.line(units)
        entries = map(_number, config.missing)
        no_reading = frozenset(number for number in entries if number is not None)
        beside = Beside.of(config, no_reading)
        made = cls(
            name,
            config.path or name,
            scale,
            offset,
            config.required,
            is_strict,
            config.words,
            # What comes of bits, or of a power of ten, is no longer what stands in the payload.
            frozenset() if beside is not None and beside.counts_otherwise else no_reading,
            frozenset(plain(each) for each in config.missing if isinstance(each, str)),
            Writing(config.decimal, tuple(config.behind(units)), config.base),
            config.default,
            config.exact_line(units),
            config.or_path,
            beside,
        )
        by_suffix = {}
        for suffix in config.of_suffixes(units):
            scale, offset = config.line(units, suffix)
            line = config.exact_line(units, suffix)
            by_suffix[suffix] = replace(made, scale=scale, offset=offset, line=line)
        return replace(made, by_suffix=by_suffix) if by_suffix else made

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
        whose = self
        if type(value) is str:
            whose = self._of_text(value) if self.by_suffix else self
            value = self._number_in(value)
        if type(value) is int or type(value) is bool or type(value) is float:
            found = as_float(value)
            if type(value) is not bool and found in self.no_reading:
                return nan, _MISSING, ""
            number = whose.kept(found)
            return (number, 0, "") if number - number == 0 else self.overflown()
        if value is None:
            return nan, _MISSING, ""
        if value is DOUBTED:
            return nan, BAD_AT_SOURCE, ""
        word = word_for(value)
        if self.is_strict:
            raise DataError("wrong_type", f"{self.name}: expected a number, got {shown(value)}")
        return nan, NO_NUMBER if word == "not_finite" else _BAD, word

    def meant(self, found: object, record: object, said: object = None) -> object:
        """What a value means, with what stands beside it; itself where nothing does.

        Where what stands there makes no number of it, what comes of it is none.

        Args:
            found: The value.
            record: What it was looked up in.
            said: What is said beside it; None: all of that stands in the record.
        """
        beside = self.beside
        if beside is None or found is ABSENT:
            return found
        if beside.is_doubted(record, said):
            return DOUBTED
        if not beside.counts_otherwise:
            return found
        number = self._number_in(found) if type(found) is str else found
        is_number = isinstance(number, int | float)
        return beside.number(number, record, said) if is_number else found  # type: ignore[arg-type]

    def kept(self, found: float) -> float:
        """What a number in the payload is in the unit that is kept.

        Of one with up to six decimals it is the nearest number there is, if ``exact_below`` says
        so: 20.2 is 202 tenths there, and no float that is a little less.
        """
        times, plus, over = self.line
        millionths = found * _DECIMALS
        if -self.exact_below < millionths < self.exact_below:
            whole = float(round(millionths))
            if whole / _DECIMALS == found:
                return (whole * times + plus * _DECIMALS) / (over * _DECIMALS)
        number = (found * times + plus) / over
        # On the way it may have been larger than a float can be.
        return number if number - number == 0 else found * self.scale + self.offset

    def _of_text(self, text: str) -> Signal:
        """The channel with the line that the number in a text is on: that of what is behind it."""
        if plain(as_written(text)) in self.states or self.writing.number(text) is None:
            return self
        return self.by_suffix.get(self.writing.suffix_of(text), self)

    def _number_in(self, text: str) -> object:
        """The number that a text means, None where it means that there is none, or the text."""
        if self.states or self.no_reading_texts:
            word = plain(as_written(text))
            if word in self.no_reading_texts:
                return None
            if word in self.states:
                return self.states[word]
        if self.is_strict and not self.writing.is_given:
            return text
        number = self.writing.number(text)
        if number is None and not self.is_strict:
            number = odd_number(text)
        return text if number is None else number

    def overflown(self) -> tuple[float, int, str]:
        """What ``odd_value`` says of a number that is larger than a float can be."""
        return (nan, OVERFLOWN, "") if self.is_strict else (nan, NO_NUMBER, "not_finite")


class Lines:
    """The lines of some channels, for many numbers at a time; see ``Signal.kept``."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._scale = np.array([signal.scale for signal in signals])
        self._offset = np.array([signal.offset for signal in signals])
        self._times, self._plus, self._over = (
            np.array([signal.line for signal in signals]).reshape(-1, 3).T.copy()
        )
        self._is_divided = bool((self._over != 1).any())
        self._exact_below = np.array([signal.exact_below for signal in signals])
        self._is_exact = bool(self._exact_below.any())

    def kept(self, value: NDArray[np.float64], at: Any) -> NDArray[np.float64]:  # noqa: ANN401  (an index)
        """What numbers in the payload are in the units that are kept.

        Args:
            value: float64[r, channel], or [r, 1] of one channel each.
            at: Which channels these are: all of them, or one a row.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            numbers: NDArray[np.float64] = value * self._times[at] + self._plus[at]
            if self._is_divided:
                numbers /= self._over[at]
            if self._is_exact:
                self._make_exact(numbers, value, at)
            if not self._is_divided:
                return numbers
            if not np.isfinite(numbers).all():
                by_scale = value * self._scale[at] + self._offset[at]
                numbers = np.where(np.isfinite(numbers), numbers, by_scale)
        return numbers

    def _make_exact(
        self,
        numbers: NDArray[np.float64],
        value: NDArray[np.float64],
        at: Any,  # noqa: ANN401  (an index)
    ) -> None:
        """Put in what is worked out with whole numbers, where it can be; see ``Signal.kept``."""
        whole = value * _DECIMALS
        is_exact = np.abs(whole) < self._exact_below[at]
        np.rint(whole, out=whole)
        is_exact &= whole / _DECIMALS == value
        whole *= self._times[at]
        whole += self._plus[at] * _DECIMALS
        whole /= self._over[at] * _DECIMALS
        np.copyto(numbers, whole, where=is_exact)


def _exact_below(times: float, plus: float, over: float) -> float:
    """Of how many millionths a line is worked out in whole numbers without loss; 0 for none.

    Where numbers are only divided there is one rounding anyhow.
    """
    whole = plus * _DECIMALS
    if (times, plus) == (1, 0) or over * _DECIMALS >= _WHOLE or abs(whole) >= _WHOLE:
        return 0.0
    return (_WHOLE - abs(whole)) / abs(times)


def odd_number(text: str) -> float | None:
    """What a text is that holds what JSON would: a truth, or the only number of an array.

    A truth is one in a text, too: it is none of the numbers that say that there is no reading.
    """
    word = text[:MAX_NUMBER].strip()
    if word.startswith("[") and word.endswith("]"):
        inner = number_text(word[1:-1])
        return None if inner is None else float(inner)
    return _TRUTHS.get(word.lower())


def _number(entry: float | str) -> float | None:
    """The number that an entry of ``missing`` is, also where it is written as a text."""
    text = number_text(entry) if isinstance(entry, str) else entry
    return None if text is None else float(text)


def word_for(value: object) -> str:
    """One word for what stands where a number should: a counter's label."""
    if type(value) is str:
        if len(value) > MAX_NUMBER:
            return "text"
        if is_literal(value) or value.strip().lower() in _NOT_FINITE:
            return "not_finite"
        return "text" if value.strip() else "empty"
    if type(value) is Odd:
        return value.word
    return "array" if type(value) is list else "object"


def as_float(value: float) -> float:
    """A number as a float; infinite where none is so large."""
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf
