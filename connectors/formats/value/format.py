"""One value a message: a number, a number as a text, true or false, null.

Anything else that is one value, such as a word, is taken as the text that it is: a field that is no
number, to be told of and marked as such.
"""

from __future__ import annotations

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.formats.json.payload import loads
from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, getter
from connectors.formats.topics import TopicPattern
from headgate.config.feed import Feed
from headgate.config.payload_path import key_of
from headgate.core.errors import DataError

#: Longer payloads are no value, bytes: a channel's number, or one that is written as a text.
_MAX_BYTES = 1024

#: Likewise of objects that a value stands in: so few that nothing in them can be dear.
_MAX_OBJECT_BYTES = 8 << 10

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

    def __init__(self, channel: str | None, path: str | None, feed: Feed) -> None:
        self._pattern = TopicPattern(feed.topic)
        keys = {name: key_of(each.path or name) for name, each in feed.channels.items()}
        # What the topic says, which is where the decoder looks for the channel.
        self._key = None if channel is None else keys[channel]
        self._keys = set(keys.values())
        self._path = path
        self._get = None if path is None else getter(path)
        self.unseen_bytes = _MAX_BYTES if path is None else _MAX_OBJECT_BYTES
        self._takes_literals = not feed.strict
        self._known: dict[bytes, str] = {}

    def check(self, payload: bytes) -> bool:
        """Refuse what is longer than any value."""
        raise DataError("not_value", f"{len(payload)} bytes; expected one value")

    def read(self, topic: bytes, payload: bytes) -> object:
        """A record of one channel, with what stands beside it."""
        key = self._key or self._known.get(topic) or self._key_of(topic)
        if self._get is None:
            return {key: self._value(payload)}
        content = loads(payload, takes_literals=self._takes_literals)
        if not isinstance(content, dict):
            raise DataError("not_object", f"expected an object, got {shown(content)}")
        value = self._get(content)
        if value is ABSENT:
            raise DataError("no_channels", f'no value at "{self._path}"')
        return {**content, key: value}

    def check_count(self, records: int) -> None:
        """There is one."""

    def _value(self, payload: bytes) -> object:
        try:
            value = loads(payload, takes_literals=self._takes_literals)
        except DataError as error:
            if error.reason != "not_json":
                raise
            # Digits with blanks around, a plus before, a comma, a unit: the text says what it is.
            return payload.decode().strip("\0 \t\r\n")
        if isinstance(value, dict | list):
            raise DataError(
                "not_value", f'expected one value, got {shown(value)}, which format = "json" reads'
            )
        return value

    def _key_of(self, topic: bytes) -> str:
        values = self._pattern.match(topic.decode(errors="replace")) or {}
        name = values.get("channel", "")
        if name not in self._keys:
            raise DataError(
                "no_channels", f"no channel of the feed is at {{channel}}, which is {shown(name)}"
            )
        if len(topic) <= MAX_TOPIC_BYTES and len(self._known) < _MAX_TOPICS:
            self._known[topic] = name
        return name
