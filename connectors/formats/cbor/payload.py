"""The bytes of a message as what CBOR says they are, or the reason why they can't be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from secrets import token_urlsafe
from typing import Any

import cbor2

from headgate.core.errors import DataError

#: What the parser raises for what it can't read.
UNREADABLE = (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError)

#: Arrays, maps and tags in each other, at most.
_DEEPEST = 100

#: The parser reads one value and says nothing of what is behind it. So it is given an array of two,
#: the payload and this, or of many payloads with this behind each; no payload can know it.
_PAIR, _MANY, _STOP = b"\x82", b"\x9f", b"\xff"
_END = token_urlsafe(6)  # eight letters
_TAIL = b"\x68" + _END.encode()

#: Whole numbers of more bytes are larger than a float can be.
_LONGEST = 128

#: Tags of what is written elsewhere in the payload, or is to be found from elsewhere.
_REFERENCES = (25, 28, 29, 256)


def content_of(payload: bytes) -> object:
    """What a payload holds, its keys and values as they are.

    Raises:
        UNREADABLE: It can't be read.
    """
    content, end = _loads(_PAIR + payload + _TAIL)
    if end != _END:
        raise ValueError("more behind the first value")
    return content


def contents_of(payloads: Sequence[bytes]) -> list[object] | None:
    """What each of some payloads holds, as ``content_of`` says it; None where one can't be read.

    A call of the parser costs twice what a short payload does.
    """
    try:
        parsed = _loads(_MANY + _TAIL.join([*payloads, b""]) + _STOP)
    except UNREADABLE:
        return None
    contents = parsed[::2]
    # What goes on in the payload behind it takes the mark between them away.
    is_each = len(parsed) == 2 * len(payloads) and parsed[1::2] == [_END] * len(payloads)
    return contents if is_each else None


def loads(payload: bytes) -> object:
    """What a payload holds, in the terms of JSON: whole numbers that are keys are texts.

    Raises:
        DataError: It can't be read; with the reason.
    """
    if not payload:
        raise DataError("empty", "nothing in it; so are retained messages cleared")
    try:
        return _in_terms_of_json(content_of(payload))
    except UNREADABLE as error:
        text = str(error)
        if error.__cause__ is not None:
            text = f"{text}: {error.__cause__}"
        if "nesting depth" in text or isinstance(error, RecursionError):
            detail = f"arrays or maps in each other beyond all need; {_DEEPEST} are the most"
            raise DataError("too_deep", detail) from None
        if "utf-8" in text:
            raise DataError("not_utf8", f"a text that is no UTF-8: {text}"[:200]) from None
        if payload.lstrip()[:1] in (b"{", b"["):
            text += '; it looks like JSON, which format = "json" reads'
        raise DataError("not_cbor", text[:300]) from None


def _in_terms_of_json(content: object) -> object:
    """The same content, changed where it stands."""
    left: list[Any] = [content]
    while left:
        each = left.pop()
        if type(each) is dict:
            for key in [key for key in each if type(key) is int]:
                each[str(key)] = each.pop(key)
            places, values = list(each), list(each.values())
        elif type(each) is list:
            places, values = range(len(each)), each  # type: ignore[assignment]
        else:
            continue
        for place, value in zip(places, values, strict=True):
            if type(value) is dict or type(value) is list:
                left.append(value)
            elif value is cbor2.undefined:
                each[place] = None
    return None if content is cbor2.undefined else content


def _text_time(value: object, _is_key: bool) -> object:  # noqa: FBT001  (the parser's contract)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return value if isinstance(moment, datetime) and moment.tzinfo is None else moment


def _number_time(value: object, _is_key: bool) -> object:  # noqa: FBT001
    if type(value) is int or type(value) is float:
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            return value
    return value


def _bignum(sign: int, value: object, is_key: bool) -> object:  # noqa: FBT001
    if is_key:
        # Their hashes are known beforehand; a peer could send any number of one hash.
        raise ValueError("a number of many bytes for a key")
    if not isinstance(value, bytes):
        return value
    if len(value) > _LONGEST:
        return sign * math.inf
    number = int.from_bytes(value, "big")
    return number if sign > 0 else -1 - number


def _fraction(base: int, value: object, _is_key: bool) -> object:  # noqa: FBT001
    """A number of tag 4 or 5: exponent and mantissa."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return value
    exponent, mantissa = value
    if type(exponent) is not int or type(mantissa) is not int:
        return value
    if base == 10:
        return float(f"{mantissa}e{exponent}")
    try:
        return math.ldexp(mantissa, max(-10_000, min(exponent, 10_000)))
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def _content(value: object, is_key: bool) -> object:  # noqa: FBT001
    """What is tagged; what with says nothing here. Maps and arrays stay what the parser makes."""
    if isinstance(value, cbor2.CBORTag):
        if isinstance(value.value, int | float | str):
            return value.value
        if is_key:
            raise ValueError("a tag for a key")
    return value


def _map(content: object, is_key: bool) -> object:  # noqa: FBT001
    if is_key:
        # As with large numbers: of one hash there may be as many as fit.
        raise ValueError("a map for a key")
    return content


def _refused(_value: object, _is_key: bool) -> object:  # noqa: FBT001
    raise ValueError("a value that refers to another one, which is not read")


#: What is made of tags; of others that the parser knows, just what is tagged.
_TAGS: Mapping[int, Callable[[Any, bool], object]] = {
    **dict.fromkeys((30, 35, 36, 37, 52, 54, 100, 258, 260, 261, 1004, 43000, 55799), _content),
    0: _text_time,
    1: _number_time,
    2: partial(_bignum, 1),
    3: partial(_bignum, -1),
    4: partial(_fraction, 10),
    5: partial(_fraction, 2),
    **dict.fromkeys(_REFERENCES, _refused),
}

_loads = partial(
    cbor2.loads,
    semantic_decoders=_TAGS,
    tag_hook=_content,
    object_hook=_map,
    max_depth=_DEEPEST + 1,
)
