"""The last steps of many devices, and the windows that end at some of them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from headgate.core.grown import grown
from streams.stages.arrays import ramp

#: Steps that a device's history has room for beyond a window, at least. More room means fewer
#: moves, and more memory for each device.
_FEWEST_SPARE_STEPS = 32


class History:
    """The last closed steps of every device, laid out so that a window is one piece of memory.

    Each slot has room for more steps than a window; steps are added behind the ones before, and
    only when the room is full the last window is moved to its front.

    Args:
        window: Steps in a window.
        width: Channels.
    """

    def __init__(self, window: int, width: int) -> None:
        self._window = window
        self._room = window + max(window // 2, _FEWEST_SPARE_STEPS)
        self._steps = np.empty((0, self._room, width), np.float32)
        # By slot: steps in use, ``window`` at least; NaN where there was none.
        self._used = np.empty(0, np.int64)

    def reach(self, slots: int) -> None:
        """Make room for so many slots."""
        self._steps = grown(self._steps, slots, np.nan)
        self._used = grown(self._used, slots, self._window)

    def newest(self, slot: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32[d, window, channel]: the last steps of each slot, the newest last."""
        return self._windows(slot, self._used[slot])

    def last(self, slot: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32[d, channel]: the last step of each slot."""
        return self._steps[slot, self._used[slot] - 1]

    def put(self, slot: NDArray[np.int64], newest: NDArray[np.float32]) -> None:
        """Have these be the last steps of the slots."""
        self._steps[slot, : self._window] = newest
        self._used[slot] = self._window

    def forget(self, slot: NDArray[np.int64]) -> None:
        """Have the slots hold nothing."""
        self._steps[slot, : self._window] = np.nan
        self._used[slot] = self._window

    def append(
        self,
        slot: NDArray[np.int64],
        starts: NDArray[np.intp],
        lengths: NDArray[np.intp],
        value: NDArray[np.float32],
        is_end: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Add steps, and give the windows that end at some of them.

        Args:
            slot: int64[d], each once.
            starts: intp[d], where each slot's steps begin in ``value``.
            lengths: intp[d], how many it gets.
            value: float32[s, channel].
            is_end: bool[s], the steps that a window ends at.

        Returns:
            float32[w, window, channel], in the steps' order.
        """
        spare = self._room - self._window
        number = np.cumsum(is_end) - 1
        windows = np.empty((int(is_end.sum()), self._window, value.shape[1]), np.float32)
        # A device with a backlog may have more steps than there is room for at once.
        for done in range(0, int(lengths.max(initial=0)), spare):
            has_more = lengths > done
            count = np.minimum(lengths[has_more] - done, spare)
            owner = slot[has_more]
            self._make_room(owner, count)
            place = ramp(count)
            at = np.repeat(self._used[owner], count) + place
            rows = np.repeat(starts[has_more] + done, count) + place
            owners = np.repeat(owner, count)
            self._steps[owners, at] = value[rows]
            ends = np.flatnonzero(is_end[rows])
            if len(ends) == len(windows):
                windows = self._windows(owners[ends], at[ends] + 1)
            elif len(ends):
                windows[number[rows[ends]]] = self._windows(owners[ends], at[ends] + 1)
            self._used[owner] += count
        return windows

    def _make_room(self, slot: NDArray[np.int64], count: NDArray[np.intp]) -> None:
        full = slot[self._used[slot] + count > self._room]
        if len(full):
            self._steps[full, : self._window] = self.newest(full)
            self._used[full] = self._window

    def _windows(self, slot: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float32]:
        """The windows that end before these positions; copied, each in one piece."""
        slots, room, width = self._steps.shape
        if not slots:
            return np.empty((len(slot), self._window, width), np.float32)
        item = self._steps.itemsize
        pieces = as_strided(
            self._steps,
            shape=(slots * room - self._window + 1, self._window * width),
            strides=(width * item, item),
            writeable=False,
        )
        windows: NDArray[np.float32] = pieces[slot * room + end - self._window]
        return windows.reshape(len(slot), self._window, width)
