"""Derived channels: the same as a slow way says, whatever the batches are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel
from headgate.core.clock import NS_PER_S
from headgate.core.expressions.parse import parse
from streams.stages.arrays import NEVER_NS
from streams.stages.derive import spans
from tests.examples import tried
from tests.unit.streams.derive.line import (
    FIELDS,
    START_NS,
    Line,
    Row,
    feed_of,
    worked_out,
)
from tests.unit.streams.derive.slowly import Slowly


def slowly(feed: FeedConfig, rows: Sequence[Row], most: int) -> dict[tuple[str, str, int], float]:
    """The same by the slow way."""
    found = {}
    for device in sorted({row[0] for row in rows}):
        one = Slowly(feed, most)
        by_time: dict[int, dict[str, float]] = {}
        for _, second, field, value in (row for row in rows if row[0] == device):
            if not math.isnan(value):
                by_time.setdefault(START_NS + round(second * NS_PER_S), {})[field] = value
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


_EXPRESSIONS = st.one_of(st.sampled_from(FIELDS), st.sampled_from(FIELDS), _NUMBERS)
for _ in range(2):
    _EXPRESSIONS = st.one_of(_EXPRESSIONS, _numbers(_EXPRESSIONS))

_ROWS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([0, 0.5, 1, 1, 1, 2, 4, 9]),
        st.sampled_from([0, 0, 0, 0, -1, -2.5]),
        st.sets(st.sampled_from(FIELDS), min_size=1),
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
    rows: list[Row] = []
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
    rows: list[Row] = []
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
    times_ns = [START_NS + second * NS_PER_S for second in range(4)]
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
        rows.append((START_NS + second * NS_PER_S, row, value))
    batch = Batch.from_columns(line.table, *map(list, zip(*rows, strict=True)))

    made = line.deriver.process(batch, lambda rows: np.full(len(rows), NEVER_NS)).made

    (row,) = {row for row, value in zip(made.channel, made.value, strict=True) if value == 10.0}
    assert line.table.channels[row] == Channel(
        "f", "d0", "m", "p", "W", (("phase", "a"), ("worker", "Bob")), ()
    )
    assert np.isnan(made.value).sum() == 2
