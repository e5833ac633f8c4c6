"""What is shown to people of payloads, and of the records in them."""

from __future__ import annotations

import json
import re

from connectors.formats.json.payload import loads
from connectors.formats.numbers import shown
from connectors.formats.paths import getter
from headgate.core.errors import DataError

#: Characters of what is shown of a payload, and of a record in it.
_SHOWN = 200

#: What is told of a text in a payload that is JSON itself.
_IN_TEXT = re.compile(r'the text (?:at "(.+?)"|that the message is): ')

#: A number that is none, such as NaN, as JSON writes the text that stands for it.
_LITERAL = re.compile(r'"\\u0000([^"\\]*)"')


def bytes_around(detail: str, payload: bytes) -> str:
    """The bytes around the place that a parser names, with a mark before it."""
    _, found, rest = detail.rpartition("byte ")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not found or not digits or int(digits) > len(payload):
        return ""
    at = int(digits)
    before, after = payload[max(0, at - 20) : at], payload[at : at + 20]
    return f"{before.decode(errors='replace')} ▶ {after.decode(errors='replace')}"


def counted_in(detail: str, payload: bytes) -> bytes:
    """The bytes that the place in a detail is counted in: a text that stands in the payload, or it.

    Empty where that text can't be found.
    """
    path = _IN_TEXT.match(detail)
    if path is None:
        return payload
    try:
        whole = loads(payload)
        text = whole if path[1] is None else getter(path[1])(whole)
    except (DataError, ValueError):
        return b""
    return text.encode(errors="replace") if isinstance(text, str) else b""


def head(payload: bytes) -> str:
    """The beginning of a payload, as text."""
    text = payload[:_SHOWN].decode(errors="backslashreplace")
    return text + ("…" if len(payload) > _SHOWN else "")


def shown_record(record: object) -> str:
    """The beginning of what a format has read, as JSON writes it where it can."""
    try:
        text = json.dumps(record, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = shown(record)
    else:
        # Numbers that are none stand there without quotes.
        text = _LITERAL.sub(r"\1", text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
