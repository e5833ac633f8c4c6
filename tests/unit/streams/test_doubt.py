"""Clocks that run ahead: what is held, until when, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.stage import Output
from headgate.testing.stages import everything
from streams.build import build_pipeline
from streams.pipeline import Pipeline
from streams.results import Results
from streams.stages.watermark.stage import Watermarks

_NOW_S = 1_000_000
_DAY_S = 86_400


def _config(confirm: int = 3, **feed: object) -> Config:
    return Config.model_validate(
        {
            "local_store": {},
            "feed": {
                "f": {
                    "topic": "{device}",
                    "time": {"path": "t", "confirm": confirm},
                    "channels": {"x": {}, "y": {}},
                    "aggregates": [{"window": "10s"}],
                    **feed,
                }
            },
        }
    )


def _table() -> ChannelTable:
    table = ChannelTable()
    for device in ("d", "e"):
        for name in ("x", "y"):
            table.row(Channel("f", device, "f", name))
    return table


def _batch(
    table: ChannelTable, times_s: Sequence[float], ahead: Sequence[bool], first: int = 0
) -> Batch:
    """One reading of device d in each record of the log."""
    batch = Batch.from_columns(
        table,
        [round(time_s * NS_PER_S) for time_s in times_s],
        [0] * len(times_s),
        list(range(first, first + len(times_s))),
        quality=[int(Quality.AHEAD) * each for each in ahead],
    )
    origin = tuple(Origin("readings", 0, first + number) for number in range(len(times_s)))
    source = np.arange(len(times_s), dtype=np.int32)
    return Batch(table, batch.time_ns, batch.channel, batch.value, batch.quality, origin, source)


def _sent(
    offsets_s: Sequence[float], *, is_ahead_s: float = 1.0, **config: object
) -> tuple[list[float], dict[str, list[float]], Watermarks]:
    """What becomes of readings a second apart with these offsets from the gateway's clock.

    Returns:
        The numbers of those that are passed on, in order; of those rejected, by reason; the stage.
    """
    table = _table()
    watermarks = Watermarks(_config(**config).feed, table)  # type: ignore[arg-type]
    times_s = [_NOW_S + number + offset_s for number, offset_s in enumerate(offsets_s)]
    output = watermarks.process(
        _batch(table, times_s, [offset_s > is_ahead_s for offset_s in offsets_s]), 0
    )
    rejected = {part.reason: part.batch.value.tolist() for part in output.rejected}
    return output.main.value.tolist(), rejected, watermarks


def test_one_time_far_ahead_stops_nobody() -> None:
    """Three readings, one of tomorrow, and three more: five count and one is put aside."""
    main, rejected, _ = _sent([0, 0, 20 * 3600, 0, 0, 0])

    assert main == [0, 1, 3, 4, 5]
    assert rejected == {"ahead": [2]}


def test_the_first_reading_of_all_may_be_the_wrong_one() -> None:
    """There is nothing before it that it could be ahead of, but what follows tells."""
    main, rejected, _ = _sent([20 * 3600, 0, 0])

    assert main == [1, 2]
    assert rejected == {"ahead": [0]}


def test_a_clock_that_was_set_forward_is_believed() -> None:
    """After three readings that agree; none of them is lost, nor is any before or after."""
    main, rejected, watermarks = _sent([0, 0, _DAY_S, _DAY_S])
    assert (main, rejected) == ([0, 1], {})
    assert watermarks.held(np.array([0, 1], np.int32)).tolist() == [2, 0]

    main, rejected, watermarks = _sent([0, 0, *[_DAY_S] * 6])
    assert (main, rejected) == ([0, 1, 2, 3, 4, 5, 6, 7], {})
    assert not watermarks.held(np.array([0], np.int32)).any()


def test_how_many_must_agree_is_configured() -> None:
    """One: every clock is believed at once."""
    assert _sent([0, 0, *[_DAY_S] * 4], confirm=5)[0] == [0, 1]
    assert _sent([0, 0, *[_DAY_S] * 5], confirm=5)[0] == [0, 1, 2, 3, 4, 5, 6]
    assert _sent([0, 0, _DAY_S], confirm=1)[0] == [0, 1, 2]


def test_a_clock_that_is_always_ahead_is_nothing_to_doubt() -> None:
    """An hour, for a local time that was taken for UTC; held are only the first two of all."""
    main, rejected, watermarks = _sent([3600] * 50)

    assert (main, rejected) == (list(range(50)), {})
    table = watermarks._channels
    times = [_NOW_S + 3600 + n for n in range(50, 60)]
    for n, time_s in enumerate(times):
        output = watermarks.process(_batch(table, [time_s], [True], n), 0)
        assert len(output.main) == 1


def test_a_slow_device_that_is_always_ahead_is_held_no_more_than_a_fast_one() -> None:
    """It is judged by its own steps, whatever the period in the configuration is."""
    hourly = [_DAY_S + 3600 * n - n for n in range(10)]
    main, rejected, _ = _sent(hourly)
    assert (main, rejected) == (list(range(10)), {})

    # The others come at once.
    table = _table()
    watermarks = Watermarks(_config().feed, table)
    passed = [
        len(watermarks.process(_batch(table, [_NOW_S + offset_s + n], [True], n), 0).main)
        for n, offset_s in enumerate(hourly)
    ]
    assert passed == [0, 0, 3, 1, 1, 1, 1, 1, 1, 1]


def test_wrong_times_that_do_not_agree_confirm_nothing() -> None:
    """However many there are, as long as they go back and forth, or right ones come between."""
    main, rejected, _ = _sent([0, 0, 90_000, 50_000, 9000, 70_000, 3000, 0, 0])
    assert main == [0, 1, 7, 8]
    assert sorted(rejected["ahead"]) == [2, 3, 4, 5, 6]

    main, rejected, _ = _sent([0, 90_000, 0, 90_000, 0, 90_000, 0, 90_000, 0])
    assert main == [0, 2, 4, 6, 8]
    assert rejected == {"ahead": [1, 3, 5, 7]}


def test_the_channels_of_one_message_do_not_confirm_each_other() -> None:
    """Nor does the same message, sent again."""
    table = _table()
    watermarks = Watermarks(_config().feed, table)
    watermarks.process(_batch(table, [_NOW_S], [False]), 0)
    time_ns = (_NOW_S + _DAY_S) * NS_PER_S
    again = Batch.from_columns(
        table, [time_ns] * 8, [0, 1] * 4, [1.0] * 8, quality=[int(Quality.AHEAD)] * 8
    )

    output = watermarks.process(again, 0)

    assert not len(output.main)
    assert [(part.reason, len(part.batch)) for part in output.rejected] == [("ahead", 6)]
    assert watermarks.held(np.array([0], np.int32)).tolist() == [2]


def test_what_came_before_the_wrong_time_and_comes_after_it_is_still_on_time() -> None:
    """A wrong time within one period and the grace does no harm, so it is taken as it is."""
    main, rejected, _ = _sent([0, 0, 0, 1.9, 0, 0, 0, 0, 0])

    assert main == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert rejected == {}


def test_an_outage_of_a_device_is_nothing_to_doubt() -> None:
    """Its clock is right: what comes after a day is ahead of what came before, and not of now."""
    main, rejected, _ = _sent([0, 0, 0, _DAY_S, _DAY_S], is_ahead_s=2 * _DAY_S)

    assert (main, rejected) == ([0, 1, 2, 3, 4], {})


def test_what_is_held_belongs_to_the_reading_that_decides() -> None:
    """So a replay that begins behind the held one's record says of it what was said before."""
    table = _table()
    watermarks = Watermarks(_config().feed, table)
    first = _batch(table, [_NOW_S, _NOW_S + _DAY_S], [False, True])
    watermarks.process(first, 0)
    output = watermarks.process(_batch(table, [_NOW_S + 1], [False], 7), 0)

    (rejected,) = output.rejected
    assert rejected.batch.value.tolist() == [1]
    assert [rejected.batch.origin[row].offset for row in rejected.batch.source] == [7]


def _whole(pipeline: Pipeline, looks: Sequence[float]) -> list[Results]:
    return [pipeline.advance(round(look_s * NS_PER_S)) for look_s in looks]


def _count(results: Sequence[Results]) -> int:
    return sum(int((each.aggregates.n + each.aggregates.flagged).sum()) for each in results)


def test_time_confirms_what_nobody_else_does() -> None:
    """A device that falls silent with a reading held: it is taken when its time has come."""
    table = _table()
    pipeline = build_pipeline(_config(), table)
    times = [_NOW_S, _NOW_S + 1, _NOW_S + 2, _NOW_S + 3605]
    results = [pipeline.process(_batch(table, times, [False, False, False, True]), 0)]
    results += _whole(pipeline, [20, 40, 60, 3000])
    assert _count(results) == 3
    assert pipeline.open_rows() == 1

    results = _whole(pipeline, [3601, 3602, 3604, 3640])
    assert _count(results) == 1
    assert [each.moved.tolist() for each in results] == [[], [], [0], [0]]
    assert pipeline.open_rows() == 0
    assert pipeline.quiet(10**15).tolist() == []


def test_a_window_is_not_closed_over_a_reading_that_is_held() -> None:
    """One whose end is past the held reading's time: by then it is not ahead any more."""
    table = _table()
    pipeline = build_pipeline(_config(aggregates=[{"window": "1h"}], grace="2s"), table)
    start_s = _NOW_S // 3600 * 3600
    results = [pipeline.process(_batch(table, [start_s, start_s + 1800], [False, True]), 0)]
    results += _whole(pipeline, [100 * n for n in range(1, 400)])

    assert _count(results) == 2
    assert not [part for each in results for part in each.rejected]


_Drawn = list[tuple[int, int]]

#: Mostly a second on; sometimes back a little or far, or far ahead.
_STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, -2, -30, 40, 4000, 4001, 4002, 90_000]),
        st.integers(0, 3),
    ),
    max_size=40,
)


def _drawn(table: ChannelTable, drawn: Sequence[tuple[float, int]]) -> Batch:
    times = [round((_NOW_S + n + offset_s) * NS_PER_S) for n, (offset_s, _) in enumerate(drawn)]
    quality = [int(Quality.AHEAD) * (offset_s > 1) for offset_s, _ in drawn]
    batch = Batch.from_columns(
        table, times, [row for _, row in drawn], list(range(len(drawn))), quality=quality
    )
    origin = tuple(Origin("readings", 0, number) for number in range(len(drawn)))
    source = np.arange(len(drawn), dtype=np.int32)
    return Batch(table, batch.time_ns, batch.channel, batch.value, batch.quality, origin, source)


def _told(outputs: Sequence[Output], held: int) -> tuple[object, ...]:
    # Device by device: in which order devices are told of depends on the cuts.
    passed: dict[int, list[float]] = {0: [], 1: []}
    reasons: dict[str, list[tuple[float, int]]] = {}
    for output in outputs:
        for row, value in zip(output.main.device.tolist(), output.main.value.tolist(), strict=True):
            passed[row].append(value)
        for part in output.rejected:
            offsets = [part.batch.origin[at].offset for at in part.batch.source.tolist()]
            reasons.setdefault(part.reason, []).extend(
                zip(part.batch.value.tolist(), offsets, strict=True)
            )
    return passed, {name: sorted(found) for name, found in reasons.items()}, held


@given(_STEPS, st.lists(st.integers(0, 40), max_size=5).map(sorted), st.booleans())
@settings(max_examples=100, deadline=None)
def test_cuts_and_restarts_change_nothing(drawn: _Drawn, cuts: list[int], restarts: bool) -> None:
    """What is passed on, held and rejected, and whose record it belongs to; and none is missing."""
    table = _table()
    selection, devices = everything(table), np.array([0, 1], np.int32)
    batch = _drawn(table, drawn)
    whole = Watermarks(_config().feed, table)
    expected = _told([whole.process(batch, 0)], int(whole.held(devices).sum()))

    watermarks = Watermarks(_config().feed, table)
    outputs = []
    edges = [0, *(min(cut, len(batch)) for cut in cuts), len(batch)]
    for first, last in pairwise(edges):
        outputs.append(watermarks.process(batch.take(np.arange(first, last)), 0))
        if restarts:
            other = Watermarks(_config().feed, table)
            other.restore(selection, watermarks.snapshot(selection))
            watermarks = other

    assert _told(outputs, int(watermarks.held(devices).sum())) == expected
    passed = sum(len(output.main) for output in outputs)
    rejected = sum(len(part.batch) for output in outputs for part in output.rejected)
    assert passed + rejected + int(watermarks.held(devices).sum()) == len(batch)


def test_a_step_counts_from_the_next_reading_on_wherever_the_batch_ends() -> None:
    """A long step allows a long one after it, and no longer once short ones have followed."""
    offsets_s = [0.0, *[4000.0] * 4, *[4002.0] * 3, 4008.0, *[4002.0] * 3]
    batch = _drawn(table := _table(), [(offset_s, 0) for offset_s in offsets_s])
    whole = Watermarks(_config().feed, table)
    expected = _told([whole.process(batch, 0)], 0)
    assert [value for value, _ in expected[1]["ahead"]] == [8]  # type: ignore[index]

    for cut in range(1, len(batch)):
        watermarks = Watermarks(_config().feed, table)
        parts = [np.arange(cut), np.arange(cut, len(batch))]
        outputs = [watermarks.process(batch.take(rows), 0) for rows in parts]
        assert _told(outputs, 0) == expected, cut


def test_what_is_held_outlives_the_process_with_other_numbers() -> None:
    """Through a snapshot, into a table that has numbered everything anew."""
    table = _table()
    pipeline = build_pipeline(_config(), table)
    pipeline.process(_batch(table, [_NOW_S, _NOW_S + _DAY_S], [False, True]), 0)
    block = pipeline._watermarks.snapshot(everything(table))

    other = ChannelTable()
    for channel in reversed(table.channels):
        other.row(channel)
    rows = np.array([other.row(channel) for channel in table.channels], np.int32)
    devices = other.device_of[rows[::2]]
    watermarks = Watermarks(_config().feed, other)
    watermarks.restore(type(everything(table))(devices, rows), block)

    assert watermarks.held(devices).tolist() == [1, 0]
    reading = Batch.from_columns(other, [(_NOW_S + 1) * NS_PER_S], [int(rows[0])], [1.0])
    (refuted,) = watermarks.process(reading, 0).rejected
    assert other.channels[refuted.batch.channel[0]] == table.channels[0]
