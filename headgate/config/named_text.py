"""Texts with names in braces, such as ``"{device}: {text}"``, in place of which values are put.

They reach nothing but those names: no attributes, no elements, no conversions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from string import Formatter
from typing import NamedTuple


class TextPart(NamedTuple):
    """A part of such a text.

    Attributes:
        plain: Letters as they are.
        name: What is put in behind them; empty at the end.
        form: How it is written, as Python's ``format`` has it.
    """

    plain: str
    name: str
    form: str


def text_parts(text: str, names: str, example: str) -> tuple[TextPart, ...]:
    """A text in its parts; which names and forms there are is for the caller to say.

    Args:
        text: It.
        names: What may be named, for the message.
        example: Such a text, for the message.

    Raises:
        ValueError: It holds something else than names in braces.
    """
    try:
        found = list(Formatter().parse(text))
    except ValueError:
        raise ValueError(
            f'expected names in braces, such as "{example}"; a brace that is meant is written '
            'twice: "{{"'
        ) from None
    for _, name, _, conversion in found:
        if name == "" or conversion is not None:
            raise ValueError(
                f'expected {names}, between "{{" and "}}", and behind a colon at most how its '
                "number is written"
            )
    return tuple(TextPart(plain, name or "", form or "") for plain, name, form, _ in found)


def plain_text_parts(text: str, names: Collection[str]) -> tuple[TextPart, ...]:
    """A text of these names only, none of them a number.

    Raises:
        ValueError: It is none.
    """
    known = ", ".join(names)
    parts = text_parts(text, f"one of {known}", "{device}: {text}")
    for part in parts:
        if part.form:
            raise ValueError(f'expected no form behind "{part.name[:40]}", which is no number')
        if part.name and part.name not in names:
            raise ValueError(f'no "{part.name[:40]}" to put in; there are {known}')
    return parts


def filled(
    parts: Collection[TextPart], values: Mapping[str, str], written: Callable[[str], str] = str
) -> str:
    """The text with values put in.

    Args:
        parts: The text.
        values: By name.
        written: Makes of a value what may stand in such a text.
    """
    return "".join(part.plain + (written(values[part.name]) if part.name else "") for part in parts)
