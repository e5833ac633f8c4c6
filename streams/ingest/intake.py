"""What comes in from one source: what of it waits for the log, and whether it is heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from connectors.sources.source import ReceivedMessages, Source
from headgate.core.clock import ArrivalClock
from headgate.core.heartbeat import Heartbeat
from headgate.core.properties import Properties
from streams.ingest.conversations import Conversations
from streams.ingest.kept import KeptMessages
from streams.ingest.poison import MessagesInFlight
from streams.ingest.refusals import Messages


@dataclass(slots=True)
class Waiting:
    """Messages that have arrived and are not in the log yet, by the read that brought them."""

    received: list[ReceivedMessages] = field(default_factory=list)
    arrival_ns: list[int] = field(default_factory=list)
    unheard_ns: list[int] = field(default_factory=list)
    messages: int = 0
    size_bytes: int = 0

    def add(self, received: ReceivedMessages, arrived_ns: int, unheard_ns: int) -> None:
        """Add what was read."""
        self.received.append(received)
        self.arrival_ns.append(arrived_ns)
        self.unheard_ns.append(unheard_ns)
        self.messages += len(received.topics)
        self.size_bytes += received.size_bytes

    @property
    def connection(self) -> int:
        """The connection that all of them came over, if they are a part of ``split``."""
        return self.received[0].connection

    def joined(self, source: str) -> Messages:
        """All of them in one run."""
        topics = list(chain.from_iterable(each.topics for each in self.received))
        payloads = list(chain.from_iterable(each.payloads for each in self.received))
        counts = [len(each.topics) for each in self.received]
        arrival_ns = np.repeat(np.array(self.arrival_ns, np.int64), counts)
        cut: dict[int, int] = {}
        properties: dict[int, Properties] = {}
        held: list[int] = []
        first = 0
        for received in self.received:
            for position, size_bytes in received.cut.items():
                cut[first + position] = size_bytes
            # Most kinds of sources have none.
            of_them: Mapping[int, Properties] = getattr(received, "properties", {})
            for position, said in of_them.items():
                properties[first + position] = said
            held += [first + position for position in getattr(received, "held", ())]
            first += len(received.topics)
        unheard_ns = None
        if any(self.unheard_ns):
            unheard_ns = np.repeat(np.array(self.unheard_ns, np.int64), counts)
        return Messages(
            topics, payloads, arrival_ns, cut, unheard_ns, source, properties, frozenset(held)
        )

    def split(self, most: int, most_bytes: int) -> Iterator[Waiting]:
        """The same in parts, each of so many messages and bytes, or a single read.

        Of each part all came over one connection.
        """
        part = Waiting()
        for received, arrived_ns, unheard_ns in zip(
            self.received, self.arrival_ns, self.unheard_ns, strict=True
        ):
            is_other = bool(part.received) and part.connection != received.connection
            is_full = (
                is_other
                or part.messages + len(received.topics) > most
                or part.size_bytes + received.size_bytes > most_bytes
            )
            if (part.messages or is_other) and is_full:
                yield part
                part = Waiting()
            part.add(received, arrived_ns, unheard_ns)
        if part.received:
            yield part


class Intake:
    """One source's side of the ingest lane.

    Args:
        name: The source's.
        in_flight: Its note of what is being decoded.
        heartbeat: Where it is told whether it is heard.
        conversations: Those of feeds that are led with it.
        most_bytes: More is not taken from it while so much waits.
    """

    def __init__(
        self,
        name: str,
        in_flight: MessagesInFlight,
        heartbeat: Heartbeat,
        conversations: Conversations,
        most_bytes: int,
    ) -> None:
        self.name = name
        self.in_flight = in_flight
        self.conversations = conversations
        self.kept = KeptMessages()
        self._heartbeat = heartbeat
        self._most_bytes = most_bytes
        self._waiting = Waiting()
        self._parts: deque[Waiting] = deque()
        self._source: Source | None = None

    @property
    def source(self) -> Source:
        """The source, once it has been made."""
        assert self._source is not None  # noqa: S101  (for the type checker)
        return self._source

    @source.setter
    def source(self, source: Source) -> None:
        self._source = source

    def open(self) -> None:
        """Take up what the last process left behind."""
        self.in_flight.open()
        self.conversations.open()

    @property
    def trouble(self) -> str:
        """Why nothing is heard of this source; empty while it is."""
        return "starting" if self._source is None else self._source.trouble

    @property
    def waiting(self) -> int:
        """Messages that have come and are not being written yet."""
        return self._waiting.messages

    @property
    def is_done(self) -> bool:
        """Whether all that has come is acknowledged."""
        return not self._parts and not self._waiting.received

    @property
    def is_in_parts(self) -> bool:
        """Whether some of what was taken is not written yet."""
        return bool(self._parts)

    def add(self, received: ReceivedMessages, now_ns: int) -> None:
        """Take what the source hands over, at this arrival time."""
        unheard_ns = self.kept.read(
            received.connection, now_ns, has_session=self._source is None or self._source.has_kept
        )
        self._waiting.add(received, now_ns, unheard_ns)
        if self.size_bytes > self._most_bytes and self._source is not None:
            self._source.pause()

    def next_part(self, clock: ArrivalClock, most: int, most_bytes: int) -> Waiting | None:
        """The next of what has come, to be written as one; None when there is nothing."""
        if not self._parts and self._waiting.received:
            taken, self._waiting = self._waiting, Waiting()
            # Much may have waited for the log while the clock was being set.
            clock.now_ns()
            taken.arrival_ns = clock.corrected(taken.arrival_ns)
            self._parts.extend(taken.split(most, most_bytes))
        return self._parts[0] if self._parts else None

    def written(self, now_ns: int, *, goes_on: bool) -> None:
        """The part is in the log, and acknowledged.

        Args:
            now_ns: The arrival time.
            goes_on: Whether more is wanted.
        """
        self._parts.popleft()
        if goes_on and not self._parts and self.size_bytes <= self._most_bytes:
            if self.source.is_paused:
                self.kept.resumed(now_ns)
            self.source.resume()

    def beat(self, now_ns: int, arrival_ns: int, *, is_log_there: bool) -> bool:
        """Tell the streams lanes whether the source is heard; whether it is.

        Args:
            now_ns: The moment, of the monotonic clock.
            arrival_ns: The same as an arrival time.
            is_log_there: Whether the log takes what is heard.
        """
        source = self.source
        is_flowing = is_log_there and not (source.trouble or source.is_paused)
        if not source.trouble:
            self.kept.connected(source.connection, arrival_ns, has_session=source.has_kept)
        if is_flowing:
            self.kept.listened(arrival_ns)
        self._heartbeat.beat(now_ns, arrival_ns, is_flowing=is_flowing)
        return is_flowing

    def talk(self, now_ns: int, arrival_ns: int) -> None:
        """Say what formats have to say to devices; the times are those of ``beat``."""
        if not self.source.trouble:
            if not self.size_bytes:
                self.conversations.heard_over(self.source.connection)
            for each in self.conversations.to_publish(now_ns, arrival_ns):
                self.source.say(each.topic, each.payload)
        self.conversations.look(now_ns)

    def listened(self, newest_ns: int, now_ns: int) -> None:
        """Take up when somebody listened last, before this process.

        Args:
            newest_ns: When something was written that came from this source; 0 if nobody knows.
            now_ns: The arrival time; the last process's clock may have been wrong.
        """
        self.kept.listened(newest_ns)
        self.kept.listened(min(self._heartbeat.flowed_ns(), now_ns))

    @property
    def size_bytes(self) -> int:
        """What waits for the log, in memory, about."""
        return self._waiting.size_bytes + sum(part.size_bytes for part in self._parts)
