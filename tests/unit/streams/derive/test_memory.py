"""What derived channels remember: for whom, over which changes, and in how much room."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch
from headgate.core.channels import Channel
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError
from headgate.core.stage import Selection
from headgate.testing.stages import everything
from streams.stages.arrays import NEVER_NS
from streams.stages.derive import spans
from streams.stages.watermark.outcome import NO_JUMPS
from tests.unit.streams.derive.line import (
    START_NS,
    Line,
    feed_of,
    worked_out,
)


def test_what_changes_its_meaning_begins_anew_and_the_rest_goes_on() -> None:
    """A formula that is another one now has nothing to go on from."""
    line = Line(feed_of({"a": "previous(x)", "b": "previous(x + 1)"}))
    line.take([(0, 0.0, "x", 1.0), (0, 10.0, "x", 2.0)])
    line.feed = feed_of({"a": "previous(x)", "b": "previous(x + 2)"})
    line.restart()
    line.take([(0, 20.0, "x", 3.0)])
    found = line.end()

    at_ns = START_NS + 10 * NS_PER_S
    assert found["d0", "a", at_ns] == 1.0
    assert math.isnan(found["d0", "b", at_ns])


def test_where_a_clock_was_set_back_nothing_before_counts() -> None:
    """But for what a counter has counted, which it goes on from."""
    line = Line(feed_of({"p": "previous(x)", "d": "delta(total)", "r": "rate(total)"}))
    line.take([(0, 1000.0, "x", 1.0), (0, 1000.0, "total", 5.0)])
    line.end()
    line.deriver.go_back(np.arange(2, dtype=np.int32))
    line.newest.clear()
    line.take([(0, 10.0, "x", 2.0), (0, 10.0, "total", 9.0)])
    found = line.end()

    at_ns = START_NS + 10 * NS_PER_S
    assert math.isnan(found["d0", "p", at_ns])
    assert found["d0", "d", at_ns] == 4.0
    assert math.isnan(found["d0", "r", at_ns])


def test_a_clock_that_leaps_is_a_new_beginning() -> None:
    """What is after the leap knows nothing of what was before, wherever it is cut."""
    for cuts in ([4], [1, 2, 3, 4], [2, 4]):
        line = Line(feed_of({"p": "previous(x)"}))
        rows = [(0, 0.0, "x", 1.0), (0, 1.0, "x", 2.0), (0, 100.0, "x", 3.0), (0, 101.0, "x", 4.0)]
        begin = 0
        for end in cuts:
            channel = [line.table.row(Channel("f", "d0", "f", "x"))] * (end - begin)
            times_ns = [START_NS + round(row[1]) * NS_PER_S for row in rows[begin:end]]
            batch = Batch.from_columns(
                line.table, times_ns, channel, [row[3] for row in rows[begin:end]]
            )
            leaps = begin <= 2 < end
            jumps = np.array([[0], [START_NS + 50 * NS_PER_S]]) if leaps else NO_JUMPS
            line.newest["d0"] = times_ns[-1]
            line._note(line.deriver.process(batch, line._watermark, jumps))
            line.restart()
            begin = end
        found = [value for _, value in sorted(line.end().items())]
        assert found == pytest.approx([math.nan, 1, math.nan, 3], nan_ok=True), cuts


@pytest.mark.parametrize(
    "derived",
    [
        {"a": "integral(x)"},
        {"a": "integral(x)", "b": "x * 2"},
        {"a": "integral(x)", "b": "y * 2", "c": "z"},
    ],
)
def test_a_formula_that_is_gone_takes_nothing_of_the_others_with_it(
    derived: Mapping[str, object],
) -> None:
    """Whichever channel of the device was read last, and named by none of those that are left."""
    line = Line(feed_of({"a": "integral(x)", "b": "y * 2"}))
    line.take([(0, 10.0 + at, field, 1.0) for at in range(4) for field in ("x", "y")])
    line.end()
    line.feed = feed_of(derived)
    line.restart()
    line.take([(0, 14.0, "x", 1.0)])

    assert line.end()["d0", "a", START_NS + 14 * NS_PER_S] == 4.0


def test_what_is_known_stays_while_a_channel_of_the_place_is_heard() -> None:
    """One that is forgotten takes nothing with it; the last one does."""
    line = Line(feed_of({"a": "integral(x)", "b": "y * 2"}))
    line.take([(0, 10.0 + at, field, 1.0) for at in range(4) for field in ("x", "y")])
    line.end()
    nobody = np.empty(0, np.int32)
    x, y = (line.table.row(Channel("f", "d0", "f", field)) for field in ("x", "y"))
    line.deriver.forget(Selection(nobody, np.array([y], np.int32)))
    line.take([(0, 14.0, "x", 1.0)])

    assert line.end()["d0", "a", START_NS + 14 * NS_PER_S] == 4.0
    line.deriver.forget(Selection(nobody, np.array([x], np.int32)))
    assert not len(line.deriver.snapshot(everything(line.table))["now_kind"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("devices", [1, 9])
def test_a_sum_goes_on_behind_what_is_too_large_for_it(devices: int) -> None:
    """The value is missing there, and nobody is warned of numbers that are too large."""
    values = [1.0, 1.7e308, 1.7e308, -1.7e308, 1.0, 1.0, -1e308, -1e308, -1e308, -1e308, 0.0]
    rows = [
        (device, 1.0 * at, "x", value)
        for device in range(devices)
        for at, value in enumerate(values)
    ]
    derived = {
        "i": {"value": "integral(x)", "max_age": "1s"},
        "s": "std(x, '3s') + mean(x, '3s') + delta(x)",
        "r": "rate(total) + rate(x)",
    }

    line, cut = Line(feed_of(derived)), Line(feed_of(derived))
    line.take([*rows, (0, 20.0, "x", 1.0)])
    for at in range(len(values)):
        cut.take(rows[at :: len(values)])
    cut.take([(0, 20.0, "x", 1.0)])
    cut.restart()

    found = [value for (_, name, _), value in sorted(line.end().items()) if name == "i"]
    none, half = math.nan, 0.85e308
    wanted = [0, half, none, half, 0, 1, -5e307, -1.5e308, none, none, none]
    assert found[: len(values)] == pytest.approx(wanted, nan_ok=True)
    assert {key: repr(value) for key, value in cut.end().items()} == {
        key: repr(value) for key, value in line.made.items()
    }
    assert line.made["d0", "i", START_NS + 20 * NS_PER_S] == pytest.approx(-1.5e308)


def _goes_on(before: FeedConfig, after: FeedConfig) -> bool:
    """Whether a sum of ``p`` that was 4 is so still once the feed is another one."""
    line = Line(before)
    line.take([(0, 10.0 + at, "x", 1.0) for at in range(5)])
    line.end()
    line.feed = after
    line.restart()
    line.take([(0, 15.0, "x", 1.0)])
    found = line.end()["d0", "sum", START_NS + 15 * NS_PER_S]
    assert found in (5.0, 0.0)
    return found == 5.0


def test_a_channel_means_what_all_that_it_comes_of_means() -> None:
    """Also where it comes of others that do; and how long values count is what was given."""
    derived = {"q": "x * 1", "p": "q + 0", "sum": "integral(p)"}
    sent = {"x": {"unit": "m"}, "y": {}}

    def feed(derived: Mapping[str, object] = derived, **more: object) -> FeedConfig:
        return feed_of(derived, **{"channels": sent, **more})

    assert _goes_on(feed(), feed())
    assert not _goes_on(feed(), feed(channels={**sent, "x": {"unit": "m", "scale": 2.0}}))
    assert not _goes_on(feed(), feed(derived={**derived, "q": "x * 1 + 0"}))
    assert _goes_on(feed(), feed(channels={**sent, "y": {"scale": 2.0}}))
    assert _goes_on(feed(), feed(aggregates=[{"window": "10s"}]))
    assert _goes_on(feed(), feed(derived={**derived, "more": "since(x > 3)"}))
    lasting = {"value": "integral(p)", "max_age": "7s"}
    assert not _goes_on(feed(), feed(derived={**derived, "sum": lasting}))


def test_of_a_device_without_derived_channels_no_jump_is_kept() -> None:
    """Nobody would ever ask for it, or drop it."""
    line = Line(feed_of({"p": "x"}))
    rows = [
        line.table.row(Channel(*names)) for names in (("g", "d", "g", "x"), ("f", "d", "f", "x"))
    ]
    for at in range(3):
        at_ns = START_NS + at * 3600 * NS_PER_S
        batch = Batch.from_columns(line.table, [at_ns] * 2, rows, [1.0] * 2)
        jumps = np.array([[0, 1], [at_ns - 1, at_ns - 1]])
        line.deriver.process(batch, lambda devices: np.full(len(devices), START_NS), jumps)

    assert line.deriver.snapshot(everything(line.table))["break_device"].tolist() == [1, 1]


@pytest.mark.filterwarnings("error")
def test_a_span_of_large_numbers_has_a_mean_and_a_deviation() -> None:
    """Though their sum, and the sum of their squares, are larger than a number can be."""
    rows = [(0, 1.0, "x", 1.5e308), (0, 2.0, "x", 1.7e308), (0, 3.0, "x", -1.7e308)]
    derived = {"m": "mean(x, '2s')", "s": "std(x, '2s')"}

    found = worked_out(derived, rows)

    assert found["m"] == pytest.approx([1.5e308, 1.6e308, 0.0])
    assert found["s"] == pytest.approx([0.0, 1e307, 1.7e308])


def test_functions_of_the_same_span_remember_its_values_once() -> None:
    """What is written down of them, too."""
    spans = ["mean", "std", "max", "count"]
    line = Line(feed_of({"z": " + ".join(f"{each}(x, '10s')" for each in spans)}))
    line.take([(0, 10.0 + at, "x", float(at)) for at in range(5)])
    line.end()
    block = line.deriver.snapshot(everything(line.table))
    line.restart()
    line.take([(0, 15.0, "x", 5.0)])

    assert len(block["span_value"]) == 5
    wanted = 2.5 + math.sqrt(35 / 12) + 5 + 6
    assert line.end()["d0", "z", START_NS + 15 * NS_PER_S] == pytest.approx(wanted)


@pytest.mark.parametrize("start_ns", [0, 2**61, -(2**61), START_NS])
def test_times_come_back_from_their_steps(start_ns: int) -> None:
    """Of many places, whose times have no sum."""
    place = np.repeat(np.arange(40), 3)
    times_ns = start_ns + np.random.default_rng(1).integers(0, 10**12, 120)

    assert (
        spans.times_of(place, steps=spans.steps_of(place, times_ns)).tolist() == times_ns.tolist()
    )


def test_steps_to_a_time_that_no_reading_can_have_are_refused() -> None:
    """What stands in a log may be anything."""
    with pytest.raises(DataError, match="span_step: a time is out of range"):
        spans.times_of(np.zeros(3, np.int64), steps=np.array([2**61, 2**61, 2**61]))


def test_values_of_a_span_are_written_down_small() -> None:
    """An hour of readings at regular times takes hardly more than its values."""
    line = Line(feed_of({"z": "mean(x, '1h') / std(x, '1h')"}))
    values = np.round(np.random.default_rng(2).normal(20, 1, 3600), 2).tolist()
    line.take([(0, 10.0 + at, "x", value) for at, value in enumerate(values)])
    line.end()
    block = line.deriver.snapshot(everything(line.table))
    size = sum(
        len(pa.compress(array.tobytes(), codec="lz4", asbytes=True)) for array in block.values()
    )

    assert size < 5 * len(values)


def test_places_that_are_one_by_now_keep_the_values_of_both() -> None:
    """Their times are those that they were, though they stand behind each other."""
    line = Line(feed_of({"m": "count(x, '1h')"}, topic="{device}/{phase}", identity=[]))
    rows = [
        line.table.row(Channel("f", "d0", "f", "x", tags=(("phase", each),), identity=()))
        for each in "ab"
    ]
    times_ns = [START_NS + at * NS_PER_S for at in range(4)]
    batch = Batch.from_columns(line.table, times_ns, [*rows, *rows], [1.0] * 4)
    line.deriver.process(batch, lambda devices: np.full(len(devices), NEVER_NS))
    line.feed = feed_of({"m": "count(x, '1h')"})
    line.restart()
    line.take([(0, 10.0, "x", 1.0), (0, 3602.0, "x", 1.0)])
    made = line.end()

    assert made["d0", "m", START_NS + 10 * NS_PER_S] == 5.0
    # Of the four from before only the latest is in the span still, beside two that came since.
    assert made["d0", "m", START_NS + 3602 * NS_PER_S] == 3.0


def test_where_derived_channels_stand_takes_room_for_devices_and_no_more() -> None:
    """However many derived channels each has: the table has rows for all of them."""
    names = [f"n{at}" for at in range(20)]
    line = Line(feed_of({name: f"x + y + {at}" for at, name in enumerate(names)}))
    devices = range(200)
    line.take([(device, 1.0, field, 1.0) for device in devices for field in ("x", "y")])
    line.take([(device, 9.0, "y", 2.0) for device in devices])
    made = line.end()

    assert len(line.table) == 200 * 22
    assert len(made) == 200 * 20 * 2
    assert all(len(rows) <= 512 for rows in line.deriver._rows.values())
