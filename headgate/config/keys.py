"""Which keys a table may have, read off its class."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from headgate.config.lines import KeyPath


def keys_of(table: type[BaseModel], place: KeyPath) -> list[str]:
    """The keys at a place below a table, in order of the alphabet; none where it has no table."""
    kind: Any = table
    for part in place:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(part)
            kind = None if field is None else _bare(field.annotation)
        elif get_origin(kind) is dict:
            kind = _bare(get_args(kind)[1])
        elif get_origin(kind) is tuple:
            kind = _bare(get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return sorted(kind.model_fields)
    return []


def _bare(kind: Any) -> Any:  # noqa: ANN401  (any annotation may stand in the schema)
    """The annotation without ``| None`` and ``Annotated``."""
    while True:
        if hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, UnionType):
            kind = next(each for each in get_args(kind) if each is not type(None))
        else:
            return kind
