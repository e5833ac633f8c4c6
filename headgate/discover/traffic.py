"""What was heard, kept within bounds: topics with their counts, and some messages of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from headgate.config.content_types import canonical

#: Topics that are told apart; messages of further ones are only counted.
MOST_TOPICS = 20_000

#: Messages kept of a topic: the first ones, and the newest.
_FIRST = 10
_NEWEST = 30

#: A larger message is counted and not kept, bytes; and so much is kept in all.
MOST_PAYLOAD = 256 << 10
MOST_BYTES = 128 << 20

#: Longer topics are no names that anybody has chosen, bytes.
_LONGEST_TOPIC = 1024

#: Nor are longer ones content types, characters.
_LONGEST_TYPE = 100


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        payload: All of it.
        arrived_ns: When, ns since 1970 UTC.
        is_retained: Whether the broker had kept it for new subscribers.
        content_type: What MQTT 5 says that it is, as types are compared; empty where it does not.
    """

    payload: bytes
    arrived_ns: int
    is_retained: bool = False
    content_type: str = ""


@dataclass(slots=True)
class Topic:
    """One topic.

    Attributes:
        name: As it was sent, if that is UTF-8.
        count: Messages.
        live: Those that were not retained.
        first_ns: Arrival of the first of those.
        last_ns: Arrival of the last.
    """

    name: str
    count: int = 0
    live: int = 0
    first_ns: int = 0
    last_ns: int = 0
    first: list[Message] = field(default_factory=list)
    newest: deque[Message] = field(default_factory=deque)

    @property
    def messages(self) -> list[Message]:
        """The messages that were kept, in the order they came."""
        return [*self.first, *self.newest]

    @property
    def is_kept(self) -> bool:
        """Whether the broker keeps its newest message for who subscribes later."""
        return self.live < self.count

    @property
    def period_ns(self) -> int | None:
        """Mean time between messages; None while there are fewer than three."""
        if self.live < 3:  # two say little
            return None
        return (self.last_ns - self.first_ns) // (self.live - 1) or None


class Traffic:
    """Takes messages; bounded whatever comes."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.count = 0
        #: Messages of topics that were too many or no text, and of payloads too large to keep.
        self.unkept = 0
        self.bytes_kept = 0

    def __iter__(self) -> Iterator[Topic]:
        """The topics by name: their order does not depend on who was first."""
        return iter([self.topics[name] for name in sorted(self.topics)])

    def add(
        self,
        topic: bytes,
        payload: bytes,
        arrived_ns: int,
        *,
        is_retained: bool = False,
        content_type: str = "",
    ) -> None:
        """Take up a message; never raises for what it holds."""
        self.count += 1
        known = self._topic(topic)
        if known is None:
            self.unkept += 1
            return
        known.count += 1
        if not is_retained:
            known.live += 1
            known.first_ns = known.first_ns or arrived_ns
            known.last_ns = arrived_ns
        size = len(payload)
        if size > MOST_PAYLOAD:
            self.unkept += 1
            return
        if len(known.newest) == _NEWEST:
            self.bytes_kept -= len(known.newest.popleft().payload)
        has_room = self.bytes_kept + size <= MOST_BYTES
        if not has_room and known.first:
            return
        self.bytes_kept += size
        said = canonical(content_type)
        said = said if len(said) <= _LONGEST_TYPE and said.isprintable() else ""
        message = Message(payload, arrived_ns, is_retained, said)
        if len(known.first) < _FIRST and not known.newest:
            known.first.append(message)
        else:
            known.newest.append(message)

    def _topic(self, topic: bytes) -> Topic | None:
        if len(topic) > _LONGEST_TOPIC:
            return None
        try:
            name = topic.decode()
        except UnicodeDecodeError:
            return None
        known = self.topics.get(name)
        if known is None and name and len(self.topics) < MOST_TOPICS:
            known = self.topics[name] = Topic(name)
        return known
