"""Rules that others' alarms suppress: exact at each of their turns, whatever the batches are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.rule import RuleConfig, rule_problems, silencers_first
from headgate.core.clock import NS_PER_S
from headgate.core.results import Alarm
from headgate.core.stretches import Stretches
from tests.examples import tried
from tests.unit.streams.derive.line import GRACE_NS, START_NS, Line, Row, feed_of
from tests.unit.streams.derive.test_rules import rule_of, seconds

_LASTS_S = 4
_GRACE_S = GRACE_NS / NS_PER_S
_END_S = 30.0

_Turn = tuple[bool, float, float]


def _rules(**of_pump: object) -> dict[str, RuleConfig]:
    """In the file the one that is suppressed comes first."""
    return {
        "pump": rule_of("x > 2", suppressed_by=["off"], text="{x} {z}", **of_pump),
        "off": rule_of("y > 0", during="day"),
    }


def _line(rules: dict[str, RuleConfig]) -> Line:
    edges = np.array([START_NS, START_NS + int(_END_S * NS_PER_S)], np.int64)
    return Line(feed_of({}), rules, {"off": Stretches(edges)})


def _of(alarms: Sequence[Alarm], rule: str, device: int = 0) -> list[Alarm]:
    return [each for each in alarms if (each.rule, each.device) == (rule, f"d{device}")]


def _slowly(rows: Sequence[Row], for_s: float) -> list[_Turn]:
    """The alarms of ``pump``, of one device."""
    by_time: dict[float, dict[str, float]] = {}
    for _, second, field, value in rows:
        if not math.isnan(value):
            by_time.setdefault(second, {})[field] = value
    # When the line is off: from each of these on, until it is on, or the day is over.
    off = _off(by_time)
    found: list[_Turn] = []
    held = before = None
    is_open: tuple[float, float] | None = None
    passed = max((row[1] for row in rows), default=0.0) - _GRACE_S
    ticks = sorted(second for second, values in by_time.items() if "x" in values)
    for second, following in pairwise([-math.inf, *ticks, math.inf]):
        if second > -math.inf:
            is_gap = before is not None and second - before > _LASTS_S
            before, x = second, by_time[second]["x"]
            held = (second if held is None or is_gap else held) if x > 2 else None
        # Where it may be silenced, and where what is asked for has lasted for long enough. What is
        # known counts until the next reading, while it is young enough.
        begins = {begin for begin, _ in off if second < begin < following}
        looks = {
            each + for_s for each in [*(end for _, end in off), held] if each is not None and for_s
        }
        most = min(
            following, second + _LASTS_S + 1e-6, passed if following == math.inf else math.inf
        )
        looks = {each for each in looks if second < each < most}
        for look in sorted({second, *begins, *looks}):
            is_off = any(begin <= look < end for begin, end in off)
            if is_open is not None and (is_off or (look == second and held is None)):
                found.append((False, is_open[0], look))
                is_open = None
            if held is None or is_off or is_open is not None or look in begins:
                continue
            since = max([held, *(end for _, end in off if end <= look)])
            if look - since >= for_s:
                is_open = (since, look)
                found.append((True, since, look))
    return found


def _off(by_time: dict[float, dict[str, float]]) -> list[tuple[float, float]]:
    off: list[tuple[float, float]] = []
    begin: float | None = None
    for second, values in sorted(by_time.items()):
        if begin is not None and second >= _END_S:
            off.append((begin, _END_S))
            begin = None
        if (y := values.get("y")) is None or not 0 <= second < _END_S:
            continue
        if y > 0 and begin is None:
            begin = second
        elif y <= 0 and begin is not None:
            off.append((begin, second))
            begin = None
    return off if begin is None else [*off, (begin, _END_S)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 0, 1]),
            st.sampled_from([0.5, 1, 1, 1, 2, 9]),
            st.sampled_from([0, 0, 0, -1, -2.5]),
            st.sampled_from(["x", "x", "xy", "y", "z"]),
            st.sampled_from([1.5, 3.0, 3.0, 3.0, 3.0, math.nan]),
            st.sampled_from([-1.0, -1.0, 1.0, 1.0, math.nan]),
        ),
        min_size=5,
        max_size=60,
    ),
    st.sampled_from([0, 1, 3]),
    st.lists(st.integers(0, 120), max_size=5),
    st.booleans(),
)
@tried(300)
def test_alarms_are_those_that_a_slow_way_says(
    steps: list[tuple[int, float, float, str, float, float]],
    for_s: int,
    places: list[int],
    restarts: bool,
) -> None:
    """However readings arrive, are cut into batches, and however often the process is restarted."""
    rules = _rules(**{"for": f"{for_s}s"})
    met: set[tuple[int, float, str]] = set()
    rows: list[Row] = []
    clock = 3.0
    for device, step, back, fields, x, y in steps:
        clock += step
        for field in fields:
            if (device, clock + back, field) not in met:
                met.add((device, clock + back, field))
                rows.append((device, clock + back, field, y if field == "y" else x))
    whole, line = _line(rules), _line(rules)
    whole.take(rows)
    whole.end()
    edges = [0, *sorted(min(place, len(rows)) for place in places), len(rows)]
    for begin, end in pairwise(edges):
        line.take(rows[begin:end])
        if restarts:
            line.restart()
    line.end()

    for device in range(2):
        own = [row for row in rows if row[0] == device]
        for rule in rules:
            assert _of(line.alarms, rule, device) == _of(whole.alarms, rule, device)
        assert seconds(_of(line.alarms, "pump", device)) == _slowly(own, for_s)


def _turns(rows: Sequence[Row], *, one_by_one: bool = False, **keys: object) -> list[_Turn]:
    line = _line(_rules(max_age="1h", **keys))
    for piece in [[row] for row in rows] if one_by_one else [rows]:
        line.take(piece)
    line.end()
    return seconds(_of(line.alarms, "pump"))


def test_it_ends_when_the_other_begins_and_counts_anew_when_that_is_over() -> None:
    """Whether it has a reading at that time or not."""
    rows: list[Row] = [(0, 1.0, "x", 9.0), (0, 5.0, "y", 1.0), (0, 6.0, "x", 9.0)]
    rows += [(0, 9.0, "y", 0.0), (0, 10.0, "x", 9.0), (0, 15.0, "x", 9.0), (0, 20.0, "z", 0.0)]

    for one_by_one in (False, True):
        assert _turns(rows, one_by_one=one_by_one) == [(True, 1, 1), (False, 1, 5), (True, 9, 10)]
        assert _turns(rows, one_by_one=one_by_one, **{"for": "4s"}) == [(True, 9, 13)]


def test_at_one_time_the_other_goes_first() -> None:
    """What begins then suppresses, and what is over then does not."""
    rows: list[Row] = [(0, 1.0, "y", 1.0), (0, 1.0, "x", 9.0), (0, 2.0, "y", 0.0)]
    rows += [(0, 2.0, "x", 9.0), (0, 3.0, "y", 1.0), (0, 3.0, "x", 9.0)]

    assert _turns(rows) == [(True, 2, 2), (False, 2, 3)]


def test_one_whose_schedule_has_ended_suppresses_nothing_more() -> None:
    """Though nothing has been said of it since."""
    rows: list[Row] = [(0, 20.0, "y", 1.0), (0, 25.0, "x", 9.0), (0, 40.0, "x", 9.0)]

    for one_by_one in (False, True):
        assert _turns(rows, one_by_one=one_by_one) == [(True, 30, 40)]
    # Not even that it has ended, for the watermark is not there yet.
    assert _turns([(0, 25.0, "y", 1.0), (0, 31.0, "x", 9.0)]) == [(True, 31, 31)]


def test_what_was_over_before_another_begins_is_still_known() -> None:
    """Though both come with the same readings."""
    line = _line(_rules(max_age="1h"))
    line.take([(0, 1.0, "y", 1.0), (0, 2.0, "x", 9.0), (0, 5.0, "y", 0.0), (0, 9.0, "z", 0.0)])
    line.restart()
    line.take([(0, 7.0, "x", 9.0), (0, 8.0, "y", 1.0)])
    line.end()

    assert seconds(_of(line.alarms, "pump")) == [(True, 5, 7), (False, 5, 8)]


def test_a_clock_that_is_set_back_knows_nothing_of_what_is_to_come() -> None:
    """That the other is over then says nothing of now."""
    line = _line(_rules(max_age="1h"))
    line.take([(0, 5.0, "y", 1.0), (0, 9.0, "y", 0.0)])
    line.end()
    line.deriver.go_back(np.arange(len(line.table), dtype=np.int32))
    line.newest.clear()
    line.take([(0, 3.0, "x", 9.0), (0, 4.0, "x", 9.0)])
    line.end()

    assert seconds(_of(line.alarms, "pump")) == [(True, 3, 3)]


def test_none_suppresses_itself() -> None:
    """Nor by way of others, of which one is told; whoever names such a one is well."""
    rules = {
        "a": {"feed": "f", "when": "x > 1", "suppressed_by": "b"},
        "b": {"feed": "f", "when": "x > 1", "suppressed_by": ["c"]},
        "c": {"feed": ["f"], "when": "x > 1", "suppressed_by": ["b"]},
    }
    channels: dict[str, object] = {"channels": {"x": {}}}

    (problem,) = rule_problems(rules, {"f": channels})
    assert problem.key == ("b", "suppressed_by")
    assert problem.what.startswith("suppresses itself")


def test_rules_stand_behind_those_that_suppress_them() -> None:
    """And else as they stand in the file."""
    suppressed_by = {"c": ["b", "a"], "d": [], "b": ["a"], "a": []}

    assert silencers_first(suppressed_by) == ["a", "b", "c", "d"]
