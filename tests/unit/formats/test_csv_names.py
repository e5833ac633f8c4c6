"""What has a name in lines of values and what has none, the fast way and the careful one."""

from __future__ import annotations

import pytest

from tests.unit.formats.test_lines_and_frames import Decoding

_HEADER: dict[str, object] = {"type": "csv", "header": True, "delimiter": ";"}
_PLACES: dict[str, object] = {"type": "csv", "columns": ["t", "x"], "delimiter": ";"}


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("form", "text", "values"),
    [
        (_HEADER, "t;x;;\n1;2;;\n3;4;a;b\n", [2, 4]),
        (_HEADER, ";x;;t\na;2;;1\n", [2]),
        (_HEADER, "t;x\n1;2;\n3;4\n5;6; \n", [2, 4, 6]),
        (_HEADER, "t;x;\n1;2;;\n", [2]),
        (_HEADER, 't;x\n1;"2";\n', [2]),
        (_PLACES, "1;2;", [2]),
        (_PLACES, "1;2;\r\n3;4;\r\n", [2, 4]),
        (_PLACES, "1;2;\n3;4\n;6; \n", [2, 4, 6]),
        ({**_PLACES, "columns": ["x"]}, "2;", [2]),
        ({**_PLACES, "columns": ["", "x", ""]}, "a;2;b;", [2]),
    ],
)
def test_what_has_no_name_is_nobodys(
    form: dict[str, object], text: str, values: list[float], *, is_typed: bool
) -> None:
    """Columns without one, and the nothing behind a delimiter at the end of a line."""
    for keys in ({}, {"other_channels": {"skip": ["t"]}}):
        found = Decoding(text.encode(), is_typed=is_typed, format=form, channels={"x": {}}, **keys)
        assert found.readings == [("x", value) for value in values]
        assert not found.refused


_TAKEN = "the first line is taken for the names of columns"


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("form", "text", "refusal"),
    [
        (_HEADER, "t;x\n1;2;3", "not_csv: expected 2 values in a line, got 3"),
        (_HEADER, "t;x\n1;2;;", "not_csv: expected 2 values in a line, got 4"),
        (_HEADER, "t;x;\n1;2;;3", "not_csv: expected 3 values in a line, got 4"),
        (_PLACES, "1;2;3", "not_csv: expected 2 values in a line, got 3"),
        (_PLACES, "1;2;;", "not_csv: expected 2 values in a line, got 4"),
        (_PLACES, "1;", "no_channels: none of the feed's channels is in the record"),
        (_HEADER, "x;;x;\n1;;2;", "not_csv: a name stands twice in the first line"),
        (_HEADER, "t;x\n", f"empty: {_TAKEN}, and there is none behind it"),
        (_HEADER, "t;x\n;\n", f"empty: {_TAKEN}, and there is none behind it"),
        (
            _HEADER,
            "1795870778;21.5",
            f"no_channels: {_TAKEN}, and none is one of the feed's: 1795870778, 21.5",
        ),
        (
            _HEADER,
            "1;2;3;4;5;6;7;8;9;\n1;2;3;4;5;6;7;8;9;\n",
            f"no_channels: {_TAKEN}, and none is one of the feed's: 1, 2, 3, 4, 5, 6, 7, 8, ...",
        ),
        (_HEADER, "\n;\n", "empty: no line of values"),
    ],
)
def test_what_does_not_go_with_the_names_is_told(
    form: dict[str, object], text: str, refusal: str, *, is_typed: bool
) -> None:
    """And, where the first line has them, that it was taken for that."""
    found = Decoding(text.encode(), is_typed=is_typed, format=form, channels={"x": {}})
    assert found.refused == [refusal]
    assert not found.readings


def test_names_that_are_not_there_may_have_defaults() -> None:
    """Whatever else the first line names."""
    found = Decoding(b"t;y\n1;2\n", format=_HEADER, channels={"x": {"default": 3}})
    assert found.readings == [("x", 3.0)]
