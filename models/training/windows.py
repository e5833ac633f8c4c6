"""From recorded rows to the windows that the running gateway would cut from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from headgate.core.units import format_duration
from models.training.data import TrainingData

#: What stands in a step; see ``streams.stages.frame.stage.FrameSpec``.
Resample = Literal["instant", "mean"]

#: Fewer windows tell too little of what is normal to set a limit by.
_FEWEST_WINDOWS = 20


@dataclass(frozen=True, slots=True)
class Windows:
    """w windows, device after device, in order of time.

    Attributes:
        values: float32[w, window, channel], normalized.
        device: int32[w].
        end_ns: int64[w], event time of each window's last step (the step's start).
    """

    values: NDArray[np.float32]
    device: NDArray[np.int32]
    end_ns: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.values)

    def take(self, rows: NDArray[np.intp] | slice) -> Windows:
        """Some of these windows."""
        return Windows(self.values[rows], self.device[rows], self.end_ns[rows])


def usual_period_ns(data: TrainingData) -> int:
    """The median time between two rows of a device, ns.

    Raises:
        ConfigError: No device has two rows of different times.
    """
    is_same = np.diff(data.device) == 0
    steps_ns = np.diff(data.time_ns)[is_same]
    steps_ns = steps_ns[steps_ns > 0]
    if not len(steps_ns):
        raise ConfigError("training data: expected rows at different times, found one time only")
    return int(np.median(steps_ns))


def cut_windows(
    data: TrainingData,
    values: NDArray[np.float64],
    *,
    period_ns: int,
    window: int,
    hold_limit: int,
    resample: Resample = "instant",
) -> Windows:
    """Every window of ``window`` steps in a row in which all channels have a value.

    Args:
        data: Times and devices of the rows.
        values: float64[n, channel], the rows' values, normalized.
        period_ns: Length of a step.
        window: Steps in a window.
        hold_limit: Steps for which a channel without a value keeps its last one.
        resample: Of several rows in a step, ``"instant"`` takes the first and ``"mean"`` each
            channel's mean.

    Raises:
        ConfigError: There are too few of them to learn from.
    """
    parts = [
        _windows_of_device(
            number,
            data.time_ns[rows] // period_ns,
            values[rows],
            period_ns=period_ns,
            window=window,
            hold_limit=hold_limit,
            resample=resample,
        )
        for number in np.unique(data.device).tolist()
        for rows in (data.device == number,)
    ]
    windows = Windows(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
    )
    if len(windows) < _FEWEST_WINDOWS:
        raise ConfigError(
            f"training data: expected {window} rows in a row, {format_duration(period_ns)} apart "
            f"and with all channels, at {_FEWEST_WINDOWS} places or more, found {len(windows)} "
            f"among {len(data)} rows; give more data, a smaller --window or another --period"
        )
    return windows


def _windows_of_device(
    number: int,
    step: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    period_ns: int,
    window: int,
    hold_limit: int,
    resample: Resample,
) -> Windows:
    step, first, of = np.unique(step, return_index=True, return_inverse=True)
    in_step = values[first] if resample == "instant" else _means(values, of, len(step))
    # A longer gap says no more than the shortest that no value is held across, and would cost
    # memory for every step of it.
    place = np.concatenate([[0], np.cumsum(np.minimum(np.diff(step), hold_limit + 2))])
    grid = np.full((int(place[-1]) + 1, values.shape[1]), np.nan)
    grid[place] = in_step
    position = np.arange(len(grid))[:, None]
    last_seen = np.maximum.accumulate(np.where(np.isnan(grid), -1, position), axis=0)
    held = np.take_along_axis(grid, np.maximum(last_seen, 0), axis=0)
    held[(last_seen < 0) | (position - last_seen > hold_limit)] = np.nan
    if len(held) < window:
        held = np.full((window, values.shape[1]), np.nan)
    windows = np.moveaxis(sliding_window_view(held, window, axis=0), -1, 1)
    is_whole = np.isfinite(windows).all(axis=(1, 2))
    # The step of each place: that of the row before, and so many more.
    row = np.searchsorted(place, np.arange(len(grid)), side="right") - 1
    end = (step[row] + np.arange(len(grid)) - place[row])[window - 1 :]
    count = int(is_whole.sum())
    return Windows(
        windows[is_whole].astype(np.float32),
        np.full(count, number, np.int32),
        end[is_whole[: len(end)]] * period_ns if count else np.empty(0, np.int64),
    )


def _means(values: NDArray[np.float64], step: NDArray[np.intp], steps: int) -> NDArray[np.float64]:
    """float64[steps, channel]: each channel's mean by step, NaN where it has no value."""
    means = np.full((steps, values.shape[1]), np.nan)
    for column, channel in enumerate(values.T):
        known = np.isfinite(channel)
        count = np.bincount(step[known], minlength=steps)
        total = np.bincount(step[known], channel[known], minlength=steps)
        means[count > 0, column] = total[count > 0] / count[count > 0]
    return means
