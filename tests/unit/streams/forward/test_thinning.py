"""Merged windows are what the long windows of the same readings would have been."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.results import STATISTICS, Aggregates
from streams.forward.thinning import concat, source_windows, thin
from streams.stages.aggregate.stage import Aggregator

pytestmark = pytest.mark.slow

_MINUTE = 60 * NS_PER_S


def _feed(*window: str, period: str = "1s") -> FeedConfig:
    return FeedConfig.model_validate(
        {
            "topic": "{device}",
            "period": period,
            "channels": {"x": {}},
            "aggregates": [{"window": each} for each in window],
        }
    )


def _aggregates(
    channels: ChannelTable, feed: FeedConfig, readings: list[tuple[int, int, float, bool]]
) -> Aggregates:
    """All windows of readings ``(channel, second, value, usable)``, in order of time."""
    readings = sorted(readings, key=lambda reading: reading[1])
    batch = Batch.from_columns(
        channels,
        [second * NS_PER_S for _, second, _, _ in readings],
        [row for row, *_ in readings],
        [value for _, _, value, _ in readings],
        quality=[0 if usable else int(Quality.SPIKE) for *_, usable in readings],
    )
    aggregator = Aggregator({"f": feed}, channels)

    def far(devices: NDArray[np.int32]) -> NDArray[np.int64]:
        return np.full(len(devices), 10**18, np.int64)

    rows = aggregator.process(batch, far)
    return rows.take(np.argsort(rows.start_ns, kind="stable"))


def _by_window(rows: Aggregates) -> dict[tuple[int, int], list[float]]:
    return {
        (channel, start_ns): [
            *(float(rows.stats[name][row]) for name in STATISTICS),
            *(int(column[row]) for column in (rows.n, rows.flagged, rows.expected)),
        ]
        for row, (channel, start_ns) in enumerate(
            zip(rows.channel.tolist(), rows.start_ns.tolist(), strict=True)
        )
    }


def _table() -> ChannelTable:
    channels = ChannelTable()
    for device in "ab":
        channels.row(Channel("f", device, "f", "x"))
    return channels


_readings = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 400),
        st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
        st.booleans(),
    ),
    min_size=1,
    max_size=120,
    unique_by=lambda reading: reading[:2],
)


@settings(deadline=None)
@given(_readings, st.integers(0, 50))
def test_thinning_in_pieces_gives_the_windows_of_the_readings(
    readings: list[tuple[int, int, float, bool]], cut: int
) -> None:
    """Cut anywhere: what waits in one piece is merged in the next."""
    channels = _table()
    # So late that all before it is complete.
    closing = [(row, 1000, 0.0, True) for row in (0, 1)]
    short = _aggregates(channels, _feed("10s"), readings + closing)
    long = _by_window(_aggregates(channels, _feed("1m"), readings + closing))
    sources = source_windows({"f": _feed("10s")}, (_MINUTE,), _MINUTE)

    every = np.arange(len(short))
    first, waiting = thin(short.take(every[:cut]), channels, _MINUTE, sources, {"f": _feed("10s")})
    second, left = thin(
        concat([waiting, short.take(every[cut:])]), channels, _MINUTE, sources, {"f": _feed("10s")}
    )
    merged = _by_window(concat([first, second]))

    last = 1000 * NS_PER_S // _MINUTE * _MINUTE
    assert len(merged) == len(first) + len(second)
    assert merged.keys() == {window for window in long if window[1] != last}
    for window, values in merged.items():
        np.testing.assert_allclose(values, long[window], rtol=1e-9, atol=1e-4)
    assert set(left.start_ns.tolist()) == {1000 * NS_PER_S}


def test_a_feed_s_own_long_windows_win() -> None:
    """Its short ones go, because its long ones stand for the same readings; theirs pass."""
    channels = _table()
    feed = _feed("10s", "1m")
    readings = [(0, second, float(second), True) for second in range(200)]
    rows = _aggregates(channels, feed, readings)
    sources = source_windows({"f": feed}, (_MINUTE, 10 * _MINUTE), _MINUTE)

    merged, waiting = thin(rows, channels, _MINUTE, sources, {"f": feed})

    assert sources == {"f": 0}
    assert set(merged.window_ns.tolist()) == {_MINUTE}
    assert _by_window(merged) == _by_window(_aggregates(channels, _feed("1m"), readings))
    assert not len(waiting)


def test_windows_are_merged_from_the_longest_that_fits() -> None:
    """Of the feed's own, and of those that were made of them."""
    targets = (_MINUTE, 10 * _MINUTE)

    assert source_windows({"f": _feed("1s", "10s")}, targets, _MINUTE) == {"f": 10 * NS_PER_S}
    assert source_windows({"f": _feed("10s")}, targets, 10 * _MINUTE) == {"f": _MINUTE}
    assert source_windows({"f": _feed("7s")}, targets, _MINUTE) == {"f": None}


@pytest.mark.parametrize("period", ["3s", "8s", "20s", "5m"])
def test_slow_devices_are_expected_no_more_often_than_they_report(period: str) -> None:
    """One reading is expected of any window, but not six of a minute for six of ten seconds."""
    channels = _table()
    feed = _feed("10s", period=period)
    readings = [(0, second, 1.0, True) for second in range(0, 200, 20)]
    short = _aggregates(channels, feed, readings)
    sources = source_windows({"f": feed}, (_MINUTE,), _MINUTE)
    merged, _ = thin(short, channels, _MINUTE, sources, {"f": feed})
    long = _aggregates(channels, _feed("1m", period=period), readings)

    expected = {"3s": 18, "8s": 8, "20s": 3, "5m": 1}[period]
    assert set(merged.expected.tolist()) == {expected}
    assert abs(expected - int(long.expected[0])) <= 2


def test_seconds_in_states_add_up() -> None:
    """And the last text is that of the last window, with a reading in it or not."""
    channels = ChannelTable()
    mode = channels.row(Channel("f", "a", "f", "mode", is_text=True))
    idle, run = channels.texts.add(mode, "idle"), channels.texts.add(mode, "run")
    count = np.array([2, 0, 1, 0, 1])
    ten = np.full(5, 10 * NS_PER_S)
    rows = Aggregates(
        channel=np.full(5, mode, np.int32),
        start_ns=np.array([0, 10, 20, 30, 60]) * NS_PER_S,
        window_ns=ten,
        n=count,
        flagged=0 * count,
        expected=0 * count + 10,
        stats={
            **{name: np.full(5, np.nan) for name in STATISTICS},
            "last": np.array([idle, idle, run, idle, run]),
        },
        sketch_keys=[np.empty(0, np.int32)] * 5,
        sketch_counts=[np.empty(0, np.int64)] * 5,
        spent=[{idle: 8, run: 2}, {idle: 10}, {run: 10}, {run: 1, idle: 9}, {run: 10}],
    )
    sources = source_windows({"f": _feed("10s")}, (_MINUTE,), _MINUTE)

    merged, waiting = thin(rows, channels, _MINUTE, sources, {"f": _feed("10s")})

    assert merged.spent == [{idle: 27, run: 13}]
    assert merged.n.tolist() == [3]
    assert channels.said(mode, float(merged.stats["last"][0])) == "idle"
    assert waiting.spent == [{run: 10}]


def test_what_was_counted_adds_up() -> None:
    """Increases, their time and resets; what is not known of a window is nothing."""
    channels = ChannelTable()
    parts, flow = (channels.row(Channel("f", "a", "f", name)) for name in ("parts", "flow"))
    starts = np.array([0, 10, 20, 60, 0, 60]) * NS_PER_S
    six = np.full(6, 1)
    none = np.full(6, np.nan)
    rows = Aggregates(
        channel=np.array([parts] * 4 + [flow] * 2, np.int32),
        start_ns=starts,
        window_ns=six * 10 * NS_PER_S,
        n=six,
        flagged=0 * six,
        expected=six,
        stats={**dict.fromkeys(STATISTICS, none), "last": np.array([1.1, 1.2, 0.2, 9, 5, 6])},
        sketch_keys=[np.empty(0, np.int32)] * 6,
        sketch_counts=[np.empty(0, np.int64)] * 6,
        counts={
            "increase": np.array([np.nan, 0.1, 0.2, 8.8, np.nan, np.nan]),
            "increase_ns": np.array([0, 10, 9, 40, 0, 0]),
            "resets": np.array([0, 0, 1, 0, -1, -1]),
        },
    )
    sources = source_windows({"f": _feed("10s")}, (_MINUTE,), _MINUTE)

    merged, waiting = thin(rows, channels, _MINUTE, sources, {"f": _feed("10s")})

    assert merged.channel.tolist() == [parts, flow]
    assert merged.counts["increase"].tolist()[0] == 0.3
    assert np.isnan(merged.counts["increase"][1])
    assert merged.counts["increase_ns"].tolist() == [19, 0]
    assert merged.counts["resets"].tolist() == [1, -1]
    assert merged.stats["last"].tolist() == [0.2, 5.0]
    assert waiting.counts["increase"].tolist()[0] == 8.8
