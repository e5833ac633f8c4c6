"""What many records say of one text channel: as ``TextSignals`` says it, of all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from connectors.formats.paths import ABSENT
from connectors.formats.texts import TextSignal, TextSignals
from headgate.core.batch import Quality
from headgate.core.errors import DataError

_MISSING = int(Quality.MISSING)
_BAD = int(Quality.MISSING | Quality.BAD_FIELD)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """What there is of a text channel in some records.

    Attributes:
        code: float64[r], NaN where there is no text.
        quality: uint16[r], quality bits.
        is_absent: bool[r], whether there is no such field.
        is_full: bool[r], whether the text is one too many, for which its record is refused when all
            else of it is taken.
        bad: For each record of which the field is no text, a word for what is wrong with it.
        values: What stands in the records.
    """

    code: NDArray[np.float64]
    quality: NDArray[np.uint16]
    is_absent: NDArray[np.bool_]
    is_full: NDArray[np.bool_]
    bad: dict[int, str]
    values: list[object]

    @classmethod
    def of(
        cls,
        signal: TextSignal,
        records: Sequence[object],
        channels: Sequence[int],
        is_refused: NDArray[np.bool_],
        texts: TextSignals,
    ) -> TextColumn:
        """What records say of a channel, as ``TextSignals.add`` has it of each.

        Args:
            signal: The channel.
            records: The records.
            channels: Of each the channel's row.
            is_refused: bool[r], which are refused already; gets those that are for this.
            texts: Those of the feed.
        """
        count = len(records)
        column = cls(
            np.full(count, nan),
            np.full(count, _MISSING, np.uint16),
            np.zeros(count, np.bool_),
            np.zeros(count, np.bool_),
            {},
            list(map(signal.find, records)),
        )
        said: dict[object, tuple[str, str] | None] = {}
        codes: dict[tuple[int, str], float | None] = {}
        for row, value in enumerate(column.values):
            if is_refused[row]:
                continue
            if value is ABSENT:
                column.is_absent[row], is_refused[row] = True, signal.is_required
                continue
            # Of the same numbers and truths not all say the same.
            key = (type(value), value) if type(value) in _ALIKE else (type(value), row)
            if key not in said:
                said[key] = _text_or_none(signal, value)
            found = said[key]
            if found is None:
                is_refused[row] = True
                continue
            column._take(row, *found, channels[row], codes, texts)
        return column

    def _take(
        self,
        row: int,
        text: str,
        word: str,
        channel: int,
        codes: dict[tuple[int, str], float | None],
        texts: TextSignals,
    ) -> None:
        if word:
            self.bad[row], self.quality[row] = word, _BAD
        if not text:
            return
        if (channel, text) not in codes:
            codes[channel, text] = texts.code_if_any(channel, text)
        code = codes[channel, text]
        if code is None:
            self.is_full[row], self.quality[row] = True, _BAD
        else:
            self.code[row], self.quality[row] = code, 0


#: Kinds of values that are alike where they are equal.
_ALIKE = frozenset({str, int, bool, float, type(None)})


def _text_or_none(signal: TextSignal, value: object) -> tuple[str, str] | None:
    try:
        return signal.text_of(value)
    except DataError:
        return None
