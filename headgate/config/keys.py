"""Which keys a table may have, read off its class."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headgate.config.lines import KeyPath
from headgate.config.values import Names, Role

_SECRET: Final = (Role.SECRET_VARIABLE, Role.SECRET_FILE, Role.PRIVATE_KEY)


class _Hidden:
    """Stands for a value that is not shown, in an error about it."""


HIDDEN: Final = _Hidden()


def keys_of(table: type[BaseModel], place: KeyPath) -> list[str]:
    """The keys at a place below a table, in order of the alphabet; none where it has no table."""
    kind = _bare(_annotation(table, place))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return sorted(field.alias or name for name, field in kind.model_fields.items())
    return []


def holds_secret(table: type[BaseModel], place: Sequence[str | int]) -> bool:
    """Whether a key at a place below a table, or one above it, says where a secret is.

    Somebody may have put the secret itself there.
    """
    parts = [str(part) for part in place]
    for length in range(1, len(parts) + 1):
        found = names_in(_annotation(table, parts[:length]))
        if found is not None and found.role in _SECRET:
            return True
    return False


def names_in(annotation: Any) -> Names | None:  # noqa: ANN401  (any annotation)
    """What the value under a key of this annotation names outside of the file, if anything."""
    found = next(
        (each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Names)), None
    )
    if found is not None:
        return found
    inner = get_args(annotation) if _is_wrapped(annotation) else ()
    return next(filter(None, map(names_in, inner)), None)


def field_annotation(field: FieldInfo) -> Any:  # noqa: ANN401  (any annotation)
    """A field's whole annotation: pydantic keeps the outermost metadata apart."""
    if not field.metadata:
        return field.annotation
    return Annotated[field.annotation, *field.metadata]


def _annotation(table: type[BaseModel], place: Sequence[str]) -> Any:  # noqa: ANN401
    """The annotation at a place below a table; None where there is none."""
    kind: Any = table
    for part in place:
        kind = _bare(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = _field(kind, part)
            kind = None if field is None else field_annotation(field)
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif get_origin(kind) is tuple:
            kind = get_args(kind)[0]
        else:
            return None
    return kind


def _field(table: type[BaseModel], key: str) -> FieldInfo | None:
    """The field of a key: some keys are words of Python's, and their fields have other names."""
    fields = table.model_fields.items()
    return next((field for name, field in fields if key == (field.alias or name)), None)


def _is_wrapped(kind: Any) -> bool:  # noqa: ANN401  (any annotation)
    return hasattr(kind, "__metadata__") or get_origin(kind) in (Union, UnionType)


def _bare(kind: Any) -> Any:  # noqa: ANN401  (any annotation may stand in the schema)
    """The annotation without ``| None`` and ``Annotated``."""
    while True:
        if hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, UnionType):
            kind = next(each for each in get_args(kind) if each is not type(None))
        else:
            return kind
