"""Tables of the file that name one another, which they must not do in a circle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from headgate.config.values import entries_of


def names_under(table: object, key: str) -> list[str]:
    """The texts under a key of a table as it stands in the file: one, or a list."""
    found = table.get(key) if isinstance(table, Mapping) else None
    return [] if found is None else [each for each in entries_of(found) if isinstance(each, str)]


def in_circle(named: Mapping[str, Sequence[str]]) -> str | None:
    """The first of these that leads back to itself; None where none does.

    Args:
        named: By name of a table, those that it names.
    """
    try:
        TopologicalSorter(named).prepare()
    except CycleError as error:
        first: str = min(error.args[1], key=[*named].index)
        return first
    return None
