"""Reading line protocol back, as far as ``connectors.sinks.points`` writes it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Measurement and tags, in which a quote is a sign like others; a field; and what is behind them.
_HEAD: Final = re.compile(r"(?:\\.|[^ \\])+ ")
_FIELD: Final = re.compile(r'((?:\\.|[^=, \\])+)=("(?:\\.|[^"\\])*"|[^", ]+)([, ])')
_TIME: Final = re.compile(r"-?[0-9]+")


class Line(NamedTuple):
    """A point as it is written.

    Attributes:
        identity: Measurement and tags, and the time: what makes two points the same one.
        fields: Its fields' values as they are written, by name.
    """

    identity: str
    fields: dict[str, str]


def parse_line(text: str) -> Line:
    """Read a line.

    Raises:
        ValueError: It is none, or has no time.
    """
    head = _HEAD.match(text)
    end = head.end() if head is not None else 0
    fields: dict[str, str] = {}
    is_open = head is not None
    while is_open:
        field = _FIELD.match(text, end)
        if field is None:
            break
        fields[field[1]] = field[2]
        end, is_open = field.end(), field[3] == ","
    if head is None or is_open or _TIME.fullmatch(text, end) is None:
        raise ValueError(
            "expected a point in line protocol: measurement and tags, fields, and a time in ns; "
            f"got {text[:80]!r}"
        )
    return Line(head[0] + text[end:], fields)


def are_equal(expected: str, found: str, tolerance: float) -> bool:
    """Whether two values of fields are the same; floats may differ by a part of themselves.

    Args:
        expected: A value as it is written.
        found: Likewise.
        tolerance: The part.
    """
    if expected == found:
        return True
    try:
        wanted, value = float(expected), float(found)
    except ValueError:
        return False
    return abs(wanted - value) <= tolerance * max(abs(wanted), abs(value))
