"""Each cleaning rule, one by one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.stage import Output, Rejected
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from headgate.testing.stages import everything
from streams.stages.clean.conflicts import Conflicts
from streams.stages.clean.stage import Cleaner


def _feeds(grace: str = "5s", **rules: object) -> dict[str, FeedConfig]:
    feed = {"topic": "{device}", "grace": grace, "channels": {"flow": rules}}
    return {"pump": FeedConfig.model_validate(feed)}


def _table(devices: int = 1) -> ChannelTable:
    channels = ChannelTable()
    for device in range(devices):
        channels.row(Channel("pump", f"p{device}", "pump", "flow"))
    return channels


def _clean(rules: Mapping[str, object], times_s: list[float], values: list[float]) -> Output:
    channels = _table()
    times = [round(time * NS_PER_S) for time in times_s]
    batch = Batch.from_columns(channels, times, [0] * len(times), values)
    return Cleaner(_feeds("5s", **rules), channels).process(batch)


def _flags(output: Output) -> list[int]:
    return [int(flags) for flags in output.main.quality]


def test_what_is_no_number_is_missing() -> None:
    """NaN is missing; infinity, which no sensor measures, is also told apart from it."""
    output = _clean({}, [1, 2, 3, 4], [1.0, math.nan, math.inf, -math.inf])

    infinite = Quality.MISSING | Quality.NOT_FINITE
    assert _flags(output) == [0, Quality.MISSING, infinite, infinite]
    assert np.isnan(output.main.value).tolist() == [False, True, True, True]


def test_the_ends_of_the_range_belong_to_it() -> None:
    """Only what lies outside is flagged, and its value is kept."""
    output = _clean({"range": (0, 10)}, [1, 2, 3, 4], [0, 10, 10.5, -1])

    assert _flags(output) == [0, 0, Quality.OUT_OF_RANGE, Quality.OUT_OF_RANGE]
    assert output.main.value.tolist() == [0, 10, 10.5, -1]


def test_the_second_reading_of_one_time_is_a_duplicate() -> None:
    """Redelivered readings are taken out; those with another value are told from them."""
    output = _clean({"range": (0, 10)}, [1, 2, 1, 3, 2, 2, 2], [1, 2, 9, 3, 99, 2, 99])

    assert output.main.time_ns.tolist() == [NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S]
    assert _rejected(output) == {"duplicate": [2, 99], "conflict": [9, 99]}
    for part in output.rejected:
        assert part.batch.quality.tolist() == 2 * [Quality.DUPLICATE]


def _rejected(output: Output) -> dict[str, list[float]]:
    return {part.reason: part.batch.value.tolist() for part in output.rejected}


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_missing_value_is_in_conflict_with_none(cut: int) -> None:
    """It says nothing new beside another, and takes no value's place; 0 and -0 are the same."""
    channels = _table()
    cleaner = Cleaner(_feeds(), channels)
    seconds = np.array([1, 2, 1, 2, 1, 2, 1, 1, 3]) * NS_PER_S
    values = [math.nan, 0.0, 5.0, -0.0, math.nan, math.nan, 5.0, 6.0, math.inf]
    batch = Batch.from_columns(channels, seconds, [0] * 9, values)
    found: dict[str, list[float]] = {"duplicate": [], "conflict": []}
    main: list[float] = []
    for part in (np.arange(cut), np.arange(cut, 9)):
        output = cleaner.process(batch.take(part))
        main += output.main.value.tolist()
        for rejected in output.rejected:
            found[rejected.reason] += rejected.batch.value.tolist()

    assert np.array_equal(main, [math.nan, 0.0, 5.0, math.nan], equal_nan=True)
    assert found["conflict"] == [6.0]
    assert np.array_equal(found["duplicate"], [-0.0, math.nan, math.nan, 5.0], equal_nan=True)


@pytest.mark.parametrize("cut", range(1, 10))
def test_ten_values_a_second_in_whole_seconds_are_in_conflict(cut: int) -> None:
    """Not duplicates: each is a measurement; sent once more, they are, batches later too."""
    channels = _table()
    cleaner = Cleaner(_feeds(), channels)
    seconds = Batch.from_columns(channels, [NS_PER_S] * 10, [0] * 10, np.arange(10.0))
    found: Counter[str] = Counter()
    for part in (np.arange(cut), np.arange(cut, 10), np.arange(10)):
        for rejected in cleaner.process(seconds.take(part)).rejected:
            found[rejected.reason] += len(rejected.batch)

    assert found == {"conflict": 9, "duplicate": 10}


def test_an_older_version_s_memory_of_times_is_taken_up() -> None:
    """It had no values: what repeats one of its times is a duplicate, as it was then."""
    channels = _table()
    cleaner = Cleaner(_feeds(), channels)
    cleaner.process(Batch.from_columns(channels, [1, 2], [0, 0], [1.0, 2.0]))
    selection = everything(channels)
    block = {
        name: array for name, array in cleaner.snapshot(selection).items() if name != "recent_bits"
    }
    cleaner = Cleaner(_feeds(), channels)
    cleaner.restore(selection, block)
    output = cleaner.process(Batch.from_columns(channels, [2, 3, 3], [0, 0, 0], [7.0, 3.0, 4.0]))

    assert _rejected(output) == {"duplicate": [7.0], "conflict": [4.0]}


def test_people_are_told_once_a_feed_of_times_that_are_too_coarse() -> None:
    """One conflict is an accident, three of a channel are not."""
    channels = _table(devices=3)
    telemetry = Telemetry(ManualClock())
    conflicts = Conflicts(channels, telemetry)

    def look(rows: list[int], reason: str = "conflict") -> list[str]:
        times_ns = [NS_PER_S] * len(rows)
        batch = Batch.from_columns(channels, times_ns, rows, np.arange(float(len(rows))))
        conflicts.look([Rejected(reason, batch)])
        return list(telemetry.details.get("warnings", {}).values())

    assert look([0, 1, 2] * 9, "duplicate") == []
    assert look([0, 1, 2, 0, 1]) == []
    (line,) = look([2, 1, 2])
    assert line.startswith("feed.pump: p1 sends several values of a channel under one time")
    assert "in whole seconds" in line
    assert look([0, 2] * 9) == [line]


def test_a_redelivered_batch_is_all_duplicates() -> None:
    """Also when the first delivery lies batches back, and in another order."""
    channels = _table(devices=3)
    cleaner = Cleaner(_feeds(), channels)
    first = Batch.from_columns(channels, [1, 2, 1, 5, 3], [0, 0, 1, 2, 0], [1.0] * 5)
    cleaner.process(first)

    again = cleaner.process(first.take(np.array([4, 3, 0, 1, 2])))

    assert not len(again.main)
    assert len(again.rejected[0].batch) == 5


def test_times_are_remembered_for_as_long_as_readings_may_come_back() -> None:
    """The memory follows the grace, and what has left it is no duplicate any more."""
    channels = _table()
    cleaner = Cleaner(_feeds(grace="50s"), channels)
    times = np.arange(102) * NS_PER_S
    cleaner.process(Batch.from_columns(channels, times, [0] * 102, np.ones(102)))

    again = cleaner.process(Batch.from_columns(channels, times[:2], [0, 0], [1.0, 1.0]))

    assert len(again.main) == 0
    once_more = cleaner.process(Batch.from_columns(channels, times[:2], [0, 0], [1.0, 1.0]))
    assert len(once_more.main) == 0
    forgotten = cleaner.process(Batch.from_columns(channels, times[2:5], [0] * 3, np.ones(3)))
    assert len(forgotten.main) == 3


@pytest.mark.parametrize(("between", "kept"), [(15, 16), (16, 18)])
def test_the_memory_is_as_long_inside_a_batch(between: int, kept: int) -> None:
    """A channel's last 16 times, at the least, whether they came in this batch or before."""
    times = [0.0, *range(1, between + 1), 0.0]

    assert len(_clean({}, times, [1.0] * len(times)).main) == kept


def test_a_lone_outlier_is_a_spike_and_a_new_level_is_not() -> None:
    """The outlier stays out of the window; after half a window of them the level has changed."""
    values = [1.0, 1.1, 0.9, 1.0, 50.0, 1.1, 9.0, 9.1, 9.2, 9.0, 9.1, 9.0]
    rules = {"spike": {"window": 5, "threshold": 5, "min_scale": 0.1}}

    flags = _flags(_clean(rules, list(range(12)), values))

    assert [place for place, flag in enumerate(flags) if flag] == [4, 6, 7]
    assert set(flags) == {0, Quality.SPIKE}


def test_spikes_are_not_judged_without_a_scale() -> None:
    """A constant signal may change: only min_scale says how far one that stands still may go."""
    values = [5.0, 5.0, 5.0, 5.0, 5.0, 5.5, 5.0]
    rules = {"window": 5, "threshold": 6}

    lenient = _clean({"spike": rules}, list(range(7)), values)
    strict = _clean({"spike": {**rules, "min_scale": 0.01}}, list(range(7)), values)

    assert _flags(lenient) == [0] * 7
    assert _flags(strict) == [0, 0, 0, 0, 0, Quality.SPIKE, 0]


def test_spikes_are_found_the_same_in_the_reference() -> None:
    """A slow reading-by-reading Hampel identifier agrees, on a signal with many outliers."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=3000) + np.where(rng.random(3000) < 0.1, 20, 0)
    values[1000:] += 30
    rules = {"spike": {"window": 7, "threshold": 4}}

    flags = np.array(_flags(_clean(rules, list(range(3000)), values.tolist())), np.int64) != 0

    expected: list[bool] = []
    recent: list[float] = []
    outliers = 0
    for value in values:
        window = np.array(recent[-7:])
        is_outlier = False
        if len(window) >= 4:
            center = np.median(window)
            scale = 1.4826 * np.median(np.abs(window - center))
            is_outlier = bool(abs(value - center) > 4 * scale > 0)
        if is_outlier and outliers >= 3:
            recent, outliers, is_outlier = [value], 0, False
        elif is_outlier:
            outliers += 1
        else:
            outliers = 0
            recent.append(value)
        expected.append(is_outlier)
    assert 100 < np.count_nonzero(flags) < 600
    assert flags.tolist() == expected


def test_a_value_that_stands_too_long_is_stuck() -> None:
    """Exactly the allowed time is allowed, and a change starts the count anew."""
    output = _clean({"stuck_after": "3s"}, [0, 1, 2, 3, 4, 5, 6, 7], [7, 7, 7, 7, 7, 7, 8, 8])

    assert _flags(output) == [0, 0, 0, 0, Quality.STUCK, Quality.STUCK, 0, 0]
    assert output.main.usable.all()


@pytest.mark.parametrize(("fill", "expected"), [("hold", [1, 1, 1, 7]), ("linear", [1, 3, 5, 7])])
def test_a_short_gap_is_filled(fill: str, expected: list[float]) -> None:
    """One imputed reading each missing step, before the reading that ended the gap."""
    output = _clean({"gap": {"fill": fill, "limit": "2s"}}, [10, 13], [1, 7])

    assert output.main.value == pytest.approx(expected)
    assert (output.main.time_ns // NS_PER_S).tolist() == [10, 11, 12, 13]
    assert _flags(output) == [0, Quality.IMPUTED, Quality.IMPUTED, 0]


def test_a_long_gap_is_left_open() -> None:
    """More missing steps than the limit are not made up."""
    assert len(_clean({"gap": {"limit": "2s"}}, [10, 14], [1, 7]).main) == 2


def test_an_unsteady_clock_makes_no_gap() -> None:
    """Less than half a period too late is not a missing step."""
    assert len(_clean({"gap": {"limit": "9s"}}, [10, 11.4, 12.3, 13.7], [1] * 4).main) == 4


def test_a_null_is_bridged_like_a_reading_that_did_not_come() -> None:
    """The missing reading is kept for the count, and an imputed one stands in for models."""
    output = _clean({"gap": {"limit": "2s"}}, [10, 11, 12], [1, math.nan, 7])

    assert _flags(output) == [0, Quality.MISSING, Quality.IMPUTED, 0]
    assert (output.main.time_ns // NS_PER_S).tolist() == [10, 11, 11, 12]


def test_a_reading_out_of_order_fills_and_moves_nothing() -> None:
    """It is passed on; gaps and standstill are a matter of the readings in order."""
    rules = {"gap": {"limit": "9s"}, "stuck_after": "1s"}

    output = _clean(rules, [10, 12, 11, 13], [1, 2, 2, 2])

    assert (output.main.time_ns // NS_PER_S).tolist() == [10, 11, 12, 11, 13]
    assert _flags(output) == [0, Quality.IMPUTED, 0, 0, 0]


def test_imputed_readings_carry_the_source_of_what_caused_them() -> None:
    """They belong to the log record whose reading ended the gap."""
    channels = _table(devices=2)
    batch = Batch(
        channels,
        np.array([10, 10, 12, 12], np.int64) * NS_PER_S,
        np.array([0, 1, 0, 1], np.int32),
        np.ones(4),
        np.zeros(4, np.uint16),
        (Origin("readings", 0, 1), Origin("readings", 0, 2), Origin("readings", 0, 3)),
        np.array([0, 0, 1, 2], np.int32),
    )

    main = Cleaner(_feeds(gap={"limit": "5s"}), channels).process(batch).main

    assert main.channel.tolist() == [0, 1, 0, 0, 1, 1]
    assert main.source.tolist() == [0, 0, 1, 1, 2, 2]


def test_channels_without_rules_are_only_looked_at_for_duplicates() -> None:
    """A channel, or a whole feed, that is not in the configuration passes as it came."""
    channels = _table()
    others = [
        channels.row(Channel("pump", "p0", "pump", "other")),
        channels.row(Channel("gone", "g0", "gone", "flow")),
    ]
    batch = Batch.from_columns(channels, [1, 1, 9, 9, 9], [*others, *others, others[0]], [1e9] * 5)

    output = Cleaner(_feeds(range=(0, 1)), channels).process(batch)

    assert _flags(output) == [0] * 4
    assert len(output.rejected[0].batch) == 1


def test_the_input_is_left_as_it_was() -> None:
    """Batches share columns, so a stage never writes into the ones it was given."""
    channels = _table()
    batch = Batch.from_columns(channels, [1, 2, 1], [0, 0, 0], [99.0, math.inf, 1.0])
    before = (batch.value.copy(), batch.quality.copy(), batch.time_ns.copy())

    Cleaner(_feeds(range=(0, 10)), channels).process(batch)

    for column, kept in zip((batch.value, batch.quality, batch.time_ns), before, strict=True):
        np.testing.assert_array_equal(column, kept)


def test_state_is_taken_over_where_the_rules_have_not_changed() -> None:
    """Other rings and windows after a change of the configuration just start empty."""
    channels, selection = _table(), everything(_table())
    spike = {"window": 5, "threshold": 5, "min_scale": 0.1}
    old = Cleaner(_feeds(spike=spike, stuck_after="1s"), channels)
    times = np.arange(6) * NS_PER_S
    old.process(Batch.from_columns(channels, times, [0] * 6, [1.0] * 6))
    changed = _feeds(grace="50s", spike={**spike, "window": 7}, stuck_after="1s")

    new = Cleaner(changed, channels)
    new.restore(selection, old.snapshot(selection))
    output = new.process(Batch.from_columns(channels, [times[5], 6 * NS_PER_S], [0, 0], [1.0, 1.0]))

    assert old.fingerprint == new.fingerprint
    assert not output.rejected
    assert output.main.quality.tolist() == [0, Quality.STUCK]


def test_nothing_in_gives_nothing_out() -> None:
    """An empty batch is passed on as it is."""
    channels = _table()
    batch = Batch.empty(channels)

    assert Cleaner(_feeds(), channels).process(batch).main is batch


def test_spikes_in_a_row_are_counted_across_a_restart() -> None:
    """A new level is taken after as many spikes as without the restart."""
    channels, selection = _table(), everything(_table())
    rules = _feeds(spike={"window": 5, "threshold": 5, "min_scale": 0.1})
    before = Cleaner(rules, channels)
    batch = Batch.from_columns(channels, np.arange(9), [0] * 9, [1.0] * 5 + [9.0] * 4)
    before.process(batch.take(np.arange(6)))

    after = Cleaner(rules, channels)
    after.restore(selection, before.snapshot(selection))

    assert _flags(after.process(batch.take(np.arange(6, 9)))) == [Quality.SPIKE, 0, 0]


def test_rules_of_other_channels_hold_for_those_that_are_not_listed() -> None:
    """And for no other: a listed channel has the rules of its own table, or none."""
    table = {
        "topic": "{device}",
        "channels": {"flow": {"range": (0, 200)}, "free": {}},
        "other_channels": {"range": (0, 10)},
    }
    feeds = {
        "pump": FeedConfig.model_validate(table),
        "fan": FeedConfig.model_validate({**table, "other_channels": False}),
    }
    channels = ChannelTable()
    names = [("pump", "flow"), ("pump", "free"), ("pump", "x"), ("pump", "y"), ("fan", "x")]
    rows = [channels.row(Channel(feed, "p", feed, name)) for feed, name in names]
    batch = Batch.from_columns(channels, [10**9] * len(rows), rows, [20.0] * len(rows))

    output = Cleaner(feeds, channels).process(batch)

    out = dict(zip(output.main.channel.tolist(), _flags(output), strict=True))
    assert [out[row] for row in rows] == [0, 0, Quality.OUT_OF_RANGE, Quality.OUT_OF_RANGE, 0]
