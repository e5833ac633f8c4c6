"""What is shown to people of payloads, and of the records in them."""

from __future__ import annotations

import base64
import json
import re

from connectors.formats.inflate import compression_of, inflated
from connectors.formats.json.payload import loads
from connectors.formats.numbers import shown
from connectors.formats.paths import getter
from headgate.config.feed import FeedConfig
from headgate.core.errors import DataError

#: Characters of what is shown of a payload, and of a record in it.
_SHOWN = 200

#: What is told of a text in a payload that is JSON itself.
_IN_TEXT = re.compile(r'(?:the text|what is in base64) (?:at "(.+?)"|that the message is): ')

#: The place that a parser names. In a frame of parts, and in one of many records, it is none in a
#: payload.
_PLACE = re.compile(r"\bbyte (\d+)\b(?!: (?:type 0x|expected \d+ bytes))")
_OF_RECORDS = re.compile(r"\d+ of \d+ records; ")

#: A number that is none, such as NaN, as JSON writes the text that stands for it.
_LITERAL = re.compile(r'"\\u0000([^"\\]*)"')


def bytes_around(detail: str, payload: bytes) -> str:
    """The bytes around the place that a parser names, with a mark before it."""
    places = [int(each) for each in _PLACE.findall(detail)]
    if not places or places[-1] > len(payload) or _OF_RECORDS.match(detail):
        return ""
    at = places[-1]
    before, after = payload[max(0, at - 20) : at], payload[at : at + 20]
    return f"{before.decode(errors='replace')} ▶ {after.decode(errors='replace')}"


def counted_in(detail: str, payload: bytes, feed: FeedConfig | None, most: int) -> bytes:
    """The bytes that the place in a detail is counted in: a text that stands in the payload, or it.

    Empty where that can't be found.

    Args:
        detail: Why the message is refused.
        payload: It, as it came.
        feed: What reads it; None: nothing does.
        most: So much may be in it if it is compressed, bytes.
    """
    try:
        whole = payload if feed is None else _as_text(payload, feed, most)
        path = _IN_TEXT.match(detail)
        if path is None:
            return whole
        content = loads(whole)
        text = content if path[1] is None else getter(path[1])(content)
        if not isinstance(text, str):
            return b""
        return base64.b64decode(text) if "in base64" in path[0] else text.encode(errors="replace")
    except (DataError, ValueError):
        return b""


def _as_text(payload: bytes, feed: FeedConfig, most: int) -> bytes:
    """A payload as its format gets it: made whole, and in UTF-8."""
    kind = "" if feed.compression == "none" or feed.may_begin_anyhow else compression_of(payload)
    if feed.compression not in ("none", "auto"):
        kind = feed.compression
    content = inflated(payload, kind, most) if kind else payload
    return content if feed.charset == "utf-8" else content.decode(feed.charset).encode()


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
