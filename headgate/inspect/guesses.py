"""What may help against a refusal: changes of a feed, to be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.formats.numbers import as_written, shown
from connectors.formats.paths import array_below
from connectors.formats.topics import TopicPattern
from headgate.config.channel import plain
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.config.schema import IngestConfig
from headgate.core.components import installed
from headgate.core.errors import DataError
from headgate.discover.leaves import leaves
from headgate.discover.times import PATTERNS, is_time_name, tables
from headgate.discover.trial import content
from headgate.discover.values import split_unit, writings

#: Changes to a feed: keys from its table on, and what is put there; None takes it away.
Changes = tuple[tuple[tuple[str, ...], Any], ...]

#: Places of a time that are tried.
_TIME_PLACES = 3

#: Patterns of times that are tried where it is not known which value is the time.
_FEW_PATTERNS = 3

#: Channels that one value may be of, if nothing says of which.
_FEW_CHANNELS = 3

#: A longer word is no state.
_LONGEST_WORD = 32

#: Channels that are proposed for one message.
_MOST_CHANNELS = 12

#: Keys that a device's name stands under, in small letters.
_DEVICE_KEYS = (
    "device", "deviceid", "device_id", "devicename", "device_name", "id", "serial", "sn", "mac",
    "deveui", "dev_eui", "name", "sensor", "sensorid", "sensor_id", "node", "uuid", "model",
)  # fmt: skip

#: Keys of a feed that a message of one value has no use for.
_BESIDE = ("records", "pairs", "arrays", "quality", "time")

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
        yield from _for_value(feed, table, envelope, detail)
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
        yield from _for_format(feed, topic)
    if reason == "not_utf8" and ("UTF-16" in detail or b"\0" not in payload):
        yield ((("charset",), "utf-16" if "UTF-16" in detail else "cp1252"),)


def _for_value(
    feed: FeedConfig, table: dict[str, Any], envelope: object, detail: str
) -> Iterator[Changes]:
    channel, _, what = detail.partition(": ")
    if channel not in feed.channels:
        # Of several records the first is told by its number.
        channel, _, what = what.partition(": ")
    if channel not in feed.channels:
        return
    text = what.partition("got ")[2]
    every = [value for _, value in leaves(envelope)] if envelope is not None else []
    texts = [value for value in every if isinstance(value, str) and shown(value) == text]
    values = list(map(as_written, texts))
    for value in values[:1]:
        for keys in writings([value]):
            if keys:
                yield _channel_keys(table, channel, keys)
        for keys in _unknown_word(value):
            yield _channel_keys(table, channel, keys)
        yield _channel_keys(table, channel, {"type": "text"})
    if feed.strict:
        yield ((("strict",), None),)


def _unknown_word(value: str) -> Iterator[dict[str, object]]:
    """A word that nobody knows is a state, or says that there is no reading."""
    word = plain(value)
    if word[:1].isalpha() and len(word) <= _LONGEST_WORD and not any(map(str.isdigit, word)):
        yield {"states": {value.strip(): 1}}
    if split_unit(value) is None:
        yield {"missing": value}


def _channel_keys(table: dict[str, Any], channel: str, keys: Mapping[str, Any]) -> Changes:
    """Keys added to those that the channel has, with what these say already."""
    known = table.get("channels", {}).get(channel, {})
    changes = []
    for key, value in keys.items():
        before = known.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            value = before | value  # noqa: PLW2901
        elif key in ("missing", "suffix") and before:
            more = value if isinstance(value, list) else [value]
            value = [*before, *(each for each in more if each not in before)]  # noqa: PLW2901
        changes.append((("channels", channel, key), value))
    return tuple(changes)


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
    found = [
        (("channels", name, "path"), places[_simple(name)])
        for name, channel in feed.channels.items()
        if _simple(name) in places and (channel.path or name) != places[_simple(name)]
    ]
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
            if name not in named:
                break
        named[name] = path
    return named


def _for_format(feed: FeedConfig, topic: bytes) -> Iterator[Changes]:
    """Other formats, as they are by themselves and with the one key that they may need."""
    if feed.format.name == "value":
        for path in ("value", "v", "val", "state"):
            yield ((("format", "path"), path),)
    else:
        yield from _for_one_value(feed, topic)
    if feed.format.name == "json":
        yield ((("format",), {"type": "json", "lines": True}),)
    if feed.format.name == "binary":
        for encoding in ("hex", "base64"):
            yield ((("format", "encoding"), encoding),)
    for name in sorted({*installed("formats")} - {"value", feed.format.name}):
        yield ((("format",), name),)
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
