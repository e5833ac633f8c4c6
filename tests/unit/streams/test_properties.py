"""What holds of the stages whatever the readings are, and however they are cut into batches."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.clock import NS_PER_S
from headgate.core.results import Aggregates, Frames
from headgate.core.stage import Output
from headgate.testing.stages import cut, described, everything, pointing_into
from streams.stages.aggregate.stage import Aggregator
from streams.stages.clean.stage import Cleaner
from streams.stages.frame.stage import Framer, FrameSpec
from streams.stages.normalize import Normalizer
from streams.stages.watermark.stage import Watermarks
from tests.strategies import (
    FEEDS,
    FIELDS,
    START_NS,
    arrivals,
    cuts,
    orders_within_grace,
    table,
    windows,
)

pytestmark = pytest.mark.slow

#: Longer than any of these devices is waited for.
LONG_NS = 10**13

_SPECS = (
    FrameSpec("pump", FIELDS, NS_PER_S, window=3, hop=1, resample="instant", hold_limit=2),
    FrameSpec("pump", FIELDS[:2], 2 * NS_PER_S, window=2, hop=2, resample="mean", hold_limit=0),
    FrameSpec("tank", FIELDS[:1], NS_PER_S, window=1, hop=3, resample="instant", hold_limit=1),
)


class _Run:
    """All stages of this folder behind one another, and everything that came out of them."""

    def __init__(self, channels: ChannelTable) -> None:
        self.channels = channels
        self.watermarks = Watermarks(FEEDS, channels)
        self.cleaner = Cleaner(FEEDS, channels)
        self.aggregator = Aggregator(FEEDS, channels)
        self.normalizers = [
            Normalizer(
                spec.feed,
                spec.channel_names,
                np.zeros(len(spec.channel_names)),
                np.full(len(spec.channel_names), 2.0),
                channels,
            )
            for spec in _SPECS
        ]
        self.framers = [Framer(str(n), spec, channels) for n, spec in enumerate(_SPECS)]
        self.on_time: list[Output] = []
        self.cleaned: list[Output] = []
        self.aggregates: list[Aggregates] = []
        self.frames: list[Frames] = []

    def feed(self, batches: Sequence[Batch]) -> _Run:
        """Push batches through."""
        for batch in batches:
            on_time = self.watermarks.process(batch, now_ns=0)
            cleaned = self.cleaner.process(on_time.main)
            self.on_time.append(on_time)
            self.cleaned.append(cleaned)
            self.aggregates.append(
                self.aggregator.process(cleaned.main, self.watermarks.watermark_ns)
            )
            for normalizer, framer in zip(self.normalizers, self.framers, strict=True):
                self.frames.append(framer.process(normalizer.process(cleaned.main)))
        return self

    def restarted(self) -> _Run:
        """A new process that has taken over this one's state, under other numbers."""
        other = _Run(table(is_reversed=True))
        # The same devices and channels in the same order, as a snapshot lists them.
        here, there = everything(self.channels), other.channels
        channels = np.array([there.row(each) for each in self.channels.channels], np.int32)
        devices = np.array([there.device_row(each) for each in self.channels.devices], np.int32)
        selection = type(here)(devices, channels)
        for old, new in zip(self.stages(), other.stages(), strict=True):
            new.restore(selection, old.snapshot(here))
        other.on_time, other.cleaned = self.on_time, self.cleaned
        return other

    def stages(self) -> list[Any]:
        """Those with state."""
        return [self.watermarks, self.cleaner, self.aggregator, *self.framers]

    def all_windows(self) -> dict[Any, Any]:
        """Closed windows by identity."""
        return windows(self.aggregates, self.channels)

    def all_frames(self) -> Counter[Any]:
        """Frames as they are to the last bit, by device name."""
        return Counter(
            (
                frames.model,
                self.channels.devices[frames.device[row]],
                int(frames.end_ns[row]),
                frames.values[row].tobytes(),
            )
            for frames in self.frames
            for row in range(len(frames))
        )

    def rows(self, name: str) -> list[Any]:
        """Readings that a stage passed on or rejected, in order."""
        outputs: list[Output] = getattr(self, name)
        rejected: defaultdict[str, list[Any]] = defaultdict(list)
        for output in outputs:
            for part in output.rejected:
                rejected[part.reason] += described([part.batch])
        return [described([output.main for output in outputs]), dict(rejected)]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_cut_into_batches_gives_the_same_results(data: st.DataObject) -> None:
    """Every stage says the same of readings that come whole or in pieces."""
    batch = data.draw(arrivals())

    whole = _Run(table()).feed([batch])
    pieces = _Run(table()).feed(cut(batch, data.draw(cuts(len(batch)))))

    assert pieces.rows("on_time") == whole.rows("on_time")
    assert pieces.rows("cleaned") == whole.rows("cleaned")
    assert pieces.all_windows() == whole.all_windows()
    assert pieces.all_frames() == whole.all_frames()


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_restart_at_any_reading_is_invisible(data: st.DataObject) -> None:
    """State that was written down and taken over goes on as if nothing had happened."""
    batch = data.draw(arrivals())
    before, after = cut(batch, [data.draw(st.integers(0, len(batch)))])

    whole = _Run(table()).feed([batch])
    first = _Run(table()).feed([before])
    second = first.restarted()
    second.feed([pointing_into(after, second.channels)])

    assert second.rows("on_time") == whole.rows("on_time")
    assert second.rows("cleaned") == whole.rows("cleaned")
    assert {**first.all_windows(), **second.all_windows()} == whole.all_windows()
    assert first.all_frames() + second.all_frames() == whole.all_frames()


@given(arrivals(), arrivals())
@settings(max_examples=50, deadline=None)
def test_forgotten_devices_start_afresh(earlier: Batch, later: Batch) -> None:
    """After ``forget`` the stages treat the devices as never seen."""
    run = _Run(table()).feed([earlier])
    for stage in run.stages():
        stage.forget(everything(run.channels))
    for results in (run.on_time, run.cleaned, run.aggregates, run.frames):
        results.clear()

    run.feed([later])

    fresh = _Run(table()).feed([later])
    assert run.rows("cleaned") == fresh.rows("cleaned")
    assert run.all_windows() == fresh.all_windows()
    assert run.all_frames() == fresh.all_frames()


@given(arrivals())
@settings(max_examples=50, deadline=None)
def test_no_reading_is_lost_unreported(batch: Batch) -> None:
    """What goes into a stage is passed on or rejected with a reason; what is more is imputed."""
    run = _Run(table()).feed([batch])

    for output, came_in in ((run.on_time[0], batch), (run.cleaned[0], run.on_time[0].main)):
        is_measured = (output.main.quality & Quality.IMPUTED) == 0
        kept = [output.main.take(is_measured), *(part.batch for part in output.rejected)]
        assert Counter(row[:2] for row in described(kept)) == Counter(
            row[:2] for row in described([came_in])
        )


@given(arrivals())
@settings(max_examples=40, deadline=None)
def test_the_watermark_never_goes_back(batch: Batch) -> None:
    """However times jump, the promise made about a device is kept."""
    watermarks = Watermarks(FEEDS, batch.channels)
    devices = np.arange(3, dtype=np.int32)
    seen = []
    for piece in cut(batch, range(len(batch))):
        watermarks.process(piece, now_ns=0)
        seen.append(watermarks.watermark_ns(devices).tolist())

    assert all(a <= b for early, late in pairwise(seen) for a, b in zip(early, late, strict=True))


@given(orders_within_grace())
@settings(max_examples=50, deadline=None)
def test_any_order_within_the_grace_gives_the_same_windows(orders: tuple[Batch, Batch]) -> None:
    """Readings that overtake each other on the way change no number of any window."""
    found = []
    for batch in orders:
        channels = batch.channels
        watermarks, aggregator = Watermarks(FEEDS, channels), Aggregator(FEEDS, channels)
        output = watermarks.process(batch, now_ns=0)
        parts = [aggregator.process(output.main, watermarks.watermark_ns)]
        silent = watermarks.advance(LONG_NS, 0).closing
        parts.append(aggregator.close(silent, watermarks.watermark_ns))

        assert not output.rejected
        assert not aggregator.pending(everything(channels)).any()
        found.append(windows(parts, channels))

    assert found[0] == found[1]


@given(arrivals())
@settings(max_examples=50, deadline=None)
def test_windows_say_what_a_naive_count_says(batch: Batch) -> None:
    """n, flagged, mean, min, max, std and last equal sums made reading by reading."""
    run = _Run(table()).feed([batch])
    silent = run.watermarks.advance(LONG_NS, 0).closing
    run.aggregates.append(run.aggregator.close(silent, run.watermarks.watermark_ns))

    values: defaultdict[Any, list[tuple[int, float]]] = defaultdict(list)
    flagged: Counter[Any] = Counter()
    main = run.cleaned[0].main
    for row in np.flatnonzero((main.quality & Quality.IMPUTED) == 0).tolist():
        channel = main.channels.channels[main.channel[row]]
        for aggregate in FEEDS[channel.feed].aggregates:
            time_ns, length_ns = int(main.time_ns[row]), aggregate.window
            identity = (channel.key, time_ns // length_ns * length_ns, length_ns)
            if main.usable[row]:
                values[identity].append((time_ns, float(main.value[row])))
            else:
                flagged[identity] += 1

    found = run.all_windows()
    assert found.keys() == values.keys() | flagged.keys()
    for identity, (n, bad, expected, stats, _, counts, _) in found.items():
        readings = sorted(values[identity])
        assert (n, bad, sum(counts)) == (len(readings), flagged[identity], len(readings))
        assert expected == identity[2] // NS_PER_S
        if not readings:
            assert set(stats.values()) == {"nan"}
            continue
        numbers = [value for _, value in readings]
        mean = math.fsum(numbers) / n
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / n)
        scale = max(map(abs, numbers))
        assert float(stats["mean"]) == pytest.approx(mean, rel=1e-12, abs=1e-12 * scale)
        assert float(stats["std"]) == pytest.approx(std, rel=1e-9, abs=1e-9 * scale)
        assert float(stats["min"]) == min(numbers)
        assert float(stats["max"]) == max(numbers)
        assert readings[-1] == (readings[-1][0], float(stats["last"]))
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            exact = float(np.quantile(numbers, share, method="lower"))
            assert float(stats[name]) == pytest.approx(exact, rel=0.0101, abs=1e-300)


@given(arrivals())
@settings(max_examples=40, deadline=None)
def test_pending_counts_what_has_not_come_out_yet(batch: Batch) -> None:
    """A reading is in a closed window of its feed's shortest length, or pending."""
    run = _Run(table()).feed([batch])
    main = run.cleaned[0].main
    measured = main.take((main.quality & Quality.IMPUTED) == 0)

    settled: Counter[Device] = Counter()
    for (key, _, length_ns), (n, bad, *_) in run.all_windows().items():
        channel = Channel.from_key(key)
        if length_ns == min(aggregate.window for aggregate in FEEDS[channel.feed].aggregates):
            settled[channel.owner] += n + bad
    pending = run.aggregator.pending(everything(run.channels)).tolist()

    for row, device in enumerate(run.channels.devices):
        assert settled[device] + pending[row] == np.count_nonzero(measured.device == row)


def test_the_strategies_reach_what_they_are_meant_to() -> None:
    """Drawn readings do contain late ones, duplicates, spikes, stuck ones, gaps and windows."""
    seen: Counter[str] = Counter()

    @given(arrivals())
    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    def draw(batch: Batch) -> None:
        run = _Run(table()).feed([batch])
        main = run.cleaned[0].main
        for flag in (Quality.SPIKE, Quality.STUCK, Quality.IMPUTED, Quality.OUT_OF_RANGE):
            seen[str(flag.name)] += int(np.count_nonzero(main.quality & flag))
        for output in (run.on_time[0], run.cleaned[0]):
            for part in output.rejected:
                seen[part.reason] += len(part.batch)
        for frames in run.frames:
            seen[f"frames {frames.model}"] += len(frames)
        for identity in run.all_windows():
            seen[f"window {identity[2] // NS_PER_S}"] += 1
        assert (main.time_ns >= START_NS).all()

    draw()

    assert sorted(seen) == [
        "IMPUTED",
        "OUT_OF_RANGE",
        "SPIKE",
        "STUCK",
        "conflict",
        "duplicate",
        "frames 0",
        "frames 1",
        "frames 2",
        "late",
        "window 20",
        "window 30",
        "window 5",
    ]
    assert min(seen.values()) > 0
