"""Text from outside never reaches a terminal or a spreadsheet as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.text import csv_cell, json_line, printable, printable_lines

pytestmark = pytest.mark.slow


@given(st.text(st.characters()))
def test_whatever_a_text_holds_it_is_printable_afterwards(text: str) -> None:
    """Lone surrogates, which no terminal can be sent, are no exception."""
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text
    assert all(line.replace("\t", "").isprintable() for line in printable_lines(text).split("\n"))


@given(st.recursive(st.text() | st.floats(allow_nan=False), st.lists))
def test_json_says_the_same(value: Any) -> None:  # noqa: ANN401  (any value)
    """On one line, and printable."""
    line = json_line({"value": value})

    assert line.isprintable()
    assert json.loads(line) == {"value": value}


def test_json_keeps_what_people_can_read() -> None:
    """Only what is not printable is an escape."""
    assert json_line({"name": "Öl \x1b\x9b\U000e0001"}) == (
        r'{"name": "Öl \u001b\u009b\udb40\udc01"}'
    )


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd", "'=cmd"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("a=b", "a=b"),
        ("\r=1", r"\r=1"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_no_cell_is_a_formula(value: object, cell: object) -> None:
    """Numbers stay numbers."""
    assert csv_cell(value) == cell
