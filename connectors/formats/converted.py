"""What a parser made of a payload, put into the typed way's types.

A payload is read as a whole first. Into the type at once would be faster where the parser can, and
would pass over what makes a payload unreadable in fields that nobody wants: whether it is taken
would depend on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

import msgspec


def converter(kind: Any) -> Callable[[object], Any]:  # noqa: ANN401  (a type made while it runs)
    """What puts an object, or a list of them, into a type; see ``Format.make_typed``.

    msgspec would take the type apart anew at each call, were it given all of it; a record's it
    remembers.
    """
    record, _ = get_args(kind)
    convert = msgspec.convert

    def converted(content: object) -> object:
        if type(content) is list:
            return [convert(each, record) for each in content]
        return convert(content, record)

    return converted


def typed_reader(
    kind: Any,  # noqa: ANN401  (a type made while it runs)
    content_of: Callable[[bytes], object],
    not_finite: re.Pattern[bytes],
    most: int,
) -> Callable[[bytes], Any]:
    """What reads a payload into a type; see ``Format.make_typed``.

    Args:
        kind: The type.
        content_of: Parses a payload; raises MsgspecError where it can't be read.
        not_finite: Finds what may be a number that is none.
        most: Records in one message at most.
    """
    convert = converter(kind)

    def read(payload: bytes) -> object:
        if not_finite.search(payload):
            # In the type it could not be told from null, or from what is not there.
            raise msgspec.ValidationError("a number that is none")
        content = content_of(payload)
        if type(content) is list and len(content) > most:
            raise msgspec.ValidationError("too many records")
        return convert(content)

    return read
