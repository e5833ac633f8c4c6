"""What counters count: steps between readings, over window ends, resets, wraps and silences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.stage import Selection
from headgate.testing.stages import everything
from streams.build import build_pipeline
from streams.results import Results

_START_S = 1_700_000_000
_LENGTHS_S = (10, 25)
_LONG_NS = 10**15
_PLAIN: Mapping[str, object] = {}

#: Seconds after the start, and what stands there then, None where nothing does.
_Read: TypeAlias = tuple[int, float | None]


def _config(
    counter: object,
    lengths_s: Sequence[int],
    channel: Mapping[str, object] = _PLAIN,
    topic: str = "{device}",
) -> Config:
    feed = {
        "topic": topic,
        "grace": "3s",
        "time": {"path": "t", "confirm": 3},
        "channels": {"n": {"counter": counter, **channel}, "x": {}},
        "aggregates": [{"window": f"{length}s"} for length in lengths_s],
    }
    return Config.model_validate({"local_store": {}, "feed": {"f": feed}})


class _Meter:
    """A pipeline of one device, and what has come of it."""

    def __init__(
        self,
        counter: object = True,
        lengths_s: Sequence[int] = _LENGTHS_S,
        channel: Mapping[str, object] = _PLAIN,
        topic: str = "{device}",
    ) -> None:
        self._config = _config(counter, lengths_s, channel, topic)
        self._new_pipeline()
        self.results: list[Results] = []

    def _new_pipeline(self) -> None:
        table = ChannelTable()
        self.count = table.row(Channel("f", "d", "f", "n"))
        self.tagged = [
            table.row(Channel("f", "d", "f", "n", unit, (("by", by),), ()))
            for by, unit in (("a", ""), ("b", ""), ("b", "Wh"))
        ]
        self.other = table.row(Channel("f", "d", "f", "x"))
        self.pipeline = build_pipeline(self._config, table)

    def read(self, *read: _Read, quality: int = 0, channel: int | None = None) -> None:
        """Readings in one batch."""
        batch = Batch.from_columns(
            self.pipeline.channels,
            [(_START_S + second) * NS_PER_S for second, _ in read],
            [self.count if channel is None else channel] * len(read),
            [np.nan if value is None else value for _, value in read],
            quality=[quality] * len(read),
            origin=Origin("readings", 0, len(self.results)),
        )
        self.results.append(self.pipeline.process(batch, 0))

    def fall_silent(self) -> None:
        """Let so much time pass that nothing is waited for."""
        self.results += [self.pipeline.advance(_LONG_NS), self.pipeline.advance(2 * _LONG_NS)]

    def restart(
        self,
        counter: object = None,
        lengths_s: Sequence[int] = _LENGTHS_S,
        channel: Mapping[str, object] = _PLAIN,
    ) -> None:
        """Go on as another process, perhaps with another configuration."""
        selection = everything(self.pipeline.channels)
        state = self.pipeline.snapshot(selection)
        before = self.pipeline.fingerprints
        if counter is not None:
            self._config = _config(counter, lengths_s, channel)
        self._new_pipeline()
        for name, stage in self.pipeline.stages.items():
            if before[name] == stage.fingerprint:
                stage.restore(selection, state[name])

    def windows(
        self, length_s: int = 10, channel: int | None = None
    ) -> dict[int, tuple[float | None, float, int]]:
        """Increase, the seconds it took and resets, by the start of windows of a length."""
        found: dict[int, tuple[float | None, float, int]] = {}
        for closed in (result.aggregates for result in self.results):
            is_asked = closed.channel == (self.count if channel is None else channel)
            is_asked &= closed.window_ns == length_s * NS_PER_S
            for at in np.flatnonzero(is_asked).tolist():
                start_s = int(closed.start_ns[at]) // NS_PER_S - _START_S
                assert start_s not in found, "a window was made twice"
                increase = float(closed.counts["increase"][at])
                found[start_s] = (
                    None if np.isnan(increase) else increase,
                    int(closed.counts["increase_ns"][at]) / NS_PER_S,
                    int(closed.counts["resets"][at]),
                )
        return found


def test_a_reset_counts_what_stands_there_after_it() -> None:
    """And digits that no reading had don't come of adding them up."""
    meter = _Meter()
    read = [1234.5, 1234.6, 1234.7, 0.0, 0.1, 0.2]
    meter.read(*enumerate(read))
    meter.fall_silent()

    assert meter.windows() == {0: (0.4, 5.0, 1)}
    assert meter.windows(25) == {0: (0.4, 5.0, 1)}


def test_a_step_belongs_to_the_window_of_the_later_reading() -> None:
    """Also over windows without any reading; the first reading of all is no step."""
    meter = _Meter()
    meter.read((0, 100.0), (9, 104.0), (12, 110.0), (55, 125.0))
    meter.fall_silent()

    assert meter.windows() == {0: (4.0, 9.0, 0), 10: (6.0, 3.0, 0), 50: (15.0, 43.0, 0)}
    assert meter.windows(25) == {0: (10.0, 12.0, 0), 50: (15.0, 43.0, 0)}


def test_of_one_reading_nothing_is_known() -> None:
    """A window says so, and has the reading."""
    meter = _Meter()
    meter.read((0, 100.0))
    meter.fall_silent()

    assert meter.windows() == {0: (None, 0.0, 0)}
    (closed,) = [each.aggregates for each in meter.results if len(each.aggregates)]
    assert closed.stats["last"].tolist() == [100.0, 100.0]
    assert np.isnan(closed.stats["mean"]).all()
    assert [len(keys) for keys in closed.sketch_keys] == [0, 0]


def test_swapped_readings_are_no_reset() -> None:
    """Their event times say which came first."""
    meter = _Meter()
    meter.read((0, 1.0), (2, 9.0), (1, 2.0))
    meter.read((4, 12.0), (3, 10.0), (20, 12.0))

    assert meter.windows() == {0: (11.0, 4.0, 0)}


def test_missing_late_and_double_readings_lose_no_step() -> None:
    """What is between two good readings is counted once."""
    meter = _Meter()
    meter.read((0, 10.0), (5, 20.0), (5, 20.0), (7, None), (9, 30.0))
    meter.read((2, 15.0), (15, 40.0), (15, 41.0), (30, 40.0))
    meter.fall_silent()

    reasons = sorted(part.reason for each in meter.results for part in each.rejected)
    assert reasons == ["conflict", "duplicate", "late"]
    assert meter.windows() == {0: (20.0, 9.0, 0), 10: (10.0, 6.0, 0), 30: (0.0, 15.0, 0)}


@pytest.mark.parametrize(
    ("counter", "read", "increase", "resets"),
    [
        ({"wraps_at": 65536}, [65530, 65535, 4], 10, 0),
        ({"wraps_at": 65536}, [60000, 100], 5636, 0),
        # A quarter of the register is more than one step may be: it began anew.
        ({"wraps_at": 65536}, [40000, 0, 7], 7, 1),
        (True, [65530, 65535, 4], 9, 1),
        # A register that is read as one with a sign.
        ({"wraps_at": 65536}, [32766, -32768, -32767], 3, 0),
        # Jitter through the register's end, and when it goes on from there.
        ({"wraps_at": 65536}, [65534, 65535, 0, 65535, 0, 1], 3, 0),
        ({"wraps_at": 65536}, [65534, 1, 65535, 2], 4, 0),
        ({"wraps_at": 65536, "jitter": 2}, [65534, 1, 65535, 2], 4, 0),
        ({"wraps_at": 65536}, [32766, -32767, 32767, -32766], 4, 0),
        ({"wraps_at": 65536}, [65530, 4, *(65520 + n for n in range(10)), 2], 28, 1),
        # No jitter: it has counted most of the register.
        ({"wraps_at": 65536, "jitter": 1}, [65534, 1, 65535], 65537, 0),
        ({"wraps_at": 65536}, [10, 57000], 56990, 0),
        # By a tenth, or what is said, it falls and goes on: nothing is counted twice.
        (True, [100, 91, 99, 101, 100, 102], 2, 0),
        (True, [100, 89], 89, 1),
        ({"jitter": 0}, [100, 99, 101], 101, 1),
        ({"jitter": 2}, [10, 8, 11], 1, 0),
        ({"jitter": 2}, [100, 97, 98], 98, 1),
        # Once it has been below for long it goes on from there.
        (True, [1000, *range(950, 961), 1010], 60, 1),
        (True, [1000, *range(950, 958), 1001, 999], 1, 0),
        (True, [5, -1, 0, 3], 4, 1),
        (True, [0, 0, 0], 0, 0),
    ],
)
def test_falls(counter: object, read: list[float], increase: float, resets: int) -> None:
    """Wraps, jitter and resets are told apart, in one go and reading by reading."""
    at_once, one_by_one = (_Meter(counter, (100,)) for _ in range(2))
    at_once.read(*enumerate(read))
    for each in enumerate(read):
        one_by_one.read(each)
        one_by_one.restart()
    for meter in (at_once, one_by_one):
        meter.fall_silent()
        assert meter.windows(100) == {0: (increase, len(read) - 1.0, resets)}


def test_a_register_wraps_in_the_unit_that_is_kept() -> None:
    """What stands there times the scale: 65536 pulses of 10 Wh are 655.36 kWh."""
    raw = {"counter": {"wraps_at": 65536}, "scale": 10, "unit": "Wh", "to": "kWh"}
    feed = {"topic": "{device}", "channels": {"n": raw}, "aggregates": [{"window": "10s"}]}
    config = Config.model_validate({"local_store": {}, "feed": {"f": feed}})
    meter = _Meter()
    meter._config = config
    meter._new_pipeline()
    meter.read((0, 655.3), (1, 0.04))
    meter.fall_silent()

    assert meter.windows() == {0: (0.1, 1.0, 0)}


def test_what_a_clock_that_is_set_leaves_out_is_counted_in_no_time() -> None:
    """The step is known; how long it took is not."""
    meter = _Meter()
    meter.read((0, 1.0), (2, 2.0))
    meter.read((5000, 5.0), (5001, 6.0), (5002, 7.0), quality=int(Quality.AHEAD))
    meter.read(*((second, float(second)) for second in range(30, 60)))
    meter.fall_silent()
    windows = meter.windows()

    assert windows[0] == (1.0, 2.0, 0)
    assert windows[5000] == (5.0, 2.0, 0)
    assert windows[30] == (32.0, 9.0, 0)


def test_of_a_forgotten_device_nothing_is_known() -> None:
    """Its next reading is the first; a channel that is forgotten is no other's business."""
    meter = _Meter()
    meter.read((0, 1.0), (20, 5.0))
    none = np.empty(0, np.int32)
    meter.pipeline.stages["count"].forget(Selection(none, np.array([meter.other], np.int32)))
    meter.read((22, 6.0), (40, 9.0))
    assert meter.windows()[20] == (5.0, 22.0, 0)
    meter.pipeline.forget(everything(meter.pipeline.channels))
    meter.read((60, 11.0))
    meter.fall_silent()

    assert meter.windows()[60] == (None, 0.0, 0)


def test_a_restart_with_other_windows_loses_no_step() -> None:
    """What was counted goes on; a channel that is no counter any more has none."""
    meter = _Meter()
    meter.read((0, 1.0), (20, 5.0), (29, 6.0))
    meter.restart(counter=True, lengths_s=(10, 50))
    meter.read((31, 7.0))
    meter.fall_silent()
    assert meter.windows()[20] == (5.0, 29.0, 0)
    assert meter.windows()[30] == (1.0, 2.0, 0)
    meter.restart(counter=False)
    meter.read((70, 8.0), (90, 9.0))

    assert not meter.results[-1].aggregates.counts


def test_a_scale_that_is_changed_makes_no_step() -> None:
    """What was counted before stays, and so do steps of counters whose scale is as it was."""
    meter = _Meter(channel={"scale": 1})
    meter.read((0, 1000.0), (5, 1010.0), (12, 1020.0), (14, 1030.0), (18, 1032.0))
    meter.restart(True, channel={"scale": 0.001})
    meter.read((19, 1.04), (20, 1.042), (24, 1.045))
    meter.restart(True, channel={"scale": 0.001})
    meter.read((26, 1.048))
    meter.fall_silent()

    assert meter.windows() == {0: (10.0, 5.0, 0), 10: (20.0, 9.0, 0), 20: (0.008, 7.0, 0)}


def test_a_scale_that_is_changed_before_anything_is_counted_makes_no_step() -> None:
    """Readings that wait are of the old scale, too."""
    meter = _Meter(channel={"scale": 1})
    meter.read((0, 1000.0))
    meter.restart(True, channel={"scale": 0.001})
    meter.read((1, 1.0), (2, 1.001))
    meter.fall_silent()

    assert meter.windows() == {0: (0.001, 1.0, 0)}


@pytest.mark.parametrize("has_restarts", [False, True])
def test_a_tag_that_changes_makes_no_other_counter(has_restarts: bool) -> None:
    """A step is that of its later reading's channel; also where the tag is as it was before."""
    meter = _Meter()
    one, other, _ = meter.tagged
    for read, channel in (
        ([(0, 100.0), (2, 110.0)], one),
        ([(4, 120.0), (6, 130.0)], other),
        ([(7, 140.0), (12, 150.0), (14, 160.0)], one),
        ([(18, 3.0), (21, 5.0)], other),
    ):
        meter.read(*read, channel=channel)
        if has_restarts:
            meter.restart()
    meter.fall_silent()

    assert meter.windows(channel=one) == {0: (20.0, 3.0, 0), 10: (20.0, 7.0, 0)}
    assert meter.windows(channel=other) == {
        0: (20.0, 4.0, 0),
        10: (3.0, 4.0, 1),
        20: (2.0, 3.0, 0),
    }
    assert meter.windows(25, one) == {0: (40.0, 10.0, 0)}
    assert meter.windows(25, other) == {0: (25.0, 11.0, 1)}


def test_a_placeholder_makes_another_counter() -> None:
    """Though it tells no devices apart: two phases of one meter count by themselves."""
    meter = _Meter(topic="{device}/{by}")
    one, other, _ = meter.tagged
    for second in (0, 2, 4):
        meter.read((second, 100.0 + second), channel=one)
        meter.read((second, 7.0 + second), channel=other)
    meter.fall_silent()

    assert meter.windows(channel=one) == {0: (4.0, 4.0, 0)}
    assert meter.windows(channel=other) == {0: (4.0, 4.0, 0)}


def test_a_channel_that_is_forgotten_takes_no_count_that_another_has_read_since() -> None:
    """With the one that was read last, what was counted is forgotten; in another unit is other."""
    meter = _Meter()
    one, other, in_wh = meter.tagged
    meter.read((0, 10.0), channel=one)
    meter.read((20, 11.0), (40, 12.0), channel=other)
    meter.read((41, 12000.0), (42, 12001.0), channel=in_wh)
    stage = meter.pipeline.stages["count"]
    none = np.empty(0, np.int32)
    stage.forget(Selection(none, np.array([one], np.int32)))
    meter.read((60, 14.0), (80, 15.0), channel=one)
    meter.read((100, 16.0), channel=one)
    assert meter.windows(channel=one)[60] == (2.0, 20.0, 0)
    stage.forget(Selection(none, np.array([one], np.int32)))
    meter.read((120, 18.0), channel=other)
    meter.fall_silent()

    assert meter.windows(channel=other)[120] == (None, 0.0, 0)
    assert meter.windows(channel=in_wh) == {40: (1.0, 1.0, 0)}


def test_devices_that_are_told_apart_no_more_go_on_from_the_newest_count() -> None:
    """What is known of two counters is that of one."""
    meter = _Meter()
    one, other, _ = meter.tagged
    table = ChannelTable()
    rows = [
        table.row(replace(meter.pipeline.channels.channels[row], identity=None))
        for row in meter.tagged[:2]
    ]
    before = build_pipeline(_config(True, _LENGTHS_S), table)
    for row, second, value in ((rows[1], 8, 20.0), (rows[0], 1, 10.0)):
        time_ns = (_START_S + second) * NS_PER_S
        before.process(Batch.from_columns(table, [time_ns], [row], [value]), 0)
    before.advance(_LONG_NS)
    before.advance(2 * _LONG_NS)
    block = before.stages["count"].snapshot(everything(table))
    here = Selection(np.array([0, 0], np.int32), np.array([one, other], np.int32))
    meter.pipeline.stages["count"].restore(here, block)
    meter.read((12, 21.0), channel=one)
    meter.fall_silent()

    assert meter.windows(channel=one)[10] == (1.0, 4.0, 0)


def _wanted(read: Sequence[_Read], length_s: int) -> dict[int, tuple[Fraction | None, int, int]]:
    """Increase, time and resets by window, worked out step by step; falls are resets."""
    found: dict[int, tuple[Fraction | None, int, int]] = {}
    good = sorted((second, Fraction(repr(value))) for second, value in read if value is not None)
    for second, _ in read:
        found.setdefault((_START_S + second) // length_s * length_s - _START_S, (None, 0, 0))
    for (begin, before), (end, value) in pairwise(good):
        start = (_START_S + end) // length_s * length_s - _START_S
        increase, took, resets = found[start]
        is_reset = value < before
        step = value if is_reset else value - before
        found[start] = ((increase or Fraction(0)) + step, took + end - begin, resets + is_reset)
    return found


_STEPS = st.tuples(
    st.sampled_from([*6 * [1], 2, -1, -2, 4, 11, 40]),
    st.sampled_from([0.1, 0.7, 3.0, 0.0, None, "reset"]),
)


@given(st.lists(_STEPS, min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_comes_out_is_what_was_counted(
    steps: list[tuple[int, float | str | None]], places: list[int]
) -> None:
    """However it is cut, and with a restart at each cut, to the last digit that readings have."""
    second, tenths = 0, 12345
    read: dict[int, float | None] = {}
    for more, step in steps:
        second = max(second + more, 0)
        if isinstance(step, float):
            tenths += round(step * 10)
        elif step == "reset":
            tenths = 0
        # A reading that came before is late or stands there already.
        newest = max(read, default=0)
        if second not in read and second >= newest - 3:
            read[second] = None if step is None else tenths / 10
    meter = _Meter({"jitter": 0})
    rows = list(read.items())
    edges = [0, *sorted(min(place, len(rows)) for place in places), len(rows)]
    for first, last in pairwise(edges):
        if first < last:
            meter.read(*rows[first:last])
        meter.restart()
    meter.fall_silent()

    for length_s in _LENGTHS_S:
        wanted = {
            start: (None if increase is None else float(increase), float(took), resets)
            for start, (increase, took, resets) in _wanted(rows, length_s).items()
        }
        assert meter.windows(length_s) == wanted
