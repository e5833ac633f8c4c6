"""What in the file must fit together: names that refer to each other, topics that must not meet.

These checks look at the file as it was parsed, so they report their problems together with those of
single values, whatever else is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headgate.config.action import ACTIONS
from headgate.config.certificates import key_problem
from headgate.config.derived import derived_problems
from headgate.config.former import NO_SINK, Written, has_sink, written_sources
from headgate.config.lines import KeyPath
from headgate.config.named import Named, named, tables_of
from headgate.config.overlap import are_tied
from headgate.config.preset import with_preset
from headgate.config.problems import Problem, shown_key
from headgate.config.rule import rule_problems
from headgate.config.schedule import schedule_problems
from headgate.config.schema import Config, LogConfig, read_secret, room_for_backlog
from headgate.config.source import brings, source_problem, source_table
from headgate.config.table import Table
from headgate.config.values import Role
from headgate.core.units import (
    format_duration,
    format_size,
    parse_duration_ns,
    parse_size_bytes,
)

#: The flag of the sink that is there without a table.
_IMPLIED = ("mqtt", "publish_anomalies")


def broken_references(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems between the tables of a file. Values of the wrong type are passed over."""
    feeds = {
        name: _with_preset(feed)
        for name, feed in _table(raw, "feed").items()
        if isinstance(feed, dict)
    }
    sources = written_sources(raw)
    kinds = {name: source.name for name, source in sources.items()}
    models = _table(raw, "model")
    for name, feed in feeds.items():
        wanted = feed.get("models")
        for model in wanted if isinstance(wanted, list) else ():
            if isinstance(model, str) and model not in models:
                known = ", ".join(models) or "none"
                yield Problem(
                    ("feed", name, "models"),
                    f"no [{shown_key(('model', model))}] in this file; those there are: {known}",
                )
        for wrong in derived_problems(feed):
            yield Problem(("feed", name, *wrong.key), wrong.what, wrong.pointer)
    yield from _of_rules(raw, feeds)
    if not has_sink(raw):
        yield Problem((), NO_SINK)
    workers = _table(raw, "streams").get("workers")
    partitions = _table(raw, "log").get("partitions", LogConfig.model_fields["partitions"].default)
    if type(workers) is int and type(partitions) is int and workers > partitions:
        yield Problem(
            ("streams", "workers"), f"expected at most log.partitions, {partitions}, got {workers}"
        )
    yield from _backlog_without_room(raw)
    yield from _forgotten_too_soon(raw, sources)
    for name, feed in feeds.items():
        said = _sources_of(feed, ())
        if said is not None and (problem := source_problem(said, kinds)):
            yield Problem(("feed", name, "source"), problem)
    bringing = tuple(name for name, kind in kinds.items() if brings(kind))
    yield from _overlapping_topics(feeds, bringing)
    yield from _topics_of_no_message(feeds, kinds)


def _of_rules(raw: Mapping[str, Any], feeds: Mapping[str, Any]) -> Iterator[Problem]:
    rules = _table(raw, "rule")
    for misfit in rule_problems(rules, feeds):
        yield Problem(("rule", *misfit.key), misfit.what, misfit.pointer)
    for each in schedule_problems(_table(raw, "schedule"), rules):
        yield Problem(each.key, each.what)


def unreadable(config: Config) -> Iterator[Problem]:
    """Secrets, files and folders that the configuration names and that can't be read."""
    for each in named(config):
        if each.names.role in (Role.SECRET_VARIABLE, Role.SECRET_FILE):
            if problem := _secret_problem(each):
                yield Problem(each.key, problem)
        elif each.names.role not in (Role.DATA_FILE, Role.WRITTEN_TOPICS, Role.SOURCE):
            path = Path(each.value)
            if not path.is_file():
                yield Problem(each.key, f"expected a file, found none at {path}")
            elif each.names.role is Role.PRIVATE_KEY and (problem := key_problem(path)):
                yield Problem(each.key, problem)
    for name, model in config.model.items():
        if not (model.package / "model.toml").is_file():
            yield Problem(
                ("model", name, "package"),
                f"expected a model package, found no model.toml in {model.package}",
            )


def unusable(config: Config) -> Iterator[Problem]:
    """What tables say themselves that does not fit, once all that they name can be read."""
    if config.action and ACTIONS in config.sink:
        what = "expected another name: [action.NAME] have a place of this name among the sinks"
        yield Problem(("sink", ACTIONS), what)
    for key, table in tables_of(config):
        if isinstance(table, Table):
            for own, what in table.unusable(config):
                yield Problem((*key, own), what)


def shared_targets(config: Config) -> Iterator[Problem]:
    """Files and topics that two keys name for the gateway to write to; and files that are none."""
    keys: dict[tuple[Role, object], KeyPath] = {}
    if config.log.is_embedded:
        keys[Role.DATA_FILE, config.log_path.absolute()] = ("log", "url")
    found = list(named(config))
    # Where it says so, the broker that the topics of a table are published to.
    brokers = {each.key[:-1]: each.value for each in found if each.names.role is Role.SOURCE}
    # A sink that is there by itself, or has its table of earlier, is not the one to be mended.
    for each in sorted(found, key=lambda each: each.key[0] == "sink"):
        target: Path | str
        if each.names.role is Role.DATA_FILE:
            target, what = config.data_path(Path(each.value)).absolute(), "a file"
            # Who may not look into its folder is told nothing of it.
            if os.path.isdir(target):  # noqa: PTH112  (Path's raises then)
                yield Problem(each.key, f"expected a file, found a folder at {target}")
        elif each.names.role is Role.WRITTEN_TOPICS:
            target, what = str(each.value), "topics"
        else:
            continue
        at = brokers.get(each.key[:-1], next(iter(config.source)))
        place = (at, target) if each.names.role is Role.WRITTEN_TOPICS else target
        other = keys.setdefault((each.names.role, place), each.key)
        if other != each.key:
            # A sink that is there by a flag has no such key.
            named_by = shown_key(other[:2] if other[:2] == _IMPLIED else other)
            yield Problem(
                each.key, f"expected {what} of its own, got {target}, which {named_by} names, too"
            )


def unknown_sources(config: Config) -> Iterator[Problem]:
    """Keys of components that name a source that there is none of."""
    for each in named(config):
        if each.names.role is Role.SOURCE and str(each.value) not in config.source:
            kinds = {name: chosen.name for name, chosen in config.source.items()}
            problem = source_problem((str(each.value),), kinds)
            yield Problem(each.key, problem)


def crossed_sources(config: Config) -> Iterator[Problem]:
    """Sources that have one session, and those that give others a part of what a feed needs."""
    keys: dict[str, KeyPath] = {}
    for name, source in config.sources.items():
        key = config.source[name].key or ("source", name)
        other = keys.setdefault(source.session, key) if source.session else key
        if other != key:
            yield Problem(
                (*key, source.session_key),
                f"expected one of its own, got that of {shown_key(other)} at the same place: one "
                "would end the other's connection, and take messages of its feeds",
            )
    for name, feed in config.feed.items():
        for source_name in config.sources_of(name) if feed.needs_every_message else ():
            if config.sources[source_name].is_shared:
                yield Problem(
                    ("feed", name, "format"),
                    f"{feed.format.name} means nothing without every message; leave shared_group "
                    f"out of source {source_name}, which would give others a part of them",
                )


def _secret_problem(secret: Named) -> str:
    """Why a secret can't be used; empty when it can."""
    is_variable = secret.names.role is Role.SECRET_VARIABLE
    try:
        if is_variable:
            found = read_secret(str(secret.value), None)
        else:
            found = read_secret(None, Path(secret.value))
    except ValueError as error:
        return str(error)
    name = secret.key[-1].removesuffix("_env").removesuffix("_file")
    if not found:
        return f"expected a {name}, found an empty file"
    if len(found) < secret.names.least:
        return (
            f"expected a {name} of at least {secret.names.least} characters, that nobody guesses, "
            f"found {len(found)}; `openssl rand -hex 16` makes one"
        )
    return ""


def _with_preset(feed: dict[str, Any]) -> dict[str, Any]:
    """A feed's table with what its preset stands for, if there is such a preset."""
    try:
        return with_preset(feed)
    except ValidationError:
        return feed


def _table(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = raw.get(name)
    return table if isinstance(table, dict) else {}


def _backlog_without_room(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """A backlog that the log would cut off before it is thinned."""
    log = _table(raw, "log")
    text, kept = _table(raw, "forward").get("max_backlog"), log.get("retention_bytes")
    try:
        wanted = parse_size_bytes(text)
        total = LogConfig.model_fields["retention_bytes"].default if kept is None else kept
        room = room_for_backlog(total if isinstance(total, int) else parse_size_bytes(total))
    except ValueError:
        return
    if wanted > room:
        yield Problem(
            ("forward", "max_backlog"),
            f"expected at most {format_size(room)}, for which log.retention_bytes has room, got "
            f'"{text}"; raise log.retention_bytes too',
        )


def _forgotten_too_soon(
    raw: Mapping[str, Any], sources: Mapping[str, Written]
) -> Iterator[Problem]:
    """Devices that would be forgotten while readings of theirs may still wait somewhere."""
    text = _table(raw, "gateway").get("forget_after")
    if text is None:
        return
    log = _table(raw, "log").get("retention")
    default_ns: int = LogConfig.model_fields["retention"].default
    bounds: list[tuple[KeyPath, object, int, str]] = [
        (("log", "retention"), log, default_ns, "more than")
    ]
    for source in sources.values():
        table = source_table(source.name)
        if table is not None and (key := table.kept_key):
            default_ns = table.model_fields[key].default
            bounds.append(((*source.key, key), source.own.get(key), default_ns, "at least"))
    for place, other, least_ns, bound in bounds:
        try:
            forget_ns = parse_duration_ns(text)
            other_ns = least_ns if other is None else parse_duration_ns(other)
        except ValueError:
            continue
        if forget_ns < other_ns or (bound == "more than" and forget_ns == other_ns):
            yield Problem(
                ("gateway", "forget_after"),
                f'expected {bound} {shown_key(place)}, {format_duration(other_ns)}, got "{text}"',
            )


def _sources_of(feed: Mapping[str, Any], every: tuple[str, ...]) -> tuple[str, ...] | None:
    """Where a feed's messages come from; None where what it says is of the wrong type."""
    said = feed.get("source")
    if said is None:
        return every
    names = [said] if isinstance(said, str) else said
    is_right = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_right and names else None


def _topics_of_no_message(
    feeds: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, str]
) -> Iterator[Problem]:
    """Feeds of what a source measures whose topic is not the one that it has, or without it."""
    for name, feed in feeds.items():
        sources = _sources_of(feed, ()) or ()
        preset = feed.get("preset")
        if not brings(preset) and preset not in {kinds.get(source) for source in sources}:
            yield Problem(
                ("feed", name, "source"),
                f'expected a source that measures what preset "{preset}" has: give '
                f'[source.{preset}] with type = "{preset}", and here source = "{preset}"',
            )
        for source in sources:
            table = source_table(kinds.get(source, ""))
            if table is None or not table.own_topic or feed.get("topic") == table.own_topic:
                continue
            kind = kinds[source]
            yield Problem(
                ("feed", name, "topic"),
                f'expected "{table.own_topic}", the topic of what source {source} measures, got '
                f'{feed.get("topic", "none")}; preset = "{kind}" has it, and the channels',
            )


def _overlapping_topics(
    feeds: Mapping[str, Mapping[str, Any]], sources: tuple[str, ...]
) -> Iterator[Problem]:
    """Feeds that one message could belong to, none of them more specific than the other."""
    topics = {
        name: (feed["topic"], {*(_sources_of(feed, sources) or sources)})
        for name, feed in feeds.items()
        if isinstance(feed.get("topic"), str)
    }
    for (name, (topic, here)), (other_name, (other, there)) in combinations(topics.items(), 2):
        if here & there and are_tied(topic, other):
            yield Problem(
                ("feed", other_name, "topic"),
                f"{other} and feed.{name}'s {topic} may match the same message, and neither is "
                "more specific; write in one of them the text of a level that is a wildcard",
            )
