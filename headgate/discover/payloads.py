"""What the messages of one topic are written in: tried with every format that is installed."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

from connectors.formats.decoder import FeedDecoder
from connectors.formats.inflate import compression_of, inflated
from connectors.formats.json.payload import loads
from connectors.formats.numbers import is_literal, number_text
from headgate.config.channel import plain
from headgate.config.schema import IngestConfig
from headgate.core.components import installed
from headgate.core.errors import ConfigError, DataError
from headgate.discover.envelopes import nested, whole
from headgate.discover.times import is_time_name, time_table
from headgate.discover.toml import toml_value
from headgate.discover.traffic import MOST_PAYLOAD, Message
from headgate.discover.trial import content_by, feed_of, reader
from headgate.discover.values import (
    LEAST_TEXTS,
    NO_READING,
    PRESENCE,
    are_hexadecimal,
    are_states,
    is_known_unit,
    same_behind,
    split_unit,
    states_of,
)

#: Formats that are recognized by what they hold; of others it is asked whether they can read it.
_OWN = frozenset({"json", "value", "csv", "binary"})

#: A message that a format of one kind of objects refuses; what reads it takes any object.
_ANY_OBJECT = b'{"temperature": 21.5, "humidity": 48}'

#: Keys of the one value in a small object.
_PLACES = ("value", "v", "val", "Value")
_FEW_KEYS = 3

#: Smaller numbers beside a value are no times of it: {"v": 3.3, "t": 21.5}.
_LEAST_TIME = 1e8

#: A longer text is no value.
_LONGEST_VALUE = 64

#: What stands between the values of a line.
_DELIMITERS = (";", "\t", "|", ",")

#: What stands between values that have names, and between name and value; Ultralight 2.0 first.
_ASSIGNED = (
    ("#", "|"), *((delimiter, assign) for delimiter in ";&,\t| " for assign in "=:"),
)  # fmt: skip
_ASSIGNED_NAME = re.compile(r"[^\W\d][\w.%/°-]{0,31}(?: [\w.%/°()-]{1,31}){0,3}")

#: Values of one line.
_MOST_COLUMNS = 100

#: Messages of a topic that are looked at for their format.
_LOOKED_AT = 12

#: Around a value they mean nothing.
_BLANKS = "\ufeff\0 \t\r\n"

#: So many of a topic's messages must be of one kind, of all.
_MOSTLY = 0.8


@dataclass(frozen=True, slots=True)
class Written:
    """How a topic's messages are written.

    Attributes:
        kind: ``value`` for one a message; ``objects``, ``list`` for arrays without keys; ``words``
            for one text a message that is no measurement, ``presence`` for whether a device is
            there, and ``nothing`` for what is not read.
        format: The feed's ``format``, as it stands in the file.
        why: For people, of what is not read.
        types: Content types of messages of objects, each with the format of those that say it.
        is_typed: Whether all messages say one of these.
    """

    kind: str
    format: Any = "json"
    why: str = ""
    types: tuple[tuple[str, Any], ...] = ()
    is_typed: bool = False

    @property
    def label(self) -> str:
        """What topics of one feed have in common."""
        return f"{self.kind} {toml_value(self.format)}"


_VALUE = Written("value", "value")
_WORDS = Written("words", "value", "words that no number is known for")
_PRESENCE = Written("presence", "value", "says whether a device is there; no measurement")
_EMPTY = Written("nothing", why="nothing in it")


def written(messages: Sequence[Message]) -> Written:
    """How the messages of one topic are written.

    Args:
        messages: Some of them, in the order they came.
    """
    by_type: dict[str, list[Message]] = {}
    for each in messages:
        by_type.setdefault(each.content_type, []).append(each)
    if not any(by_type):
        return _written(messages)
    found = {said: _written(some) for said, some in by_type.items()}
    # What says no type is what is read where none is said, and what comes most often otherwise.
    main = found[
        min(by_type, key=lambda said: (said != "", -len(by_type[said]), _rank(found[said])))
    ]
    if len({each.label for each in found.values()}) > 1 and main.kind != "objects":
        return _written(messages)
    types = {said: each.format for said, each in found.items() if said and _is_typed(each)}
    is_typed = "" not in by_type and main.kind == "objects"
    return replace(main, types=tuple(sorted(types.items())), is_typed=is_typed)


def _is_typed(how: Written) -> bool:
    """Whether a content type may stand for messages written so."""
    is_csv = isinstance(how.format, dict) and how.format["type"] == "csv"
    return how.kind == "objects" and not is_csv


def _rank(how: Written) -> tuple[bool, str]:
    """Of formats that come as often, the one that most know first."""
    return how.format != "json", how.label


def together(several: Sequence[tuple[Written, int]]) -> Written | None:
    """How topics of one feed are written whose formats their content types tell apart.

    Args:
        several: How each is written, and how many messages it has.

    Returns:
        None where they do not.
    """
    types: dict[str, Any] = {}
    weights: dict[str, int] = {}
    formats: dict[str, Written] = {}
    for how, count in several:
        if not _is_typed(how):
            return None
        for said, form in how.types:
            if types.setdefault(said, form) != form:
                return None
        formats[how.label] = how
        # What need not say its type has no other way to be told.
        weights[how.label] = weights.get(how.label, 0) + count + (0 if how.is_typed else 1 << 40)
    if sum(weight >= 1 << 40 for weight in weights.values()) > 1:
        return None
    main = min(weights, key=lambda label: (-weights[label], _rank(formats[label])))
    is_typed = all(how.is_typed for how, _ in several)
    return replace(formats[main], types=tuple(sorted(types.items())), is_typed=is_typed)


def _written(messages: Sequence[Message]) -> Written:
    full = [each for each in messages if each.payload.strip(b"\0 \t\r\n")]
    if not full:
        return _EMPTY
    looked_at = [*full[: _LOOKED_AT // 2], *full[_LOOKED_AT // 2 :][-_LOOKED_AT // 2 :]]
    payloads = [_unpacked(each.payload) for each in looked_at]
    arrived_ns = looked_at[0].arrived_ns
    return (
        _special(payloads)
        or _of_json(payloads)
        or _of_lines(payloads, arrived_ns)
        or Written("nothing", why=_why_not(payloads[-1]))
    )


def _of_json(payloads: Sequence[bytes]) -> Written | None:
    kinds = [_kind(payload) for payload in payloads]
    if set(kinds) == {"objects"} and (place := _place_of_one(payloads)):
        return Written("value", {"type": "value", "path": place})
    for kind in ("objects", "list"):
        if kinds.count(kind) >= _MOSTLY * len(kinds):
            return Written(kind, _json(payloads, {}))
    if kinds.count("lines") + kinds.count("objects") >= _MOSTLY * len(kinds):
        return Written("objects", _json(payloads, {"lines": True}))
    return None


def _json(payloads: Sequence[bytes], keys: Mapping[str, Any]) -> str | dict[str, Any]:
    """The format of JSON with these keys, and what it says of texts that are JSON themselves."""
    documents = []
    for payload in payloads:
        for part in payload.splitlines() if keys else [payload]:
            try:
                documents.append(whole(part))
            except DataError:
                continue
    keys = {**keys, **nested(documents, are_lines=bool(keys))}
    return {"type": "json", **keys} if keys else "json"


def _of_lines(payloads: Sequence[bytes], arrived_ns: int) -> Written | None:
    texts = [_text(payload) for payload in payloads]
    known = [text for text in texts if text is not None]
    if len(known) < _MOSTLY * len(texts):
        return None
    table = csv_table(known, arrived_ns)
    return _of_texts(known) if table is None else Written("objects", table)


def csv_table(texts: Sequence[str], arrived_ns: int) -> dict[str, Any] | None:
    """The format of lines of values; None where the texts are none.

    Args:
        texts: Some messages.
        arrived_ns: When the first of them came, ns since 1970 UTC.
    """
    if (assigned := assigned_table(texts)) is not None:
        return assigned
    for delimiter in _DELIMITERS:
        rows = _rows(texts, delimiter)
        if rows is None:
            continue
        table: dict[str, Any] = {"type": "csv"}
        if all(len(messages) > 1 and _is_header(messages) for messages in rows):
            return {**table, "header": True, "delimiter": delimiter}
        every = [row for messages in rows for row in messages]
        return {**table, "delimiter": delimiter, "columns": _columns(every, arrived_ns)}
    return None


def assigned_table(texts: Sequence[str]) -> dict[str, Any] | None:
    """The format of values that each have a name: ``t|23.4#h|80``; None where the texts are none.

    Args:
        texts: Some messages.
    """
    for delimiter, assign in _ASSIGNED:
        rows = [pairs_in(text, delimiter, assign) for text in texts]
        pairs = [pair for row in rows for pair in row]
        is_delimited = any(len(row) > 1 for row in rows) or (delimiter, assign) == _ASSIGNED[0]
        numbers = [value for _, value in pairs if is_number(value)]
        if all(rows) and is_delimited and 2 * len(numbers) >= len(pairs):
            return {"type": "csv", "assign": assign, "delimiter": delimiter}
    return None


def pairs_in(text: str, delimiter: str, assign: str) -> list[tuple[str, str]]:
    """The names and values of a text; none where one of its parts is anything else."""
    pairs = []
    for part in filter(str.strip, re.split(f"[\r\n{re.escape(delimiter)}]", text)):
        name, sign, value = part.partition(assign)
        if not sign or assign in value or _ASSIGNED_NAME.fullmatch(name.strip()) is None:
            return []
        pairs.append((name.strip(), value.strip()))
    return pairs


def _unpacked(payload: bytes) -> bytes:
    """What is compressed as it was before, where that can be read."""
    kind = compression_of(payload)
    try:
        return inflated(payload, kind, MOST_PAYLOAD) if kind else payload
    except DataError:
        return payload


def _special(payloads: Sequence[bytes]) -> Written | None:
    """A format of one kind of messages that reads them all."""
    for name in _formats():
        decoder = _probe(name)
        if decoder is None:
            continue
        records = [_records(decoder, payload) for payload in payloads]
        if sum(map(bool, records)) >= _MOSTLY * len(payloads):
            return Written("objects", name)
    return None


@cache
def _formats() -> tuple[str, ...]:
    """The formats that can be asked: those of one kind of objects first, then any others."""
    names = sorted({*installed("formats")} - _OWN)
    loose = [name for name in names if (probe := _probe(name)) and _records(probe, _ANY_OBJECT)]
    return tuple(name for name in names if name not in loose)


@cache
def _probe(name: str) -> FeedDecoder | None:
    """The decoder of a feed that asks a format what it reads; None where it has to be told more."""
    try:
        feed = feed_of({"topic": "{device...}", "format": name, "channels": {"x": {}}})
    except ConfigError:
        return None
    return None if feed is None else reader(feed, IngestConfig())


def _records(decoder: FeedDecoder, payload: bytes) -> bool:
    found = content_by(decoder, b"x/y", payload)
    if found is None:
        return False
    records = [each for each in found[1] if not isinstance(each, DataError)]
    return bool(records) and all(
        isinstance(each, dict) and each and all(isinstance(key, str) for key in each)
        for each in records
    )


def _kind(payload: bytes) -> str:
    """What JSON has in a payload: objects, lines of them, a list of others, a value; or nothing."""
    try:
        value = whole(payload)
    except DataError:
        lines = [line for line in payload.splitlines() if line.strip(b"\0 \t\r\n")]
        if len(lines) > 1 and all(_is_object(line) for line in lines[:_LOOKED_AT]):
            return "lines"
        return ""
    if isinstance(value, dict):
        return "objects"
    if isinstance(value, list):
        is_objects = bool(value) and all(isinstance(each, dict) for each in value)
        return "objects" if is_objects else "list"
    return "value"


def _place_of_one(payloads: Sequence[bytes]) -> str:
    """The key of the one value in small objects; empty where they are others."""
    places: set[str] = set()
    for payload in payloads:
        found = whole(payload)
        if not isinstance(found, dict) or len(found) > _FEW_KEYS:
            return ""
        places.update(key for key in found if key in _PLACES)
        for key, value in found.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if key not in _PLACES and is_number and not (is_time_name(key) and value > _LEAST_TIME):
                return ""
            if key in _PLACES and not (value is None or _is_one(value)):
                return ""
    return places.pop() if len(places) == 1 else ""


def _is_one(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and is_number(value))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(loads(line), dict)
    except DataError:
        return False


def _text(payload: bytes) -> str | None:
    try:
        text = payload.decode().strip(_BLANKS)
    except UnicodeDecodeError:
        return None
    is_clean = all(sign.isprintable() or sign in "\r\n\t" for sign in text)
    return text if is_clean else None


def _of_texts(texts: Sequence[str]) -> Written:
    """What texts are that stand alone: numbers, states, whether a device is there, or words."""
    bare = [text.strip('"') for text in texts]
    words = [text for text in bare if plain(text) not in NO_READING]
    if any(text[:1] in ("{", "[") for text in texts):
        return Written("nothing", why="now one thing, now another")
    numbers = [text for text in words if len(text) <= _LONGEST_VALUE and is_number(text)]
    if numbers and len(numbers) >= _MOSTLY * len(words):
        return _VALUE
    if len(set(words)) >= LEAST_TEXTS and (are_hexadecimal(words) or same_behind(words)):
        return _VALUE
    if all(plain(text) in PRESENCE for text in bare):
        return _PRESENCE
    if words and len(words) <= len(bare) and states_of(list(dict.fromkeys(words))) is not None:
        return _VALUE
    turns = sum(one != other for one, other in pairwise(words))
    return _VALUE if are_states(list(dict.fromkeys(words)), len(words), turns) else _WORDS


def is_number(text: str) -> bool:
    """Whether a text is a number, maybe as people write it, maybe with a unit behind it."""
    if number_text(text) is not None or is_literal(text):
        return True
    found = split_unit(text)
    return found is not None and not any(map(str.isdigit, found[1][:1]))


def _rows(texts: Sequence[str], delimiter: str) -> list[list[list[str]]] | None:
    """By message, its lines' values; None where they are no table."""
    found = []
    widths: set[int] = set()
    for text in texts:
        try:
            rows = [
                [cell.strip() for cell in row]
                for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
                if any(map(str.strip, row))
            ]
        except csv.Error:
            return None
        widths.update(map(len, rows))
        if not rows:
            return None
        found.append(rows)
    if len(widths) != 1:
        return None
    (width,) = widths
    least = 3 if delimiter == "," else 2
    every = [row for rows in found for row in rows]
    if width == least - 1 == 2 and all(_is_pair(row) for row in every):
        least = 2  # with points in its numbers a comma stands between them
    if not least <= width <= _MOST_COLUMNS:
        return None
    # A sentence has commas as well.
    data = [row for row in every if any(is_number(cell.replace(",", ".")) for cell in row)]
    return found if 2 * len(data) >= len(every) else None


def _is_pair(row: Sequence[str]) -> bool:
    return all(map(number_text, row)) and any("." in cell for cell in row)


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    head = rows[0]
    is_names = all(cell and not is_number(cell) for cell in head) and len(set(head)) == len(head)
    return is_names and any(is_number(cell) for cell in rows[1])


def _columns(rows: Sequence[Sequence[str]], arrived_ns: int) -> list[str]:
    """Names for columns that have none: the time, and numbered ones; empty for what is no value."""
    names = []
    has_time = False
    for at in range(len(rows[0])):
        cells = [row[at] for row in rows]
        full = [cell for cell in cells if plain(cell) not in NO_READING]
        if not has_time and time_table("time", cells, [arrived_ns] * len(cells)) is not None:
            names.append("time")
            has_time = True
        elif full and sum(map(is_number, full)) >= _MOSTLY * len(full):
            names.append(f"c{at + 1}")
        elif names and names[-1] == f"c{at}" and full and all(map(is_known_unit, full)):
            names.append(f"c{at}_unit")
        else:
            names.append("")
    return names


def _why_not(payload: bytes) -> str:
    try:
        loads(payload)
    except DataError as error:
        if error.reason == "compressed":
            return f"{error.detail.partition(';')[0]}; no installed format reads it"
    return 'bytes that no installed format reads; if their layout is known, format = "binary" does'
