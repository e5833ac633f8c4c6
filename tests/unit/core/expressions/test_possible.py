"""Conditions that never hold, and those that never fail to."""

from __future__ import annotations

import pytest

from headgate.core.expressions.parse import parse
from headgate.core.expressions.possible import can_fail, can_hold


@pytest.mark.parametrize(
    "condition",
    [
        "x > 80 and x < 20",
        "80 > x > 90",
        "between(x, 80, 20)",
        "x == 2 and x == 3",
        "x > x",
        "rate(x) > 5 and rate(x) < 2",
        "hold(x > 5, '5s') and x < 3",
        "x > 1 and 3 > 5",
        "isnan(x) and not isnan(x)",
        "x > 1e308 and x < -1e308",
    ],
)
def test_what_never_holds(condition: str) -> None:
    """And its opposite always does."""
    assert not can_hold(parse(condition))
    assert not can_fail(parse(f"not ({condition})"))


@pytest.mark.parametrize(
    "condition",
    [
        "x > 80",
        "x > 80 and y < 20",
        "x > -1e308",
        "between(x, 2, 2)",
        "between(x, x, 5)",
        "between(5, x, y)",
        "x > 1 and x < 1.1",
        "x != 2 and x != 3",
        "hold(x > 5, '5s') and x < 6",
        "x > y and y > 3",
        "isnan(x) and not isnan(y)",
        "since(x > 3) > 15",
        "(1 if x > 1 else 2) > 1",
    ],
)
def test_what_may_hold_and_may_fail(condition: str) -> None:
    """Of these nothing is said."""
    assert can_hold(parse(condition))
    assert can_fail(parse(condition))


def test_several_at_once() -> None:
    """Each may hold by itself."""
    assert not can_hold(parse("x > 85"), parse("not (x > 80)"))
    assert can_hold(parse("x > 75"), parse("not (x > 80)"))


def test_what_would_take_too_long_may_be() -> None:
    """Whatever it is."""
    many = " and ".join(f"x{number} > 1" for number in range(20))

    assert can_hold(parse(f"{many} and x1 < 0"))
