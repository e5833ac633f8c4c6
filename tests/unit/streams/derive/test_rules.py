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
from headgate.testing.stages import everything
from tests.examples import tried
from tests.unit.streams.derive.line import GRACE_NS, START_NS, Line, Row, feed_of

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
    """``x > 2 and not y > 0``, reading by reading and look by look between them, of one device."""
    by_time: dict[float, dict[str, float]] = {}
    for of, second, field, value in rows:
        if of == device and not math.isnan(value):
            by_time.setdefault(second, {})[field] = value
    passed = max((row[1] for row in rows if row[0] == device), default=0) - GRACE_NS / NS_PER_S
    last: dict[str, tuple[float, float]] = {}
    held_since: float | None = None
    over_since: float | None = None
    before: float | None = None
    open_since: float | None = None
    found = []
    ticks = [second for second in sorted(by_time) if {"x", "y"} & by_time[second].keys()]
    for second, following in pairwise([*ticks, passed]):
        last |= {field: (second, value) for field, value in by_time[second].items()}
        x, y = (
            last[field][1] if field in last and second - last[field][0] <= _LASTS_S else math.nan
            for field in "xy"
        )
        is_gap = before is not None and second - before > _LASTS_S
        # Comparisons with what is missing are false.
        holds = x > 2 and y <= 0
        held_since = (second if held_since is None or is_gap else held_since) if holds else None
        is_over = {None: x <= 2 or y > 0, "x < 1": x < 1, "y < 2": y < 2}[clear]
        over_since = (second if over_since is None or is_gap else over_since) if is_over else None
        before = second
        # What is known then counts until the next reading, while all of it is young enough.
        known = [last[name][0] for name in "xy" if name in last]
        until = min(at for at in known if second - at <= _LASTS_S) + _LASTS_S
        looks = [(held_since, for_s), (over_since, clear_for_s)]
        between = {since + span for since, span in looks if since is not None}
        between = {look for look in between if second < look < following and look <= until}
        for look in [second, *sorted(between)]:
            if held_since is not None:
                if look - held_since >= for_s and open_since is None:
                    open_since = held_since
                    found.append((True, open_since, look))
            elif over_since is not None and look - over_since >= clear_for_s and open_since:
                found.append((False, open_since, look))
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
    st.sampled_from([None, "x < 1", "y < 2"]),
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
        {"r": rule_of("sum > 3 and count(x, '10s') >= 2", text="{device}: {sum}")},
    )
    for at, which in ((0, "a"), (1, "b")):
        tags = (("line", which),)
        for field, value in (("x", 1.0 + at), ("y", 1.5)):
            channel = Channel("f", "d0", "f", field, "", tags, ())
            for second in range(3):
                line.take_of([(channel, float(second), value)])
    line.end()

    assert [(each.part, each.tags, each.text) for each in line.alarms] == [
        ((("line", "b"),), (), "d0 line=b: 3.5")
    ]


def test_it_is_not_over_while_its_condition_holds() -> None:
    """Though what ends it holds, too, and though ``for`` begins anew after a gap."""
    rule = rule_of("x > 5", clear="y < 9", **{"for": "3s"})
    rows = [(0, float(at), field, 8.0) for at in (*range(5), *range(20, 26)) for field in "xy"]
    rows.append((0, 26.0, "x", 1.0))

    assert seconds(alarms(rule, rows)) == [(True, 0, 3), (False, 0, 26)]


def test_what_ends_it_may_look_at_what_was_before() -> None:
    """By whatever cut: it may have begun to hold before the alarm opened."""
    rows = [(0, float(at), "x", 9.0 if at == 5 else 2.0) for at in range(10)]
    rows += [(0, float(at), "y", 1.0) for at in range(10)]
    for clear, clear_for, over_s in (("y < 2", "4s", 6), ("hold(y < 2, '4s')", "0s", 6)):
        rule = rule_of("x > 5", clear=clear, clear_for=clear_for)
        for pieces in ([rows], [[row] for row in sorted(rows, key=lambda row: row[1])]):
            line = Line(feed_of({}), {"r": rule})
            for piece in pieces:
                line.take(piece)
            line.end()
            assert seconds(line.alarms) == [(True, 5, 5), (False, 5, over_s)]


def test_an_alarm_between_its_limits_stays_open_reading_by_reading() -> None:
    """Where the condition does not hold, and it is not over either."""
    line = Line(feed_of({}), {"r": rule_of("x > 5", clear="x < 1")})
    for at, value in enumerate([9, 3, 3, 3, 3, 3, 3, 3, 3, 0]):
        line.take([(0, float(at), "x", float(value))])
    line.end()

    assert seconds(line.alarms) == [(True, 0, 0), (False, 0, 9)]


def test_for_bridges_the_time_between_readings() -> None:
    """Unless ``max_age`` says how long a value counts: that of the feed would be 5 s here."""
    rows = [(0, 60.0 * minute, "x", 9.0) for minute in range(7)]
    rule = RuleConfig.model_validate({"feed": "f", "when": "x > 5", "for": "5m"})

    assert seconds(alarms(rule, rows)) == [(True, 0, 300)]
    assert alarms(rule_of("x > 5", **{"for": "5m"}), rows) == []


def test_rules_on_one_channel_have_ages_and_texts_of_their_own() -> None:
    """What counts for one is too old for the other."""
    rules = {
        "long": rule_of("x > 5 and y > 5", max_age="1h", text="{z}"),
        "short": rule_of("x > 5 and y > 5", max_age="2s"),
        "other": rule_of("x > 5", max_age="2s", text="{z}"),
    }
    line = Line(feed_of({}), rules)
    line.take([(0, 0.0, "y", 9.0), (0, 0.0, "z", 7.0), (0, 5.0, "x", 9.0), (1, 2.0, "x", 9.0)])
    line.end()

    assert [(each.device, each.rule, each.text) for each in line.alarms] == [
        ("d0", "long", "7"),
        ("d0", "other", "?"),
        ("d1", "other", "?"),
    ]


def test_one_that_is_not_for_a_device_any_more_ends_what_is_open_there() -> None:
    """One that has been off knows nothing of that time; a changed text keeps its values."""
    line = Line(feed_of({}), {"r": rule_of("x > 2", text="{x}")})
    line.take([(0, 0.0, "x", 3.0), (0, 0.0, "y", 8.0)])
    line.end()
    line.rules = {"r": rule_of("x > 2", text="{y} {x}", devices="d9")}
    line.restart()
    line.take([(0, 4.0, "x", 4.0), (1, 4.0, "x", 4.0)])
    line.end()
    line.rules = {"r": rule_of("x > 2 and delta(x) >= 0", enabled=False)}
    line.restart()
    line.take([(0, 6.0, "x", 4.0), (0, 7.0, "x", 4.0)])
    line.end()
    line.rules = {"r": rule_of("x > 2 and delta(x) >= 0")}
    line.restart()
    line.take([(0, 8.0, "x", 4.0), (0, 9.0, "x", 4.0)])
    line.end()

    assert seconds(line.alarms) == [(True, 0, 0), (False, 0, 4), (True, 9, 9)]
    assert line.alarms[1].text == "? 3"


def test_what_is_quiet_is_not_written_down() -> None:
    """Of a hundred rules and a thousand devices that would be a lot."""
    line = Line(feed_of({}), {"r": rule_of("x > 5", clear_for="2s", **{"for": "2s"}, text="{x}")})
    line.take([(0, float(at), "x", 9.0 if 3 <= at <= 7 else 1.0) for at in range(20)])
    line.end()

    assert len(line.alarms) == 2
    # The channel's latest value is all that is known.
    assert len(line.deriver.snapshot(everything(line.table))["now_channel"]) == 1


def test_conditions_in_numbers_hold_where_they_are_known_to() -> None:
    """A sensor that says nothing any more has not been cool since then."""
    rule = rule_of("since(not (x > 5)) > 3 and y > 0")
    rows = [(0, float(at), "y", 1.0) for at in range(20)] + [(0, 0.0, "x", 9.0)]

    assert alarms(rule, rows) == []
    cool = [*rows, (0, 9.0, "x", 1.0), (0, 11.0, "x", 1.0)]
    assert seconds(alarms(rule, cool)) == [(True, 13, 13), (False, 13, 16)]
