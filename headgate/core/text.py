"""Text from outside on its way to a terminal, a log, a line of an error or a spreadsheet.

Names, topics and payloads are what devices make them. On a terminal an escape sequence in one could
move the cursor, forge a line or worse; anywhere a line break could; and a spreadsheet works out a
cell that begins like a formula.
"""

from __future__ import annotations

import json

#: How a cell begins that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@")


def printable(text: str) -> str:
    r"""The text on one line: what is no printable character becomes an escape such as ``\n``.

    Not printable are, besides control characters, those that turn the direction of writing round.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def shortest(number: float) -> str:
    """A number with as many digits as tell it from every other, as a person writes it."""
    return repr(float(number)).removesuffix(".0")


def printable_lines(text: str) -> str:
    """The same, but line breaks and tabs stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def json_line(value: object) -> str:
    r"""A value as JSON on one line, in which what is not printable is an escape (``\u009b``)."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    # Outside of texts JSON holds nothing of the kind.
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def csv_cell(value: object) -> object:
    """A value as it may stand in a CSV file: a text printable, and never a formula.

    A text that a spreadsheet would take for one gets an apostrophe before it, which spreadsheets
    take for "this is text".
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
