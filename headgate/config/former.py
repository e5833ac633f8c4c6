"""Sinks where earlier versions had them: tables and flags that have no ``[sink.NAME]`` yet.

Which those are stands in the table of built-in sinks. They go on working, as sinks of the names
that they had, so that an update changes nothing; what they are called now is said once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from headgate.config.chosen import TYPE, Chosen, Former
from headgate.config.lines import KeyPath
from headgate.core.components import GROUPS

if TYPE_CHECKING:
    from headgate.config.schema import Config

_GROUP = "sinks"
_TABLE = "sink"

#: What is wrong with a file without a sink.
NO_SINK = f"no {_TABLE}: give a [{_TABLE}.NAME] with a {TYPE}; `headgate components` lists them"


def with_former_sinks(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A file's tables, with the sinks of former tables and flags among the others."""
    tables, flags = _former()
    found = {key: table for key, table in raw.items() if key not in tables}
    given = raw.get(_TABLE, {})
    if not isinstance(given, Mapping):
        return found  # it is said of that table
    sinks: dict[str, Any] = {}
    for key, name in tables.items():
        if raw.get(key) is not None:
            sinks[key] = Former(name, (key,), raw[key], is_taken=key in given)
    sinks |= {name: sink for name, sink in given.items() if name not in sinks}
    for (table, flag), name in flags.items():
        value = _value(raw.get(table), flag)
        if value is None or value:
            is_taken = name in sinks
            # On by default: only one that is asked for stands in the way of another.
            if not is_taken or value is True:
                sinks[name] = Former(name, (table, flag), {}, is_taken=is_taken)
    return found | {_TABLE: sinks}


def as_written(key: KeyPath, raw: Mapping[str, Any]) -> KeyPath:
    """Where the file has what is at this place below ``Config``."""
    given = raw.get(_TABLE)
    is_given = isinstance(given, Mapping) and len(key) > 1 and key[1] in given
    if key[:1] != (_TABLE,) or is_given or key[1:2] == () or key[1] not in _former()[0]:
        return key
    return key[1:]


def is_implied(sink: Chosen) -> bool:
    """Whether a sink is there without a table of its own."""
    return sink.key is not None and len(sink.key) > 1


def has_sink(raw: Mapping[str, Any]) -> bool:
    """Whether a file asks for a sink by a table of its own."""
    return any(raw.get(key) is not None for key in _former()[0]) or bool(raw.get(_TABLE))


def renamed(config: Config) -> Iterator[str]:
    """What is called otherwise now, ``key: how``, a line each."""
    for name, sink in config.sink.items():
        if sink.key is not None and not is_implied(sink):
            yield (
                f"{'.'.join(sink.key)}: is called [{_TABLE}.{name}] now, with {TYPE} = "
                f'"{sink.name}"; as it is it goes on working, see docs/migration.md'
            )


def _former() -> tuple[Mapping[str, str], Mapping[KeyPath, str]]:
    """Tables, and flags that are on by default, each with the name of its component."""
    group = import_module(GROUPS[_GROUP])
    return group.FORMER_TABLES, group.FORMER_FLAGS


def _value(table: object, key: str) -> object:
    if isinstance(table, Mapping):
        return table.get(key)
    return getattr(table, key) if key in getattr(table, "model_fields_set", ()) else None
