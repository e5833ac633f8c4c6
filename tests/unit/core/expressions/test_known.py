"""Conditions in three values: known to hold, known not to, or neither."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from headgate.core.expressions.known import known_false, known_true
from headgate.core.expressions.nodes import Node
from headgate.core.expressions.parse import parse
from headgate.core.expressions.pointwise import Values, work_out

_COMPARED: Mapping[str, Callable[..., bool]] = {
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "between": lambda x, low, high: low <= x <= high,
}


def _value(node: Node, values: dict[str, float | None]) -> float | None:
    if node.op == "number":
        return node.number
    if node.op == "name":
        return values[node.name]
    assert node.op == "+"
    parts = [_value(each, values) for each in node.args]
    return None if None in parts else sum(each for each in parts if each is not None)


def _in_three_values(node: Node, values: dict[str, float | None]) -> bool | None:
    """Kleene's tables, written out."""
    if node.op in ("and", "or"):
        parts = [_in_three_values(each, values) for each in node.args]
        decides = node.op == "or"
        if decides in parts:
            return decides
        return None if None in parts else not decides
    if node.op == "not":
        part = _in_three_values(node.args[0], values)
        return None if part is None else not part
    numbers = [_value(each, values) for each in node.args]
    if node.op == "isnan":
        return numbers[0] is None
    return None if None in numbers else _COMPARED[node.op](*numbers)


def _worked_out(node: Node, values: dict[str, float | None]) -> bool:
    def part(node: Node) -> Values:
        if node.op == "number":
            return np.array(node.number)
        if node.op == "name":
            value = values[node.name]
            return np.array(np.nan if value is None else value)
        return work_out(node.op, tuple(map(part, node.args)))

    return bool(part(node))


@pytest.mark.parametrize(
    "text",
    [
        "x > 1",
        "x != y",
        "not x > 1",
        "x > 1 and y > 1",
        "x > 1 or y > 1",
        "not (x > 1 and not y > 1)",
        "not (x > 1 or y == 2) and z <= 1",
        "0 < x <= 1",
        "not (0 < x <= 1)",
        "isnan(x) or x > 1",
        "not isnan(x + y) and z > 1",
        "between(x, 1, y) or not between(z, 0, 1)",
    ],
)
def test_it_is_known_where_what_is_missing_makes_no_difference(text: str) -> None:
    """Of every value that channels may have, as Kleene's tables say."""
    condition = parse(text)

    for found in itertools.product([None, 0.0, 1.0, 2.0], repeat=3):
        values = dict(zip("xyz", found, strict=True))
        wanted = _in_three_values(condition, values)
        assert _worked_out(known_true(condition), values) is (wanted is True), values
        assert _worked_out(known_false(condition), values) is (wanted is False), values


def test_what_has_held_for_a_span_is_known_by_what_it_holds() -> None:
    """It is known not to have where it is known whether it holds now."""
    held = parse("hold(x > 1, '5s')")

    assert known_true(held) == held
    assert {each.op for each in known_false(held).walk()} >= {"not", "hold", "isnan"}
