"""Texts that readings of text channels say, by their codes.

A reading has room for one float. What a text channel says stands there as a *code*: a hash of the
text, so that a text has the same code in every process and after every restart, and equal texts are
equal numbers to whoever only compares them. The texts themselves are kept beside the channels, and
travel with every record and snapshot that has codes in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import DataError

#: Longest text, in characters.
MAX_TEXT = 256

#: Stands for a text that is not known: the record that had it is damaged.
UNKNOWN_TEXT = "?"

#: Bits of a hash that a float does not hold exactly.
_LOST_BITS = 12

#: Texts whose codes are remembered: most are said again and again.
_CODES_KEPT = 1 << 14

_Of = TypeVar("_Of")


@lru_cache(_CODES_KEPT)
def code_of(text: str) -> float:
    """The code of a text: a whole number of 52 bits."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return float(int.from_bytes(digest) >> _LOST_BITS)


class Texts:
    """The texts of the channels of a table, by row and code."""

    def __init__(self) -> None:
        self._by_row: dict[int, dict[float, str]] = {}
        # Likewise, when each was added last, by a time that is set from outside.
        self._said_ns: dict[int, dict[float, int]] = {}
        self.now_ns = 0

    def add(self, row: int, text: str) -> float:
        """Keep a text of a channel; its code.

        Raises:
            DataError: ``bad_text``: another text of the channel has the same code.
        """
        code = code_of(text)
        if self._by_row.setdefault(row, {}).setdefault(code, text) != text:
            raise DataError("bad_text", f"{text!r:.60} can't be told from another text")
        self._said_ns.setdefault(row, {})[code] = self.now_ns
        return code

    def text(self, row: int, code: float) -> str:
        """The text of a channel that has this code."""
        return self._by_row.get(row, {}).get(code, UNKNOWN_TEXT)

    def known(self, row: int) -> Mapping[float, str]:
        """The texts of a channel, by code."""
        return self._by_row.get(row, {})

    def of(self, rows: Sequence[int]) -> list[tuple[int, str]]:
        """All texts of these channels, each with its channel's place among them."""
        return [
            (place, text)
            for place, row in enumerate(rows)
            if row in self._by_row
            for text in self._by_row[row].values()
        ]

    def forget(self, rows: Iterable[int]) -> None:
        """Drop the texts of these channels."""
        for row in rows:
            self._by_row.pop(row, None)
            self._said_ns.pop(row, None)

    def keep(self, rows: Sequence[int], values: NDArray[np.float64]) -> None:
        """Drop the texts of these channels but those whose codes are among these values.

        Args:
            rows: Of the channels.
            values: float64[n]; codes, and anything else.
        """
        rows = [row for row in rows if row in self._by_row]
        if not rows:
            return
        # The codes are few, the values are many.
        codes = np.unique([code for row in rows for code in self._by_row[row]])
        at = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
        kept = {*values[codes[at] == values].tolist()} if len(codes) else set[float]()
        for row in rows:
            for code in self._by_row[row].keys() - kept:
                del self._by_row[row][code], self._said_ns[row][code]

    def forget_before(self, time_ns: int) -> None:
        """Drop the texts that were added last before this time."""
        for row, said_ns in self._said_ns.items():
            for code in [code for code, each_ns in said_ns.items() if each_ns < time_ns]:
                del said_ns[code], self._by_row[row][code]

    def renumbered(self, rows: Sequence[int]) -> Texts:
        """The same under new numbers: by row the new one, below 0 for what is gone."""
        texts = Texts()
        texts.now_ns = self.now_ns
        texts._by_row = _renumbered(self._by_row, rows)
        texts._said_ns = _renumbered(self._said_ns, rows)
        return texts


def _renumbered(by_row: Mapping[int, _Of], rows: Sequence[int]) -> dict[int, _Of]:
    return {rows[row]: each for row, each in by_row.items() if rows[row] >= 0}


def is_fit(text: str) -> bool:
    """Whether a text may be one of a channel: neither empty nor long, nor with blanks around it.

    Nor may it have characters that no display shows, or that are none of Unicode.
    """
    if not 0 < len(text) <= MAX_TEXT or text != text.strip():
        return False
    return text.isprintable() or not any(map(_is_unfit, text))


def _is_unfit(letter: str) -> bool:
    return letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff"
