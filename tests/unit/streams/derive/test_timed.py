"""What has held for long enough is told of at that time, whether a reading comes then or not."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.config.rule import RuleConfig
from headgate.core.clock import NS_PER_S
from headgate.core.stretches import Stretches
from headgate.testing.stages import everything
from tests.unit.streams.derive.line import START_NS, Line, Row, feed_of
from tests.unit.streams.derive.test_rules import rule_of, seconds


def _door(**more: object) -> RuleConfig:
    return RuleConfig.model_validate({"feed": "f", "when": "x > 0", "for": "5m", **more})


def _said(rule: RuleConfig, rows: list[Row], **feed: object) -> list[tuple[bool, float, float]]:
    """What is told of these readings, whether they come together or one by one."""
    whole, line = Line(feed_of({}, **feed), {"r": rule}), Line(feed_of({}, **feed), {"r": rule})
    whole.take(rows)
    for row in rows:
        line.take([row])
        line.restart()
    assert line.alarms == whole.alarms
    return seconds(whole.alarms)


def test_a_door_that_says_only_once_that_it_is_open_is_told_of() -> None:
    """As soon as anything of the device says that the time has come, and never before."""
    door = _door()

    assert not _said(door, [(0, 0.0, "x", 1.0), (0, 302.0, "z", 0.0)])
    assert _said(door, [(0, 0.0, "x", 1.0), (0, 304.0, "z", 0.0)]) == [(True, 0, 300)]
    assert _said(door, [(0, 0.0, "x", 1.0), (0, 900.0, "x", 0.0), (0, 999.0, "x", 0.0)]) == [
        (True, 0, 300),
        (False, 0, 900),
    ]


def test_nor_is_it_over_before_its_time() -> None:
    """What ends it must have been so for a while, too."""
    rule = _door(clear_for="60s", max_age="1h")
    rows: list[Row] = [(0, 0.0, "x", 1.0), (0, 400.0, "x", 0.0), (0, 430.0, "x", 1.0)]
    rows += [(0, 440.0, "x", 0.0), (0, 504.0, "z", 0.0)]

    assert _said(rule, rows) == [(True, 0, 300), (False, 0, 500)]


def test_a_device_of_which_it_is_said_how_often_it_sends_is_not_believed_for_longer() -> None:
    """Three times that; of others ``max_age`` says so, or what has to be so for a while."""
    rows: list[Row] = [(0, float(second), "x", 1.0) for second in range(0, 60, 10)]
    rows += [(0, 400.0, "z", 0.0)]

    assert _said(_door(), rows) == [(True, 0, 300)]
    assert not _said(_door(), rows, period="10s")
    assert not _said(_door(), rows, expect_every="80s")
    assert _said(_door(), rows, expect_every="90s") == [(True, 0, 300)]
    assert _said(_door(max_age="250s"), rows, period="10s") == [(True, 0, 300)]
    assert not _said(_door(max_age="249s"), rows)


def test_what_is_known_of_each_channel_must_be_young_enough() -> None:
    """The condition is not known any more once the first of them is too old."""
    rule = _door(when="x > 0 and y > 0", max_age="4m", **{"for": "3m"})
    rows: list[Row] = [(0, 0.0, "y", 1.0), (0, 100.0, "x", 1.0), (0, 400.0, "z", 0.0)]

    assert not _said(rule, rows)
    assert _said(rule, [(0, 41.0, "y", 1.0), *rows]) == [(True, 100, 280)]


@pytest.mark.parametrize("at", [170.0, 190.0])
def test_the_text_has_what_is_known_then(at: float) -> None:
    """Of channels that nobody asks for, too."""
    rule = _door(text="{x} {z}", **{"for": "3m"})
    rows: list[Row] = [(0, 0.0, "x", 7.0), (0, 1.0, "z", 1.0), (0, at, "z", 2.0)]
    rows += [(0, 200.0, "z", 3.0)]
    line = Line(feed_of({}), {"r": rule})
    for row in rows:
        line.take([row])

    assert [each.text for each in line.alarms] == ["7 2" if at < 180 else "7 1"]


def test_one_that_opens_by_itself_suppresses_others() -> None:
    """From that time on."""
    rules = {
        "pump": rule_of("y > 0", max_age="1h", suppressed_by=["off"]),
        "off": rule_of("x > 0", max_age="1h", **{"for": "60s"}),
    }
    rows: list[Row] = [(0, 0.0, "x", 1.0), (0, 30.0, "y", 1.0), (0, 90.0, "y", 1.0)]
    rows += [(0, 99.0, "z", 0.0)]
    for pieces in ([rows], [[row] for row in rows]):
        line = Line(feed_of({}), rules)
        for piece in pieces:
            line.take(piece)
        found = {
            (each.rule, *told) for each, told in zip(line.alarms, seconds(line.alarms), strict=True)
        }
        assert found == {("pump", True, 30, 30), ("off", True, 0, 60), ("pump", False, 30, 60)}


def _in(*edges: float) -> dict[str, Stretches]:
    return {"r": Stretches(START_NS + (np.array(edges) * NS_PER_S).astype(np.int64))}


def test_an_open_alarm_is_not_told_again_by_a_new_process() -> None:
    """Its rule was not looked at before it opened, and that is over."""
    line = Line(feed_of({}), {"r": rule_of("x > 0", max_age="1d", **{"for": "5m"})}, _in(1e3, 9e3))
    line.take([(0, 10.0, "x", 1.0), (0, 2000.0, "z", 0.0)])
    line.restart()
    line.take([(0, 3000.0, "x", 1.0), (0, 4000.0, "z", 0.0)])

    assert seconds(line.alarms) == [(True, 1000, 1300)]


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_what_comes_late_ends_it_by_what_it_says_and_where_it_opened(late: float) -> None:
    """Not because its rule was not looked at then; and no alarm is over before it began."""
    line = Line(feed_of({}), {"r": rule_of("x > 0", max_age="1h")}, _in(100, 1e4))
    line.take([(0, 0.0, "x", 1.0)])
    line.settle(200)
    line.take([(0, 60.0, "x", late)])
    line.settle(300)

    over = [] if late else [(False, 100.0, 100.0)]
    assert seconds(line.alarms) == [(True, 100, 100), *over]


def _suppressed(**of_off: object) -> Line:
    rules = {
        "pump": rule_of("x > 0", max_age="1h", suppressed_by=["off"], **{"for": "60s"}),
        "off": rule_of("y > 0", max_age="1h", **of_off),
    }
    return Line(feed_of({}), rules)


def test_what_ends_a_suppression_late_lets_time_count_from_then() -> None:
    """The clock was further already."""
    line = _suppressed(**{"for": "5s"})
    line.take([(0, 0.0, "x", 1.0), (0, 1.0, "y", 1.0)])
    line.settle(400)
    line.take([(0, 50.0, "y", 0.0)])
    line.settle(450)

    found = {
        (each.rule, *told) for each, told in zip(line.alarms, seconds(line.alarms), strict=True)
    }
    assert found == {("off", True, 1, 6), ("off", False, 1, 50), ("pump", True, 50, 110)}


def test_a_state_that_comes_back_is_as_it_was() -> None:
    """Nothing of what was worked on after it is left."""
    line = _suppressed()
    line.take([(0, 0.0, "x", 1.0), (0, 10.0, "z", 0.0)])
    block, newest = line.deriver.snapshot(everything(line.table)), dict(line.newest)
    line.take([(0, 11.0, "y", 1.0), (0, 20.0, "z", 0.0)])
    line.deriver.restore(everything(line.table), block)
    line.newest, line.alarms = newest, []
    line.settle(100)

    assert seconds(line.alarms) == [(True, 0, 60)]


def test_what_is_so_when_a_schedule_begins_is_told_of_then() -> None:
    """The door had been left open before the night."""
    night = Stretches(np.array([100, 200], np.int64) * NS_PER_S + START_NS)
    line = Line(feed_of({}), {"r": rule_of("x > 0", max_age="1h")}, {"r": night})
    line.take([(0, 10.0, "x", 1.0), (0, 104.0, "z", 0.0)])

    assert seconds(line.alarms) == [(True, 100, 100)]


def test_time_that_has_passed_is_written_down_where_somebody_will_ask_for_it() -> None:
    """That is while a condition holds."""
    line = Line(feed_of({}), {"r": _door()})

    def looked() -> int:
        return len(line.deriver.snapshot(everything(line.table))["looked_device"])

    line.take([(0, 0.0, "x", 0.0), (0, 9.0, "x", 1.0)])
    assert looked() == 0
    line.take([(0, 20.0, "z", 0.0)])
    assert looked() == 1
    line.take([(0, 400.0, "x", 0.0), (0, 410.0, "z", 0.0)])
    assert looked() == 0


def test_what_has_been_looked_at_is_not_looked_at_again() -> None:
    """Though what suppressed it then is not known any more; also by a new process."""
    rules = {
        "pump": rule_of("x > 0", max_age="1h", suppressed_by=["off"], **{"for": "3s"}),
        "off": rule_of("y > 0", max_age="1h"),
    }
    line = Line(feed_of({}), rules)
    line.take([(0, 12.0, "x", 1.0), (0, 20.0, "y", 1.0), (0, 31.0, "y", 0.0), (0, 35.0, "z", 0.0)])
    pump = [each for each in line.alarms if each.rule == "pump"]
    assert seconds(pump) == [(True, 12, 15), (False, 12, 20)]
    line.restart()
    line.take([(0, 36.0, "z", 0.0)])

    assert [each for each in line.alarms if each.rule == "pump"] == pump
