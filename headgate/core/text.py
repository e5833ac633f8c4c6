"""Text from outside on its way to a terminal, a log or a line of an error.

Names, topics and payloads are what devices make them. On a terminal an escape sequence in one could
move the cursor, forge a line or worse; anywhere a line break could.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text on one line: what is no printable character becomes an escape such as ``\n``."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )
