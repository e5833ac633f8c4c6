"""Conditions in three values: true, false, or not known because something is missing.

An expression by itself takes a comparison with a missing number for false, so ``not (x > 3)`` is
true where x is missing. Who acts on a condition wants to know better: ``known_true`` and
``known_false`` are conditions of which neither holds where what is missing could have made the
difference (Kleene's strong logic: ``a and b`` is false if a is, whatever b would be).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from headgate.core.expressions.nodes import Kind, Node

_COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!=", "between"))


def known_true(condition: Node) -> Node:
    """A condition that holds where this one is known to hold."""
    op, args = condition.op, condition.args
    if op in ("and", "or"):
        return Node(op, tuple(map(known_true, args)), condition.at)
    if op == "not":
        return known_false(args[0])
    if op == "hold":
        return Node(op, (known_true(args[0]),), condition.at, span_ns=condition.span_ns)
    # A comparison with what is missing is false; and whether it is missing is known.
    return _of_known(condition)


def _of_known(node: Node) -> Node:
    """The same, with conditions in numbers that hold where they are known to hold."""
    args = tuple(
        known_true(each) if each.kind is Kind.CONDITION else _of_known(each) for each in node.args
    )
    return replace(node, args=args)


def known_false(condition: Node) -> Node:
    """A condition that holds where this one is known not to hold."""
    op, args, at = condition.op, condition.args, condition.at
    if op == "and":
        return Node("or", tuple(map(known_false, args)), at)
    if op == "or":
        return Node("and", tuple(map(known_false, args)), at)
    if op == "not":
        return known_true(args[0])
    denied = Node("not", (known_true(condition),), at)
    if op == "hold":
        # It has not held for so long, and whether it holds now is known.
        known = Node("or", (known_true(args[0]), known_false(args[0])), at)
        return Node("and", (denied, known), at)
    if op in _COMPARISONS:
        return _all_of(denied, (_is_there(_of_known(each)) for each in args if each.names))
    return denied


def _is_there(number: Node) -> Node:
    return Node("not", (Node("isnan", (number,), number.at),), number.at)


def _all_of(first: Node, others: Iterable[Node]) -> Node:
    parts = (first, *others)
    return parts[0] if len(parts) == 1 else Node("and", parts, first.at)
