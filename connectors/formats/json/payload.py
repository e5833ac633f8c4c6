"""The bytes of a message as what JSON says they are, or the reason why they can't be.

The parser is the one that the typed way uses, so that the two agree; and unlike others it takes no
more memory than what comes out of it.
"""

from __future__ import annotations

import json
import re

import msgspec

from connectors.formats.inflate import compression_of
from headgate.core.errors import DataError

#: What the parser says of a number that is too large for a float.
_TOO_LARGE = "out of range"

#: Around a payload these bytes mean nothing: C programs send the end of their strings along.
_BLANKS = b"\0 \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: What C's printf makes of numbers that are none, on any system, where a value may stand; and what
#: each of them has in it.
_LITERAL = re.compile(
    rb"(?<=[\s:,\[])[+-]?(?:nan(?:\([\w-]*\))?|inf(?:inity)?|1\.#\w++)(?=\s*[,\]}])", re.IGNORECASE
)
_WORDS = (b"nan", b"inf", b"1.#")

#: More of each in one message than broken sensors send are not looked at.
_MAX_LITERALS = 10_000

_loads = msgspec.json.Decoder().decode


def loads(payload: bytes, *, takes_literals: bool = True) -> object:
    """What a payload holds.

    Args:
        payload: One JSON value; blanks, NUL bytes and a byte order mark around it are left out.
        takes_literals: Whether ``NaN``, ``inf`` and their like, which JSON has not, are read: as
            texts that ``numbers.is_literal`` knows.

    Raises:
        DataError: It can't be read; with the reason.
    """
    try:
        return _loads(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Without this function's frame, which holds it: that would be a cycle for each message, and
        # looking for cycles takes longer than all else.
        trouble: Exception = error.with_traceback(None)
    bare = payload.removeprefix(_BYTE_ORDER_MARK).strip(_BLANKS).removeprefix(_BYTE_ORDER_MARK)
    if not bare:
        raise DataError("empty", "nothing in it; so are retained messages cleared")
    if takes_literals:
        bare = _with_literals_quoted(bare)
    if bare != payload:
        try:
            return _loads(bare)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            trouble = error.with_traceback(None)
    if _TOO_LARGE in str(trouble):
        # A number that no float can hold does not make a message bad, least of all in a field that
        # nobody wants: it is infinite here, as a whole number of as many digits is.
        try:
            return json.loads(bare.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            pass
    raise _why_not_json(payload, trouble)


def _with_literals_quoted(text: bytes) -> bytes:
    lowered = text.lower()
    # Most are told from those that have some at a glance.
    if b"nan" not in lowered and b"inf" not in lowered and b"1.#" not in lowered:
        return text
    spans = _literal_spans(text, lowered)
    # Whether one stands in a text is told by the quotes before it; escaped ones are none.
    quotes = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    parts, at, is_inside, counted = [], 0, False, 0
    for begin, end in spans:
        is_inside ^= bool(quotes.count(b'"', counted, begin) & 1)
        counted = begin
        if not is_inside:
            parts += [text[at:begin], b'"\\u0000', text[begin:end], b'"']
            at = end
    return b"".join([*parts, text[at:]])


def _literal_spans(text: bytes, lowered: bytes) -> list[tuple[int, int]]:
    """Where such literals may stand, in texts or not; in order."""
    spans = []
    for word in _WORDS:
        if word not in lowered:
            continue
        at = -len(word)
        for _ in range(_MAX_LITERALS):
            at = lowered.find(word, at + len(word))
            if at < 0:
                break
            found = _LITERAL.match(text, at - (text[at - 1 : at] in (b"+", b"-")))
            if found is not None:
                spans.append(found.span())
    return sorted(spans)


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _why_not_json(payload: bytes, error: Exception) -> DataError:
    if kind := compression_of(payload):
        return DataError("compressed", f"{kind} data; expected text")
    if not payload.isascii() or b"\0" in payload:
        is_wide = len(payload) >= 4 and not payload[1::2].strip(b"\0")
        if is_wide or payload.startswith((b"\xff\xfe", b"\xfe\xff")):
            return DataError("not_utf8", 'UTF-16 text; charset = "utf-16" reads it')
        try:
            payload.decode()
        except UnicodeDecodeError as invalid:
            return DataError("not_utf8", f"byte {invalid.start}: {invalid.reason}")
    if isinstance(error, RecursionError):
        return DataError("too_deep", "arrays or objects in each other beyond all need")
    return DataError("not_json", str(error).removeprefix("JSON is malformed: ")[:200])
