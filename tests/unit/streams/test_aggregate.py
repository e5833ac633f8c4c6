"""Tumbling windows, one rule a test; what holds of all readings is in test_properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.records import encode_aggregates
from headgate.core.results import Aggregates
from headgate.core.stage import Selection
from headgate.testing.stages import everything
from streams.stages.aggregate.stage import Aggregator, WatermarkOf
from tests.strategies import windows


def _feed(*window: str, period: str = "1s") -> FeedConfig:
    return FeedConfig.model_validate(
        {
            "topic": "{device}",
            "period": period,
            "channels": {"flow": {}},
            "aggregates": [{"window": each} for each in window],
        }
    )


def _table(*names: str) -> ChannelTable:
    channels = ChannelTable()
    for name in names or ("pump/p1/flow",):
        feed, device, signal = name.split("/")
        channels.row(Channel(feed, device, feed, signal))
    return channels


def _batch(
    channels: ChannelTable,
    times_s: list[float],
    values: list[float],
    rows: list[int] | None = None,
    quality: list[int] | None = None,
) -> Batch:
    times = [round(time * NS_PER_S) for time in times_s]
    return Batch.from_columns(channels, times, rows or [0] * len(times), values, quality=quality)


def _at(seconds: float) -> WatermarkOf:
    def watermark_of(devices: NDArray[np.int32]) -> NDArray[np.int64]:
        return np.full(len(devices), round(seconds * NS_PER_S), np.int64)

    return watermark_of


def _devices(*rows: int) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


def _starts_s(aggregates: Aggregates) -> list[int]:
    return [int(start) // NS_PER_S for start in aggregates.start_ns]


def test_a_window_closes_when_the_watermark_reaches_its_end() -> None:
    """It is half-open: a reading on its end belongs to the next one."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("10s")}, channels)

    early = aggregator.process(_batch(channels, [11, 19.9, 20], [1, 3, 9]), _at(19.999))
    closed = aggregator.close(_devices(0), _at(20))

    assert len(early) == 0
    assert _starts_s(closed) == [10]
    assert closed.window_ns.tolist() == [10 * NS_PER_S]
    assert (closed.n.tolist(), closed.expected.tolist()) == ([2], [10])
    assert {name: float(column[0]) for name, column in closed.stats.items()} == pytest.approx(
        {"mean": 2, "min": 1, "max": 3, "std": 1, "last": 3, "p50": 1, "p95": 1, "p99": 1}
    )
    assert aggregator.pending(everything(channels)).tolist() == [1]


def test_unusable_readings_are_counted_and_imputed_ones_are_not() -> None:
    """A window of unusable readings has no statistics; one of imputed readings is none."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("10s")}, channels)
    batch = _batch(
        channels,
        [1, 2, 3, 4, 11, 21],
        [5, math.nan, 1e9, 7, math.nan, 7],
        quality=[0, 0, Quality.OUT_OF_RANGE, Quality.IMPUTED, 0, Quality.IMPUTED],
    )

    closed = aggregator.process(batch, _at(100))

    assert (closed.n.tolist(), closed.flagged.tolist()) == ([1, 0], [2, 1])
    assert closed.stats["mean"][0] == 5
    assert all(np.isnan(column[1]) for column in closed.stats.values())
    assert closed.sketch_keys[1].tolist() == []


def test_windows_come_in_order_of_end_feed_device_and_field() -> None:
    """The order of names decides, not the one in which channels turned up."""
    names = ("tank/t1/b", "pump/p2/a", "tank/t1/a", "pump/p10/z", "pump/p10/b")
    channels = _table(*names)
    aggregator = Aggregator({"tank": _feed("10s"), "pump": _feed("10s", "20s")}, channels)
    times = [5.0, 15.0] * 5
    rows = [row for row in range(5) for _ in range(2)]

    closed = aggregator.process(_batch(channels, times, [1.0] * 10, rows), _at(20))

    found = [
        (int(end) // NS_PER_S, names[channel], int(length) // NS_PER_S)
        for end, channel, length in zip(
            closed.start_ns + closed.window_ns,
            closed.channel.tolist(),
            closed.window_ns,
            strict=True,
        )
    ]
    tens = [(name, 10) for name in ("pump/p10/b", "pump/p10/z", "pump/p2/a")]
    tanks = [("tank/t1/a", 10), ("tank/t1/b", 10)]
    both = [each for name, _ in tens for each in ((name, 10), (name, 20))]
    assert found == [(10, *each) for each in tens + tanks] + [(20, *each) for each in both + tanks]


def test_new_names_are_put_in_their_place() -> None:
    """Also when they turn up after most others have been ordered."""
    channels = _table(*(f"pump/p{number}/flow" for number in range(10, 20)))
    aggregator = Aggregator({"pump": _feed("10s")}, channels)
    aggregator.process(_batch(channels, [5.0] * 10, [1.0] * 10, list(range(10))), _at(10))
    late_comer = channels.row(Channel("pump", "p15a", "pump", "flow"))

    closed = aggregator.process(
        _batch(channels, [15.0] * 3, [1.0] * 3, [late_comer, 6, 5]), _at(20)
    )

    assert closed.channel.tolist() == [5, late_comer, 6]


def test_a_long_window_is_what_its_readings_are() -> None:
    """Joined from slices, it says the same as one calculation over all of its readings."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("10s", "5m")}, channels)
    rng = np.random.default_rng(1)
    values = 1e6 + rng.normal(size=3000)
    times = np.arange(3000) / 10
    parts = [
        aggregator.process(
            _batch(channels, times[span].tolist(), values[span].tolist()), _at(times[span][-1])
        )
        for span in (slice(first, first + 7) for first in range(0, 3000, 7))
    ]
    parts.append(aggregator.close(_devices(0), _at(300)))

    (long,) = [
        (part, row)
        for part in parts
        for row in np.flatnonzero(part.window_ns == 300 * NS_PER_S).tolist()
    ]
    stats = {name: float(column[long[1]]) for name, column in long[0].stats.items()}
    assert int(long[0].n[long[1]]) == 3000
    assert stats["mean"] == pytest.approx(values.mean(), rel=1e-14)
    assert stats["std"] == pytest.approx(values.std(), rel=1e-8)
    assert stats["last"] == values[-1]
    assert stats["p95"] == pytest.approx(np.quantile(values, 0.95), rel=0.01)
    assert int(long[0].sketch_counts[long[1]].sum()) == 3000
    assert len(windows(parts, channels)) == 31


def test_a_constant_signal_reads_as_it_is() -> None:
    """Quantiles are known to 1 %, but never lie outside of what was measured."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("10s")}, channels)

    closed = aggregator.process(_batch(channels, [1, 2, 3], [0.1] * 3), _at(10))

    stats = {name: float(column[0]) for name, column in closed.stats.items()}
    assert stats.pop("std") == 0
    assert set(stats.values()) == {0.1}


def test_the_largest_floats_do_no_harm() -> None:
    """Sums that overflow spoil the window they are in, and nothing else."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("10s", "30s")}, channels)
    batch = _batch(channels, [1, 2, 11, 12, 21], [1.7e308, 1.7e308, -1.7e308, 1.0, 5.0])

    closed = aggregator.process(batch, _at(30))

    assert closed.n.tolist() == [2, 2, 1, 5]
    assert closed.stats["max"].tolist() == [1.7e308, 1.0, 5.0, 1.7e308]
    assert closed.stats["mean"][2] == 5.0
    assert encode_aggregates(closed, channels)


def test_readings_of_one_time_and_opposite_zeros_have_one_order() -> None:
    """Whatever order they come in, the last value and every bit are the same."""
    channels = _table()
    found = []
    for values in ([0.0, -0.0, 2.0], [2.0, 0.0, -0.0], [-0.0, 2.0, 0.0]):
        aggregator = Aggregator({"pump": _feed("10s")}, channels)
        closed = aggregator.process(_batch(channels, [5, 5, 5], values), _at(10))
        found.append(windows([closed], channels))

    assert found[0] == found[1] == found[2]


def test_times_far_apart_are_ordered_right() -> None:
    """A span that does not fit into one integer with the channel's number."""
    channels = _table("pump/p1/a", "pump/p1/b")
    aggregator = Aggregator({"pump": _feed("10s")}, channels)

    closed = aggregator.process(_batch(channels, [4e9, 1, 2], [3, 1, 2], [1, 1, 1]), _at(5e9))

    assert _starts_s(closed) == [0, 4 * 10**9]
    assert closed.stats["last"].tolist() == [2, 3]


@pytest.mark.parametrize("window", ["7s", "37s", "10.000000007s", "1ms"])
def test_windows_of_odd_lengths_are_as_good(window: str) -> None:
    """Slices divide the window; where none does, the window is its own slice."""
    channels = _table()
    feed = _feed(window)
    length_ns = feed.aggregates[0].window
    aggregator = Aggregator({"pump": feed}, channels)
    times = np.arange(0, 90, 0.5)

    closed = aggregator.process(_batch(channels, times.tolist(), times.tolist()), _at(1000))

    time_ns = (times * NS_PER_S).astype(np.int64)
    starts, counts = np.unique(time_ns // length_ns * length_ns, return_counts=True)
    assert closed.start_ns.tolist() == starts.tolist()
    assert closed.n.tolist() == counts.tolist()


def test_a_feed_without_aggregates_gives_none() -> None:
    """Nor does a feed that is not in the configuration."""
    channels = _table("pump/p1/flow", "tank/t1/level", "gone/g1/x")
    aggregator = Aggregator({"pump": _feed("10s"), "tank": _feed()}, channels)

    closed = aggregator.process(_batch(channels, [1, 1, 1], [1, 2, 3], [0, 1, 2]), _at(10))

    assert closed.channel.tolist() == [0]
    assert aggregator.pending(everything(channels)).tolist() == [0, 0, 0]
    assert aggregator.fingerprint == f"[({10 * NS_PER_S}, ({10 * NS_PER_S},))]"


def test_expected_is_rounded_to_whole_readings() -> None:
    """A window need not be a multiple of the period."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("1s", period="300ms")}, channels)

    assert aggregator.process(_batch(channels, [0], [1]), _at(9)).expected.tolist() == [3]


def test_a_window_that_is_shorter_than_the_period_expects_the_reading_that_made_it() -> None:
    """Not none of them, by which nothing could be divided."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("10s", period="1h")}, channels)

    closed = aggregator.process(_batch(channels, [0, 3600], [1, 2]), _at(4000))
    assert (closed.n.tolist(), closed.expected.tolist()) == ([1, 1], [1, 1])


def test_pending_is_in_the_order_asked_for() -> None:
    """Devices may be asked for in any order, and some only."""
    channels = _table("pump/p1/a", "pump/p2/a", "pump/p3/a")
    aggregator = Aggregator({"pump": _feed("20s", "60s")}, channels)
    times, rows = [1.0, 2.0, 3.0, 11.0, 11.0], [0, 1, 1, 1, 2]
    aggregator.process(_batch(channels, times, [1.0] * 5, rows), _at(10))

    selection = Selection(_devices(2, 1), _devices())

    assert aggregator.pending(selection).tolist() == [1, 3]


def test_a_snapshot_of_other_windows_is_not_taken_over() -> None:
    """Open windows of a length that is no longer configured can't be closed as such."""
    channels, selection = _table(), everything(_table())
    old = Aggregator({"pump": _feed("10s")}, channels)
    old.process(_batch(channels, [1], [1]), _at(0))

    new = Aggregator({"pump": _feed("20s")}, channels)
    new.restore(selection, old.snapshot(selection))

    assert old.fingerprint != new.fingerprint
    assert new.pending(selection).tolist() == [0]


def test_a_window_closes_without_another_reading() -> None:
    """All of its slices are summarized already, and the watermark alone moves on."""
    channels = _table("pump/p1/a", "tank/t1/a")
    aggregator = Aggregator({"pump": _feed("20s"), "tank": _feed("20s")}, channels)
    aggregator.process(_batch(channels, [5, 6], [1, 3], [0, 1]), _at(10))

    closed = aggregator.close(_devices(1, 0), _at(20))

    assert closed.channel.tolist() == [0, 1]
    assert closed.stats["mean"].tolist() == [1, 3]
    assert not len(aggregator.close(_devices(1, 0), _at(99)))


def test_a_snapshot_of_nobody_is_empty() -> None:
    """Taking it over, or forgetting nobody, changes nothing."""
    channels = _table()
    aggregator = Aggregator({"pump": _feed("20s")}, channels)
    aggregator.process(_batch(channels, [5], [1]), _at(0))
    nobody = Selection(_devices(), _devices())

    aggregator.restore(nobody, aggregator.snapshot(nobody))
    aggregator.forget(nobody)

    assert aggregator.pending(everything(channels)).tolist() == [1]
