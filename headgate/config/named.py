"""What a configuration names outside of itself: secrets, certificates, files that are written.

Each such key is annotated with what it names, see ``headgate.config.values``. Keys of components
are found as those of any other table are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from headgate.config.chosen import Chosen
from headgate.config.keys import field_annotation, names_in
from headgate.config.lines import KeyPath
from headgate.config.values import Names


class Named(NamedTuple):
    """One value that names something.

    Attributes:
        key: Where the file has it.
        names: What it names.
        value: The variable's name, or the file.
    """

    key: KeyPath
    names: Names
    value: str | Path


def tables_of(config: BaseModel) -> Iterator[tuple[KeyPath, BaseModel]]:
    """All tables of a configuration, those of components too, with where the file has them."""
    yield from _tables((), config)


def named(config: BaseModel) -> Iterator[Named]:
    """All values that name something; relative files of the gateway's own are left as they are."""
    for key, table in tables_of(config):
        for name, field in type(table).model_fields.items():
            names, value = names_in(field_annotation(field)), getattr(table, name)
            if names is not None and isinstance(value, str | Path):
                yield Named((*key, field.alias or name), names, value)


def _tables(key: KeyPath, value: object) -> Iterator[tuple[KeyPath, BaseModel]]:
    if isinstance(value, BaseModel):
        yield key, value
        for name, field in type(value).model_fields.items():
            yield from _tables((*key, field.alias or name), getattr(value, name))
        yield from _tables(key, value.model_extra)
    elif isinstance(value, Chosen):
        yield from _tables(key if value.key is None else value.key, value.table)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _tables((*key, str(name)), each)
    elif isinstance(value, tuple):
        for position, each in enumerate(value):
            yield from _tables((*key, str(position)), each)
