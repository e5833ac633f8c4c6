"""Clocks that are set right again after a wrong jump ahead was believed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.testing.stages import everything
from streams.build import build_pipeline
from streams.results import Results
from tests.examples import tried

pytestmark = pytest.mark.slow

_NOW_S = 1_000_000
_WRONG_S = 20 * 3600
_LONG_NS = 10**15


def _config(confirm: int = 3, **feed: object) -> Config:
    return Config.model_validate(
        {
            "local_store": {},
            "feed": {
                "f": {
                    "topic": "{device}",
                    "grace": "2s",
                    "time": {"path": "t", "confirm": confirm},
                    "channels": {"x": {"gap": {"limit": "4s"}, "spike": {}}, "y": {}},
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


class Plant:
    """A pipeline, the readings that it has got, and what came of them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pipeline = build_pipeline(config, _table())
        self.sent: list[float] = []
        self.results: list[Results] = []

    def send(self, offsets_s: Sequence[float], rows: Sequence[int] | None = None) -> None:
        """Readings a second apart, with these offsets from the gateway's clock, in one batch."""
        first = len(self.sent)
        times_s = [_NOW_S + first + n + offset_s for n, offset_s in enumerate(offsets_s)]
        batch = Batch.from_columns(
            self.pipeline.channels,
            [round(time_s * NS_PER_S) for time_s in times_s],
            [0] * len(times_s) if rows is None else rows,
            list(range(first, first + len(times_s))),
            quality=[int(Quality.AHEAD) * (offset_s > 1) for offset_s in offsets_s],
            origin=Origin("readings", 0, first),
        )
        self.sent += times_s
        self.results.append(self.pipeline.process(batch, first * NS_PER_S))

    def wait(self, *times_ns: int) -> None:
        """Let time pass."""
        self.results += [self.pipeline.advance(time_ns) for time_ns in times_ns]

    def restart(self) -> None:
        """Go on as another process."""
        table = self.pipeline.channels
        selection = everything(table)
        state = self.pipeline.snapshot(selection)
        self.pipeline = build_pipeline(self.config, table)
        for name, stage in self.pipeline.stages.items():
            stage.restore(selection, state[name])

    @property
    def rejected(self) -> dict[str, list[float]]:
        """Times of the readings that were rejected, s after the beginning, by reason."""
        found: dict[str, list[float]] = {}
        for each in self.results:
            for part in each.rejected:
                times = (part.batch.time_ns / NS_PER_S - _NOW_S).tolist()
                found.setdefault(part.reason, []).extend(times)
        return {reason: sorted(times) for reason, times in found.items()}

    @property
    def windows(self) -> dict[tuple[int, int, int], tuple[int, float]]:
        """Readings and mean of each window, by channel, start (s after the beginning), length."""
        windows: dict[tuple[int, int, int], tuple[int, float]] = {}
        for each in self.results:
            closed = each.aggregates
            for row in range(len(closed)):
                start_s = int(closed.start_ns[row]) // NS_PER_S - _NOW_S
                key = (int(closed.channel[row]), start_s, int(closed.window_ns[row]))
                assert key not in windows, "a window was made twice"
                count = int(closed.n[row] + closed.flagged[row])
                windows[key] = (count, float(closed.stats["mean"][row]))
        return windows

    def counted(self, window_s: int = 10) -> int:
        """Readings in closed windows of this length."""
        return sum(n for (_, _, ns), (n, _) in self.windows.items() if ns == window_s * NS_PER_S)


def test_a_wrong_jump_costs_no_more_than_the_window_that_it_closed() -> None:
    """Three readings 20 h ahead are believed; then the clock is right again for hours."""
    plant = Plant(_config())
    plant.send([0, 0, *[_WRONG_S] * 3, *[0] * 7000])

    # The window of the first two was closed by the jump: what comes for it later has no place.
    assert plant.rejected == {"late": [5, 6, 7, 8, 9]}
    plant.wait(20_000 * NS_PER_S, _LONG_NS)
    assert plant.counted() == 7000
    assert plant.pipeline.open_rows() == 0


def test_a_device_whose_first_readings_were_ahead_loses_nothing() -> None:
    """Nothing was closed before them."""
    plant = Plant(_config())
    plant.send([*[_WRONG_S] * 6, *[0] * 50])

    assert plant.rejected == {}


def test_what_confirms_is_held_until_it_does() -> None:
    """Neither lost nor counted; and the next one decides on all of them."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *[_WRONG_S] * 5, 0, 0])
    assert (plant.rejected, plant.pipeline.open_rows()) == ({}, 5 + 2)

    plant.send([0])
    assert plant.counted() == 10 + 5
    assert (plant.rejected, plant.pipeline.open_rows()) == ({}, 3)


def test_a_reading_on_time_refutes_those_behind() -> None:
    """A clock that really is ahead is not led back by what was buffered before."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *[_WRONG_S] * 5, 0, 0, _WRONG_S, 0, 0, _WRONG_S])

    assert plant.rejected == {"late": [15, 16, 18, 19]}


def test_times_that_do_not_rise_confirm_nothing() -> None:
    """Old ones, newest first."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *[_WRONG_S] * 5, *[18_000 - 60 * n for n in range(8)]])

    assert len(plant.rejected["late"]) == 7
    assert plant.pipeline.open_rows() == 5 + 1


def test_the_windows_behind_the_jump_are_told_once() -> None:
    """When the right clock comes to them a day later, what falls into them is late."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *[_WRONG_S] * 5, *[0] * 5])
    # They were from 20 h and 10 s to 15 s.
    plant.send([_WRONG_S - 20 + n for n in range(30)])

    start_s = _WRONG_S + 10
    assert plant.windows[0, start_s, 10 * NS_PER_S][0] == 5
    late = plant.rejected["late"]
    assert late
    assert all(start_s <= time_s < start_s + 10 for time_s in late)
    plant.wait(_LONG_NS)
    assert plant.counted() + len(late) == 50


def test_a_reading_is_late_where_any_of_its_windows_is_closed() -> None:
    """A longer window that was closed by the jump is not made again from a part of it."""
    plant = Plant(_config(aggregates=[{"window": "10s"}, {"window": "60s"}]))
    plant.send([*[0] * 10, *[_WRONG_S] * 5, *[0] * 100])
    plant.wait(_LONG_NS)

    # 1,000,000 s is 40 s into a minute.
    assert plant.rejected == {"late": [15, 16, 17, 18, 19]}
    assert plant.counted() == plant.counted(60) == 110


def test_a_device_that_falls_silent_after_it_was_set_right_is_believed() -> None:
    """There is nothing that would refute it."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *[_WRONG_S] * 5, 0, 0])
    assert len(plant.pipeline.quiet(12 * NS_PER_S)) == 0
    plant.wait(*(n * NS_PER_S for n in range(60, 200, 5)))

    assert plant.rejected == {}
    assert plant.counted() == 17
    assert plant.pipeline.open_rows() == 0
    assert not len(plant.pipeline.quiet(_LONG_NS))


def test_each_return_takes_more_readings() -> None:
    """A clock that leaps to and fro can't make the gateway work without end."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *([_WRONG_S] * 3 + [0] * 20) * 40])
    backs = plant.pipeline._watermarks._doubts._gaps.backs(0)

    assert 5 <= backs < 10


def test_other_devices_are_not_concerned() -> None:
    """Whatever one device's clock does."""
    plant, other = Plant(_config()), Plant(_config())
    offsets = [*[0] * 10, *[_WRONG_S] * 10, *[0] * 40]
    plant.send([value for each in offsets for value in (each, 0)], [0, 2] * 60)
    other.send([value for _ in offsets for value in (0, 0)], [0, 2] * 60)

    windows = {key: each for key, each in plant.windows.items() if key[0] == 2}
    assert windows == {key: each for key, each in other.windows.items() if key[0] == 2}


_JUMPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, -30, 3600, 7200, _WRONG_S, _WRONG_S + 40, 2 * _WRONG_S]),
        st.integers(1, 12),
    ),
    max_size=12,
)


@given(
    _JUMPS,
    st.lists(st.integers(0, 100), max_size=5).map(sorted),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([("10s",), ("4s", "60s")]),
)
@tried(100)
def test_cuts_and_restarts_change_nothing_and_nothing_is_made_twice(
    jumps: list[tuple[int, int]],
    cuts: list[int],
    restarts: bool,
    confirm: int,
    windows: tuple[str, ...],
) -> None:
    """Windows, reasons and what is open; and every reading is in just one of them."""
    config = _config(confirm, aggregates=[{"window": window} for window in windows])
    offsets = [offset_s for offset_s, count in jumps for _ in range(count)]
    rows = [n % 3 for n in range(len(offsets))]
    whole, plant = Plant(config), Plant(config)
    if offsets:
        whole.send(offsets, rows)
    edges = [0, *(min(cut, len(offsets)) for cut in cuts), len(offsets)]
    for first, last in pairwise(edges):
        if first < last:
            plant.send(offsets[first:last], rows[first:last])
        if restarts:
            plant.restart()

    assert plant.rejected == whole.rejected
    assert plant.pipeline.open_rows() == whole.pipeline.open_rows()
    np.testing.assert_equal(plant.windows, whole.windows)
    shortest_s = int(windows[0][:-1])
    for each in (whole, plant):
        rejected = sum(len(times) for times in each.rejected.values())
        assert each.counted(shortest_s) + rejected + each.pipeline.open_rows() == len(offsets)


@pytest.mark.parametrize("name", ["gap_to_ns", "island_to_ns", "backs"])
def test_state_without_a_gap_is_taken_up(name: str) -> None:
    """As an older version wrote it."""
    plant = Plant(_config())
    plant.send([*[0] * 10, *[_WRONG_S] * 5])
    stage, table = plant.pipeline._watermarks, plant.pipeline.channels
    state = stage.snapshot(everything(table))
    assert name in state
    kept = ("newest_ns", "watermark_ns", "is_silent", "pace_ns", "delay_ns", "step_ns")
    stage.restore(everything(table), {each: state[each] for each in kept})
    plant.send([0, 0, 0, 0])

    assert plant.rejected == {"late": [15, 16, 17, 18]}
