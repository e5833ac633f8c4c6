"""What a parser made of a payload, put into the typed way's types."""

from __future__ import annotations

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
