"""From recorded rows to the windows that the running gateway would cut from them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from headgate.config.units import format_duration
from headgate.core.errors import ConfigError
from models.training.data import TrainingData

#: Fewer windows tell too little of what is normal to set a limit by.
_FEWEST_WINDOWS = 20


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
) -> NDArray[np.float32]:
    """Every window of ``window`` steps in a row in which all channels have a value.

    Args:
        data: Times and devices of the rows.
        values: float64[n, channel], the rows' values, normalized.
        period_ns: Length of a step; of the rows in one step the first counts.
        window: Steps in a window.
        hold_limit: Steps for which a channel without a value keeps its last one.

    Returns:
        float32[w, window, channel], device after device, in order of time.

    Raises:
        ConfigError: There are too few of them to learn from.
    """
    parts = [
        _windows_of_device(
            data.time_ns[rows] // period_ns, values[rows], window=window, hold_limit=hold_limit
        )
        for rows in (data.device == number for number in np.unique(data.device))
    ]
    windows = np.concatenate(parts)
    if len(windows) < _FEWEST_WINDOWS:
        raise ConfigError(
            f"training data: expected {window} rows in a row, {format_duration(period_ns)} apart "
            f"and with all channels, at {_FEWEST_WINDOWS} places or more, found {len(windows)} "
            f"among {len(data)} rows; give more data, a smaller --window or another --period"
        )
    return windows


def _windows_of_device(
    step: NDArray[np.int64], values: NDArray[np.float64], *, window: int, hold_limit: int
) -> NDArray[np.float32]:
    step, first = np.unique(step, return_index=True)
    # A longer gap says no more than the shortest that no value is held across, and would cost
    # memory for every step of it.
    place = np.concatenate([[0], np.cumsum(np.minimum(np.diff(step), hold_limit + 2))])
    grid = np.full((int(place[-1]) + 1, values.shape[1]), np.nan)
    grid[place] = values[first]
    position = np.arange(len(grid))[:, None]
    last_seen = np.maximum.accumulate(np.where(np.isnan(grid), -1, position), axis=0)
    held = np.take_along_axis(grid, np.maximum(last_seen, 0), axis=0)
    held[(last_seen < 0) | (position - last_seen > hold_limit)] = np.nan
    if len(held) < window:
        return np.empty((0, window, values.shape[1]), np.float32)
    windows = np.moveaxis(sliding_window_view(held, window, axis=0), -1, 1)
    is_whole = np.isfinite(windows).all(axis=(1, 2))
    whole: NDArray[np.float32] = windows[is_whole].astype(np.float32)
    return whole
