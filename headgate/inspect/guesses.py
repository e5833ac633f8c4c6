"""What may help against a refusal: changes of a feed, to be tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from connectors.formats.json.payload import loads
from connectors.formats.paths import array_below
from connectors.formats.topics import TopicPattern
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.config.schema import IngestConfig
from headgate.core.components import installed
from headgate.core.errors import DataError
from headgate.discover.leaves import leaves
from headgate.discover.payloads import assigned_table
from headgate.discover.times import PATTERNS, is_time_name, tables
from headgate.discover.trial import content
from headgate.inspect.value_guesses import Changes, for_value, format_of

#: Places of a time that are tried.
_TIME_PLACES = 3

#: Patterns of times that are tried where it is not known which value is the time.
_FEW_PATTERNS = 3

#: Channels that one value may be of, if nothing says of which.
_FEW_CHANNELS = 3

#: Channels that are proposed for one message.
_MOST_CHANNELS = 12

#: Keys that a device's name stands under, in small letters.
_DEVICE_KEYS = (
    "device", "deviceid", "device_id", "devicename", "device_name", "id", "serial", "sn", "mac",
    "deveui", "dev_eui", "name", "sensor", "sensorid", "sensor_id", "node", "uuid", "model",
)  # fmt: skip

#: Keys of a feed that a message of one value has no use for.
_BESIDE = ("records", "pairs", "arrays", "quality", "time")

#: Digits in base 16, with what stands between and before them.
_HEXADECIMAL = re.compile(r"[0-9A-Fa-fxX\s:.,;_-]{4,}", re.ASCII)

_NAME_KEYS = ("name", "id", "n", "tag", "resourceName", "channel", "key", "metric", "nodeId")
_VALUE_KEYS = ("value", "v", "val", "Value", "data", "reading")


def guesses(
    feed: FeedConfig,
    table: dict[str, Any],
    limits: IngestConfig,
    message: tuple[bytes, bytes],
    error: DataError,
) -> Iterator[Changes]:
    """What may help against a refusal, the nearest first; not all of it does.

    Args:
        feed: The feed that refuses.
        table: The same as it stands in the file.
        limits: What one message may hold.
        message: Topic and payload.
        error: The refusal; ``bad_field`` where a field is no number.
    """
    topic, payload = message
    reason, detail = error.reason, error.detail
    found = content(feed, limits, topic, payload)
    envelope, records = found if found is not None else (None, ())
    record = next((each for each in records if isinstance(each, dict)), envelope)
    if reason in ("bad_field", "wrong_type"):
        places = [each for each in (*records, envelope) if isinstance(each, dict)]
        yield from for_value(feed, table, places, detail)
    elif reason == "bad_time":
        yield from _for_time(feed, table, record, envelope)
    elif reason in ("no_channels", "missing_records", "not_object", "uneven_arrays"):
        yield from _for_shape(feed, record, envelope, topic)
    elif reason == "bad_device":
        yield from _for_device(record, envelope)
    elif reason == "missing_field":
        channel = detail.partition(" ")[0]
        if channel in feed.channels:
            yield ((("channels", channel, "required"), None),)
    if reason.startswith("not_") or reason in ("empty", "compressed", "no_channels"):
        yield from _for_reading(feed, table, message)
    if reason == "not_utf8" and ("UTF-16" in detail or b"\0" not in payload):
        yield ((("charset",), "utf-16" if "UTF-16" in detail else "cp1252"),)


def _for_time(
    feed: FeedConfig, table: dict[str, Any], record: object, envelope: object
) -> Iterator[Changes]:
    around = {**dict(leaves(envelope)), **dict(leaves(record))}
    path = feed.time.path
    bounds = {
        key: value
        for key, value in table.get("time", {}).items()
        if key in ("max_ahead", "not_before", "confirm")
    }
    if isinstance(path, str) and path in around:
        places = [path]
    else:
        places = sorted(
            (each for each in around if is_time_name(each)), key=lambda each: each.count(".")
        )
    for place in places[:_TIME_PLACES]:
        for each in tables(around[place]):
            if len(places) > 1 and each.get("pattern") in PATTERNS[_FEW_PATTERNS:]:
                continue
            yield ((("time",), {"path": place, **each, **bounds}),)
    if path is not None:
        yield ((("time", "fallback"), "arrival"),)
    yield ((("time",), None),)


def _for_device(record: object, envelope: object) -> Iterator[Changes]:
    around = {**dict(leaves(envelope)), **dict(leaves(record))}
    for key in _DEVICE_KEYS:
        for path, value in around.items():
            name = path.rpartition(".")[2].casefold()
            if name == key and isinstance(value, str | int) and not isinstance(value, bool):
                yield ((("device",), path),)


def _for_shape(
    feed: FeedConfig, record: object, envelope: object, topic: bytes
) -> Iterator[Changes]:
    if feed.format.name == "value":
        channel = _level_of(feed, topic, "channel")
        if channel:
            yield ((("channels", channel), {}),)
        return
    if feed.pairs is not None:
        names = [
            value
            for path, value in leaves(record)
            if (path,) == feed.pairs.name and isinstance(value, str | int)
        ]
        yield tuple((("channels", str(name)), {}) for name in names)
        return
    yield from _paths_of_known(feed, record)
    inside = array_below(record)
    below = array_below(envelope)
    if feed.records is not None and inside:
        below = f"{feed.records}.{inside}"
    for place in _outward(below):
        yield from _for_array(place)
    if feed.records is not None and feed.records != below:
        yield ((("records",), None),)
    numbers = [
        path
        for path, value in leaves(record)
        if isinstance(value, int | float) and not is_time_name(path) and path not in feed.channels
    ]
    if numbers and not below:
        yield tuple(
            (("channels", name), {} if path == name else {"path": path})
            for name, path in _named(numbers[:_MOST_CHANNELS]).items()
        )


def _outward(path: str) -> Iterator[str]:
    """A path, and all that it leads over, from its end; none of an empty one."""
    while path:
        yield path
        path = "" if '"' in path else path.rpartition(".")[0]


def _for_array(below: str) -> Iterator[Changes]:
    yield ((("records",), below),)
    for name in _NAME_KEYS:
        for value in _VALUE_KEYS:
            yield ((("records",), below), (("pairs",), {"name": name, "value": value}))


def _paths_of_known(feed: FeedConfig, record: object) -> Iterator[Changes]:
    """The feed's channels where they stand in this payload, under other keys or deeper."""
    places: dict[str, str] = {}
    for path, value in leaves(record):
        if isinstance(value, int | float | str):
            places.setdefault(_simple(path.rpartition(".")[2]), path)
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, channel in feed.channels.items():
        place, known = places.get(_simple(name)), channel.path or name
        if place is None or place in channel.paths(name):
            continue
        if not known.startswith(f"{place}."):
            found.append((("channels", name, "path"), place))
        elif channel.to is None and (channel.scale, channel.offset) == (1, 0):
            # The value alone in place of an object with it: it may be the one or the other.
            found.append((("channels", name, "path"), [*channel.paths(name), place]))
    if found:
        yield tuple(found)


def _named(paths: Sequence[str]) -> dict[str, str]:
    """Names of channels by the last keys of their paths, as many as it takes to tell them apart."""
    named: dict[str, str] = {}
    for path in paths:
        parts = parts_of(path)
        name = parts[-1]
        for length in range(1, len(parts) + 1):
            name = "_".join(parts[-length:])
            # A number is no name.
            if name not in named and not parts[-length].isdecimal():
                break
        named[name] = path
    return named


def _for_reading(
    feed: FeedConfig, table: dict[str, Any], message: tuple[bytes, bytes]
) -> Iterator[Changes]:
    """How bytes are written where they are texts, and other formats."""
    if feed.format.name == "binary":
        # Digits in base 16 may be base64 as well.
        is_hexadecimal = _is_hexadecimal(format_of(table).get("inside"), message[1])
        for encoding in ("hex",) if is_hexadecimal else ("hex", "base64"):
            yield ((("format", "encoding"), encoding),)
        if {"inside", "encoding"} & {*format_of(table)}:
            # That there is a frame in it was said: what that is in is of no other format.
            return
    yield from _for_format(feed, message)


def _is_hexadecimal(inside: str | None, payload: bytes) -> bool:
    """Whether the text that bytes stand in has nothing but digits in base 16, however many."""
    try:
        found = leaves(loads(payload))
    except DataError:
        found = []
    texts = [value for path, value in found if isinstance(value, str) and inside in (None, path)]
    texts = texts or [payload.decode(errors="replace")]
    return any(_HEXADECIMAL.fullmatch(text) for text in texts)


def _for_format(feed: FeedConfig, message: tuple[bytes, bytes]) -> Iterator[Changes]:
    """Other formats, as they are by themselves and with the one key that they may need."""
    topic, payload = message
    if feed.format.name == "value":
        for path in ("value", "v", "val", "state"):
            yield ((("format", "path"), path),)
    else:
        yield from _for_one_value(feed, topic)
    if feed.format.name == "json":
        yield ((("format",), {"type": "json", "lines": True}),)
    for name in sorted({*installed("formats")} - {"value", feed.format.name}):
        yield ((("format",), name),)
    assigned = assigned_table([payload.decode(errors="replace")])
    if assigned is not None:
        yield ((("format",), assigned),)
    for delimiter in ",;\t|":
        yield ((("format",), {"type": "csv", "header": True, "delimiter": delimiter}),)
    if feed.strict:
        yield ((("strict",), None),)


def _for_one_value(feed: FeedConfig, topic: bytes) -> Iterator[Changes]:
    # One value has nothing beside it.
    fields = FeedConfig.model_fields
    bare = tuple(((key,), None) for key in _BESIDE if getattr(feed, key) != fields[key].default)
    for changed in _with_channel(feed, topic):
        yield ((("format",), "value"), *changed, *bare)
    if len(feed.channels) <= _FEW_CHANNELS:
        for channel in feed.channels:
            yield ((("format",), {"type": "value", "channel": channel}), *bare)


def _with_channel(feed: FeedConfig, topic: bytes) -> Iterator[Changes]:
    """The feed's topic with ``{channel}`` at a level that is one of its channels."""
    if "channel" in feed.placeholders:
        yield ()
        return
    said = topic.decode(errors="replace").split("/")
    levels = feed.topic.split("/")
    if len(said) != len(levels):
        return
    for at in reversed(range(len(levels))):
        if said[at] in feed.channels and levels[at] != "{device}":
            changed = "/".join([*levels[:at], "{channel}", *levels[at + 1 :]])
            yield ((("topic",), changed),)


def _level_of(feed: FeedConfig, topic: bytes, placeholder: str) -> str:
    found = TopicPattern(feed.topic).match(topic.decode(errors="replace")) or {}
    return found.get(placeholder, "")


def _simple(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
