"""Rules with a schedule: exact at its edges, whatever the batches are, and how seldom one sends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.rule import RuleConfig
from headgate.core.clock import NS_PER_S
from headgate.core.results import Alarm
from headgate.core.stretches import Stretches
from headgate.testing.stages import everything
from tests.examples import tried
from tests.unit.streams.derive.line import GRACE_NS, START_NS, Line, Row, feed_of
from tests.unit.streams.derive.test_rules import rule_of, seconds

_LASTS_S = 4
_GRACE_S = GRACE_NS / NS_PER_S

_Part = tuple[float, float]
_Turn = tuple[bool, float, float]


def _stretches(parts: Sequence[_Part]) -> Stretches:
    every = START_NS + (np.array(parts, np.float64).reshape(-1, 2) * NS_PER_S).astype(np.int64)
    return Stretches.of(every[:, 0], every[:, 1])


def _line(parts: Sequence[_Part], rule: RuleConfig, *pieces: Sequence[Row]) -> Line:
    line = Line(feed_of({}), {"r": rule}, {"r": _stretches(parts)})
    for piece in pieces:
        line.take(piece)
    return line


def _alarms(parts: Sequence[_Part], rule: RuleConfig, rows: Sequence[Row]) -> list[_Turn]:
    line = _line(parts, rule, rows)
    line.end()
    return seconds(line.alarms)


def _merged(parts: Sequence[_Part]) -> list[list[float]]:
    """Parts of time, of which none touches another."""
    merged: list[list[float]] = []
    for begin, end in sorted(part for part in parts if part[0] < part[1]):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([begin, end])
    return merged


def _slowly(
    rows: Sequence[Row], parts: Sequence[_Part], for_s: float, clear_for_s: float, clear: str | None
) -> list[_Turn]:
    """``x > 2``, reading by reading, of one device."""
    merged = _merged(parts)

    def of(second: float) -> list[float] | None:
        return next((each for each in merged if each[0] <= second < each[1]), None)

    held = over = before = None
    is_open: tuple[float, list[float]] | None = None
    found = []
    values = {second: x for _, second, _, x in rows}
    passed = max(values, default=0.0) - _GRACE_S
    for second, following in pairwise([*sorted(values), passed]):
        x = values[second]
        is_gap = before is not None and second - before > _LASTS_S
        before = second
        held = (second if held is None or is_gap else held) if x > 2 else None
        is_over = x < 1 if clear else x <= 2
        over = (second if over is None or is_gap else over) if is_over else None
        # Where something that is asked for begins, and where it has lasted for long enough.
        begins = [second, *(begin for begin, _ in merged)]
        looks = {begin + for_s for begin in [*begins, *([] if held is None else [held])]}
        looks |= set() if over is None else {over + clear_for_s}
        between = {each for each in looks if second < each < following}
        for look in [second, *sorted(each for each in between if each - second <= _LASTS_S)]:
            part = of(look)
            if is_open is not None and part is not is_open[1]:
                found.append((False, is_open[0], is_open[1][1]))
                is_open = None
            if part is None:
                continue
            # Nobody has looked before the stretch began.
            since = None if held is None else max(held, part[0])
            if since is not None and look - since >= for_s:
                if is_open is None:
                    is_open = (since, part)
                    found.append((True, since, look))
            elif is_open and held is None and over is not None and look - over >= clear_for_s:
                found.append((False, is_open[0], look))
                is_open = None
    if is_open is not None and is_open[1][1] <= passed:
        found.append((False, is_open[0], is_open[1][1]))
    return found


_TIMES = st.integers(0, 60).map(float)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.5, 1, 1, 1, 2, 9]),
            st.sampled_from([0, 0, 0, -1, -2.5]),
            st.sampled_from([0.0, 1.5, 3.0, 3.0, 3.0, 3.0]),
            st.sampled_from([0, 0, 1]),
        ),
        min_size=5,
        max_size=60,
    ),
    st.lists(st.tuples(_TIMES, _TIMES), max_size=4),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 2]),
    st.sampled_from([None, "x < 1"]),
    st.lists(st.integers(0, 60), max_size=4),
    st.booleans(),
)
@tried(300)
def test_alarms_are_those_that_a_slow_way_says(
    steps: list[tuple[float, float, float, int]],
    parts: list[_Part],
    for_s: int,
    clear_for_s: int,
    clear: str | None,
    places: list[int],
    restarts: bool,
) -> None:
    """However readings arrive, are cut into batches, and however often the process is restarted."""
    more = {"for": f"{for_s}s", "clear_for": f"{clear_for_s}s", "clear": clear}
    rule = rule_of("x > 2", text="{x}", **more)
    met: set[tuple[float, int]] = set()
    rows: list[Row] = []
    clock = 0.0
    for step, back, x, device in steps:
        clock += step
        if (clock + back, device) not in met:
            met.add((clock + back, device))
            rows.append((device, clock + back, "x", x))
    whole = _line(parts, rule, rows)
    whole.end()
    line = _line(parts, rule)
    edges = [0, *sorted(min(place, len(rows)) for place in places), len(rows)]
    for begin, end in pairwise(edges):
        line.take(rows[begin:end])
        if restarts:
            line.restart()
    line.end()

    for device in range(2):
        own = [row for row in rows if row[0] == device]
        found, pieces = (_of(each.alarms, device) for each in (whole, line))
        assert pieces == found
        assert seconds(found) == _slowly(own, parts, for_s, clear_for_s, clear)


def _of(alarms: Sequence[Alarm], device: int) -> list[Alarm]:
    return [each for each in alarms if each.device == f"d{device}"]


def _hot(*at: float, x: float = 9.0) -> list[Row]:
    return [(0, second, "x", x) for second in at]


def test_it_opens_by_what_is_inside_and_ends_with_the_schedule() -> None:
    """To the nanosecond, though no reading comes then; in the next stretch it opens anew."""
    rule = rule_of("x > 5", max_age="1h", **{"for": "10s"})
    rows = _hot(0, 100, 108, 111, 195, 310, 320)

    assert _alarms([(100, 200), (300, 400)], rule, rows) == [
        (True, 100, 110),
        (False, 100, 200),
        (True, 300, 310),
    ]
    assert _alarms([(105.5, 200)], rule, rows) == [(True, 105.5, 115.5), (False, 105.5, 200)]


def test_it_ends_as_soon_as_nothing_can_come_before_the_end() -> None:
    """A device that sends seldom does not keep it open until its next reading is passed."""
    line = _line([(0, 20)], rule_of("x > 5", text="{x}"), _hot(10), _hot(22))
    assert seconds(line.alarms) == [(True, 10, 10)]
    line.restart()

    line.take(_hot(23))
    assert seconds(line.alarms) == [(True, 10, 10), (False, 10, 20)]
    assert [each.text for each in line.alarms] == ["9", "9"]
    line.take(_hot(50))
    line.end()
    assert len(line.alarms) == 2


def test_two_alarms_may_turn_at_one_reading() -> None:
    """The one ends when its schedule did, with its own text, and another opens."""
    rows = [(0, 10.0, "x", 7.0), (0, 50.0, "x", 8.0)]
    line = _line([(0, 20), (40, 60)], rule_of("x > 5", text="{x}"), rows)
    line.end()

    assert seconds(line.alarms) == [(True, 10, 10), (False, 10, 20), (True, 50, 50)]
    assert [each.text for each in line.alarms] == ["7", "7", "8"]
    assert line.alarms[1].opened_ns == START_NS + 10 * NS_PER_S


def test_what_was_before_is_still_known() -> None:
    """Spans and steps look back at readings outside; only the condition is not looked at."""
    rule = rule_of("delta(x) > 5 and count(x, '1m') == 3", max_age="1m")
    rows = [(0, 1.0, "x", 0.0), (0, 2.0, "x", 1.0), (0, 11.0, "x", 9.0)]

    assert _alarms([(10, 20)], rule, rows) == [(True, 11, 11)]


def test_a_clock_that_is_set_back_ends_no_schedule() -> None:
    """All is closed then, up to the end of time."""
    line = _line([(0, 20)], rule_of("x > 5"), _hot(10))
    line.end()

    assert seconds(line.alarms) == [(True, 10, 10)]


def test_one_that_gets_a_schedule_ends_what_is_open_outside_of_it() -> None:
    """With the next reading, as when it is switched off."""
    line = _line([(0, 20)], rule_of("x > 5"), _hot(10))
    line.end()
    line.looked_at = {"r": _stretches([(30, 40)])}
    line.restart()
    line.take(_hot(15, 16, 35))
    line.end()

    assert seconds(line.alarms) == [(True, 10, 10), (False, 10, 15), (True, 35, 35)]


def test_one_that_was_open_before_there_was_a_schedule_is_another_inside_of_it() -> None:
    """Whether there is a reading outside of it or not."""
    line = _line([(0, 20)], rule_of("x > 5", max_age="1m"), _hot(10))
    line.end()
    line.looked_at = {"r": _stretches([(30, 40)])}
    line.restart()
    line.take(_hot(35))
    line.end()

    assert seconds(line.alarms) == [(True, 10, 10), (False, 10, 30), (True, 30, 30)]


def test_what_ends_with_a_schedule_is_not_written_down() -> None:
    """Only the channel's latest value is known then."""
    line = _line([(0, 20)], rule_of("x > 5", text="{x}"), _hot(10), _hot(24, 30, x=0.0))
    line.end()

    assert len(line.alarms) == 2
    assert len(line.deriver.snapshot(everything(line.table))["now_channel"]) == 1
