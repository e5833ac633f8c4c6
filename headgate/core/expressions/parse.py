"""Reading an expression: Python's own parser, and of what it finds only what is listed here.

Nothing of it is ever run by Python. A name in backquotes may hold any characters; for the parser a
letter that stands nowhere else takes its place, and blanks the rest of its room, so that all that
follows stays where it is.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from headgate.core.expressions.nodes import (
    CHAINS,
    FUNCTIONS,
    OF_CONDITION,
    OVER_SPAN,
    OVER_TIME,
    POINTWISE,
    ExpressionError,
    Kind,
    Node,
)
from headgate.core.units import parse_duration_ns

#: Characters of an expression, parts in each other, of which a chain of one operator is one, and
#: the largest power that is a number.
MAX_CHARACTERS = 1000
MAX_DEPTH = 30
MAX_POWER = 100

#: The shortest span, ns.
_SHORTEST_SPAN = 1_000_000

#: Digits that can be asked of ``round``.
_MOST_DIGITS = 15

_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'|`([^`]*)`')

_ARITHMETIC: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Pow: "**",
}
_COMPARISONS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}

#: What is written otherwise elsewhere.
_INSTEAD: dict[type[ast.AST], str] = {
    ast.BitXor: 'powers are written "**"',
    ast.BitAnd: 'write "and"',
    ast.BitOr: 'write "or"',
    ast.FloorDiv: 'write "/", and round what comes of it',
    ast.Invert: 'write "not"',
    ast.Attribute: "a name with a dot in it stands in backquotes",
    ast.Subscript: "a name with brackets in it stands in backquotes",
}


def parse(text: str) -> Node:
    """Read an expression.

    Raises:
        ExpressionError: It is none.
    """
    try:
        return _Reader(text).read()
    except ExpressionError as error:
        error.text = text
        raise


class _Reader:
    """Reads one expression."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise ExpressionError(
                f"expected at most {MAX_CHARACTERS} characters, got {len(text):,}; make parts of "
                "it derived channels of their own",
                0,
            )
        self._quoted: dict[str, str] = {}
        plain = _QUOTED.sub(self._plain, "".join(map(_blank, text)))
        if (odd := plain.find("`")) >= 0:
            raise ExpressionError("expected another backquote behind the name", odd)
        if (odd := plain.find("#")) >= 0:
            raise ExpressionError('expected no "#"; such a name stands in backquotes', odd)
        self._first = len(plain) - len(plain.lstrip())
        self._plain_text = plain.strip()
        self._readers: dict[type[ast.AST], Callable[[Any, int], Node]] = {
            ast.Constant: self._number,
            ast.Name: self._name,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.BoolOp: self._joined,
            ast.Compare: self._comparison,
            ast.IfExp: self._choice,
            ast.Call: self._call,
        }

    def read(self) -> Node:
        if not self._plain_text:
            raise ExpressionError('expected an expression such as "voltage * current"', 0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self._plain_text, mode="eval")
        except SyntaxError as error:
            raise self._misread(error) from None
        except (RecursionError, MemoryError, ValueError, OverflowError):
            raise ExpressionError("expected an expression, got one that is too nested", 0) from None
        return self._node(tree.body, 1)

    def _plain(self, found: re.Match[str]) -> str:
        """What stands for a name in backquotes; other quoted text as it is."""
        name = found[1]
        if name is None:
            return found[0]
        if not name:
            raise ExpressionError("expected a name between the backquotes", found.start())
        code = 0x4E00
        while chr(code) in self._quoted or chr(code) in found.string:
            code += 1
        self._quoted[chr(code)] = name
        return chr(code).ljust(len(found[0]))

    def _misread(self, error: SyntaxError) -> ExpressionError:
        text = self._plain_text
        at = min(max((error.offset or 1) - 1, 0), len(text))
        sign = text[at : at + 1]
        if text.count("(") > text.count(")"):
            what = "expected another closing parenthesis"
        elif sign == "=" and text[max(at - 1, 0) : at + 2].count("=") == 1:
            what = 'expected an expression, got "="; to compare, write "=="'
        elif sign and sign in "!&|?$@":
            what = (
                f'expected an expression, got "{sign}"; write "and", "or", "not" and "x if c else '
                'y", and names with other signs in backquotes'
            )
        else:
            what = (
                f'expected an expression, got "{text[at : at + 20]}"'
                if sign
                else ("expected an expression, got a part of one")
            )
        return ExpressionError(what, at + self._first)

    def _at(self, node: ast.AST) -> int:
        # The parser counts bytes.
        line = self._plain_text.encode()
        return len(line[: getattr(node, "col_offset", 0)].decode()) + self._first

    def _written(self, node: ast.AST) -> str:
        """A part as it stands there; the parser makes some letters others."""
        line = self._plain_text.encode()
        return line[getattr(node, "col_offset", 0) : getattr(node, "end_col_offset", 0)].decode()

    def _node(self, node: ast.AST, depth: int) -> Node:
        reader = self._readers.get(type(node))
        if reader is None:
            raise self._unknown(node)
        if depth > MAX_DEPTH:
            raise ExpressionError(
                f"expected at most {MAX_DEPTH} parts in each other; make a part of it a derived "
                "channel of its own",
                self._at(node),
            )
        return reader(node, depth + 1)

    def _unknown(self, node: ast.AST) -> ExpressionError:
        instead = next(
            (
                _INSTEAD[type(each)]
                for each in (node, getattr(node, "op", node))
                if type(each) in _INSTEAD
            ),
            "numbers, channels, operators and functions are all there is",
        )
        written = self._written(node)[:40]
        return ExpressionError(f'expected no "{written}"; {instead}', self._at(node))

    def _of_kind(self, node: ast.AST, depth: int, kind: Kind) -> Node:
        read = self._node(node, depth)
        if read.kind is kind:
            return read
        if kind is Kind.NUMBER:
            what = 'expected a number, got a condition; write "1 if … else 0" to make it one'
        else:
            what = 'expected a condition, got a number; write "… != 0" to make it one'
        raise ExpressionError(what, read.at)

    def _number(self, node: ast.AST, _: int) -> Node:
        value = getattr(node, "value", None)
        if isinstance(value, str):
            raise ExpressionError(
                "expected a number, got a text; names with other signs stand in backquotes, and "
                "spans of time only in functions that have one",
                self._at(node),
            )
        if type(value) not in (int, float):
            raise ExpressionError(
                f'expected a number, got "{self._written(node)[:40]}"', self._at(node)
            )
        try:
            number = float(str(value))
        except ValueError:
            number = math.inf
        if not math.isfinite(number):
            raise ExpressionError("expected a number, got one that is too large", self._at(node))
        return Node("number", at=self._at(node), number=number)

    def _name(self, node: ast.AST, _: int) -> Node:
        written = self._written(node)
        return Node("name", at=self._at(node), name=self._quoted.get(written, written))

    def _unary(self, node: ast.UnaryOp, depth: int) -> Node:
        if isinstance(node.op, ast.Not):
            return Node(
                "not", (self._of_kind(node.operand, depth, Kind.CONDITION),), self._at(node)
            )
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise self._unknown(node)
        operand = self._of_kind(node.operand, depth, Kind.NUMBER)
        if isinstance(node.op, ast.UAdd):
            return operand
        if operand.op == "number":
            return Node("number", at=self._at(node), number=-operand.number)
        return Node("negative", (operand,), self._at(node))

    def _binary(self, node: ast.BinOp, depth: int) -> Node:
        op = _ARITHMETIC.get(type(node.op))
        if op is None:
            raise self._unknown(node)
        written = [node.right]
        left = node.left
        while op in CHAINS and isinstance(left, ast.BinOp) and type(left.op) is type(node.op):
            written.append(left.right)
            left = left.left
        parts = tuple(self._of_kind(each, depth, Kind.NUMBER) for each in (left, *written[::-1]))
        last = parts[-1]
        if op == "**" and last.op == "number" and abs(last.number) > MAX_POWER:
            raise ExpressionError(f"expected a power of at most {MAX_POWER}", last.at)
        return Node(op, parts, self._at(node))

    def _joined(self, node: ast.BoolOp, depth: int) -> Node:
        op = "and" if isinstance(node.op, ast.And) else "or"
        parts = tuple(self._of_kind(each, depth, Kind.CONDITION) for each in node.values)
        return Node(op, parts, self._at(node))

    def _comparison(self, node: ast.Compare, depth: int) -> Node:
        for op in node.ops:
            if type(op) not in _COMPARISONS:
                raise ExpressionError(
                    "expected <, <=, >, >=, == or !=, got another comparison", self._at(node)
                )
        sides = [self._of_kind(each, depth, Kind.NUMBER) for each in (node.left, *node.comparators)]
        at = self._at(node)
        pairs = tuple(
            Node(_COMPARISONS[type(op)], (one, other), at)
            for op, one, other in zip(node.ops, sides, sides[1:], strict=False)
        )
        return pairs[0] if len(pairs) == 1 else Node("and", pairs, at)

    def _choice(self, node: ast.IfExp, depth: int) -> Node:
        parts = (
            self._of_kind(node.test, depth, Kind.CONDITION),
            self._of_kind(node.body, depth, Kind.NUMBER),
            self._of_kind(node.orelse, depth, Kind.NUMBER),
        )
        return Node("if", parts, self._at(node))

    def _call(self, node: ast.Call, depth: int) -> Node:
        name, at = self._written(node.func), self._at(node)
        if name not in FUNCTIONS:
            near = get_close_matches(name, FUNCTIONS, 1, 0.6)
            hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(FUNCTIONS)}"
            raise ExpressionError(f'no function "{name[:40]}"; {hint}', at)
        if node.keywords or any(isinstance(each, ast.Starred) for each in node.args):
            raise ExpressionError(f"{name}: expected arguments without names or stars", at)
        args: Sequence[ast.expr] = node.args
        is_span = len(args) == 2 and _is_text(args[1])
        if name in OVER_SPAN and (is_span or name not in POINTWISE):
            return self._over_span(name, args, at, depth)
        if name in OF_CONDITION:
            return self._of_condition(name, args, at, depth)
        least, most = (1, 1) if name in OVER_TIME else POINTWISE[name]
        if not least <= len(args) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            wanted += (
                ' arguments, or one and a span such as "5m"'
                if name in OVER_SPAN
                else (" argument" if most == 1 else " arguments")
            )
            raise ExpressionError(f"{name}: expected {wanted}, got {len(args)}", at)
        parts = tuple(self._of_kind(each, depth, Kind.NUMBER) for each in args)
        if name == "round" and len(parts) == 2:
            self._check_digits(parts[1])
        return Node(name, parts, at)

    def _check_digits(self, digits: Node) -> None:
        is_whole = digits.op == "number" and digits.number in range(_MOST_DIGITS + 1)
        if not is_whole:
            raise ExpressionError(
                f"round: expected how many digits, a number from 0 to {_MOST_DIGITS}", digits.at
            )

    def _over_span(self, name: str, args: Sequence[ast.expr], at: int, depth: int) -> Node:
        span_ns = self._span(name, args, at)
        what = self._of_kind(args[0], depth, Kind.NUMBER)
        return Node(f"{name} over", (what,), at, span_ns=span_ns)

    def _of_condition(self, name: str, args: Sequence[ast.expr], at: int, depth: int) -> Node:
        if name == "hold":
            span_ns = self._span(name, args, at)
        elif len(args) != 1:
            raise ExpressionError(f"{name}: expected a condition, got {len(args)} arguments", at)
        else:
            span_ns = 0
        return Node(name, (self._of_kind(args[0], depth, Kind.CONDITION),), at, span_ns=span_ns)

    def _span(self, name: str, args: Sequence[ast.expr], at: int) -> int:
        """The span of time that is the second argument, ns."""
        if len(args) != 2 or not _is_text(args[1]):
            raise ExpressionError(
                f'{name}: expected two arguments, the second a span of time such as "5m"', at
            )
        try:
            span_ns = parse_duration_ns(getattr(args[1], "value", None))
        except ValueError as error:
            raise ExpressionError(f"{name}: {error}", self._at(args[1])) from None
        if span_ns < _SHORTEST_SPAN:
            raise ExpressionError(f'{name}: expected at least "1ms"', self._at(args[1]))
        return span_ns


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _blank(sign: str) -> str:
    """A line break as the blank that it means."""
    return " " if sign in "\n\r\t\f\v" else sign
