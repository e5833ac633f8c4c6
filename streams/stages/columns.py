"""``StateColumns``: what is known of each device, or each channel, as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.core.grown import grown
from headgate.core.stage import StateBlock


class StateColumns(dict[str, NDArray[Any]]):
    """Arrays by name, all with a row for each device, or each channel, of a table that grows.

    Args:
        untouched: By name, the row of one of which nothing is known; its type and shape are those
            of all rows.
    """

    def __init__(self, **untouched: np.generic | NDArray[Any]) -> None:
        super().__init__(
            (name, np.empty((0, *row.shape), row.dtype)) for name, row in untouched.items()
        )
        self._untouched = untouched

    def grow(self, rows: int) -> None:
        """Make room for so many rows."""
        for name, row in self._untouched.items():
            self[name] = grown(self[name], rows, row)

    def snapshot(self, rows: NDArray[Any]) -> StateBlock:
        """Copy out these rows."""
        return {name: column[rows] for name, column in self.items()}

    def restore(
        self,
        rows: NDArray[Any],
        block: Mapping[str, NDArray[np.generic]],
        *,
        may_lack: bool = False,
    ) -> None:
        """Take over a snapshot.

        Args:
            rows: The rows that it is of.
            block: What ``snapshot`` gave.
            may_lack: Whether it may be of an older version that had not all columns; then nothing
                is known of what it lacks.

        Raises:
            KeyError: It lacks a column.
        """
        for name, row in self._untouched.items():
            self[name][rows] = block.get(name, row) if may_lack else block[name]

    def forget(self, rows: NDArray[Any]) -> None:
        """Let nothing be known of these rows."""
        for name, row in self._untouched.items():
            self[name][rows] = row
