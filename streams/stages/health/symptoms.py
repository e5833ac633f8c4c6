"""What a closed window tells of its sensor, and when that is enough.

A window shows a symptom or it does not:

- dropout: no usable reading came
- stuck: all readings are equal, to each other and to the one before; or most are flagged as stuck
- flat: readings in a row differ by far less than they use to
- spike: a reading was flagged as a spike, or stands far off both its neighbours
- noise: readings in a row differ by far more than they use to
- drift: the mean has crept away from where it was, and no other sensor of the device has moved

What is unusual is learned for each sensor: how often it shows each symptom, and how much it
fluctuates: one that does not, like a switch, is never stuck unless its readings are flagged so.
Many sensors stand still at times, or send only what has changed, and are well. Whether
symptoms are more than that is decided by Page's cumulative sum (E. S. Page, "Continuous inspection
schemes", Biometrika 41, 1954) of log-likelihood ratios: each window says how much likelier it is
in a sensor that is broken than in this one as it usually is.

A machine that is switched off makes all its sensors flat. So a symptom that more than half of a
device's sensors show at a time tells of the machine and not of sensors. What is learned is not
learned further while a fault lasts, and a level not while it is away from what is usual; after some
days that is what is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.results import SENSOR_FAULTS, Aggregates

_DROPOUT, _STUCK, _FLAT, _SPIKE, _NOISE, _DRIFT = range(len(SENSOR_FAULTS))

#: Part of its windows that show the symptom, in a sensor that is broken in this way. A sensor with
#: a loose contact has spikes only now and then; the other faults stay.
_RATE = np.array([0.9, 0.9, 0.9, 0.5, 0.9, 0.9])

#: Evidence at which a sensor is taken for broken, nats: a hundred thousand times likelier.
_ENOUGH = float(np.log(1e5))

#: A symptom shown in more of the usual windows than this part of ``_RATE`` tells nothing.
_TELLING = 0.5

#: Symptoms that may tell of the machine, and how often a sensor shows them that has a say in it.
_SHARED = (_STUCK, _FLAT, _NOISE)
_RARELY = 0.1

#: Windows that usual rates are remembered over; older ones fade.
_RATE_MEMORY = 10_000

#: Windows before a usual fluctuation is known, and that it is averaged over at most.
_FEWEST, _MEMORY = 10, 1000

#: How many standard deviations, and at least how many times, fluctuation has to be off.
_NOISE_SD, _NOISE_TIMES = 6.0, float(np.log(4))

#: How many times the usual difference, and the other differences of its window, a spike is.
_SPIKE_TIMES, _SPIKE_OWN_TIMES = 10.0, 5.0

#: Before drift is judged, a sensor is known for so long, and it is averaged over so long, ns.
_DAY_NS = 86_400 * NS_PER_S
_LEVEL_MEMORY_NS = 7 * _DAY_NS

#: Windows that the recent mean is averaged over.
_RECENT = 30

#: Standard deviations: away begins here, is drift there (a jump if one window goes as far), and
#: others may be so far off.
_AWAY_SD, _DRIFT_SD, _OTHERS_SD = 2.0, 5.0, 3.0

#: How a mean came to be away.
_HERE, _CREPT, _JUMPED = range(3)

#: Standard deviations beyond which a mean counts as being this far when the usual one is learned.
_CLIP_SD = 3.0

#: Fluctuation or a level that has been unusual for so long is how things are now, ns.
_ACCEPTED_NS = 3 * _DAY_NS

_FAULTS = (len(SENSOR_FAULTS),)

#: What is remembered of a channel. No more bits than it takes: state is written down often.
COLUMNS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    # By symptom: windows that could show it, and did; evidence, nats; whether there is enough of
    # it, until there is none; the start of the window since which there is some.
    "seen": (np.uint16, _FAULTS),
    "hits": (np.uint16, _FAULTS),
    "evidence": (np.float32, _FAULTS),
    "is_ill": (np.bool_, _FAULTS),
    "since_ns": (np.int64, _FAULTS),
    # 0, or 1 + the number of the fault; length and end of the newest window; the newest value.
    "health": (np.int8, ()),
    "window_ns": (np.int64, ()),
    "end_ns": (np.int64, ()),
    "last": (np.float64, ()),
    # Logarithm of the root mean square of the differences between readings in a row.
    "noise_n": (np.uint16, ()),
    "noise_mean": (np.float32, ()),
    "noise_var": (np.float32, ()),
    # Means of windows: all, the recent ones, and since when they are away, and how it came.
    "level_n": (np.int64, ()),
    "level_mean": (np.float64, ()),
    "level_var": (np.float64, ()),
    "recent": (np.float64, ()),
    "away_ns": (np.int64, ()),
    "came": (np.int8, ()),
}

#: State of some channels at work.
State = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Round:
    """One window each of some devices: all of their channels that were ever seen, by device.

    Attributes:
        channel: int32[m].
        start_ns: int64[m], the window's start.
        window_ns: int64[m].
        row: intp[m], position in the aggregates, or -1 for a channel without a window.
        first: intp[d], where each device's channels begin.
        count: intp[d], and how many there are.
    """

    channel: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    window_ns: NDArray[np.int64]
    row: NDArray[np.intp]
    first: NDArray[np.intp]
    count: NDArray[np.intp]


def judge(state: State, at: Round, aggregates: Aggregates) -> NDArray[np.float64]:
    """Judge one round of windows.

    Args:
        state: ``COLUMNS`` of the round's channels; changed in place.
        at: The round.
        aggregates: What its rows point into.

    Returns:
        float64[m, 2]: ``SensorHealth.found`` and ``usual`` of each channel.
    """
    is_other = (state["window_ns"] > 0) & (state["window_ns"] != at.window_ns)
    if is_other.any():
        # What was learned from windows of another length does not hold for these.
        for column in state.values():
            column[is_other] = 0
    window = _window(at, aggregates)
    distance = _follow_level(state, window, at)
    shows = _symptoms(state, window)
    shows[:, _DRIFT] = _drifts(state, distance, at)
    rate = (state["hits"] + 1.0) / (state["seen"] + 2.0)
    is_told = _told(state, window, shows, rate, at)
    evidence = np.where(is_told, _weighed(state["evidence"], shows, rate), state["evidence"])
    evidence[window.is_flagged_stuck, _STUCK] = _ENOUGH
    begins = (state["evidence"] == 0) & (evidence > 0)
    state["since_ns"] = np.where(begins, at.start_ns[:, None], state["since_ns"])
    state["evidence"] = evidence
    state["is_ill"] = (state["is_ill"] | (evidence >= _ENOUGH)) & (evidence > 0)
    is_told &= ~_accept(state, at.start_ns)
    _learn(state, window, shows, is_told, at.window_ns)
    is_ill = state["is_ill"]
    state["health"] = np.where(is_ill.any(axis=1), 1 + np.argmax(is_ill, axis=1), 0)
    state["window_ns"], state["end_ns"] = at.window_ns, at.start_ns + at.window_ns
    return _figures(state, window, rate)


@dataclass(frozen=True, slots=True)
class _Window:
    """What m windows say; those that did not come hold no reading.

    Attributes:
        n: int64[m], usable readings.
        flagged: int64[m].
        mean, low, high, last: float64[m].
        has_spike: bool[m], a reading is flagged as one.
        is_flagged_stuck: bool[m], most readings are flagged so.
        noise: float64[m], logarithm of the root mean square of the differences between readings in
            a row; NaN where they do not differ.
        lone: float64[m], the most that one reading stands off both its neighbours.
        others: float64[m], root mean square of the differences without that reading's.
    """

    n: NDArray[np.int64]
    flagged: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    last: NDArray[np.float64]
    has_spike: NDArray[np.bool_]
    is_flagged_stuck: NDArray[np.bool_]
    noise: NDArray[np.float64]
    lone: NDArray[np.float64]
    others: NDArray[np.float64]

    @property
    def is_usable(self) -> NDArray[np.bool_]:
        """bool[m]: whether there is any usable reading."""
        usable: NDArray[np.bool_] = self.n > 0
        return usable


def _window(at: Round, aggregates: Aggregates) -> _Window:
    def of(column: NDArray[Any]) -> NDArray[Any]:
        return np.where(at.row >= 0, column[at.row], 0)

    n, jumps, lone = of(aggregates.n), of(aggregates.signs["jumps"]), of(aggregates.signs["lone"])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        noise = 0.5 * np.log(jumps / np.maximum(n - 1, 1))
        others = np.sqrt(np.maximum(jumps - 2 * lone * lone, 0) / np.maximum(n - 3, 1))
    return _Window(
        n=n,
        flagged=of(aggregates.flagged),
        mean=of(aggregates.stats["mean"]),
        low=of(aggregates.stats["min"]),
        high=of(aggregates.stats["max"]),
        last=of(aggregates.stats["last"]),
        has_spike=of(aggregates.signs["spikes"]) > 0,
        is_flagged_stuck=2 * of(aggregates.signs["stuck"]) > n,
        noise=np.where(np.isfinite(noise), noise, np.nan),
        lone=lone,
        others=others,
    )


def _symptoms(state: State, window: _Window) -> NDArray[np.bool_]:
    """bool[m, symptom], without drift."""
    shows = np.zeros((len(window.n), len(SENSOR_FAULTS)), np.bool_)
    is_known = state["noise_n"] >= _FEWEST
    is_still = is_known & (window.low == window.high) & (window.low == state["last"])
    shows[:, _DROPOUT] = ~window.is_usable
    shows[:, _STUCK] = window.is_usable & (is_still | window.is_flagged_stuck)
    off = window.noise - state["noise_mean"]
    limit = np.maximum(_NOISE_TIMES, _NOISE_SD * np.sqrt(state["noise_var"]))
    is_lone = window.lone > _SPIKE_TIMES * np.exp(state["noise_mean"].astype(np.float64))
    is_lone &= window.lone > _SPIKE_OWN_TIMES * window.others
    shows[:, _SPIKE] = window.has_spike | (is_known & is_lone)
    shows[:, _NOISE] = is_known & (off > limit) & ~shows[:, _SPIKE]
    shows[:, _FLAT] = is_known & (off < -limit)
    return shows


def _follow_level(state: State, window: _Window, at: Round) -> NDArray[np.float64]:
    """Follow where the recent mean is; float64[m], how many standard deviations away from usual."""
    deviation = np.where(_has_level(state, at.window_ns), np.sqrt(state["level_var"]), 0.0)
    before = np.where(state["level_n"] == 0, window.mean, state["recent"])
    recent = before + (window.mean - before) / _RECENT
    state["recent"] = np.where(window.is_usable, recent, state["recent"])
    distance = _in_deviations(state["recent"] - state["level_mean"], deviation)
    jump = _in_deviations(window.mean - before, deviation)
    is_back = (distance <= _AWAY_SD) & (jump <= _DRIFT_SD)
    came = np.where(jump > _DRIFT_SD, _JUMPED, np.maximum(state["came"], _CREPT))
    came = np.where(is_back, _HERE, came)
    leaves = (state["came"] == _HERE) & (came != _HERE)
    state["away_ns"] = np.where(leaves, at.start_ns, state["away_ns"])
    state["came"] = np.where(window.is_usable, came, state["came"])
    return distance


def _in_deviations(
    difference: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """float64[m]: its size in standard deviations; 0 where they are not known."""
    size: NDArray[np.float64] = np.zeros(len(difference))
    return np.divide(np.abs(difference), deviation, out=size, where=deviation > 0)


def _has_level(state: State, window_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[m]: whether a day at least has been seen of it, with what comes and goes every day."""
    known: NDArray[np.bool_] = state["level_n"] * window_ns >= _DAY_NS
    return known


def _drifts(state: State, distance: NDArray[np.float64], at: Round) -> NDArray[np.bool_]:
    """bool[m]: far away, come there slowly, and alone among the device's sensors."""
    has_level = _has_level(state, at.window_ns)
    others = _of_device(has_level, at) - has_level
    has_moved = distance > _OTHERS_SD
    others_moved = _of_device(has_moved, at) - has_moved
    far = (distance > _DRIFT_SD) & (state["came"] == _CREPT)
    drifts: NDArray[np.bool_] = far & (others > 0) & (others_moved == 0)
    return drifts


def _told(
    state: State,
    window: _Window,
    shows: NDArray[np.bool_],
    rate: NDArray[np.float64],
    at: Round,
) -> NDArray[np.bool_]:
    """bool[m, symptom]: where having the symptom or not says something about the sensor."""
    is_told = np.ones_like(shows)
    # A window that did not come says that it did not come, and nothing else.
    is_told[~window.is_usable, 1:] = False
    is_told[:, _DRIFT] &= _has_level(state, at.window_ns)
    for symptom in _SHARED:
        has_say = window.is_usable & (rate[:, symptom] < _RARELY)
        count = _of_device(has_say & shows[:, symptom], at)
        is_common = 2 * count > _of_device(has_say, at)
        is_told[:, symptom] &= ~(is_common & (count > 1))
    return is_told


def _of_device(mask: NDArray[np.bool_], at: Round) -> NDArray[np.int64]:
    """int64[m]: how many channels of the same device are under the mask."""
    return np.repeat(np.add.reduceat(mask, at.first, dtype=np.int64), at.count)


def _weighed(
    evidence: NDArray[np.float32], shows: NDArray[np.bool_], rate: NDArray[np.float64]
) -> NDArray[np.float64]:
    """float64[m, symptom]: the evidence once these windows are in."""
    with np.errstate(divide="ignore"):
        step = np.where(shows, np.log(_RATE / rate), np.log((1 - _RATE) / (1 - rate)))
    weighed: NDArray[np.float64] = np.clip(evidence + step, 0, _ENOUGH)
    weighed[rate >= _TELLING * _RATE] = 0
    return weighed


def _accept(state: State, start_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Take for usual what has lasted for so long that it is hardly the sensor.

    A sensor that has not been heard for so long is no longer there, until it is heard again.

    Returns:
        bool[m, symptom]: what has just been accepted.
    """
    is_old = state["is_ill"] & (start_ns[:, None] - state["since_ns"] >= _ACCEPTED_NS)
    is_old[:, [_STUCK, _SPIKE]] = False
    for name in ("evidence", "is_ill", "seen", "hits"):
        state[name] = np.where(is_old, 0, state[name])
    state["noise_n"] = np.where(is_old[:, _FLAT] | is_old[:, _NOISE], 0, state["noise_n"])
    is_gone = (state["came"] != _HERE) & (start_ns - state["away_ns"] >= _ACCEPTED_NS)
    state["level_n"] = np.where(is_gone | is_old[:, _DRIFT], 0, state["level_n"])
    state["came"] = np.where(state["level_n"] == 0, _HERE, state["came"])
    accepted: NDArray[np.bool_] = is_old
    return accepted


def _learn(
    state: State,
    window: _Window,
    shows: NDArray[np.bool_],
    is_told: NDArray[np.bool_],
    window_ns: NDArray[np.int64],
) -> None:
    """Learn from these windows what is usual; nothing of a sensor that is not well."""
    is_well = np.logical_not(state["is_ill"].any(axis=1))
    counts = is_told & is_well[:, None]
    is_full = state["seen"] >= _RATE_MEMORY
    for name, count in (("seen", counts), ("hits", shows & counts)):
        faded: NDArray[np.uint16] = np.where(is_full, state[name] // 2, state[name])
        state[name] = faded + count
    odd = shows[:, [_FLAT, _NOISE, _SPIKE]].any(axis=1)
    restless = is_well & ~odd & np.isfinite(window.noise)
    _average(state, "noise", window.noise, restless, np.full(len(restless), _MEMORY))
    deviation = np.sqrt(state["level_var"])
    is_known = _has_level(state, window_ns) & (deviation > 0)
    reach = np.where(is_known, _CLIP_SD * deviation, np.inf)
    usual = state["level_mean"]
    level = np.clip(window.mean, usual - reach, usual + reach)
    is_here = is_well & window.is_usable & (state["came"] == _HERE)
    _average(state, "level", level, is_here, _LEVEL_MEMORY_NS // window_ns)
    state["last"] = np.where(window.is_usable, window.last, state["last"])


def _average(
    state: State,
    name: str,
    value: NDArray[np.float64],
    counts: NDArray[np.bool_],
    memory: NDArray[np.int64],
) -> None:
    """Take values into a mean and a variance over so many, where they count."""
    n = np.minimum(state[f"{name}_n"].astype(np.int64) + 1, np.maximum(memory, _FEWEST))
    mean, var = state[f"{name}_mean"], state[f"{name}_var"]
    # After a new beginning what was known before does not count.
    mean = np.where(n == 1, value, mean)
    step = value - mean
    new_mean = mean + step / n
    with np.errstate(over="ignore", invalid="ignore"):
        new_var = np.where(n == 1, 0.0, var + (step * (value - new_mean) - var) / n)
    counts = counts & np.isfinite(new_mean) & np.isfinite(new_var)
    state[f"{name}_n"] = np.where(counts, n, state[f"{name}_n"])
    state[f"{name}_mean"] = np.where(counts, new_mean, state[f"{name}_mean"])
    state[f"{name}_var"] = np.where(counts, new_var, state[f"{name}_var"])


def _figures(state: State, window: _Window, rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[m, 2]: ``SensorHealth.found`` and ``usual``."""
    noise = np.exp(window.noise)
    usual_noise = np.where(
        state["noise_n"] > 0, np.exp(state["noise_mean"].astype(np.float64)), np.nan
    )
    usual_level = np.where(state["level_n"] > 0, state["level_mean"], np.nan)
    readings = window.n + window.flagged
    lost = np.divide(window.flagged, readings, out=np.ones(len(noise)), where=readings > 0)
    mean = np.where(window.is_usable, window.mean, np.nan)
    found = (mean, lost, state["last"], noise, window.lone, noise, state["recent"])
    usual = (usual_level, rate[:, _DROPOUT], usual_noise, usual_noise, usual_noise, usual_noise)
    each = np.arange(len(noise))
    return np.stack(
        [
            np.stack(found)[state["health"], each],
            np.stack([*usual, usual_level])[state["health"], each],
        ],
        axis=1,
    )
