"""Reading expressions: what is meant, and what is refused, at which character."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.expressions.nodes import ExpressionError, Kind
from headgate.core.expressions.parse import MAX_DEPTH, parse
from tests.examples import tried


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1 + 2 * x", "(+ 1.0 (* 2.0 `x`))"),
        ("-x ** 2", "(negative (** `x` 2.0))"),
        ("-3", "-3.0"),
        ("+x", "`x`"),
        ("1 < x <= 3", "(and (< 1.0 `x`) (<= `x` 3.0))"),
        ("not x > 1 or y != 2", "(or (not (> `x` 1.0)) (!= `y` 2.0))"),
        ("x if y > 1 else z", "(if (> `y` 1.0) `x` `z`)"),
        ("`oil.level` + `a b/c`", "(+ `oil.level` `a b/c`)"),
        ('max(x, 2) + max(x, "5m")', "(+ (max `x` 2.0) (max over `x` 300000000000ns))"),
        ("hold(x > 1, '30s')", "(hold (> `x` 1.0) 30000000000ns)"),
        ("  \n x\n + 1 ", "(+ `x` 1.0)"),
        ("Öltemperatur * 一", "(* `Öltemperatur` `一`)"),
        ("`一` + 一", "(+ `一` `一`)"),
        ("ﬁ", "`ﬁ`"),
        ("min + max", "(+ `min` `max`)"),
    ],
)
def test_it_is_read(text: str, read: str) -> None:
    """As Python reads it, and names as they stand there."""
    assert str(parse(text)) == read


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("x + y.z", 4),
        ("ü + y.z", 4),
        ("`ein langer Name` + y[0]", 20),
        ("   x +* 3", 6),
        ("lambda: 3", 0),
        ("x if y else z", 5),
        ("x + 'text'", 4),
        ("x + True", 4),
        ("x is y", 0),
        ("(y := 3)", 1),
        ("x, y", 0),
        ("`x", 0),
        ("x + ``", 4),
        ("x # y", 2),
        ("x // 2", 0),
        ("abs(x=3)", 0),
        ("abs(*x)", 0),
        ("max(x)", 0),
        ("x + 1e999", 4),
        ("x + 1j", 4),
        ("f'{x}'", 0),
        ("mean(x > 1, '5m')", 5),
        ("mean(x, '1us')", 8),
        ("abs(x)(3)", 0),
        ("(x for x in y)", 0),
        ("x) + (y", 1),
    ],
)
def test_what_it_is_not_is_shown(text: str, at: int) -> None:
    """A caret stands below the character."""
    with pytest.raises(ExpressionError) as raised:
        parse(text)

    assert raised.value.at == at
    shown, caret = raised.value.pointer
    assert caret.index("^") == 4 + at
    assert shown[4 : 4 + at + 1] == text[: at + 1]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 400 + "x" + ")" * 400,
        "-" * 999 + "x",
        "not " * 200 + "x > 1",
        "abs(" * 200 + "x" + ")" * 200,
        "x" + "+x-x" * 249,
        "1 if x > 1 else " * 60 + "x",
        "9" * 1000,
        "x" * 1_000_000,
        "x\0y",
    ],
)
def test_what_would_take_too_much_is_refused(text: str) -> None:
    """At once, and in little memory."""
    tracemalloc.start()
    with pytest.raises(ExpressionError):
        parse(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20_000_000


def test_parts_in_each_other_may_be_as_many_as_it_says() -> None:
    """And not one more."""
    parse("abs(" * (MAX_DEPTH - 1) + "x" + ")" * (MAX_DEPTH - 1))
    with pytest.raises(ExpressionError, match="at most 30 parts"):
        parse("abs(" * MAX_DEPTH + "x" + ")" * MAX_DEPTH)


@pytest.mark.parametrize("op", ["+", "-", "*", "/"])
def test_a_chain_of_one_operator_is_one_part(op: str) -> None:
    """However long; what is in its parts counts on."""
    assert str(parse(op.join("xyz"))) == f"({op} `x` `y` `z`)"
    assert str(parse(f"x{op}(y{op}z)")) == f"({op} `x` ({op} `y` `z`))"
    assert len(parse(op.join("x" * 500)).args) == 500
    within = "abs(" * (MAX_DEPTH - 3) + op.join("x" * 50) + ")" * (MAX_DEPTH - 3)
    assert parse(f"{within}{op}{op.join('y' * 50)}").names == ("x", "y")
    with pytest.raises(ExpressionError, match="at most 30 parts"):
        parse(f"abs({within}){op}y")


@given(st.text("xy01.`'\"()+-*/%<>=!&|^~@#$?:;,[]{} \n\t\\abdefilmnorst5ü一", max_size=40))
@tried(2000)
def test_whatever_is_written_has_an_answer(text: str) -> None:
    """An expression, or one error that points into the text."""
    refused: ExpressionError | None = None
    try:
        node = parse(text)
    except ExpressionError as error:
        refused = error
    if refused is not None:
        assert 0 <= refused.at <= len(text)
    else:
        assert node.kind in Kind
        assert str(parse(text)) == str(node)
