"""Records that were read the fast way as columns of readings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import Columns, Rows
from connectors.formats.devices import Devices
from connectors.formats.format import Typed
from connectors.formats.other_columns import NO_ROW, OtherReadings
from connectors.formats.signals import Lines, Signal
from headgate.config.feed import FeedConfig
from headgate.core.batch import Quality


class ReadingColumns:
    """Makes them.

    Args:
        signals: The feed's channels.
        devices: Its devices.
        flags: Quality of readings whose time needs no second look.
        feed: Its configuration.
    """

    def __init__(
        self, signals: Sequence[Signal], devices: Devices, flags: int, feed: FeedConfig
    ) -> None:
        self._signals = signals
        self._devices = devices
        self._flags = flags
        self._is_strict = feed.strict
        # By the channel's place, numbers that say there is no reading.
        self._no_reading = {
            place: np.array(sorted(signal.no_reading))
            for place, signal in enumerate(signals)
            if signal.no_reading and not feed.channels[signal.name].is_text
        }
        self._lines = Lines(signals)

    def columns(
        self,
        typed: Typed,
        places: NDArray[np.intp],
        time_ns: NDArray[np.int64],
        notes: Rows,
        others: OtherReadings | None = None,
    ) -> Columns:
        """Readings of good records, record by record, channels in the order of ``signals``.

        Args:
            typed: The records.
            places: The place of each record's device.
            time_ns: int64[r], their event times.
            notes: Is told of numbers that are too large.
            others: What they have of channels that are not listed; None: nothing.
        """
        if others is None or typed.which is None:
            return self._listed(typed, places, time_ns, notes)
        taken = np.flatnonzero(others.row != NO_ROW)
        value = others.value[taken]
        quality = np.full(len(taken), self._flags, np.uint16)
        quality[np.isnan(value)] |= np.uint16(Quality.MISSING)
        rows = others.row[taken]
        own = Columns(typed.owner[taken], time_ns[taken], rows, value, quality)
        is_listed = typed.which < len(self._signals)
        at = np.flatnonzero(is_listed & ~typed.is_absent.all(axis=1))
        if not len(at):
            return own
        listed = self._listed(
            typed.readings(is_listed), places[is_listed], time_ns[is_listed], notes
        )
        order = np.argsort(np.concatenate([at, taken]), kind="stable")
        both = zip(listed.arrays, own.arrays, strict=True)
        return Columns(*map(np.concatenate, both)).take(order)

    def _listed(
        self, typed: Typed, places: NDArray[np.intp], time_ns: NDArray[np.int64], notes: Rows
    ) -> Columns:
        """The same of the channels that are listed."""
        value, is_absent, which = typed.value, typed.is_absent, typed.which
        width = value.shape[1]
        at: Any = slice(None) if which is None else which[:, None]
        rows = self._devices.rows[places if which is None else places[:, None], at]
        for place, numbers in self._no_reading.items():
            if which is None:
                value[np.isin(value[:, place], numbers), place] = np.nan
            else:
                value[np.isin(value, numbers) & (at == place)] = np.nan
        numbers = self._lines.kept(value, at).ravel()
        quality = np.full(len(numbers), self._flags, np.uint16)
        is_finite = np.isfinite(numbers)
        if not is_finite.all():
            is_null = np.isnan(value).ravel()
            quality[~is_finite] |= np.uint16(Quality.MISSING)
            self._mark_overflown(quality, ~is_finite & ~is_null, typed, notes)
            numbers[~is_finite] = np.nan
        columns = Columns(
            np.repeat(typed.owner, width),
            np.repeat(time_ns, width),
            rows.ravel(),
            numbers,
            quality,
        )
        return columns.take(~is_absent.ravel()) if is_absent.any() else columns

    def _mark_overflown(
        self,
        quality: NDArray[np.uint16],
        is_overflown: NDArray[np.bool_],
        typed: Typed,
        notes: Rows,
    ) -> None:
        """Mark numbers that scale and offset made larger than a float can be."""
        quality[is_overflown] |= np.uint16(Quality.NOT_FINITE)
        if self._is_strict:
            return
        quality[is_overflown] |= np.uint16(Quality.BAD_FIELD)
        width = typed.value.shape[1]
        for at in np.flatnonzero(is_overflown).tolist():
            place = at % width if typed.which is None else int(typed.which[at])
            name = self._signals[place].name
            notes.note_bad(name, "not_finite", int(typed.owner[at // width]), np.inf)
