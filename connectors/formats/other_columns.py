"""Channels that no table of their feed names, of many records at once; see ``others.py``.

What is new, and whatever is more than a number of a channel that is known, is left to the careful
way, and with it each message in which the same field stands: until then its channel is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.formats.devices import Devices, Failed
from connectors.formats.format import Typed
from connectors.formats.others import CAREFUL, Others
from connectors.formats.signals import Lines

#: In place of a row: there is no channel of the kind, or it is none of these.
NO_ROW: Final = -1

#: More names than any format remembers.
_NAMES: Final = 1 << 32


class OtherReadings(NamedTuple):
    """What records have of channels that are not listed.

    Attributes:
        row: int32[r], the channel's row of the table; ``NO_ROW`` where there is no reading of one.
        value: float64[r], in the unit that is kept; NaN where it is missing.
    """

    row: NDArray[np.int32]
    value: NDArray[np.float64]

    def of(self, rows: NDArray[np.bool_]) -> OtherReadings:
        """Those of these records, bool[r]."""
        return OtherReadings(self.row[rows], self.value[rows])


class OtherColumns:
    """Finds them.

    Args:
        others: What is so of each field by itself.
        devices: The feed's devices.
        listed: How many channels are listed.
    """

    def __init__(self, others: Others, devices: Devices, listed: int) -> None:
        self._others, self._devices, self._listed = others, devices, listed
        self._no_reading = np.array(sorted(others.no_reading))
        self._lines = Lines(others.signals)
        # What was known when ``_rows`` was begun: it is of no other names, and rows.
        self._names: Sequence[str] | None = None
        self._generation = devices.generation
        # By name, which of the lines its values are on, or what else becomes of it; and by place
        # and name the row.
        self._ways: NDArray[np.intp] = np.empty(0, np.intp)
        self._rows: dict[int, int] = {}

    def readings(
        self, typed: Typed, places: NDArray[np.intp], failed: Failed
    ) -> OtherReadings | None:
        """What records have of them; None where nothing can be of one.

        Args:
            typed: The records, each with one field.
            places: intp[r], the places of their devices; of those that have failed any.
            failed: Gets those of which something is for the careful way.
        """
        unlisted, which = typed.unlisted, typed.which
        if unlisted is None or which is None:
            return None
        found = OtherReadings(np.full(len(which), NO_ROW, np.int32), np.full(len(which), np.nan))
        is_other = which >= self._listed
        if failed:
            is_other &= ~np.isin(typed.owner, np.array([*failed], np.intp))
        at = np.flatnonzero(is_other)
        self._look_at(unlisted.names)
        name = which[at] - self._listed
        way = self._ways[name]
        failed.update(dict.fromkeys(typed.owner[at[way == CAREFUL]].tolist()))
        is_read = way >= 0
        if not is_read.all():
            at, name, way = at[is_read], name[is_read], way[is_read]
        value, is_overflown = self._values(typed.value[at, 0], way)
        is_text = unlisted.is_text[at]
        keys = places[at] * _NAMES + name
        row = self._rows_of(keys)
        is_known = row != NO_ROW
        is_odd = is_known & (is_text | is_overflown)
        if self._others.reads_texts:
            is_odd |= is_text
        if not is_known.all():
            # A channel that begins in one of these has begun for those that follow.
            is_new = ~is_known & ~np.isnan(value)
            is_odd |= ~is_known & (np.isin(keys, keys[is_new]) | unlisted.is_doubted[at])
        if is_odd.any():
            failed.update(dict.fromkeys(typed.owner[at[is_odd]].tolist()))
        found.row[at], found.value[at] = row, value
        return found

    def _values(
        self, value: NDArray[np.float64], way: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Values in the units that are kept, NaN for none; and which became too large for one."""
        if len(self._no_reading):
            value = np.where(np.isin(value, self._no_reading), np.nan, value)
        kept = self._lines.kept(value, way)
        is_overflown = ~np.isfinite(kept) & ~np.isnan(value)
        kept[is_overflown] = np.nan
        return kept, is_overflown

    def _look_at(self, names: Sequence[str]) -> None:
        """Have what is remembered of these names, and of the rows that there are now."""
        if self._names is not names or self._generation != self._devices.generation:
            self._names, self._generation = names, self._devices.generation
            self._ways, self._rows = np.empty(0, np.intp), {}
        if len(self._ways) < len(names):
            more = list(map(self._others.way_of, names[len(self._ways) :]))
            self._ways = np.concatenate([self._ways, np.array(more, np.intp)])

    def _rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """The rows of channels, by place and name; ``NO_ROW`` of those that are not known."""
        wanted, known = keys.tolist(), self._rows
        found: list[int | None] = list(map(known.get, wanted))
        if None in found:
            of_new: dict[int, int] = {}
            for at, row in enumerate(found):
                if row is None:
                    key = wanted[at]
                    if key not in of_new:
                        of_new[key] = self._row_of(key)
                    found[at] = of_new[key]
            known.update((key, row) for key, row in of_new.items() if row != NO_ROW)
        return np.array(found, np.int32)

    def _row_of(self, key: int) -> int:
        place, name = divmod(key, _NAMES)
        assert self._names is not None  # noqa: S101  (for the type checker)
        return self._devices.others_of(place).get(self._names[name], NO_ROW)
