"""One value a message: a number, a number as a text, true or false, null.

Anything else that is one value, such as a word, is taken as the text that it is: a field that is no
number, to be told of and marked as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.formats.format import ReadTable, Typed, Wanted
from connectors.formats.json.payload import loads
from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, getter
from connectors.formats.tables import Gathered, RecordTable, values_at
from connectors.formats.topics import TopicPattern
from connectors.formats.typed import read_each
from headgate.config.channel import plain
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of
from headgate.core.errors import DataError

#: Longer payloads are no value, bytes: a channel's number, or one that is written as a text.
_MAX_BYTES = 1024

#: Likewise of objects that a value stands in: so few that nothing in them can be dear.
_MAX_OBJECT_BYTES = 8 << 10

#: Around a value they mean nothing.
_BLANKS = "\ufeff\0 \t\r\n"

#: What the parser raises for what it can't read; and itself, for values and for objects.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_value = msgspec.json.Decoder(float | bool | None).decode
_object = msgspec.json.Decoder().decode

#: Topics whose channel is remembered.
_MAX_TOPICS = 1 << 16


class ValueFormat:
    """Reads bare values; a ``Format``.

    Args:
        channel: The channel that all are of; None: the topic's ``{channel}`` says it.
        path: Where the value stands in an object; None: it is all that there is.
        feed: The feed's configuration.
    """

    is_utf8 = True
    make_typed = None

    def __init__(self, channel: str | None, path: str | None, feed: FeedConfig) -> None:
        self._pattern = TopicPattern(feed.topic)
        # By what the topic says, which is where the decoder looks for the channel, whether its
        # numbers are texts, and which words are others than they seem.
        self._channels = {
            key_of(path): (each.has_own_digits, frozenset(each.words))
            for name, each in feed.channels.items()
            for path in each.paths(name)
        }
        others = feed.other_channels
        self._takes_all = others is not None
        self._other = (
            (False, frozenset[str]())
            if others is None
            else (others.has_own_digits, frozenset(others.words))
        )
        self._key = None if channel is None else key_of(feed.channel(channel).path or channel)
        self._path = path
        self._get = None if path is None else getter(path)
        self.pick = None if path is None else self._picked
        self.unseen_bytes = _MAX_BYTES if path is None else _MAX_OBJECT_BYTES
        self._takes_literals = not feed.strict
        self._known: dict[bytes, str] = {}

    def make_table(self, wanted: Wanted) -> ReadTable | None:
        """What reads many payloads; see ``Format``."""
        keys = [key_of(path) for path, _ in wanted.channels]
        if len(set(keys)) < len(keys):
            return None  # a value may be of two channels
        # Of channels that have digits or words of their own it is not told by its type what a value
        # is.
        places = {key: -1 if any(self._channels[key]) else place for place, key in enumerate(keys)}
        topics: dict[bytes, int] = {}

        def place_of(topic: bytes) -> int:
            try:
                # Of a channel's other names the careful way knows.
                place = places.get(self._key_of(topic), -1)
            except DataError:
                place = -1
            if len(topic) <= MAX_TOPIC_BYTES and len(topics) < _MAX_TOPICS:
                topics[topic] = place
            return place

        def which_of(each_topic: Sequence[bytes]) -> NDArray[np.intp]:
            if self._key is not None:
                return np.full(len(each_topic), places[self._key], np.intp)
            found = list(map(topics.get, each_topic))
            if None in found:
                found = [
                    place_of(topic) if place is None else place
                    for topic, place in zip(each_topic, found, strict=True)
                ]
            return np.array(found, np.intp)

        return ValueTable(wanted, self._path, which_of)

    def check(self, payload: bytes) -> bool:
        """Refuse what is longer than any value."""
        raise DataError("not_value", f"{len(payload)} bytes; expected one value")

    def read(self, topic: bytes, payload: bytes) -> object:
        """A record of one channel; or, with a path, the object that it stands in."""
        if self._get is not None:
            return loads(payload, takes_literals=self._takes_literals)
        key = self._key_of(topic)
        return {key: self._value(payload, *self._channels.get(key, self._other))}

    def _picked(self, topic: bytes, record: dict[str, object]) -> dict[str, object]:
        """Of an object, the value that it is sent for."""
        assert self._get is not None  # noqa: S101  (for the type checker)
        key = self._key_of(topic)
        value = self._get(record)
        if value is ABSENT:
            raise DataError("no_channels", f'no value at "{self._path}"')
        return {key: value}

    def check_count(self, records: int) -> None:
        """There is one."""

    def _value(self, payload: bytes, has_texts: bool, words: frozenset[str]) -> object:  # noqa: FBT001
        try:
            value = loads(payload, takes_literals=self._takes_literals)
        except DataError as error:
            if error.reason != "not_json":
                raise
            # Digits with blanks around, a plus before, a comma, a unit: the text says what it is.
            return payload.decode().strip(_BLANKS)
        if isinstance(value, dict | list):
            raise DataError(
                "not_value", f'expected one value, got {shown(value)}, which format = "json" reads'
            )
        if (has_texts or words) and isinstance(value, bool | int | float):
            # JSON's numbers are not those of people who write 1.000 for a thousand.
            text = payload.decode(errors="replace").strip(_BLANKS)
            if (has_texts and not isinstance(value, bool)) or plain(text) in words:
                return text
        return value

    def _key_of(self, topic: bytes) -> str:
        known = self._key or self._known.get(topic)
        if known is not None:
            return known
        values = self._pattern.match(topic.decode(errors="replace")) or {}
        name = values.get("channel", "")
        if name not in self._channels and not self._takes_all:
            raise DataError(
                "no_channels", f"no channel of the feed is at {{channel}}, which is {shown(name)}"
            )
        if len(topic) <= MAX_TOPIC_BYTES and len(self._known) < _MAX_TOPICS:
            self._known[topic] = name
        return name


class ValueTable:
    """Reads values many at a time; a ``ReadTable``.

    Args:
        wanted: What is looked for.
        path: Where a value stands in an object; None: it is all that there is.
        which_of: The places of the channels that topics are of; below 0 for the careful way.
    """

    def __init__(
        self,
        wanted: Wanted,
        path: str | None,
        which_of: Callable[[Sequence[bytes]], NDArray[np.intp]],
    ) -> None:
        self._wanted = wanted
        self._which_of = which_of
        self._takes_truth = all(wanted.takes_truth)
        self._objects = None
        if path is not None:
            self._objects = RecordTable(wanted, _object, _UNREADABLE, _any_count)
            self._values_of = values_at(path)

    def __call__(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """What payloads hold."""
        which = self._which_of(topics)
        values: Sequence[object]
        if self._objects is not None:
            gathered, records = self._objects.records(payloads, which)
            values = self._values_of(records)
        else:
            values, failed = read_each(_value, payloads, _UNREADABLE)
            owner = np.arange(len(payloads))
            if failed:
                owner = np.delete(owner, failed)
            gathered = Gathered(self._wanted, owner, failed, has_arrays=False, which=which[owner])
        gathered.add_values(0, values, takes_truth=self._takes_truth)
        return gathered.typed()


def _any_count(_records: int) -> None:
    """So many as a payload can hold that is no longer than it may be."""
