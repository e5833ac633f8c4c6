"""Derived channels: the same as a slow way says, whatever the batches are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError
from headgate.core.expressions.parse import parse
from headgate.core.stage import Selection
from headgate.testing.stages import everything
from streams.stages.arrays import NEVER_NS
from streams.stages.blocks import checked
from streams.stages.derive import spans
from streams.stages.derive.stage import Deriver
from streams.stages.watermark.outcome import NO_JUMPS
from tests.examples import tried
from tests.unit.streams.derive.slowly import Slowly

_START_NS = 1_750_000_000 * NS_PER_S
_GRACE_NS = 3 * NS_PER_S
_FIELDS = ("x", "y", "z")

#: (device, second, field, value)
_Row = tuple[int, float, str, float]


def feed_of(derived: Mapping[str, object], **more: object) -> FeedConfig:
    """A feed with these derived channels."""
    return FeedConfig.model_validate(
        {
            "topic": "{device}",
            "channels": {"x": {}, "y": {}, "z": {}, "total": {"counter": {"wraps_at": 100}}},
            "aggregates": [{"window": "5s"}],
            "derived": derived,
            **more,
        }
    )


@dataclass
class Line:
    """The stage behind a watermark, and what it has made."""

    feed: FeedConfig

    def __post_init__(self) -> None:
        self.table = ChannelTable()
        self.deriver = Deriver({"f": self.feed}, self.table)
        self.newest: dict[str, int] = {}
        self.made: dict[tuple[str, str, int], float] = {}
        self.count = 0

    def take(self, rows: Sequence[_Row]) -> None:
        """Take readings in."""
        channel = [self.table.row(Channel("f", f"d{row[0]}", "f", row[2])) for row in rows]
        time_ns = [_START_NS + round(row[1] * NS_PER_S) for row in rows]
        for row, at_ns in zip(rows, time_ns, strict=True):
            name = f"d{row[0]}"
            self.newest[name] = max(self.newest.get(name, 0), at_ns)
        batch = Batch.from_columns(self.table, time_ns, channel, [row[3] for row in rows])
        self._note(self.deriver.process(batch, self._watermark).made)

    def end(self) -> dict[tuple[str, str, int], float]:
        """All that has been made, once nothing comes any more."""
        every = np.arange(len(self.table.devices), dtype=np.int32)
        never = self.deriver.close(every, lambda rows: np.full(len(rows), NEVER_NS))
        self._note(never.made)
        return self.made

    def restart(self) -> None:
        """Go on with what was written down, under other numbers."""
        old = self.table
        here = everything(old)
        block = self.deriver.snapshot(here)
        self.table = ChannelTable()
        for channel in reversed(old.channels):
            self.table.row(channel)
        devices = np.array([self.table.device_row(each) for each in old.devices], np.int32)
        channels = np.array([self.table.row(each) for each in old.channels], np.int32)
        self.deriver = Deriver({"f": self.feed}, self.table)
        there = Selection(devices, channels)
        self.deriver.restore(there, checked(block, self.deriver.snapshot(there), there))

    def _watermark(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        names = [self.table.devices[row].name for row in devices.tolist()]
        return np.array([self.newest.get(name, 0) - _GRACE_NS for name in names], np.int64)

    def _note(self, made: Batch) -> None:
        channels = self.table.channels
        for row, at_ns, value in zip(
            made.channel.tolist(), made.time_ns.tolist(), made.value.tolist(), strict=True
        ):
            key = (channels[row].device, channels[row].field, at_ns)
            assert key not in self.made, f"{key} is made twice"
            self.made[key] = value


def worked_out(
    derived: Mapping[str, object], rows: Sequence[_Row], **more: object
) -> dict[str, list[float]]:
    """By derived channel, its values of device 0, in the order of their times."""
    line = Line(feed_of(derived, **more))
    line.take(rows)
    found: dict[str, list[float]] = {}
    for (_, name, _), value in sorted(line.end().items(), key=lambda each: each[0][2]):
        found.setdefault(name, []).append(value)
    return found


def slowly(feed: FeedConfig, rows: Sequence[_Row], most: int) -> dict[tuple[str, str, int], float]:
    """The same by the slow way."""
    found = {}
    for device in sorted({row[0] for row in rows}):
        one = Slowly(feed, most)
        by_time: dict[int, dict[str, float]] = {}
        for _, second, field, value in (row for row in rows if row[0] == device):
            if not math.isnan(value):
                by_time.setdefault(_START_NS + round(second * NS_PER_S), {})[field] = value
        for at_ns in sorted(by_time):
            for name, value in one.take(at_ns, by_time[at_ns]).items():
                found[f"d{device}", name, at_ns] = value
    return found


_NUMBERS = st.sampled_from(["0", "1", "2.5", "-3", "10"])
_SPANS = st.sampled_from(["1s", "2500ms", "7s", "1h"])


def _numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "%", "**"])
    conditions = _conditions(inner)
    return st.one_of(
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("({0} {3} {1} {3} {2})".format, inner, inner, inner, st.sampled_from("+-*/")),
        st.builds("{}({})".format, st.sampled_from(["abs", "sqrt", "log", "exp", "-"]), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        st.builds("clip({}, -1, {})".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, conditions, inner),
        st.builds(
            "{}({})".format,
            st.sampled_from(["previous", "delta", "rate", "integral", "age"]),
            inner,
        ),
        st.builds(
            '{}({}, "{}")'.format,
            st.sampled_from(["mean", "min", "max", "std", "median", "count"]),
            inner,
            _SPANS,
        ),
        st.builds("since({})".format, conditions),
    )


def _conditions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    compared = st.builds(
        "({} {} {})".format, inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner
    )
    return st.one_of(
        compared,
        st.builds("({} < {} <= {})".format, inner, inner, inner),
        st.builds("({} {} {})".format, compared, st.sampled_from(["and", "or"]), compared),
        st.builds("(not {})".format, compared),
        st.builds("isnan({})".format, inner),
        st.builds("between({}, 0, {})".format, inner, inner),
        st.builds('hold({}, "{}")'.format, compared, _SPANS),
    )


_EXPRESSIONS = st.one_of(st.sampled_from(_FIELDS), st.sampled_from(_FIELDS), _NUMBERS)
for _ in range(2):
    _EXPRESSIONS = st.one_of(_EXPRESSIONS, _numbers(_EXPRESSIONS))

_ROWS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([0, 0.5, 1, 1, 1, 2, 4, 9]),
        st.sampled_from([0, 0, 0, 0, -1, -2.5]),
        st.sets(st.sampled_from(_FIELDS), min_size=1),
        st.lists(
            st.one_of(
                st.integers(-4, 4).map(float), st.sampled_from([0.5, 1e200, math.nan, -1e308])
            ),
            min_size=3,
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=40,
)


@given(
    st.lists(
        _EXPRESSIONS.filter(lambda text: parse(text).names),
        min_size=1,
        max_size=3,
    ),
    _ROWS,
    st.lists(st.integers(0, 200), max_size=4),
    st.booleans(),
)
@tried(150)
def test_it_is_what_a_slow_way_says(
    texts: list[str],
    steps: list[tuple[int, float, float, set[str], list[float]]],
    places: list[int],
    restarts: bool,
) -> None:
    """However readings arrive, are cut into batches, and however often the process is restarted."""
    derived: dict[str, object] = {
        f"d{at}": {"value": text, "max_age": "4s"} for at, text in enumerate(texts)
    }
    derived["last"] = {"value": "d0 + x", "max_age": "3s"}
    derived["of_it"] = {"value": "previous(last) + y if y < 2 else last", "max_age": "4s"}
    derived["missing"] = "isnan(d0 / z)"
    derived["for"] = {"value": "since(missing > 0)", "max_age": "4s"}
    feed = feed_of(derived)
    clock: dict[int, float] = {}
    met: set[tuple[int, float, str]] = set()
    rows: list[_Row] = []
    for device, step, back, fields, values in steps:
        clock[device] = clock.get(device, 10.0) + step
        for field, value in zip(sorted(fields), values, strict=False):
            at = (device, clock[device] + back, field)
            if at not in met:
                met.add(at)
                rows.append((*at, value))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "MAX_ROWS", 5)
        whole, line = Line(feed), Line(feed)
        whole.take(rows)
        edges = [0, *sorted(min(place, len(rows)) for place in places), len(rows)]
        for begin, end in pairwise(edges):
            line.take(rows[begin:end])
            if restarts:
                line.restart()
        pieces = line.end()
        every = whole.end()
    assert {key: repr(value) for key, value in pieces.items()} == {
        key: repr(value) for key, value in every.items()
    }
    wanted = slowly(feed, rows, most=5)
    assert every.keys() == wanted.keys()
    for key, value in every.items():
        assert value == pytest.approx(wanted[key], rel=1e-6, abs=1e-9, nan_ok=True), key


def test_a_long_sum_is_added_from_the_left() -> None:
    """As all chains of one operator are; and what is too large on the way is missing."""
    rows = [(0, 0.0, "x", 1e16), (0, 0.0, "y", 3.0), (0, 0.0, "z", 1e308)]
    derived = {
        "sum": " + ".join(["x"] + ["1"] * 100),
        "less": " - ".join(["y"] + ["1"] * 40),
        "product": " * ".join(["2"] * 40 + ["y"]),
        "part": " / ".join(["y"] + ["2"] * 40),
        "large": "z + z - z",
        "larger": "z + z + z + -1 * z",
    }
    found = {name: values[0] for name, values in worked_out(derived, rows).items()}

    # Each 1 is lost beside what is that large.
    assert found["sum"] == 1e16
    assert found["less"] == -37
    assert found["product"] == 3 * 2.0**40
    assert found["part"] == 3 / 2.0**40
    assert math.isnan(found["large"])
    assert math.isnan(found["larger"])


def test_a_channel_is_met_by_its_last_value_while_that_is_young() -> None:
    """With ``max_age``, by default a window, or three periods."""
    rows = [(0, 0, "x", 2.0), (0, 5, "y", 3.0), (0, 6, "y", 4.0)]

    assert worked_out({"p": {"value": "x * y", "max_age": "5s"}}, rows)["p"] == pytest.approx(
        [math.nan, 6.0, math.nan], nan_ok=True
    )
    assert feed_of({"p": "x"}).derived["p"].lasts_ns(feed_of({"p": "x"})) == 5 * NS_PER_S
    slow = feed_of({"p": "x"}, period="4s")
    assert slow.derived["p"].lasts_ns(slow) == 12 * NS_PER_S


def test_a_counters_rate_goes_over_wraps_and_resets() -> None:
    """As its windows do: what stands there after a reset has been counted since."""
    counts = [90.0, 98.0, 4.0, 3.9, 6.0, 40.0, 1.0]
    rows = [(0, 2.0 * at, "total", count) for at, count in enumerate(counts)]

    found = worked_out({"d": "delta(total)", "r": "rate(total)"}, rows)

    assert found["d"] == pytest.approx([math.nan, 8, 6, 0, 2, 34, 1], nan_ok=True)
    assert found["r"] == pytest.approx([math.nan, 4, 3, 0, 1, 17, 0.5], nan_ok=True)


def test_how_long_a_condition_holds_ends_with_it_and_with_a_gap() -> None:
    """In seconds from its first reading."""
    values = {0: 1, 1: 2, 2: 2, 3: 0, 4: 2, 5: 2, 20: 2, 22: 2}
    rows = [(0, float(second), "x", float(value)) for second, value in values.items()]

    found = worked_out({"s": "since(x > 1)", "h": "hold(x > 1, '1s')"}, rows)

    assert found["s"] == [0, 0, 1, 0, 0, 1, 0, 2]
    assert found["h"] == [0, 0, 1, 0, 0, 1, 0, 1]


def test_nothing_is_divided_by_zero_and_nothing_missing_is_compared() -> None:
    """It is a reading without a value; and a comparison is false."""
    rows = [(0, 0.0, "x", 0.0), (0, 1.0, "x", 1e308)]
    derived = {
        "q": "1 / x",
        "big": "x * x * 10",
        "c": "1 if 1 / x > 0 or 1 / x <= 0 or 1 / x != 0 else 0",
        "n": "isnan(1 / x)",
    }

    found = worked_out(derived, rows)

    assert found["q"] == pytest.approx([math.nan, 1e-308], nan_ok=True)
    assert found["big"] == pytest.approx([0, math.nan], nan_ok=True)
    assert found["c"] == [0, 1]
    assert found["n"] == [1, 0]


def test_what_is_worked_out_from_what_is_missing_is_missing_too() -> None:
    """As if the expressions stood in each other; cut anywhere, and over a restart."""
    derived = {
        "ratio": "x / y",
        "load": "ratio * x",
        "at_once": "(x / y) * x",
        "twice": "ratio * 2",
        "step": "delta(ratio)",
        "was_missing": "isnan(ratio)",
    }
    rows: list[_Row] = []
    for second, (x, y) in enumerate([(6.0, 2.0), (9.0, 0.0), (8.0, 2.0)]):
        rows += [(0, float(second), "x", x), (0, float(second), "y", y)]
    # At 3 s only x says something, and is met by a y of 0.
    rows += [(0, 2.5, "y", 0.0), (0, 3.0, "x", 1.0)]
    wanted = {
        "ratio": [3, math.nan, 4, math.nan, math.nan],
        "load": [18, math.nan, 32, math.nan, math.nan],
        "at_once": [18, math.nan, 32, math.nan, math.nan],
        "twice": [6, math.nan, 8, math.nan, math.nan],
        # What looks at the values before passes over those that are missing.
        "step": [math.nan, math.nan, 1, 1, 1],
        "was_missing": [0, 1, 0, 1, 1],
    }

    for cut in (0, 2, 4, 6, 7):
        line = Line(feed_of(derived))
        line.take(rows[:cut])
        line.end()
        line.restart()
        line.take(rows[cut:])
        found: dict[str, list[float]] = {}
        for (_, name, _), value in sorted(line.end().items(), key=lambda each: each[0][2]):
            found.setdefault(name, []).append(value)
        for name, values in wanted.items():
            assert found[name] == pytest.approx(values, nan_ok=True), (name, cut)


def test_a_span_with_too_many_readings_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And has a value again once there are fewer."""
    monkeypatch.setattr(spans, "MAX_ROWS", 3)
    rows = [(0, second, "x", 1.0) for second in (0.0, 1.0, 2.0, 3.0, 30.0)]

    found = worked_out({"m": "mean(x, '10s')", "c": "count(x, '10s')"}, rows)["m"]

    assert found == pytest.approx([1, 1, 1, math.nan, 1], nan_ok=True)


def test_values_that_are_made_up_or_ruled_out_do_not_count() -> None:
    """Nor does a reading without a value bring one about."""
    line = Line(feed_of({"p": "x + 1"}))
    channel = line.table.row(Channel("f", "d0", "f", "x"))
    times_ns = [_START_NS + second * NS_PER_S for second in range(4)]
    quality = [0, Quality.IMPUTED, Quality.OUT_OF_RANGE, 0]
    batch = Batch.from_columns(
        line.table, times_ns, [channel] * 4, [1.0, 2.0, 3.0, math.nan], quality=quality
    )

    made = line.deriver.process(batch, lambda rows: np.full(len(rows), NEVER_NS)).made

    assert made.value.tolist() == [2.0]


def test_it_stands_beside_what_brought_it_about() -> None:
    """With that one's tags, by which places in the topic are told apart, and others are not."""
    feed = feed_of({"p": {"value": "x * y", "unit": "W"}}, topic="{device}/{phase}", identity=[])
    line = Line(feed)
    rows = []
    for second, (field, phase, worker, value) in enumerate(
        [("x", "a", "Ann", 2.0), ("x", "b", "Ann", 3.0), ("y", "a", "Bob", 5.0)]
    ):
        tags = (("phase", phase), ("worker", worker))
        row = line.table.row(Channel("f", "d0", "m", field, tags=tags, identity=()))
        rows.append((_START_NS + second * NS_PER_S, row, value))
    batch = Batch.from_columns(line.table, *map(list, zip(*rows, strict=True)))

    made = line.deriver.process(batch, lambda rows: np.full(len(rows), NEVER_NS)).made

    (row,) = {row for row, value in zip(made.channel, made.value, strict=True) if value == 10.0}
    assert line.table.channels[row] == Channel(
        "f", "d0", "m", "p", "W", (("phase", "a"), ("worker", "Bob")), ()
    )
    assert np.isnan(made.value).sum() == 2


def test_what_changes_its_meaning_begins_anew_and_the_rest_goes_on() -> None:
    """A formula that is another one now has nothing to go on from."""
    line = Line(feed_of({"a": "previous(x)", "b": "previous(x + 1)"}))
    line.take([(0, 0.0, "x", 1.0), (0, 10.0, "x", 2.0)])
    line.feed = feed_of({"a": "previous(x)", "b": "previous(x + 2)"})
    line.restart()
    line.take([(0, 20.0, "x", 3.0)])
    found = line.end()

    at_ns = _START_NS + 10 * NS_PER_S
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

    at_ns = _START_NS + 10 * NS_PER_S
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
            times_ns = [_START_NS + round(row[1]) * NS_PER_S for row in rows[begin:end]]
            batch = Batch.from_columns(
                line.table, times_ns, channel, [row[3] for row in rows[begin:end]]
            )
            leaps = begin <= 2 < end
            jumps = np.array([[0], [_START_NS + 50 * NS_PER_S]]) if leaps else NO_JUMPS
            line.newest["d0"] = times_ns[-1]
            line._note(line.deriver.process(batch, line._watermark, jumps).made)
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

    assert line.end()["d0", "a", _START_NS + 14 * NS_PER_S] == 4.0


def test_what_is_known_stays_while_a_channel_of_the_place_is_heard() -> None:
    """One that is forgotten takes nothing with it; the last one does."""
    line = Line(feed_of({"a": "integral(x)", "b": "y * 2"}))
    line.take([(0, 10.0 + at, field, 1.0) for at in range(4) for field in ("x", "y")])
    line.end()
    nobody = np.empty(0, np.int32)
    x, y = (line.table.row(Channel("f", "d0", "f", field)) for field in ("x", "y"))
    line.deriver.forget(Selection(nobody, np.array([y], np.int32)))
    line.take([(0, 14.0, "x", 1.0)])

    assert line.end()["d0", "a", _START_NS + 14 * NS_PER_S] == 4.0
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
    assert line.made["d0", "i", _START_NS + 20 * NS_PER_S] == pytest.approx(-1.5e308)


def _goes_on(before: FeedConfig, after: FeedConfig) -> bool:
    """Whether a sum of ``p`` that was 4 is so still once the feed is another one."""
    line = Line(before)
    line.take([(0, 10.0 + at, "x", 1.0) for at in range(5)])
    line.end()
    line.feed = after
    line.restart()
    line.take([(0, 15.0, "x", 1.0)])
    found = line.end()["d0", "sum", _START_NS + 15 * NS_PER_S]
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
        at_ns = _START_NS + at * 3600 * NS_PER_S
        batch = Batch.from_columns(line.table, [at_ns] * 2, rows, [1.0] * 2)
        jumps = np.array([[0, 1], [at_ns - 1, at_ns - 1]])
        line.deriver.process(batch, lambda devices: np.full(len(devices), _START_NS), jumps)

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
    assert line.end()["d0", "z", _START_NS + 15 * NS_PER_S] == pytest.approx(wanted)


@pytest.mark.parametrize("start_ns", [0, 2**61, -(2**61), _START_NS])
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
    times_ns = [_START_NS + at * NS_PER_S for at in range(4)]
    batch = Batch.from_columns(line.table, times_ns, [*rows, *rows], [1.0] * 4)
    line.deriver.process(batch, lambda devices: np.full(len(devices), NEVER_NS))
    line.feed = feed_of({"m": "count(x, '1h')"})
    line.restart()
    line.take([(0, 10.0, "x", 1.0), (0, 3602.0, "x", 1.0)])
    made = line.end()

    assert made["d0", "m", _START_NS + 10 * NS_PER_S] == 5.0
    # Of the four from before only the latest is in the span still, beside two that came since.
    assert made["d0", "m", _START_NS + 3602 * NS_PER_S] == 3.0


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
