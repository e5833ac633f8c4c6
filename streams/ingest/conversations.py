"""Formats that remember what came before, and have something to say to devices.

What they are told here: when messages may have been missed, because another connection was made.
What is asked of them: what is to be published, how often what happened, and what the next process
should know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from connectors.formats.format import Conversation, Publication
from headgate.core.clock import NS_PER_S
from headgate.core.note import Note
from headgate.core.telemetry import Telemetry

#: What the next process should know is written down so often, ns.
_NOTE_EVERY_NS: Final = 5 * NS_PER_S


class Conversations:
    """The conversations of the feeds that have one.

    Args:
        by_feed: Each feed's.
        note: A file of their own.
        telemetry: Where what happens is counted.
    """

    def __init__(
        self, by_feed: Mapping[str, Conversation], note: Note, telemetry: Telemetry
    ) -> None:
        self._by_feed = by_feed
        self._note = note
        self._telemetry = telemetry
        self._connection: int | None = None
        self._counted: dict[str, Counter[str]] = {name: Counter() for name in by_feed}
        self._noted: dict[str, object] = {}
        self._noted_ns = 0

    def open(self) -> None:
        """Take up what the last process left behind."""
        if self._by_feed:
            self._noted = self._note.read()
        for name, conversation in self._by_feed.items():
            conversation.recall(self._noted.get(name))

    def heard_over(self, connection: int) -> None:
        """Tell of messages that come now over this connection.

        Over an earlier one others may have been under way, and nobody sends again what was sent
        with QoS 0.
        """
        if self._connection not in (None, connection):
            for conversation in self._by_feed.values():
                conversation.interrupted()
        self._connection = connection

    def to_publish(self, now_ns: int, wall_ns: int) -> Sequence[Publication]:
        """What is to be published now; see ``Conversation.to_publish``."""
        return [
            publication
            for conversation in self._by_feed.values()
            for publication in conversation.to_publish(now_ns, wall_ns)
        ]

    def look(self, now_ns: int) -> None:
        """Count what has happened, and note what the next process should know; call it often.

        Args:
            now_ns: Monotonic time.
        """
        for name, conversation in self._by_feed.items():
            more = conversation.events - self._counted[name]
            for event, count in more.items():
                self._telemetry.format_events.labels(name, event).inc(count)
            self._counted[name] += more
        if now_ns - self._noted_ns >= _NOTE_EVERY_NS:
            self._noted_ns = now_ns
            self.put_down()

    def put_down(self) -> None:
        """Note what the next process should know."""
        note = {name: conversation.note() for name, conversation in self._by_feed.items()}
        if note != self._noted:
            self._noted = note
            self._note.write(note)
