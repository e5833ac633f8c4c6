"""What all tables of ``headgate.toml`` have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from headgate.config.schema import Config


class Table(BaseModel):
    """Base of all tables: unknown keys are refused, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def insecure(self) -> Iterator[str]:
        """What of it works and is not secure: ``key: what is wrong; what to do``, a line each."""
        yield from ()

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """What of it does not fit the whole file, or what it names: the key and what is wrong.

        Asked once the whole file is checked, and all that it names can be read.
        """
        yield from ()

    def idle(self, config: Config) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """What of it works and never does anything: the key, and ``what is wrong; what to do``."""
        yield from ()


def first_and_others(raw: object, key: str) -> object:
    """A table in which a list under a key is its first entry, and the others under ``or_KEY``.

    A list without entries, and one beside ``or_KEY``, is left to be refused.
    """
    if not isinstance(raw, Mapping):
        return raw
    value, others = raw.get(key), raw.get(f"or_{key}")
    if isinstance(others, str):
        return {**raw, f"or_{key}": [others]}
    if not isinstance(value, list | tuple) or others is not None:
        return raw
    return {**raw, key: value[0], f"or_{key}": list(value[1:])} if value else raw


def as_table(value: object, example: str) -> object:
    """A table, or one that was parsed; raises ValueError, with an example, for anything else."""
    if isinstance(value, Mapping | BaseModel):
        return value
    raise ValueError(f"expected a table such as {example}")
