"""One value a message: a number, a number as a text, true or false, null.

Anything else that is one value, such as a word, is taken as the text that it is: a field that is no
number, to be told of and marked as such.
"""

from __future__ import annotations

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.formats.json.payload import loads
from connectors.formats.numbers import shown
from connectors.formats.topics import TopicPattern
from headgate.config.feed import Feed
from headgate.core.errors import DataError

#: Longer payloads are no value, bytes: a channel's number, or one that is written as a text.
_MAX_BYTES = 1024

#: Topics whose channel is remembered.
_MAX_TOPICS = 1 << 16


class ValueFormat:
    """Reads bare values; a ``Format``.

    Args:
        channel: The channel that all are of; None: the topic's ``{channel}`` says it.
        feed: The feed's configuration.
    """

    is_utf8 = True
    make_typed = None
    unseen_bytes = _MAX_BYTES

    def __init__(self, channel: str | None, feed: Feed) -> None:
        self._pattern = TopicPattern(feed.topic)
        paths = {name: mapping.path or name for name, mapping in feed.channels.items()}
        # By what the topic says, where the decoder looks for the channel.
        self._path = None if channel is None else paths[channel]
        self._paths = set(paths.values())
        self._takes_literals = not feed.strict
        self._known: dict[bytes, str] = {}

    def check(self, payload: bytes) -> bool:
        """Refuse what is longer than any value."""
        raise DataError("not_value", f"{len(payload)} bytes; expected one value")

    def read(self, topic: bytes, payload: bytes) -> object:
        """A record of one channel."""
        path = self._path or self._known.get(topic) or self._path_of(topic)
        return {path: self._value(payload)}

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

    def _path_of(self, topic: bytes) -> str:
        values = self._pattern.match(topic.decode(errors="replace")) or {}
        name = values.get("channel", "")
        if name not in self._paths:
            raise DataError(
                "no_channels", f"no channel of the feed is at {{channel}}, which is {shown(name)}"
            )
        if len(topic) <= MAX_TOPIC_BYTES and len(self._known) < _MAX_TOPICS:
            self._known[topic] = name
        return name
