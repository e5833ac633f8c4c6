"""Rules: the same alarms as a slow way says, whatever the batches are, and what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.rule import RuleConfig
from headgate.core.channels import Channel
from headgate.core.clock import NS_PER_S
from headgate.core.results import Alarm
from tests.examples import tried
from tests.unit.streams.derive.line import START_NS, Line, Row, feed_of

_LASTS_S = 4


def rule_of(when: str, **more: object) -> RuleConfig:
    """A rule of the feed ``f``."""
    return RuleConfig.model_validate({"feed": "f", "when": when, "max_age": "4s", **more})


def alarms(rule: RuleConfig, rows: Sequence[Row], **feed: object) -> list[Alarm]:
    """The alarms that come of a rule."""
    line = Line(feed_of({}, **feed), {"r": rule})
    line.take(rows)
    line.end()
    return line.alarms


def seconds(found: Sequence[Alarm]) -> list[tuple[bool, float, float]]:
    """Whether each is open, when it began, and when that was said, in seconds from the start."""
    return [
        (
            each.is_open,
            (each.start_ns - START_NS) / NS_PER_S,
            (each.time_ns - START_NS) / NS_PER_S,
        )
        for each in found
    ]


def _slowly(
    rows: Sequence[Row], device: int, for_s: float, clear_for_s: float, clear: str | None
) -> list[tuple[bool, float, float]]:
    """``x > 2 and not y > 0``, reading by reading, of one device."""
    by_time: dict[float, dict[str, float]] = {}
    for of, second, field, value in rows:
        if of == device and not math.isnan(value):
            by_time.setdefault(second, {})[field] = value
    last: dict[str, tuple[float, float]] = {}
    held_since: float | None = None
    over_since: float | None = None
    before: float | None = None
    open_since: float | None = None
    found = []
    for second in sorted(by_time):
        last |= {field: (second, value) for field, value in by_time[second].items()}
        if not {"x", "y"} & by_time[second].keys():
            continue
        x, y = (
            last[field][1] if field in last and second - last[field][0] <= _LASTS_S else math.nan
            for field in "xy"
        )
        is_gap = before is not None and second - before > _LASTS_S
        # Comparisons with what is missing are false.
        holds = x > 2 and y <= 0
        held_since = (second if held_since is None or is_gap else held_since) if holds else None
        is_over = x < 1 if clear else x <= 2 or y > 0
        over_since = (second if over_since is None or is_gap else over_since) if is_over else None
        before = second
        if held_since is not None and second - held_since >= for_s:
            if open_since is None:
                open_since = held_since
                found.append((True, open_since, second))
        elif None not in (open_since, over_since) and second - (over_since or 0) >= clear_for_s:
            assert open_since is not None
            found.append((False, open_since, second))
            open_since = None
    return found


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1]),
        st.sampled_from([0.5, 1, 1, 1, 2, 9]),
        st.sampled_from([0, 0, 0, -1, -2.5]),
        st.sampled_from(["x", "x", "xy", "xy", "y", "z"]),
        st.sampled_from([0.0, 1.5, 3.0, 3.0, 3.0, math.nan]),
        st.sampled_from([-1.0, -1.0, -1.0, 1.0, math.nan]),
    ),
    min_size=5,
    max_size=60,
)


@given(
    _STEPS,
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 2]),
    st.sampled_from([None, "x < 1"]),
    st.lists(st.integers(0, 120), max_size=4),
    st.booleans(),
)
@tried(300)
def test_alarms_are_those_that_a_slow_way_says(
    steps: list[tuple[int, float, float, str, float, float]],
    for_s: int,
    clear_for_s: int,
    clear: str | None,
    places: list[int],
    restarts: bool,
) -> None:
    """However readings arrive, are cut into batches, and however often the process is restarted."""
    rule = rule_of(
        "x > 2 and not y > 0",
        clear=clear,
        **{"for": f"{for_s}s", "clear_for": f"{clear_for_s}s"},
        text="{x} {y:.1f} {z} {x}",
    )
    met: set[tuple[int, float, str]] = set()
    rows: list[Row] = []
    clock = 10.0
    for device, step, back, fields, x, y in steps:
        clock += step
        for field, value in zip(fields, (x, y), strict=False):
            if (device, clock + back, field) not in met:
                met.add((device, clock + back, field))
                rows.append((device, clock + back, field, value))
    whole, line = (Line(feed_of({}), {"r": rule}) for _ in range(2))
    whole.take(rows)
    whole.end()
    edges = [0, *sorted(min(place, len(rows)) for place in places), len(rows)]
    for begin, end in pairwise(edges):
        line.take(rows[begin:end])
        if restarts:
            line.restart()
    line.end()

    for device in range(2):
        found, pieces = (
            [each for each in every.alarms if each.device == f"d{device}"]
            for every in (whole, line)
        )
        assert pieces == found
        assert seconds(found) == _slowly(rows, device, for_s, clear_for_s, clear)


def _rising(*values: float, field: str = "x") -> list[Row]:
    return [(0, float(second), field, value) for second, value in enumerate(values)]


def test_it_is_open_from_having_held_to_being_over() -> None:
    """It begins when the condition did; between both limits nothing changes."""
    rule = rule_of("x > 80", clear="x < 75", **{"for": "2s"})

    found = alarms(rule, _rising(81, 79, 81, 82, 83, 78, 81, 74, 76, 90))

    assert seconds(found) == [(True, 2, 4), (False, 2, 7)]
    assert [each.opened_ns for each in found] == [START_NS + 4 * NS_PER_S] * 2


def test_what_is_missing_neither_begins_nor_ends_it() -> None:
    """A sensor that says nothing is no proof that all is well."""
    rows = [*_rising(81, math.nan), (0, 7.0, "y", 1.0), (0, 8.0, "x", 1.0)]
    assert seconds(alarms(rule_of("x > 80"), rows)) == [(True, 0, 0), (False, 0, 8)]

    # ``not`` of a comparison with what is missing is true in an expression by itself.
    never = rule_of("not y < 5 and x > 0")
    assert alarms(never, _rising(1, 2, 3)) == []


def test_a_text_has_the_values_at_which_it_opened() -> None:
    """Also when it is over, and after a restart; what was not there is a question mark."""
    rule = rule_of(
        "x > 2", text="{{{rule}}} {feed}/{device} {x:+.2f} {y} {z:.0f} {total:d} {x:%} {severity}"
    )
    line = Line(feed_of({}), {"r": rule})
    line.take([(0, 0.0, "y", 0.123456789), (0, 0.0, "total", 7.0), (0, 1.0, "x", 3.14159)])
    line.take([(0, 6.0, "y", 9.0)])
    line.restart()
    line.take([(0, 7.0, "y", 8.0), (0, 7.0, "x", 0.0), (0, 7.0, "z", 5.0)])
    line.end()

    text = "{r} f/d0 +3.14 0.123457 ? 7 314.159000% major"
    assert [(each.is_open, each.text) for each in line.alarms] == [(True, text), (False, text)]
    assert alarms(rule_of("x  >\n 2"), _rising(3))[0].text == "d0: x > 2"


def test_it_is_for_the_devices_that_it_names() -> None:
    """By their names; others are not even remembered."""
    rows = [(device, 0.0, "x", 9.0) for device in (0, 1, 11)]
    rule = rule_of("x > 2", devices=["d0", "d1*1"])

    assert sorted(each.device for each in alarms(rule, rows)) == ["d0", "d11"]


def test_one_that_is_switched_off_is_over_with_the_next_reading() -> None:
    """And one whose condition is another goes on with the alarm that is open."""
    line = Line(feed_of({}), {"r": rule_of("x > 2")})
    line.take(_rising(3, 3, 3, 3, 3, 3))
    line.end()
    line.rules = {"r": rule_of("x > 5")}
    line.restart()
    line.take([(0, 6.0, "x", 4.0), (0, 7.0, "x", 9.0)])
    line.end()
    line.rules = {"r": rule_of("x > 5", enabled=False)}
    line.restart()
    line.take([(0, 12.0, "x", 9.0), (0, 13.0, "x", 9.0)])
    line.end()

    found = seconds(line.alarms)
    assert found == [(True, 0, 0), (False, 0, 6), (True, 7, 7), (False, 7, 12)]


def test_alarms_stay_open_over_a_clock_that_is_set_back() -> None:
    """What it tells of has not ended by that."""
    line = Line(feed_of({}), {"r": rule_of("x > 2", **{"for": "1s"})})
    line.take(_rising(3, 3, 3))
    line.end()
    line.deriver.go_back(np.arange(len(line.table), dtype=np.int32))
    line.newest.clear()
    line.take([(0, -99.0, "x", 3.0), (0, -98.0, "x", 0.0)])
    line.end()

    assert seconds(line.alarms) == [(True, 0, 1), (False, 0, -98)]


def test_rules_take_derived_channels_and_spans() -> None:
    """As other expressions do; and a device has parts of its own where a tag tells them apart."""
    feed: Mapping[str, object] = {"topic": "{device}/{line}", "identity": []}
    line = Line(
        feed_of({"sum": "x + y"}, **feed),
        {"r": rule_of("sum > 3 and count(x, '10s') >= 2", text="{sum}")},
    )
    for at, which in ((0, "a"), (1, "b")):
        tags = (("line", which),)
        for field, value in (("x", 1.0 + at), ("y", 1.5)):
            channel = Channel("f", "d0", "f", field, "", tags, ())
            for second in range(3):
                line.take_of([(channel, float(second), value)])
    line.end()

    assert [(each.part, each.tags, each.text) for each in line.alarms] == [
        ((("line", "b"),), (), "3.5")
    ]
