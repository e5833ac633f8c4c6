"""Components where earlier versions had them: tables and flags that have no ``[sink.NAME]`` yet.

Which those are stands in the tables of built-in sinks and sources. They go on working under the
names that they had, so that an update changes nothing. What an old sink is called now is said once;
``[mqtt]`` stays as it is, for it is all that a gateway with one broker needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headgate.config.chosen import TYPE, Chosen, Former
from headgate.config.lines import KeyPath
from headgate.config.source import brings
from headgate.core.components import GROUPS

if TYPE_CHECKING:
    from headgate.config.schema import Config

_SINK: Final = "sink"
_SOURCE: Final = "source"

#: By table of the file, the group of its components.
_TABLES: Final = {_SINK: "sinks", _SOURCE: "sources"}

#: What is wrong with a file without a sink.
NO_SINK = f"no {_SINK}: give a [{_SINK}.NAME] with a {TYPE}; `headgate components` lists them"


class Written(NamedTuple):
    """A component as a file has it.

    Attributes:
        key: Where.
        name: What chooses it; empty where nothing does.
        own: Its own keys, as they were parsed.
    """

    key: KeyPath
    name: str
    own: Mapping[str, Any]


def with_former(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A file's tables, with the components of former tables and flags among the others."""
    former = {key for table in _TABLES for key in _former_tables(table)}
    found = {key: value for key, value in raw.items() if key not in former}
    for table in _TABLES:
        given = raw.get(table, {})
        if isinstance(given, Mapping):  # of one that is none it is said
            found[table] = _with_tables(table, given, raw)
    if isinstance(found.get(_SINK), dict):
        _add_flags(found[_SINK], raw)
    return found


def written_sources(raw: Mapping[str, Any]) -> dict[str, Written]:
    """By name, the sources of a file, also where something is wrong with it."""
    given = raw.get(_SOURCE, {})
    if not isinstance(given, Mapping):
        return {}
    found = {}
    for name, each in _with_tables(_SOURCE, given, raw).items():
        key: KeyPath = (_SOURCE, name)
        kind, own = each, each
        if isinstance(each, Former):
            key, kind, own = each.key, each.name, each.own
        elif isinstance(each, Mapping):
            kind = each.get(TYPE)
        table = own if isinstance(own, Mapping) else {}
        found[name] = Written(key, kind if isinstance(kind, str) else "", table)
    return found


def as_written(key: KeyPath, raw: Mapping[str, Any]) -> KeyPath:
    """Where the file has what is at this place below ``Config``."""
    if len(key) < 2 or key[0] not in _TABLES or key[1] not in _former_tables(key[0]):
        return key
    given = raw.get(key[0])
    return key if isinstance(given, Mapping) and key[1] in given else key[1:]


def is_implied(sink: Chosen) -> bool:
    """Whether a sink is there without a table of its own."""
    return sink.key is not None and len(sink.key) > 1


def has_sink(raw: Mapping[str, Any]) -> bool:
    """Whether a file asks for a sink by a table of its own."""
    return any(raw.get(key) is not None for key in _former_tables(_SINK)) or bool(raw.get(_SINK))


def renamed(config: Config) -> Iterator[str]:
    """What is called otherwise now, ``key: how``, a line each."""
    for name, sink in config.sink.items():
        if sink.key is not None and not is_implied(sink):
            yield (
                f"{'.'.join(sink.key)}: is called [{_SINK}.{name}] now, with {TYPE} = "
                f'"{sink.name}"; as it is it goes on working, see docs/migration.md'
            )


def displaced(config: Config) -> Iterator[str]:
    """Sinks that are there by a flag, but for another that has their name, a line each."""
    for (table, flag), name in _group(_SINK).FORMER_FLAGS.items():
        sink, source = config.sink.get(name), config.source.get(table)
        is_on = source is not None and source.key == (table,) and getattr(source.table, flag)
        if is_on and sink is not None and sink.key is None and sink.name != name:
            yield (
                f'{_SINK}.{name}: with {TYPE} = "{sink.name}" it takes the place of the results '
                f"that go back over {name} by default; give it another name, or say {table}.{flag} "
                "= false if they are not wanted"
            )


def _with_tables(table: str, given: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is given in one of the tables, behind what stands in tables of its own."""
    found: dict[str, Any] = {}
    former = _former_tables(table)
    for key, name in former.items():
        if raw.get(key) is not None:
            found[key] = Former(name, (key,), raw[key], is_taken=key in given)
    found |= {name: each for name, each in given.items() if name not in found}
    if table == _SOURCE and not _bring(found):
        # The broker on this machine need not be said.
        found = {key: Former(name, (key,), {}) for key, name in former.items()} | found
    return found


def _bring(sources: Mapping[str, Any]) -> bool:
    """Whether any of the sources is there for what others send."""
    kinds = []
    for each in sources.values():
        table = each.get(TYPE) if isinstance(each, Mapping) else None
        kinds.append(each.name if isinstance(each, Former) else table)
    return any(brings(kind) for kind in kinds)


def _add_flags(sinks: dict[str, Any], raw: Mapping[str, Any]) -> None:
    """Add the sinks that are there by a flag."""
    given = raw.get(_SOURCE)
    is_other = _bring(given) if isinstance(given, Mapping) else bool(given)
    for (table, flag), name in _group(_SINK).FORMER_FLAGS.items():
        value = _value(raw.get(table), flag)
        # Without the table that it stands in, it is on where nothing takes that table's place.
        is_on = raw.get(table) is not None or not is_other if value is None else value
        if is_on:
            is_taken = name in sinks
            # On by default: only one that is asked for stands in the way of another.
            if not is_taken or value is True:
                sinks[name] = Former(name, (table, flag), {}, is_taken=is_taken)


def _former_tables(table: str) -> Mapping[str, str]:
    """Tables of earlier versions, each with the name of its component."""
    tables: Mapping[str, str] = _group(table).FORMER_TABLES
    return tables


def _group(table: str) -> Any:  # noqa: ANN401  (a module)
    return import_module(GROUPS[_TABLES[table]])


def _value(table: object, key: str) -> object:
    if isinstance(table, Mapping):
        return table.get(key)
    return getattr(table, key) if key in getattr(table, "model_fields_set", ()) else None
