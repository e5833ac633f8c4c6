"""What is wrong with training data, in lines for people. Nothing is changed here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from headgate.core.units import format_duration
from models.training.data import TrainingData, time_text

#: A channel whose spread is below this, relative to its size, did not move.
CONSTANT = 1e-9

#: A value so many times the range of the middle 99 % away from the median is no measurement, or
#: deserves a look: sensors that fail send -9999. It also stretches a scale that is not robust.
_FAR = 20.0

#: Levels are means over this part of a device's rows, and of so many blocks at least. A jump takes
#: as long at most.
_LEVEL_PART, _FEWEST_IN_LEVEL = 1 / 40, 2

#: A jump is looked at together with what lies before and behind it, this part of the rows in all
#: from one begin to the other: machines make shorter excursions without any fault, which hardly
#: move a model.
_LONG_PART = 1 / 8

#: A jump parts all levels behind it from all before it by so many times what levels usually differ
#: that are as far apart: three random walks in a thousand have such a jump.
_UNLIKE = 3.0

#: A long recording is looked at in so many blocks at least: an end of a stretch need be no sharper.
_BLOCKS = 400

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


class _Stretch(NamedTuple):
    """Rows of a channel on another level than the rest.

    Attributes:
        jump: How far the clearest of its ends parts levels, by what is usual.
        first: Its first row.
        last: The row behind it.
    """

    jump: float
    first: int
    last: int


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
        stretches = {
            name: stretch
            for name, column in zip(data.names, data.values[rows].T, strict=True)
            for stretch in (_unlike_stretch(column),)
            if stretch is not None
        }
        if not stretches:
            continue
        # Other channels may have been elsewhere at another time: the clearest one is told.
        _, first, last = max(stretches.values())
        at_once = {
            name: each
            for name, each in stretches.items()
            if each.first < last and each.last > first
        }
        begin = min(each.first for each in at_once.values())
        end = max(each.last for each in at_once.values())
        where = f" of device {number + 1} of {len(devices)}" if len(devices) > 1 else ""
        lines.append(
            f"{end - begin:,} of {len(rows):,} rows{where} ({100 * (end - begin) / len(rows):.0f} "
            f"%), between {time_text(data.time_ns[rows[begin]])} and "
            f"{time_text(data.time_ns[rows[end - 1]])}, look unlike the rest in "
            f"{', '.join(at_once)}: was something wrong then, or before and "
            "after? Leave it out with --from and --to or --labels, or look at the package's page"
        )
    return lines


def _unlike_stretch(column: NDArray[np.float64]) -> _Stretch | None:
    """What lies on the other side of a channel's clearest jump; None without one, or with several.

    Jumps are held against how far levels usually move in as long, which a fault does not hide,
    however much of the data it is; a spread of all levels would take half of it for granted.
    """
    known = np.isfinite(column)
    if 2 * known.sum() < len(column):
        return None
    middle = float(np.median(column[known]))
    block = max(1, len(column) // _BLOCKS)
    count = len(column) // block
    # A gap is no level of its own: it leads from one known row to the next.
    filled = np.interp(np.arange(count * block), np.flatnonzero(known), column[known])
    levels_of = max(_FEWEST_IN_LEVEL, int(count * _LEVEL_PART))
    long = int(count * _LONG_PART)
    levels = sliding_window_view(filled.reshape(count, block).mean(axis=1), levels_of).mean(axis=1)
    usual = 1.4826 * float(np.median(np.abs(levels[long:] - levels[:-long])))
    if usual <= CONSTANT * max(abs(middle), 1):
        return None
    # On each side of a jump lie all levels of so many blocks, and between them a level's blocks.
    side = long - levels_of
    sides = sliding_window_view(levels, side - levels_of + 1)
    low, high = sides.min(axis=1), sides.max(axis=1)
    before, behind = slice(None, -long), slice(long, None)
    apart = np.maximum(low[behind] - high[before], low[before] - high[behind]) / usual
    at = int(apart.argmax())
    if apart[at] <= _UNLIKE:
        return None
    half = (float(np.median(sides[at])) + float(np.median(sides[at + long]))) / 2
    bounds = _bounds(levels > half, sides.shape[1])
    if len(bounds) not in (3, 4):
        return None
    # The part between two ends, or the smaller one where there is one end only.
    is_first = len(bounds) == 3 and bounds[1] - bounds[0] < bounds[2] - bounds[1]
    first, last = bounds[0:2] if is_first else bounds[1:3]
    # A level belongs to the middle of its blocks; those at either end reach to the data's end.
    first = first + levels_of // 2 if first else 0
    last = last + levels_of // 2 if last < len(levels) else count
    return _Stretch(float(apart[at]), first * block, len(column) if last == count else last * block)


def _bounds(is_high: NDArray[np.bool_], long: int) -> list[int]:
    """Where states that last so long begin and end, one after the other."""
    edges = np.flatnonzero(np.diff(is_high)) + 1
    begins, ends = np.append(0, edges), np.append(edges, len(is_high))
    lasts = ends - begins >= long
    begins, ends, state = begins[lasts], ends[lasts], is_high[begins[lasts]]
    changes = np.flatnonzero(np.diff(state))
    # What lies between two such states wavers: half of it goes to either.
    between = (ends[changes] + begins[changes + 1]) // 2
    return [*begins[:1].tolist(), *between.tolist(), *ends[-1:].tolist()]


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
