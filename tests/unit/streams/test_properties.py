"""What holds of the stages whatever the readings are, and however they are cut into batches."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
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
from headgate.core.stage import Output, StatefulStage
from headgate.testing.stages import (
    LAWS,
    Said,
    cut,
    everything,
    nothing_is_lost,
    said_of_batch,
    the_forgotten_start_afresh,
)
from streams.stages.aggregate.stage import Aggregator
from streams.stages.clean.stage import Cleaner
from streams.stages.frame.stage import Framer, FrameSpec
from streams.stages.normalize import Normalizer
from streams.stages.watermark.stage import Watermarks
from tests.examples import tried
from tests.strategies import (
    DEVICES,
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


class _Line:
    """All stages of this folder behind one another, and everything that came out of them."""

    def __init__(self, channels: ChannelTable) -> None:
        self.channels = channels
        self.watermarks = Watermarks(FEEDS, channels)
        self.aggregator = Aggregator(FEEDS, channels)
        self._cleaner = Cleaner(FEEDS, channels)
        self._normalizers = [
            Normalizer(
                spec.feed,
                spec.channel_names,
                np.zeros(len(spec.channel_names)),
                np.full(len(spec.channel_names), 2.0),
                channels,
            )
            for spec in _SPECS
        ]
        self._framers = [Framer(str(n), spec, channels) for n, spec in enumerate(_SPECS)]
        self.stages: Mapping[str, StatefulStage] = {
            "watermark": self.watermarks,
            "clean": self._cleaner,
            "aggregate": self.aggregator,
            **{f"frame {n}": framer for n, framer in enumerate(self._framers)},
        }
        self.on_time: list[Output] = []
        self.cleaned: list[Output] = []
        self.aggregates: list[Aggregates] = []
        self.frames: list[Frames] = []

    def feed(self, batch: Batch) -> list[Said]:
        """See ``Line``; nothing may be lost in any of the stages that keep readings."""
        on_time = self.watermarks.process(batch, now_ns=0)
        nothing_is_lost(batch, on_time)
        cleaned = self._cleaner.process(on_time.main)
        nothing_is_lost(on_time.main, cleaned)
        closed = self.aggregator.process(cleaned.main, self.watermarks.watermark_ns)
        self.on_time.append(on_time)
        self.cleaned.append(cleaned)
        self.aggregates.append(closed)
        said = said_of_batch("on time", on_time.main) + said_of_batch("cleaned", cleaned.main)
        for part in (*on_time.rejected, *cleaned.rejected):
            said += said_of_batch(part.reason, part.batch)
        for (key, start_ns, length_ns), window in windows([closed], self.channels).items():
            # Of one channel and length they come in the order of their times.
            channel = Channel.from_key(key)
            kind = f"window {channel.field} {length_ns}"
            said.append((kind, channel.owner, (start_ns, window)))
        for normalizer, framer in zip(self._normalizers, self._framers, strict=True):
            frames = framer.process(normalizer.process(cleaned.main))
            self.frames.append(frames)
            for row, device in enumerate(frames.device.tolist()):
                what = int(frames.end_ns[row]), frames.values[row].tobytes()
                said.append((f"frame {frames.model}", self.channels.devices[device], what))
        return said

    def all_windows(self) -> dict[Any, Any]:
        """Closed windows by identity, none twice."""
        return windows(self.aggregates, self.channels)


def _fed(batch: Batch) -> _Line:
    """A line that a batch has gone through."""
    line = _Line(table())
    line.feed(batch)
    return line


@given(st.data())
@tried(80)
def test_the_stages_keep_the_laws(data: st.DataObject) -> None:
    """Any cut, a table that grows, a restart at any reading; nothing is lost on the way."""
    batch = data.draw(arrivals())
    places = data.draw(cuts(len(batch)))

    for law in LAWS:
        law(_Line, batch, places)


@given(arrivals(), st.integers(0, 150), st.integers(0, len(DEVICES) - 1))
@tried(50)
def test_forgotten_devices_start_afresh(batch: Batch, place: int, forgotten: int) -> None:
    """After ``forget`` the stages treat a device as never seen, and all others as before."""
    earlier, later = cut(batch, [min(place, len(batch))])

    the_forgotten_start_afresh(_Line, earlier, later, forgotten)


@given(arrivals())
@tried(40)
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
@tried(50)
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
@tried(50)
def test_windows_say_what_a_naive_count_says(batch: Batch) -> None:
    """n, flagged, mean, min, max, std and last equal sums made reading by reading."""
    line = _fed(batch)
    silent = line.watermarks.advance(LONG_NS, 0).closing
    line.aggregates.append(line.aggregator.close(silent, line.watermarks.watermark_ns))

    values: defaultdict[Any, list[tuple[int, float]]] = defaultdict(list)
    flagged: Counter[Any] = Counter()
    main = line.cleaned[0].main
    for row in np.flatnonzero((main.quality & Quality.IMPUTED) == 0).tolist():
        channel = main.channels.channels[main.channel[row]]
        for aggregate in FEEDS[channel.feed].aggregates:
            time_ns, length_ns = int(main.time_ns[row]), aggregate.window
            identity = (channel.key, time_ns // length_ns * length_ns, length_ns)
            if main.usable[row]:
                values[identity].append((time_ns, float(main.value[row])))
            else:
                flagged[identity] += 1

    found = line.all_windows()
    assert found.keys() == values.keys() | flagged.keys()
    for identity, (n, bad, expected, stats, _, counts, *_) in found.items():
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
@tried(40)
def test_pending_counts_what_has_not_come_out_yet(batch: Batch) -> None:
    """A reading is in a closed window of its feed's shortest length, or pending."""
    line = _fed(batch)
    main = line.cleaned[0].main
    measured = main.take((main.quality & Quality.IMPUTED) == 0)

    settled: Counter[Device] = Counter()
    for (key, _, length_ns), (n, bad, *_) in line.all_windows().items():
        channel = Channel.from_key(key)
        if length_ns == min(aggregate.window for aggregate in FEEDS[channel.feed].aggregates):
            settled[channel.owner] += n + bad
    pending = line.aggregator.pending(everything(line.channels)).tolist()

    for row, device in enumerate(line.channels.devices):
        assert settled[device] + pending[row] == np.count_nonzero(measured.device == row)


def test_the_strategies_reach_what_they_are_meant_to() -> None:
    """Drawn readings do contain late ones, duplicates, spikes, stuck ones, gaps and windows."""
    seen: Counter[str] = Counter()

    @given(arrivals())
    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    def draw(batch: Batch) -> None:
        line = _fed(batch)
        main = line.cleaned[0].main
        for flag in (Quality.SPIKE, Quality.STUCK, Quality.IMPUTED, Quality.OUT_OF_RANGE):
            seen[str(flag.name)] += int(np.count_nonzero(main.quality & flag))
        for output in (line.on_time[0], line.cleaned[0]):
            for part in output.rejected:
                seen[part.reason] += len(part.batch)
        for frames in line.frames:
            seen[f"frames {frames.model}"] += len(frames)
        for identity in line.all_windows():
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
