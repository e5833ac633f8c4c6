"""What may help against a field that holds no number: changes of its channel, to be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from connectors.formats.json.payload import loads
from connectors.formats.numbers import as_written, is_literal, shown
from connectors.formats.signals import word_for
from headgate.config.channel import OF_NUMBERS, ChannelConfig, plain
from headgate.config.conversion import Straight
from headgate.config.feed import FeedConfig
from headgate.config.suffixes import line_behind, written
from headgate.core.errors import DataError
from headgate.discover.leaves import leaves
from headgate.discover.records import unit_in
from headgate.discover.values import NO_READING, PAIR_VALUES, split_unit, writings

#: Changes to a feed: keys from its table on, and what is put there; None takes it away.
Changes = tuple[tuple[tuple[str, ...], Any], ...]

#: A longer word is no state.
_LONGEST_WORD = 32

#: Scale and offset of what is left as it is.
_NO_LINE = {"scale": 1, "offset": 0}

#: Numbers in one field that are tried.
_FEW = 3


def for_value(
    feed: FeedConfig, table: Mapping[str, Any], places: Sequence[dict[str, Any]], detail: str
) -> Iterator[Changes]:
    """What may help against a field that is no number, the nearest first.

    Args:
        feed: The feed.
        table: The same as it stands in the file.
        places: The records of the message, and what is around them.
        detail: What is wrong, as the decoder tells it: ``CHANNEL: expected …, got …``.
    """
    name, _, what = detail.partition(": ")
    if name not in feed.channels:
        # Of several records the first is told by its number.
        name, _, what = what.partition(": ")
    if name not in feed.channels:
        return
    channel = feed.channels[name]
    got = what.partition("got ")[2]
    every = [value for place in places for value in leaves(place)]
    found = [(at, value) for at, value in every if isinstance(value, str) and shown(value) == got]
    for _, value in found[:1]:
        for keys in _keys_for(channel, value):
            yield _channel_keys(table, name, keys)
        yield from _embedded(feed, table, name, value)
        yield from (_channel_keys(table, name, keys) for keys in _as_text(table, name, value))
    if not found:
        yield from _for_inside(table, name, channel, every, places)
    if feed.strict:
        yield ((("strict",), None),)


def _keys_for(channel: ChannelConfig, value: str) -> Iterator[dict[str, Any]]:
    """What the channel may say of a text, so that a number comes of it or nothing does."""
    text = as_written(value)
    for keys in writings([text]):
        if "suffix" in keys:
            yield from _of_unit(channel, keys)
        elif keys:
            yield keys
    is_number = is_literal(value) or word_for(text) == "not_finite"
    if _is_word(text) and plain(text) not in NO_READING and not is_number:
        yield {"states": {text.strip(): 1}}
    if not _holds_something(text) or is_number:
        yield {"missing": text}


def _of_unit(channel: ChannelConfig, keys: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the channel may say of a number with a unit behind it, if it is one of its own kind."""
    suffix = str(keys["suffix"])
    if channel.bit is not None or channel.power_of_ten is not None or channel.base != 10:
        return  # what is a number of those has no unit
    if channel.unit:
        if line_behind(channel.unit, suffix) is None:
            return  # what sends bar in place of °C has something else to say
        # Which unit numbers without one are in, and values are kept in, stays as it is.
        keys = {key: value for key, value in keys.items() if key != "unit"}
    if (channel.scale, channel.offset) == (1, 0):
        yield keys
        return
    # What says its unit is not a count that a scale makes something of.
    yield {**keys, "scale": None, "offset": None}
    if line_behind(channel.unit or suffix, suffix) == Straight():
        yield keys


def _is_word(text: str) -> bool:
    word = plain(text)
    is_short = word[:1].isalpha() and len(word) <= _LONGEST_WORD
    return is_short and not any(map(str.isdigit, word))


def _holds_something(text: str) -> bool:
    """Whether a text that is no number says how much of something there is, all the same."""
    return any(map(str.isdigit, text)) or split_unit(text) is not None


def _as_text(table: Mapping[str, Any], name: str, value: str) -> Iterator[dict[str, Any]]:
    """The channel as one of texts, without what is of numbers."""
    if is_literal(value) or (value.strip().startswith(("{", "[")) and _inner(value) is None):
        return
    known = table.get("channels", {}).get(name, {})
    own = set(ChannelConfig.model_fields) - set(OF_NUMBERS)
    yield {"type": "text", **{key: None for key in known if key not in own}}


def _embedded(
    feed: FeedConfig, table: Mapping[str, Any], name: str, value: str
) -> Iterator[Changes]:
    """That a field which is a text of JSON is read as what it holds, and which of its numbers."""
    inner = _inner(value)
    if feed.format.name != "json" or inner is None:
        return
    at = feed.channels[name].path or name
    own = format_of(table)
    path = at if feed.records is None else f"{feed.records}.{at}"
    form = {"type": "json", **own, "embedded": [*own.get("embedded", ()), path]}
    numbers = [key for key, each in leaves(inner) if type(each) in (int, float)]
    numbers.sort(key=lambda key: key.rpartition(".")[2] not in (name, *PAIR_VALUES))
    for key in numbers[:_FEW]:
        yield ((("format",), form), *_channel_keys(table, name, {"path": f"{at}.{key}"}))


def _inner(text: str) -> object:
    """The object or array that a text holds as JSON; None for none."""
    if not text.strip().startswith(("{", "[")):
        return None
    try:
        inner = loads(text.encode())
    except (DataError, UnicodeEncodeError):
        return None
    return inner if isinstance(inner, dict | list) else None


def format_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a feed's format as it stands in the file; empty where that is a name alone."""
    own = table.get("format")
    return own if isinstance(own, dict) else {}


def _for_inside(
    table: Mapping[str, Any],
    name: str,
    channel: ChannelConfig,
    every: Sequence[tuple[str, object]],
    places: Sequence[dict[str, Any]],
) -> Iterator[Changes]:
    """The numbers in an object or array that stands where one is expected."""
    for above in channel.paths(name):
        inside = {
            path: value
            for path, value in every
            if path.startswith(f"{above}.") and isinstance(value, int | float | str)
        }
        values = [path for path in inside if path.rpartition(".")[2] in PAIR_VALUES]
        numbers = [path for path, each in inside.items() if isinstance(each, int | float)]
        unit = next((unit_in(each) for place in places if (each := _object_at(place, above))), "")
        for path in [*values[:1], *(each for each in numbers if each not in values)][:_FEW]:
            units = _units(channel, unit)
            if units is not None:
                yield _channel_keys(table, name, {"path": path, **units})


def _object_at(place: Mapping[str, Any], path: str) -> dict[str, Any]:
    value: object = place
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _units(channel: ChannelConfig, unit: str) -> dict[str, Any] | None:
    """What a channel says of its unit where one stands beside its value; None: it is another's."""
    if not unit:
        return {}
    if channel.bit is not None or channel.power_of_ten is not None:
        return None
    # What says its unit is not a count that a scale makes something of.
    bare = {key: None for key in ("scale", "offset") if getattr(channel, key) != _NO_LINE[key]}
    if not channel.unit:
        return {"unit": written(unit), **bare}
    line = line_behind(channel.unit, unit)
    if line is None:
        return None
    is_other = line != Straight()
    return {**({"unit": written(unit), "to": channel.kept_unit} if is_other else {}), **bare}


def _channel_keys(table: Mapping[str, Any], channel: str, keys: Mapping[str, Any]) -> Changes:
    """Keys added to those that the channel has, with what these say already."""
    known = table.get("channels", {}).get(channel, {})
    changes: list[tuple[tuple[str, ...], Any]] = []
    for key, value in keys.items():
        before = known.get(key)
        if key == "suffix" and before:
            changes += _with_suffix(channel, known, str(value))
        elif key == "unit" and "suffix" in keys and "suffix" in known:
            pass  # which unit they are in was said by those that are known
        elif key == "states" and isinstance(before, dict):
            changes.append((("channels", channel, key), _with_states(before, value)))
        elif key == "missing" and before is not None:
            changes.append((("channels", channel, key), _with_more(before, value)))
        else:
            changes.append((("channels", channel, key), value))
    return tuple(changes)


def _with_suffix(channel: str, known: Mapping[str, Any], more: str) -> Changes:
    """One text more that may stand behind a channel's numbers."""
    before = known["suffix"]
    if isinstance(before, Mapping):
        return ((("channels", channel, "suffix"), {**before, more: written(more)}),)
    both = _with_more(before, more)
    changed: Changes = ((("channels", channel, "suffix"), both),)
    if "unit" in known:
        return changed
    # Several may be different units of the same, of which one has to be kept.
    return ((("channels", channel, "unit"), written(str(both[0]))), *changed)


def _with_more(before: object, value: object) -> list[object]:
    """One value or several, with those that are not among them yet."""
    own = before if isinstance(before, list) else [before]
    more = value if isinstance(value, list) else [value]
    return [*own, *(each for each in more if each not in own)]


def _with_states(before: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """States with some more of them, each with a number of its own."""
    states = dict(before)
    for word, number in more.items():
        taken = set(states.values())
        if number in taken:
            number = next(each for each in count() if each not in taken)  # noqa: PLW2901
        states.setdefault(word, number)
    return states
