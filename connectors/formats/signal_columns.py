"""What many records say of one channel: as ``Signal.odd_value`` says it, of all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.beside import DOUBTED
from connectors.formats.columns import BAD_AT_SOURCE
from connectors.formats.numbers import as_written
from connectors.formats.paths import ABSENT
from connectors.formats.signals import (
    NO_NUMBER,
    OVERFLOWN,
    Lines,
    Signal,
    as_float,
    odd_number,
    word_for,
)
from headgate.config.channel import plain
from headgate.core.batch import Quality

_MISSING = int(Quality.MISSING)
_BAD = int(Quality.MISSING | Quality.BAD_FIELD)


@dataclass(frozen=True, slots=True)
class SignalColumn:
    """What there is of a channel in some records.

    Attributes:
        value: float64[r], NaN where there is none.
        quality: uint16[r], quality bits.
        is_absent: bool[r], whether there is no such field.
        is_refused: bool[r], whether the record is refused for it.
        bad: For each record of which the field is bad, a word for what is wrong with it.
    """

    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    is_absent: NDArray[np.bool_]
    is_refused: NDArray[np.bool_]
    bad: dict[int, str]

    @classmethod
    def of(cls, signal: Signal, values: Sequence[Any]) -> SignalColumn:
        """What these values are, of which each stands in a record, or is ``ABSENT``.

        Args:
            signal: The channel.
            values: One a record, of any kind.
        """
        count = len(values)
        column = cls(
            np.full(count, np.nan),
            np.zeros(count, np.uint16),
            np.zeros(count, np.bool_),
            np.zeros(count, np.bool_),
            {},
        )
        types = list(map(type, values))
        kinds = set(types)
        for kind in kinds:
            rows, of_them = None, values
            if len(kinds) > 1:
                is_such = [each is kind for each in types]
                rows, of_them = np.flatnonzero(is_such), list(compress(values, is_such))
            column._take(signal, kind, np.arange(count) if rows is None else rows, of_them)
        return column

    def _take(
        self, signal: Signal, kind: type, rows: NDArray[np.intp], values: Sequence[Any]
    ) -> None:
        """Take values of one kind, which stand in these records."""
        if kind is str:
            self._take_texts(signal, rows, values)
        elif kind is float or kind is int or kind is bool:
            self._take_numbers(signal, rows, _floats(values), may_be_none=kind is not bool)
        elif values[0] is None:
            self.quality[rows] = _MISSING
        elif values[0] is DOUBTED:
            self.quality[rows] = BAD_AT_SOURCE
        elif values[0] is ABSENT:
            self.is_absent[rows] = True
            self.is_refused[rows] = signal.is_required
        else:
            self._refuse(signal, rows.tolist(), values)

    def _take_texts(self, signal: Signal, rows: NDArray[np.intp], texts: Sequence[str]) -> None:
        is_left = np.ones(len(texts), np.bool_)
        if signal.states or signal.no_reading_texts:
            words = [plain(as_written(text)) for text in texts]
            means_none = np.array([word in signal.no_reading_texts for word in words], np.bool_)
            is_state = np.array([word in signal.states for word in words], np.bool_) & ~means_none
            is_left = ~(means_none | is_state)
            self.quality[rows[means_none]] = _MISSING
            numbers = [signal.states[word] for word in compress(words, is_state.tolist())]
            self._take_numbers(signal, rows[is_state], np.array(numbers, np.float64))
            texts = list(compress(texts, is_left.tolist()))
        rows = rows[is_left]
        if signal.is_strict and not signal.writing.is_given:
            self.is_refused[rows] = True
            return
        found = signal.writing.numbers(texts)
        if signal.by_suffix:
            is_left = self._take_converted(signal, rows, texts, found)
            rows, found = rows[is_left], found[is_left]
            texts = list(compress(texts, is_left.tolist()))
        if not signal.is_strict:
            rows, found, texts = self._take_odd(signal, rows, found, texts)
        is_number = ~np.isnan(found)
        if is_number.all():
            self._take_numbers(signal, rows, found)
            return
        self._take_numbers(signal, rows[is_number], found[is_number])
        self._refuse(signal, rows[~is_number].tolist(), list(compress(texts, ~is_number)))

    def _take_odd(
        self,
        signal: Signal,
        rows: NDArray[np.intp],
        found: NDArray[np.float64],
        texts: Sequence[str],
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], Sequence[str]]:
        """Take truths in texts; what is left, with the numbers that stand in texts otherwise."""
        is_truth = np.zeros(len(texts), np.bool_)
        for at in np.flatnonzero(np.isnan(found)).tolist():
            number = odd_number(texts[at])
            is_truth[at] = isinstance(number, bool)
            found[at] = number
        if not is_truth.any():
            return rows, found, texts
        self._take_numbers(signal, rows[is_truth], found[is_truth], may_be_none=False)
        return rows[~is_truth], found[~is_truth], list(compress(texts, ~is_truth))

    def _take_converted(
        self,
        signal: Signal,
        rows: NDArray[np.intp],
        texts: Sequence[str],
        found: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Take numbers with another unit than the channel's behind them; bool[r], which are left.

        Args:
            signal: The channel.
            rows: Their records.
            texts: Them, as they are written.
            found: float64[r], the numbers that stand there; NaN for none.
        """
        suffixes = np.array(list(map(signal.writing.suffix_of, texts)), object)
        is_left = np.ones(len(texts), np.bool_)
        for suffix, whose in signal.by_suffix.items():
            is_such = (suffixes == suffix) & ~np.isnan(found)
            if is_such.any():
                self._take_numbers(whose, rows[is_such], found[is_such])
                is_left &= ~is_such
        return is_left

    def _take_numbers(
        self,
        signal: Signal,
        rows: NDArray[np.intp],
        found: NDArray[np.float64],
        *,
        may_be_none: bool = True,
    ) -> None:
        value = Lines([signal]).kept(found, 0)
        quality = np.zeros(len(rows), np.uint16)
        is_none = np.zeros(len(rows), np.bool_)
        if signal.no_reading and may_be_none:
            is_none = np.isin(found, list(signal.no_reading))
            quality[is_none] = _MISSING
        is_odd = ~np.isfinite(value) & ~is_none
        if is_odd.any():
            quality[is_odd] = OVERFLOWN if signal.is_strict else NO_NUMBER
            if not signal.is_strict:
                self.bad.update(dict.fromkeys(rows[is_odd].tolist(), "not_finite"))
        value[is_none | is_odd] = np.nan
        self.value[rows], self.quality[rows] = value, quality

    def _refuse(self, signal: Signal, rows: Sequence[int], values: Sequence[object]) -> None:
        """Take what is no number."""
        if signal.is_strict:
            self.is_refused[rows] = True
            return
        words = [word_for(value) for value in values]
        self.quality[rows] = [NO_NUMBER if word == "not_finite" else _BAD for word in words]
        self.bad.update(zip(rows, words, strict=True))


def _floats(values: Sequence[float]) -> NDArray[np.float64]:
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return np.array(list(map(as_float, values)), np.float64)
