"""JSON that stands in JSON as a text: around it is an envelope, or other values of the message."""

from __future__ import annotations

import base64
from binascii import Error as NotBase64
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from connectors.formats.json.payload import loads
from headgate.core.errors import DataError
from headgate.discover.leaves import path_of
from headgate.discover.times import is_time_name

#: So deep is looked for texts, and at so many elements of an array.
_DEEPEST, _ELEMENTS = 6, 4

#: So many of the messages must have it, of all.
_MOSTLY = 0.8

#: Texts that are told one by one, at most.
_MOST_TEXTS = 8

#: Shorter texts are no objects in base64.
_SHORTEST = 8


def whole(payload: bytes) -> object:
    """What a payload is as JSON, also where that is the text of JSON.

    Raises:
        DataError: It is no JSON.
    """
    found = loads(payload)
    inner = None if not isinstance(found, str) else _opened(found)
    return found if inner is None else inner


def nested(documents: Sequence[object], *, are_lines: bool) -> dict[str, Any]:
    """What the format says of texts that are JSON themselves; empty where there are none.

    Args:
        documents: What messages are as JSON.
        are_lines: Whether they are lines of messages: these have no envelope.
    """
    bare: Counter[str] = Counter()
    coded: Counter[str] = Counter()
    is_envelope = not are_lines
    for document in documents:
        kinds: dict[str, set[str]] = {}
        for path, value, is_listed in _walk(document, (), is_listed=False):
            kind = _kind_of(value)
            is_envelope &= kind != "" or not _says_something(path, value)
            is_envelope &= not (kind and is_listed)
            if kind:
                kinds.setdefault(path, set()).add(kind)
        bare.update(path for path, each in kinds.items() if each == {"bare"})
        coded.update(path for path, each in kinds.items() if "coded" in each)
    least = _MOSTLY * len(documents)
    texts = [path for path, count in bare.items() if count >= least][:_MOST_TEXTS]
    codes = [path for path, count in (bare + coded).items() if count >= least and path in coded]
    if codes and not texts and len(codes) == 1 and not are_lines:
        # What is around it can't be read beside it.
        return {"inside": codes[0]}
    if len(texts) == 1 and is_envelope:
        return {"inside": texts[0]}
    return {"embedded": texts} if texts else {}


def _says_something(path: str, value: object) -> bool:
    """Whether a value around a message may be wanted: a number, a time, or what has a name."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number or is_time_name(path) or (isinstance(value, str) and bool(value.strip()))


def _kind_of(value: object) -> str:
    """How a text holds JSON: ``bare``, ``coded`` in base64, or not, which is empty."""
    if not isinstance(value, str):
        return ""
    if _opened(value) is not None:
        return "bare"
    if len(value) < _SHORTEST:
        return ""
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode()
    except (NotBase64, ValueError):
        return ""
    return "coded" if _opened(decoded) is not None else ""


def _opened(text: str) -> object:
    """The object, or the array of objects or arrays, that a text is; None for none."""
    if not text.strip().startswith(("{", "[")):
        return None
    try:
        found = loads(text.encode())
    except (DataError, UnicodeEncodeError):
        return None
    if isinstance(found, dict):
        return found or None
    is_many = (
        isinstance(found, list) and found and all(type(each) in (dict, list) for each in found)
    )
    return found if is_many else None


def _walk(
    value: object, parts: tuple[str, ...], *, is_listed: bool
) -> Iterator[tuple[str, object, bool]]:
    """The values below, with their paths through arrays, and whether they are in one."""
    if len(parts) > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _walk(below, (*parts, str(key)), is_listed=is_listed)
    elif isinstance(value, list):
        for below in value[:_ELEMENTS]:
            yield from _walk(below, parts, is_listed=True)
    elif parts and (path := path_of(parts)) is not None:
        yield path, value, is_listed
