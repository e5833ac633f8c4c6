"""``RowStore``: rows that wait, device by device, until their device asks for them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.core.grown import grown
from headgate.core.runs import runs
from streams.stages.arrays import ramp, stable_order

#: Rows as columns of equal length, by name.
Columns: TypeAlias = dict[str, NDArray[Any]]

#: Runs in a device's chain before they are joined: bounds the rounds a chain takes to follow.
_LONGEST_CHAIN = 32


class RowStore:
    """Keeps rows in one arena, and finds those of some devices without looking at the others'.

    What is appended for a device in one go lies together as a run; the runs of a device are
    chained from the newest back. Taken rows leave holes, which are squeezed out when the arena is
    full. Both appending and taking cost time in proportion to the rows concerned.

    Args:
        columns: dtype of each column, by name.
    """

    def __init__(self, **columns: type[np.generic]) -> None:
        self._arena: Columns = {name: np.empty(0, dtype) for name, dtype in columns.items()}
        self._tail = 0
        # By run: where it begins in the arena, how long it is, and the run before it (or -1).
        self._run_start = np.empty(0, np.int64)
        self._run_length = np.empty(0, np.int64)
        self._run_before = np.empty(0, np.int64)
        self._runs = 0
        # By device row: its newest run (or -1), and how many runs and rows it has.
        self._newest = np.empty(0, np.int64)
        self._chain = np.empty(0, np.int64)
        self._rows = np.empty(0, np.int64)

    def empty(self) -> Columns:
        """No rows, with this store's columns."""
        return {name: column[:0] for name, column in self._arena.items()}

    def count(self, devices: NDArray[Any]) -> NDArray[np.int64]:
        """int64[d]: rows waiting for each of these devices."""
        self._reach(devices)
        waiting: NDArray[np.int64] = self._rows[devices]
        return waiting

    def append(self, device: NDArray[Any], columns: Columns) -> None:
        """Add rows.

        Args:
            device: Device row of each row, rising: the rows of a device lie together.
            columns: The rows, in the order to give them back in.
        """
        if not len(device):
            return
        self._reach(device)
        self._make_room(len(device))
        starts, lengths = runs(device)
        devices = device[starts]
        for name, column in self._arena.items():
            column[self._tail : self._tail + len(device)] = columns[name]
        new = slice(self._runs, self._runs + len(devices))
        self._run_start[new] = starts + self._tail
        self._run_length[new] = lengths
        self._run_before[new] = self._newest[devices]
        self._newest[devices] = np.arange(new.start, new.stop)
        self._chain[devices] += 1
        self._rows[devices] += lengths
        self._tail += len(device)
        self._runs = new.stop
        is_long = self._chain[devices] > _LONGEST_CHAIN
        if is_long.any():
            self.append(*self.take(devices[is_long]))

    def peek(self, devices: NDArray[Any]) -> tuple[NDArray[np.int64], Columns]:
        """The rows of these devices (rising, each once): device row of each row, and the rows."""
        self._reach(devices)
        position, run = self._runs_of(devices)
        lengths = self._run_length[run]
        rows = np.repeat(self._run_start[run], lengths) + ramp(lengths)
        device = np.repeat(devices[position], lengths).astype(np.int64)
        return device, {name: column[rows] for name, column in self._arena.items()}

    def take(self, devices: NDArray[Any]) -> tuple[NDArray[np.int64], Columns]:
        """Like ``peek``, and the rows are no longer kept."""
        taken = self.peek(devices)
        self._newest[devices] = -1
        self._chain[devices] = 0
        self._rows[devices] = 0
        return taken

    def _runs_of(self, devices: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Position in ``devices`` and number of each of their runs, oldest first per device."""
        position = np.arange(len(devices))
        run = self._newest[devices]
        positions, found = [], []
        while len(run):
            is_run = run >= 0
            position, run = position[is_run], run[is_run]
            positions.append(position)
            found.append(run)
            run = self._run_before[run]
        if not found:
            return position, run
        # Followed newest first; turned around and sorted stably they stand oldest first.
        every = np.concatenate(positions[::-1])
        order = stable_order(every)
        return every[order], np.concatenate(found[::-1])[order]

    def _reach(self, devices: NDArray[Any]) -> None:
        """Make room for the highest of these device rows."""
        if not len(devices):
            return
        rows = int(devices.max()) + 1
        self._newest = grown(self._newest, rows, -1)
        self._chain = grown(self._chain, rows, 0)
        self._rows = grown(self._rows, rows, 0)

    def _make_room(self, rows: int) -> None:
        """Make room for so many rows, each a run at worst."""
        capacity = min(len(column) for column in self._arena.values())
        if self._tail + rows > capacity:
            self._squeeze()
            # Squeezing costs as much as there is in use: a third of the arena, at least, must fill
            # before the next time.
            wanted = (self._tail + rows) * 3 // 2
            if wanted > capacity:
                for name, column in self._arena.items():
                    self._arena[name] = larger = np.empty(max(wanted, 64), column.dtype)
                    larger[: self._tail] = column[: self._tail]
        runs_at_most = self._runs + rows
        self._run_start = grown(self._run_start, runs_at_most, 0)
        self._run_length = grown(self._run_length, runs_at_most, 0)
        self._run_before = grown(self._run_before, runs_at_most, 0)

    def _squeeze(self) -> None:
        """Put the live rows at the arena's front, each device's in one run."""
        devices = np.flatnonzero(self._newest >= 0)
        position, run = self._runs_of(devices)
        run_lengths = self._run_length[run]
        rows = np.repeat(self._run_start[run], run_lengths) + ramp(run_lengths)
        # Column by column: all of them at once would need the arena's memory a second time.
        for column in self._arena.values():
            column[: len(rows)] = column[rows]
        lengths = np.bincount(position, run_lengths, len(devices)).astype(np.int64)
        self._run_start[: len(devices)] = np.cumsum(lengths) - lengths
        self._run_length[: len(devices)] = lengths
        self._run_before[: len(devices)] = -1
        self._newest[devices] = np.arange(len(devices))
        self._chain[devices] = 1
        self._tail, self._runs = len(rows), len(devices)
