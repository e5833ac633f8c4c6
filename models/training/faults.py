"""What is wrong with training data, in lines for people. Nothing is changed here."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from headgate.config.units import format_duration
from models.training.data import TrainingData, time_text

#: A channel whose spread is below this, relative to its size, did not move.
CONSTANT = 1e-9

#: A value so many times the range of the middle 99 % away from the median is no measurement, or
#: deserves a look: sensors that fail send -9999. It also stretches a scale that is not robust.
_FAR = 20.0

#: Levels are means over this part of a device's rows, and of so many rows at least.
_LEVEL_PART, _FEWEST_IN_LEVEL = 0.05, 5

#: A level so many spreads (by the median absolute deviation of all levels) from the median level is
#: unlike the rest. Noise reaches 3 to 4, a straight drift 1.4, a sine 1.
_UNLIKE = 5.0

#: Part of the rows from which on such a stretch is told: machines make shorter excursions without
#: any fault (up to 42 of 400 healthy rows of SKAB), which hardly move a model.
_LONG_PART = 1 / 8

#: A device with fewer rows has no levels to compare.
_FEWEST_ROWS = 100


def notes_on(data: TrainingData, period_ns: int, hold_limit: int, *, is_mean: bool) -> list[str]:
    """What a person should know about the data, a line each.

    Args:
        data: The rows.
        period_ns: Length of a step.
        hold_limit: Steps for which a channel without a value keeps its last one.
        is_mean: Whether rows that share a step are averaged; otherwise the first counts.
    """
    found = [
        _gaps(data, period_ns, hold_limit),
        None if is_mean else _shared_steps(data, period_ns),
        _missing(data, hold_limit),
        _constants(data),
        _far_values(data),
        *unlike_stretches(data),
    ]
    return [line for line in found if line is not None]


def unlike_stretches(data: TrainingData) -> list[str]:
    """One line for each device with a stretch whose level is unlike all the rest.

    Only a stretch that is the only one of its channel counts: what came twice is how the machine
    works, what came once can't be told from a fault.
    """
    lines = []
    devices = np.unique(data.device).tolist()
    for number in devices:
        rows = np.flatnonzero(data.device == number)
        if len(rows) < _FEWEST_ROWS:
            continue
        stretches = [
            (name, stretch)
            for name, column in zip(data.names, data.values[rows].T, strict=True)
            for stretch in (_unlike_stretch(column),)
            if stretch is not None
        ]
        if not stretches:
            continue
        begin = min(first for _, (first, _) in stretches)
        end = max(last for _, (_, last) in stretches)
        where = f" of device {number + 1} of {len(devices)}" if len(devices) > 1 else ""
        lines.append(
            f"{end - begin:,} of {len(rows):,} rows{where} ({100 * (end - begin) / len(rows):.0f} "
            f"%), between {time_text(data.time_ns[rows[begin]])} and "
            f"{time_text(data.time_ns[rows[end - 1]])}, look unlike the rest in "
            f"{', '.join(name for name, _ in stretches)}: was something wrong then, or before and "
            "after? Leave it out with --from and --to or --labels, or look at the package's page"
        )
    return lines


def _unlike_stretch(column: NDArray[np.float64]) -> tuple[int, int] | None:
    """First row and the one behind the last; None where there is none, or several."""
    count = len(column)
    size = max(_FEWEST_IN_LEVEL, int(count * _LEVEL_PART))
    known = np.isfinite(column)
    if 2 * known.sum() < count:
        return None
    middle = float(np.median(column[known]))
    levels = sliding_window_view(np.where(known, column, middle), size).mean(axis=1)
    usual = float(np.median(levels))
    spread = 1.4826 * float(np.median(np.abs(levels - usual)))
    if spread <= CONSTANT * max(abs(usual), 1):
        return None
    is_unlike = np.abs(levels - usual) > _UNLIKE * spread
    edges = np.flatnonzero(np.diff(is_unlike.astype(np.int8), prepend=0, append=0))
    runs = [(a, b) for a, b in edges.reshape(-1, 2).tolist() if b - a >= size]
    if len(runs) != 1 or runs[0][1] - runs[0][0] < _LONG_PART * count:
        return None
    # A level belongs to the middle of its rows; those at either end reach to the data's end.
    first, last = runs[0]
    return (
        0 if first == 0 else first + size // 2,
        count if last == len(levels) else last + size // 2,
    )


def _gaps(data: TrainingData, period_ns: int, hold_limit: int) -> str | None:
    missing = np.diff(data.time_ns // period_ns) - 1
    long = missing[(np.diff(data.device) == 0) & (missing > hold_limit)]
    if not len(long):
        return None
    return (
        f"{len(long):,} gaps of more than {hold_limit} steps, the longest "
        f"{format_duration(int(long.max()) * period_ns)}: no window reaches across them"
    )


def _shared_steps(data: TrainingData, period_ns: int) -> str | None:
    shared = int(((np.diff(data.time_ns // period_ns) == 0) & (np.diff(data.device) == 0)).sum())
    if not shared:
        return None
    return (
        f"{shared:,} of {len(data):,} rows lie in a step of {format_duration(period_ns)} that has "
        "a row already, and are not used; give a shorter --period, or --resample mean"
    )


def _missing(data: TrainingData, hold_limit: int) -> str | None:
    missing = (~np.isfinite(data.values)).sum(axis=0)
    if not missing.any():
        return None
    where = ", ".join(
        f"{name} {count:,}"
        for name, count in zip(data.names, missing.tolist(), strict=True)
        if count
    )
    return (
        f"no number in {int(missing.sum()):,} of {data.values.size:,} cells ({where}): the last "
        f"one is held for {hold_limit} steps, and no window reaches across more"
    )


def _constants(data: TrainingData) -> str | None:
    still = [
        f"{name} (at {known[0]:.6g})"
        for name, column in zip(data.names, data.values.T, strict=True)
        for known in (column[np.isfinite(column)],)
        if len(known) and np.ptp(known) <= CONSTANT * max(abs(float(known[0])), 1)
    ]
    if not still:
        return None
    return (
        f"stood still throughout: {', '.join(still)}; the day it moves is an anomaly, leave it out "
        "with --channels if it is meant to move"
    )


def _far_values(data: TrainingData) -> str | None:
    far = []
    for name, column in zip(data.names, data.values.T, strict=True):
        known = column[np.isfinite(column)]
        if not len(known):
            continue
        low, middle, high = np.quantile(known, (0.005, 0.5, 0.995))
        distance = np.abs(known - middle)
        count = int((distance > _FAR * (high - low)).sum()) if high > low else 0
        if count:
            far.append(f"{name} {count:,} (as far as {known[distance.argmax()]:.6g})")
    if not far:
        return None
    return (
        f"values far beyond all others: {', '.join(far)}; they stretch the channel's scale: give "
        "the channel a range in the configuration and train with -c, or --normalization robust"
    )
