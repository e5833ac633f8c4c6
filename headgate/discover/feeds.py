"""From topics of one pattern to the feed that reads them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError
from headgate.core.units import format_duration
from headgate.discover.fields import (
    Channel,
    Record,
    Values,
    channel_keys,
    channels_of,
    completed,
    described,
    device_paths,
    mixed_kinds,
    mixed_units,
    time_of,
    values_of,
)
from headgate.discover.leaves import path_of
from headgate.discover.names import channel_names
from headgate.discover.payloads import Written, pairs_in
from headgate.discover.records import (
    different,
    powers_beside,
    shaped,
    unclaimed,
    unit_in,
    units_beside,
)
from headgate.discover.roles import Roles, roles
from headgate.discover.topics import Pattern
from headgate.discover.traffic import Topic
from headgate.discover.trial import content_by, feed_of, reader, tried

#: Messages of one feed that are looked at, of all its topics together, and records in them.
_MOST_MESSAGES = 1500
_MOST_RECORDS = 4000

#: Channels of one feed that the topic names.
_MOST_NAMED = 400

#: So many of a feed's topics must be as it says, of all.
_MOSTLY = 0.8

#: Base fields of SenML.
_SENML = frozenset({"bn", "bt", "bv", "bu"})

_NO_TIME = "No field is the time of all messages: their arrival counts."

#: Windows for feeds that send seldom, s.
_WINDOWS_S = (10, 60, 300, 900, 3600, 6 * 3600, 86_400)

_NICE_S = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300,
    600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400,
)  # fmt: skip

_NS_PER_S = 10**9


@dataclass(slots=True)
class Proposed:
    """A feed.

    Attributes:
        name: What it may be called.
        topic: Its topic.
        table: All of it, as it stands in the file.
        notes: By channel, what was heard of it.
        comments: What else a person should know.
        example: One of its topics.
        names_a_topic: How many devices send on one topic.
        source: What it was made of: roles, topics, and how they are written.
        messages: How many it was made of.
    """

    name: str
    topic: str
    table: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    example: str = ""
    names_a_topic: int = 1
    source: tuple[Roles, list[Topic], Written] | None = None
    messages: int = 0


def propose(pattern: Pattern, topics: Sequence[Topic], how: Written) -> Proposed | str:
    """The feed for topics of one pattern; or why there is none."""
    names = [topic.name.split("/") for topic in topics]
    found = roles(pattern.levels, names, is_value=how.kind == "value")
    return of_roles(found, topics, how)


def of_roles(found: Roles, topics: Sequence[Topic], how: Written) -> Proposed | str:
    """The feed for topics whose levels have these roles; or why there is none."""
    make = _of_values if how.kind == "value" else _of_objects
    made = make(found, topics, how)
    if isinstance(made, str):
        return made
    if feed_of(made.table) is None:
        return "no feed was found that says all of it"
    made.example, made.source = topics[0].name, (found, list(topics), how)
    made.messages = sum(topic.count for topic in topics)
    if _hold_states(made, topics):
        made.table["retained"] = "state"
        made.comments.append(
            "The broker keeps the last message of each: what channels hold is known after a start."
        )
    periods = [each for topic in topics if (each := topic.period_ns) is not None]
    if periods:
        _add_period(made, median(periods) / _NS_PER_S * made.names_a_topic)
    return made


def _hold_states(made: Proposed, topics: Sequence[Topic]) -> bool:
    """Whether the broker keeps messages that say how things are until they are otherwise."""
    kept = sum(topic.is_kept for topic in topics)
    channels = made.table["channels"].values()
    is_state = all("states" in each or each.get("type") == "text" for each in channels)
    return is_state and kept >= _MOSTLY * len(topics)


def _of_values(found: Roles, topics: Sequence[Topic], how: Written) -> Proposed | str:
    """The feed of topics that have one value a message."""
    form = how.format if isinstance(how.format, dict) else {"type": how.format}
    if found.channel is None:
        form = {**form, "channel": found.channel_name}
        levels = [found.channel_name]
    else:
        at = found.channel
        levels = sorted({topic.name.split("/")[at] for topic in topics})[:_MOST_NAMED]
    paths = {level: path for level in levels if (path := path_of((level,))) is not None}
    if not paths:
        return "its channels have no names"
    names = channel_names(list(paths.values()))
    channels: dict[str, Any] = {
        names[path]: {} if names[path] == level else {"path": path} for level, path in paths.items()
    }
    table: dict[str, Any] = {
        "topic": found.topic,
        "format": how.format if found.channel is not None else form,
        "channels": channels,
    }
    records = _read(table, topics, wants_value="path" not in form)
    values: dict[str, Values] = {}
    units: dict[str, list[str]] = {}
    for each in records:
        level = levels[0] if found.channel is None else each.topic.split("/")[found.channel]
        value = each.record
        if "path" in form and isinstance(value, dict):
            units.setdefault(level, []).append(unit_in(value))
            value = value.get(form["path"])
        values.setdefault(level, Values()).add(value, each.topic)
    notes = {}
    comments: list[str] = []
    for level, path in paths.items():
        seen = values.get(level, Values())
        said = different(units.get(level, ()))
        keys = channel_keys(seen)
        mixed = mixed_units(path, seen, said)
        comments += [mixed] if mixed else mixed_kinds(path, seen) if keys is None else []
        if mixed or (keys is None and seen.count):
            channels.pop(names[path])
            continue
        channels[names[path]] |= completed(path, keys or {}, seen, said)
        notes[names[path]] = described(seen)
    if not channels:
        return " ".join(comments) or "words that no number is known for"
    made = Proposed(found.name, found.topic, table, notes, comments)
    if "path" in form:
        _add_time(made, records)
    return made


def _of_objects(found: Roles, topics: Sequence[Topic], how: Written) -> Proposed | str:
    table: dict[str, Any] = {"topic": found.topic, **_formats(how)}
    read = _read(table, topics)
    if not read:
        return "nothing in it that can be read"
    if how.kind == "list":
        read = [
            Record(
                {str(at): value for at, value in enumerate(each.record)}, each.around,
                each.arrived_ns, each.topic,
            )
            for each in read
            if isinstance(each.record, list)
        ]  # fmt: skip
        if not read:
            return "nothing in it that can be read"
    shape = shaped(read)
    records = [each for each in shape.records if isinstance(each.record, dict)][:_MOST_RECORDS]
    if not records:
        return "no objects in it"
    table |= shape.keys
    made = Proposed(found.name, found.topic, table)
    if "arrays" in table:
        records = [_first_elements(each) for each in records]
    taken = _add_time(made, records)
    if "arrays" in table and not taken:
        # Nothing says when their elements were.
        records = shape.records[:_MOST_RECORDS]
        del table["arrays"], shape.keys["arrays"]
    taken |= {shape.keys[key]["path"] for key in ("quality",) if key in shape.keys}
    pairs = {shape.keys["pairs"]["name"]} if "pairs" in shape.keys else set()
    taken |= _add_device(made, found, records, taken | pairs)
    if shape.names is not None:
        channels, left_out = _named_channels(shape.names, shape.units)
    else:
        taken |= shape.beside
        channels, left_out = _channels(records, taken)
    made.comments += [*shape.comments, *left_out]
    if not channels:
        why = "nothing in it is a number, or a word that is known for one"
        return " ".join(left_out) or why
    table["channels"] = {each.name: each.table for each in channels}
    made.notes = {each.name: each.note for each in channels}
    _take_senml(made, topics, records)
    return made


def _channels(records: Sequence[Record], taken: set[str]) -> tuple[list[Channel], list[str]]:
    """The channels of records, and what to know of those that are left out."""
    found = values_of(records)
    powers = powers_beside(found)
    units = units_beside(found)
    channels, left_out = channels_of(found, taken | {*powers.values()}, units)
    for each in channels:
        if each.path in powers:
            each.keys["power_of_ten"] = powers[each.path]
    return channels, [*left_out, *unclaimed(found, units)]


def _formats(how: Written) -> dict[str, Any]:
    """What a feed says of how its messages are written."""
    table = {} if how.format == "json" else {"format": how.format}
    types = {said: form for said, form in how.types if form != how.format}
    return {**table, "content_types": types} if types else table


def _take_senml(made: Proposed, topics: Sequence[Topic], records: Sequence[Record]) -> None:
    """Have SenML read what has its base fields, where it reads all of it: it knows the times."""
    keys = (key for each in records if isinstance(each.record, dict) for key in each.record)
    if _SENML.isdisjoint(keys) or "content_types" in made.table:
        return
    table = {"topic": made.topic, "format": "senml", "channels": made.table["channels"]}
    feed = feed_of(table)
    messages = [(topic.name.encode(), each) for topic in topics[:3] for each in topic.messages]
    if feed is None or not messages:
        return
    outcome = tried(
        feed,
        IngestConfig(),
        [name for name, _ in messages],
        [each.payload for _, each in messages],
        [each.arrived_ns for _, each in messages],
    )
    if outcome is not None and outcome.refusal is None and outcome.has_value:
        made.table = table
        made.comments = [each for each in made.comments if each != _NO_TIME]


def _read(
    table: Mapping[str, Any], topics: Sequence[Topic], *, wants_value: bool = False
) -> list[Record]:
    """What the format reads in the feed's messages: a record or a list of some from each."""
    probe = {"channels": {"x": {}}, **table}
    form = table.get("format")
    if isinstance(form, dict) and form["type"] == "csv":
        # It keeps nothing that nobody asks for.
        paths = [path for name in _names_in(form, topics) if (path := path_of((name,))) is not None]
        called = channel_names(paths)
        probe["channels"] = {called[path]: {"path": path} for path in paths} or {"x": {}}
    if "{device}" not in table["topic"]:
        probe["device"] = "x"
    feed = feed_of(probe)
    decoder = None if feed is None else reader(feed, IngestConfig())
    if feed is None or decoder is None:
        return []
    by_type = {said: reader(each, IngestConfig()) for said, each in feed.by_content_type.items()}
    most = max(3, _MOST_MESSAGES // max(len(topics), 1))
    found = []
    for topic in topics:
        messages = topic.messages
        for message in [*messages[: most // 2], *messages[most // 2 :][-(most - most // 2) :]]:
            own = by_type.get(message.content_type) or decoder
            got = content_by(own, topic.name.encode(), message.payload)
            if got is None:
                continue
            around: Any = got[0]
            if wants_value and isinstance(around, dict):
                around = next(iter(around.values()), None)
            if not isinstance(around, DataError):
                found.append(Record(around, around, message.arrived_ns, topic.name))
        if len(found) > 2 * _MOST_MESSAGES:
            break
    return found


def _names_in(form: Mapping[str, Any], topics: Sequence[Topic]) -> list[str]:
    """What values of lines are called, in all messages."""
    if "assign" in form:
        return _assigned(topics, form["delimiter"], form["assign"])
    return form.get("columns") or _header(topics, form["delimiter"])


def _header(topics: Sequence[Topic], delimiter: str) -> list[str]:
    """The names that lines of values begin with, of all topics."""
    names: dict[str, None] = {}
    for topic in topics:
        for message in topic.messages[:1]:
            lines = message.payload.decode(errors="replace").strip("\ufeff\0 \t\r\n").splitlines()
            cells = next(csv.reader(lines[:1], delimiter=delimiter), [])
            names.update(dict.fromkeys(cell.strip() for cell in cells))
    return list(names)


def _assigned(topics: Sequence[Topic], delimiter: str, assign: str) -> list[str]:
    """The names that stand before values, of all messages."""
    names: dict[str, None] = {}
    for topic in topics:
        for message in topic.messages:
            pairs = pairs_in(message.payload.decode(errors="replace"), delimiter, assign)
            names.update(dict.fromkeys(name for name, _ in pairs))
    return list(names)


def _add_time(made: Proposed, records: Sequence[Record]) -> set[str]:
    """Add the time, if there is one; the paths that it takes."""
    time = time_of(records)
    if time is None:
        made.comments.append(_NO_TIME)
        return set()
    made.table["time"] = time
    if str(time.get("zone", "")).startswith("Etc/"):
        made.comments.append(
            "Times are local, and by their arrival of this zone; write its name, such as "
            '"Europe/Berlin", so that summer time is right.'
        )
    path = time["path"]
    return {*path} if isinstance(path, list) else {str(path)}


def _add_device(
    made: Proposed, found: Roles, records: Sequence[Record], taken: set[str]
) -> set[str]:
    """Have the payload name the device, where the topic does not; the paths that it takes."""
    paths = device_paths(records, taken)
    several = [path for path, is_several in paths if is_several]
    if paths and not paths[0][1] and all(_is_level(each, paths[0][0]) for each in records):
        return set()  # the topic says it as well
    if several:
        path = several[0]
    elif paths and found.is_made_up:
        path = paths[0][0]
    else:
        return set()
    made.names_a_topic = _names_a_topic(records, path)
    by_name: dict[object, set[str]] = {}
    for each in records:
        by_name.setdefault(_at(each, path), set()).add(each.topic)
    if any(len(topics) > 1 for topics in by_name.values()) and found.free:
        # The same name on two topics is two devices.
        made.table["topic"] = made.topic = found.with_tag
        made.table["device"] = f"{{{found.tag}}}/{{{path}}}"
    else:
        made.table["topic"] = made.topic = found.without_device
        made.table["device"] = path
    return {path}


def _named_channels(
    names: Mapping[str, list[object]], units: Mapping[str, Sequence[str]]
) -> tuple[list[Channel], list[str]]:
    """Channels of records that say their names, and what to know of those that are left out."""
    paths = {name: path for name in sorted(names) if (path := path_of((name,))) is not None}
    called = channel_names(list(paths.values()))
    channels = []
    comments = []
    for name, path in paths.items():
        values = Values()
        for value in names[name]:
            values.add(value)
        said = different(units.get(name, ()))
        if mixed := mixed_units(path, values, said):
            comments.append(mixed)
            continue
        keys = channel_keys(values)
        if keys is None:
            comments += mixed_kinds(path, values)
            continue
        keys = completed(path, keys, values, said)
        channels.append(Channel(called[path], path, keys, described(values)))
    return channels, comments


def _first_elements(each: Record) -> Record:
    assert isinstance(each.record, dict)  # noqa: S101  (the caller has looked)
    first = {
        key: value[0] if isinstance(value, list) and value else value
        for key, value in each.record.items()
    }
    return Record(first, each.around, each.arrived_ns, each.topic)


def _add_period(made: Proposed, period_s: float) -> None:
    nice_s = min(_NICE_S, key=lambda step: max(step / period_s, period_s / step))
    made.table["period"] = format_duration(round(nice_s * _NS_PER_S))
    window_s = next((each for each in _WINDOWS_S if each >= 2 * nice_s), _WINDOWS_S[-1])
    if window_s != _WINDOWS_S[0]:
        made.table["aggregates"] = [{"window": format_duration(window_s * _NS_PER_S)}]


def _names_a_topic(records: Sequence[Record], path: str) -> int:
    """The most names that stand there on one topic, of those that do not come together."""
    by_topic: dict[str, dict[int, set[object]]] = {}
    for each in records:
        of_topic = by_topic.setdefault(each.topic, {})
        of_topic.setdefault(each.arrived_ns, set()).add(_at(each, path))
    most = 1
    for messages in by_topic.values():
        together = max(map(len, messages.values()))
        most = max(most, round(len(set().union(*messages.values())) / together))
    return most


def _is_level(record: Record, path: str) -> bool:
    return str(_at(record, path)) in record.topic.split("/")


def _at(record: Record, path: str) -> object:
    for where in (record.record, record.around):
        value = where
        for part in re.findall(r'"([^"]+)"|([^."]+)', path):
            key = part[0] or part[1]
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None
