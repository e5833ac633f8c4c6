"""What a device has never done before: how far it is from the nearest of what it did.

For single series that nobody has a model of. Four distances are taken of a value: to the nearest
of all earlier values (it leaves their range, or fills a gap in it), to the nearest of the last few
and to the last one (it is nothing new, but not here), and of the steps that end with it to the
nearest earlier stretch of as many (Yankov, Keogh and Rebbapragada, "Disk Aware Discord Discovery",
ICDM 2007, but of the past only). Values are remembered only where they are news, so that a bounded
memory reaches far back; stretches are those of the newest steps.

Each distance is held against those that came before, by a histogram of their logarithms: it is as
rare as ``-log10`` of the part that was as large, and beyond the last fiftieth an exponential tail
goes on from their mean excess. Where little is remembered everything is far away, so a distance
counts the more the later it came, in proportion to the steps seen (polynomial-decay averaging:
Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013).

A value never had, or a stretch never had, is news by itself; a jump is not, of which a noisy series
is full, but counts with the rest. So the score is the largest of three: the rarity of the value
among all, that of the stretch, and the mean of all four; less what chance gives to so many
(Bonferroni), so that a score of 2 is one in a hundred on any device.

All that asks whether something is unlike what lately was, and gets used to whatever lasts. So the
score also grows with how far the last few steps are from every stretch of the training part: by a
tenth of how rare that distance was there, and by half of each power of ten that it is beyond the
largest. With one in a hundred of both a score is 2.2. The score says how abnormal each step is;
that an event is told once is the alarm's rule (``AlarmRule.quiet``).

The squared distances of the last stretch to all earlier ones follow from those a step ago: a term
enters and one leaves. They are kept in whole units, so that what has entered leaves exactly.

The memory of what lately was is each device's own; what is learned from training data is the scale,
and the stretches that were healthy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spox.opset.ai.onnx.v17 as op
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from spox import Var

from models.training.graphs import axes, build_stateful, columns, number, shares
from models.training.kind import AlarmRule, Kind
from models.training.progress import Progress, silent
from models.training.scoring import Fitted, Graph, score_windows
from models.training.windows import Windows

#: Steps in a window: the state is the memory.
WINDOW = 1

#: Values, and newest steps, that are remembered of a channel.
_VALUES, _STEPS = 2048, 1024

#: Steps in a stretch.
_STRETCH = 48

#: How long ago earlier stretches ended, in steps, and how many there are.
_LAGS = np.arange(_STRETCH, _STEPS - _STRETCH + 1)[::-1]
_EARLIER = len(_LAGS)

#: Differences of steps are cut off here, and their squares counted in this unit: the sum of a
#: stretch is a whole number of units below 2^48, which two float32 hold exactly.
_CUT_OFF, _UNIT = 100.0, 2.0**-28

#: The last few steps. The way back from a spike is a jump off the last one, but not off these.
_RECENT = 16

#: A value is remembered when it is further from the nearest than this part of all were so far.
_NEWS = 0.95

#: Distances of a value, and what the largest is taken of: two of them, and the mean of all.
_DISTANCES, _CANDIDATES = 4, 3

#: Bins of the histograms, over this range of distances, in scales of the channel.
_BINS, _NEAREST, _FARTHEST = 160, 1e-4, 1e3

#: The part of the distances that the exponential tail begins at, and its fewest.
_TAIL, _FEWEST_IN_TAIL = 0.02, 5

#: Distances that weigh the more the later they came are worth so many of equal weight:
#: ``(sum of weights)^2 / (sum of squared weights)`` of 1, 2, 3, ..., n is 3 n / 4.
_EFFECTIVE = 0.75

#: Steps before the first score.
_WARM_UP = 50

#: Training windows that are scored; their scores only matter to those who ask for a quantile.
_SCORED = 2000

#: Where nothing is remembered yet: farther than any distance.
_NOWHERE = 1e6

#: Steps in a stretch of the training part, how many stretches are kept of a channel, and of how
#: many it is looked how far they are from the rest.
_HEALTHY_STRETCH, _HEALTHY, _HEALTHY_ASKED = 20, 512, 2000

#: What the distance from the training part counts for: how rare it was there, and each power of ten
#: beyond the largest.
_RARE_THERE, _BEYOND = 0.1, 0.5

#: Steps in which a rarity rises, and the smallest distance that is told from none.
_KNOTS, _SAME = 64, 1e-3

#: Values are cut off and counted in these units where training stretches are compared, so that sums
#: of products are exact in whatever order they are added up.
_HEALTHY_CUT_OFF, _HEALTHY_UNIT = 100.0, 2.0**-14

_Step = tuple[Var, Var]


@dataclass(frozen=True, slots=True)
class Healthy:
    """Stretches of the training part, by channel.

    Attributes:
        stretches: float64[channel, step, stretch].
        knots: float64[channel, knot], distances that are passed with rising rarity.
        rises: float64[knot], by how much, ``-log10`` of a probability.
        largest: float64[channel], the largest distance of a training stretch from the others.
    """

    stretches: NDArray[np.float64]
    knots: NDArray[np.float64]
    rises: NDArray[np.float64]
    largest: NDArray[np.float64]


def fit(windows: Windows, progress: Progress = silent) -> Fitted:
    """Keep stretches of the training data, and score some of it."""
    graph = to_graph(windows.values.shape[2], healthy_stretches(windows))
    some = windows.take(slice(0, _SCORED))
    scored = score_windows(graph, some, np.empty(0, np.intp), progress)
    return Fitted(graph, scored.score, some.device, some.end_ns)


def healthy_stretches(windows: Windows) -> Healthy | None:
    """What is kept of windows of one step; None where no whole stretch lies apart from the rest.

    How far a training stretch is from the others is asked without those that overlap it, or lie
    within as many steps: they are alike because they are near.
    """
    length = _HEALTHY_STRETCH
    rows = windows.values[:, 0].astype(np.float64)
    if len(rows) < 4 * length:
        return None
    step_ns = np.diff(windows.end_ns)
    usual_ns = np.median(step_ns[np.diff(windows.device) == 0])
    is_break = np.append(True, (np.diff(windows.device) != 0) | (step_ns > 1.5 * usual_ns))
    place = np.arange(len(rows))
    since = place - np.maximum.accumulate(np.where(is_break, place, 0))
    ends = np.flatnonzero(since >= length - 1)
    if len(ends) < 4 * length:
        return None
    whole = in_units(sliding_window_view(rows, length, axis=0))
    kept = ends[np.linspace(0, len(ends) - 1, min(_HEALTHY, len(ends))).round().astype(int)]
    asked = ends[np.linspace(0, len(ends) - 1, min(_HEALTHY_ASKED, len(ends))).round().astype(int)]
    is_near = np.abs(asked[:, None] - kept) < 2 * length
    if is_near.all(axis=1).any():
        return None
    # Rarities rise evenly up to one in as many as were asked.
    steps = np.linspace(0, np.log10(len(asked) + 1), _KNOTS + 1)[1:]
    knots, largest = [], []
    for channel in range(rows.shape[1]):
        theirs = whole[kept - length + 1, channel]
        apart = np.concatenate(
            [
                np.where(near, np.inf, ((theirs - ours) ** 2).sum(axis=1)).min(keepdims=True)
                for near, ours in zip(is_near, whole[asked - length + 1, channel], strict=True)
            ]
        )
        falling = np.sort(np.sqrt(apart))[::-1]
        # So many of the asked lie as far away as the knot, or farther.
        count = np.floor((len(asked) + 1) * 10**-steps).astype(int)
        knots.append(falling[np.clip(count - 1, 0, len(asked) - 1)])
        largest.append(falling[0])
    return Healthy(
        np.ascontiguousarray(np.moveaxis(whole[kept - length + 1], 0, -1)),
        np.maximum(np.array(knots), _SAME),
        np.diff(steps, prepend=0),
        np.maximum(np.array(largest), _SAME),
    )


def in_units(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values cut off and rounded as the graph does it where it compares them with training."""
    cut: NDArray[np.float64] = np.clip(values, -_HEALTHY_CUT_OFF, _HEALTHY_CUT_OFF)
    rounded: NDArray[np.float64] = np.round(cut / _HEALTHY_UNIT) * _HEALTHY_UNIT
    return rounded


def to_graph(channels: int, healthy: Healthy | None = None) -> Graph:
    """The graph. The state, by channel: remembered values, newest steps, squared distances to the
    earlier stretches (their leading digits, and the rest), the histograms, and the distance from
    which a value is news; then the steps seen.

    Args:
        channels: How many.
        healthy: What is kept of the training part; None where it is too short.
    """
    sizes = (_VALUES, _STEPS, _EARLIER, _EARLIER, _DISTANCES * _BINS, 1)
    ends = np.cumsum([0, *(channels * size for size in sizes)]).tolist()
    by_chance = number(np.log10(_CANDIDATES * channels))

    def body(window: Var, state: Var) -> tuple[Var, Var, Var]:
        value = op.reshape(window, axes(-1, channels, 1))
        values, steps, apart, rest, parts, limit = (
            op.reshape(columns(state, first, end), axes(-1, channels, size))
            for first, end, size in zip(ends[:-1], ends[1:], sizes, strict=True)
        )
        seen = columns(state, ends[-1], ends[-1] + 1)
        is_new_device = op.equal(seen, number(0))
        nearest = _known(op.reduce_min(op.abs(op.sub(values, value)), axes=[2], keepdims=1))
        last, recent = _from_recent(steps, value, seen)
        steps = op.concat([steps, value], axis=2)
        apart, rest = _stretches(steps, apart, rest)
        distances = op.concat([nearest, last, recent, _nearest_stretch(apart, seen)], axis=2)
        rarity, parts = _rarity(distances, parts, seen)
        limit, is_news = _news(nearest, limit, seen)
        is_news = op.or_(is_news, op.unsqueeze(is_new_device, axes(1)))
        values = op.where(is_news, op.concat([_tail(values, _VALUES - 1), value], axis=2), values)
        rarest = _rarest(rarity)
        if healthy is not None:
            rarest = op.add(rarest, _unlike_healthy(steps, seen, healthy))
        score = op.sub(op.reduce_max(rarest, axes=[1], keepdims=0), by_chance)
        flat = axes(0, -1)
        after = op.concat(
            [
                *(
                    op.reshape(each, flat)
                    for each in (
                        values,
                        _tail(steps, _STEPS),
                        apart,
                        rest,
                        parts,
                        limit,
                    )
                ),
                op.min([op.add(seen, number(1)), number(1e6)]),
            ],
            axis=1,
        )
        return op.max([score, number(0)]), shares(op.mul(rarest, rarest)), after

    initial = np.zeros(ends[-1] + 1, np.float32)
    initial[: ends[1]] = _NOWHERE
    return build_stateful(body, WINDOW, channels, initial)


def _unlike_healthy(steps: Var, seen: Var, healthy: Healthy) -> Var:
    """float32[batch, channel]: what the distance from all training stretches adds to the score."""
    cut = op.clip(
        _tail(steps, _HEALTHY_STRETCH), number(-_HEALTHY_CUT_OFF), number(_HEALTHY_CUT_OFF)
    )
    unit = op.const(np.float64(_HEALTHY_UNIT))
    last = op.mul(op.round(op.div(op.cast(cut, to=np.float64), unit)), unit)
    # [batch, channel, step] and [channel, step, stretch], a channel after the other: of the
    # products only those of the same channel are wanted.
    by_channel = op.transpose(last, perm=[1, 0, 2])
    products = op.matmul(by_channel, op.const(healthy.stretches))
    squares = op.reduce_sum(op.mul(by_channel, by_channel), axes(2), keepdims=1)
    theirs = op.const((healthy.stretches**2).sum(axis=1, keepdims=True))
    squared = op.add(op.sub(theirs, op.mul(products, op.const(np.float64(2)))), squares)
    nearest = op.sqrt(
        op.max([op.reduce_min(squared, axes=[2], keepdims=1), op.const(np.float64(0))])
    )
    # [channel, batch, 1] to [batch, channel, 1].
    distance = op.transpose(nearest, perm=[1, 0, 2])
    is_passed = op.cast(op.greater(distance, op.const(healthy.knots)), to=np.float64)
    rarity = op.reduce_sum(op.mul(is_passed, op.const(healthy.rises)), axes(2), keepdims=0)
    beyond = op.max(
        [
            op.div(op.squeeze(distance, axes(2)), op.const(healthy.largest)),
            op.const(np.float64(1)),
        ]
    )
    added = op.add(
        op.mul(op.cast(rarity, to=np.float32), number(_RARE_THERE)),
        op.mul(op.log(op.cast(beyond, to=np.float32)), number(_BEYOND / np.log(10))),
    )
    is_whole = op.cast(op.greater_or_equal(seen, number(_HEALTHY_STRETCH - 1)), to=np.float32)
    return op.mul(added, is_whole)


def _tail(x: Var, count: int) -> Var:
    """The last of float32[batch, channel, n]."""
    return op.slice(x, axes(-count), axes(np.iinfo(np.int64).max), axes(2))


def _known(distance: Var) -> Var:
    """A distance; 0 where nothing is remembered."""
    return op.where(op.less(distance, number(_NOWHERE / 2)), distance, number(0))


def _from_recent(steps: Var, value: Var, seen: Var) -> tuple[Var, Var]:
    """Distances to the last value, and to the nearest of the last few; 0 where there is none."""
    ago = number(np.arange(_RECENT, 0, -1))
    is_there = op.greater_or_equal(op.unsqueeze(seen, axes(1)), ago)
    apart = op.abs(op.sub(_tail(steps, _RECENT), value))
    apart = op.where(is_there, apart, number(_NOWHERE))
    return _known(_tail(apart, 1)), _known(op.reduce_min(apart, axes=[2], keepdims=1))


def _stretches(steps: Var, apart: Var, rest: Var) -> _Step:
    """Squared distances of the last stretch to the earlier ones, from those a step ago.

    What is not known yet is 0; whoever asks leaves out the stretches that have such steps.
    """
    enters, leaves = _apart(steps, 0), _apart(steps, _STRETCH)
    before = op.add(op.cast(apart, to=np.float64), op.cast(rest, to=np.float64))
    now = op.add(before, op.sub(enters, leaves))
    apart = op.cast(now, to=np.float32)
    rest = op.sub(now, op.cast(apart, to=np.float64))
    return apart, op.cast(rest, to=np.float32)


def _apart(steps: Var, ago: int) -> Var:
    """Squared differences of the step so long ago to the steps before it by each lag, in units."""
    last = _STEPS - ago
    step = op.slice(steps, axes(last), axes(last + 1), axes(2))
    first = last - int(_LAGS[0])
    earlier = op.slice(steps, axes(first), axes(first + _EARLIER), axes(2))
    difference = op.clip(op.sub(earlier, step), number(-_CUT_OFF), number(_CUT_OFF))
    squared = op.cast(op.mul(difference, difference), to=np.float64)
    return op.round(op.mul(squared, op.const(np.float64(1 / _UNIT))))


def _nearest_stretch(apart: Var, seen: Var) -> Var:
    """The distance of the last stretch to the nearest earlier one; 0 where there is none."""
    began = number(_LAGS + _STRETCH - 1)
    is_whole = op.greater_or_equal(op.unsqueeze(seen, axes(1)), began)
    squared = op.mul(op.where(is_whole, apart, number(np.inf)), number(_UNIT))
    nearest = op.sqrt(op.reduce_min(squared, axes=[2], keepdims=1))
    return op.where(op.isinf(nearest), number(0), nearest)


def _rarity(distances: Var, parts: Var, seen: Var) -> _Step:
    """``-log10`` of how rare such distances were so far, and the histograms with them."""
    low, width = np.log(_NEAREST), np.log(_FARTHEST / _NEAREST) / _BINS
    edges = np.exp(low + width * np.arange(_BINS))
    middles = edges * np.exp(width / 2)
    # The channels' distances one below the other: they share what is done.
    distance = op.reshape(distances, axes(0, -1, 1))
    parts = op.reshape(parts, axes(0, -1, _BINS))
    place = op.mul(op.sub(op.log(op.max([distance, number(1e-9)])), number(low)), number(1 / width))
    place = op.clip(op.floor(place), number(0), number(_BINS - 1))
    is_here = op.cast(op.equal(place, number(np.arange(_BINS))), to=np.float32)
    # Of each bin, the distances in it and above it.
    steps = op.unsqueeze(seen, axes(1))
    count = op.mul(steps, number(_EFFECTIVE))
    counts = op.mul(parts, count)
    above = op.cumsum(counts, op.const(np.array(2)), reverse=1)
    usual = op.div(
        op.add(op.reduce_sum(op.mul(is_here, above), axes(2), keepdims=1), number(1)),
        op.add(count, number(2)),
    )
    most = op.max([op.mul(count, number(_TAIL)), number(_FEWEST_IN_TAIL)])
    in_tail = op.less_or_equal(above, most)
    begin = op.reduce_min(op.where(in_tail, number(edges), number(_FARTHEST)), axes=[2], keepdims=1)
    held = op.where(in_tail, counts, number(0))
    size = op.reduce_sum(held, axes(2), keepdims=1)
    mean = op.div(
        op.reduce_sum(op.mul(held, number(middles)), axes(2), keepdims=1),
        op.max([size, number(1e-30)]),
    )
    excess = op.add(op.max([op.sub(mean, begin), number(0)]), number(1e-9))
    beyond = op.sub(distance, begin)
    # In logarithms, because the tail soon is smaller than a float32 can be.
    log_tail = op.sub(
        op.log(op.div(op.max([size, number(1e-9)]), op.max([count, number(1)]))),
        op.div(beyond, excess),
    )
    log_alone = op.neg(op.log(op.add(count, number(2))))
    log_beyond = op.where(op.greater(size, number(0)), log_tail, log_alone)
    log_rarity = op.where(op.greater(beyond, number(0)), log_beyond, op.log(usual))
    rarity = op.mul(op.max([log_rarity, number(-30 * np.log(10))]), number(-1 / np.log(10)))
    is_settled = op.cast(op.greater_or_equal(steps, number(_WARM_UP)), to=np.float32)
    weight = op.div(number(2), op.add(steps, number(2)))
    rarity = op.reshape(op.mul(rarity, is_settled), axes(0, -1, _DISTANCES))
    return rarity, op.add(parts, op.mul(op.sub(is_here, parts), weight))


def _rarest(rarity: Var) -> Var:
    """float32[batch, channel]: of a value, of a stretch, or of all distances taken together."""
    of_value = op.slice(rarity, axes(0), axes(1), axes(2))
    of_stretch = op.slice(rarity, axes(_DISTANCES - 1), axes(_DISTANCES), axes(2))
    of_all = op.reduce_mean(rarity, axes=[2], keepdims=1)
    return op.squeeze(op.max([of_value, of_stretch, of_all]), axes(2))


def _news(distance: Var, limit: Var, seen: Var) -> _Step:
    """The distance from which a value is news, following its quantile; and whether this one is."""
    is_news = op.greater_or_equal(distance, limit)
    is_over = op.cast(op.greater(distance, limit), to=np.float32)
    count = op.unsqueeze(seen, axes(1))
    step = op.mul(
        op.max([number(0.01), op.div(number(1), op.add(count, number(1)))]),
        op.max([limit, number(1e-3)]),
    )
    moved = op.add(limit, op.mul(step, op.sub(is_over, number(1 - _NEWS))))
    return op.max([moved, number(0)]), is_news


KIND = Kind(
    fit=lambda windows, _seed, _meets, tell: fit(windows, tell),
    window=WINDOW,
    has_window=False,
    # One in a hundred by what lately was, and as rare by what training had.
    rule=AlarmRule("probability", 0.01, margin=1.1, quiet=150),
)
