"""Retained messages: a value that a broker keeps, and sends to each new subscriber, counts once.

A broker sends what it retains whenever one subscribes, which may be at each connect. Where messages
have a time of their own, such a repetition is recognized as a duplicate later on; without one it
would be a new reading each time. So the newest payload of each topic is remembered, by its digest:
in memory for all topics, and in a file for those of which something retained has come. The file is
written after the log has the message, and before the broker is told.

A feed may also say that its topics hold a state (``retained = "state"``): then what the broker has
retained is what channels hold, and no reading. It is handed on, marked as that, once in each run:
nothing of it is in the file, so that what was forgotten meanwhile is known again after a start.

What says whether devices are there counts once as well: a device that has been heard since it was
said to be away is not away again because the broker repeats it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, cast

import structlog

from connectors.formats.devices import MAX_TOPIC_BYTES
from connectors.formats.topics import FeedPatterns
from connectors.mqtt.received import Received, Subscription
from headgate.config.feed import FeedConfig
from headgate.config.overlap import united
from headgate.config.topics import topic_filter
from headgate.core.properties import NOTHING
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

_T = TypeVar("_T")

_DIGEST_BYTES: Final = 8

#: Keeps digests with user properties apart from those of what is sent: no payload makes one up.
_BESIDE: Final = b"user properties"

#: What an MQTT 5 broker is asked to do with what it retains: send it at each subscribing, only
#: where the session has no such subscription yet, or never.
_SEND, _SEND_IF_NEW, _SEND_NEVER = 0, 1, 2


def subscriptions(feeds: Mapping[str, FeedConfig]) -> list[Subscription]:
    """What to subscribe to, so that little is sent that would be left out here."""
    wanted: dict[str, list[Subscription]] = {}
    for each in _wanted(feeds.values()):
        wanted.setdefault(each.filter, []).append(each)
    found = []
    for topics, parts in united(wanted).items():
        # What any of them wants is asked for.
        every = [each for part in parts for each in part]
        qos, handling = (
            max(each.qos for each in every),
            min(each.retain_handling for each in every),
        )
        names = tuple(sorted({each.filter for each in every}))
        found.append(Subscription(topics, qos, handling, names))
    return found


def _wanted(feeds: Iterable[FeedConfig]) -> Iterator[Subscription]:
    for feed in feeds:
        handling = _retain_handling(feed.handles_retained, feed.qos)
        yield Subscription(feed.topic_filter, feed.qos, handling)
        for topic in feed.availability_topics:
            handling = _retain_handling(_SAID, feed.qos)
            yield Subscription(topic_filter(topic), feed.qos, handling)


def _retain_handling(handles: str, qos: int) -> int:
    if handles == "ignore":
        return _SEND_NEVER
    if handles == "state":
        # Whatever has been forgotten meanwhile, it is known again at once.
        return _SEND
    # With QoS 0 a session may have missed the change of a value, and only this would tell it.
    return _SEND_IF_NEW if handles == "once" and qos else _SEND


class _Kind(NamedTuple):
    """Which feed a topic is of, and how what is retained of it is taken: ``once``, for example."""

    feed: str
    handles: str


#: How what is retained of topics of availability is taken.
_SAID: Final = "once"

#: What is of no feed.
_NO_KIND = _Kind("", "")


class _Kinds:
    """Says of topics of what kind they are; those of availability are before feeds'."""

    def __init__(self, feeds: Mapping[str, FeedConfig]) -> None:
        self._patterns = FeedPatterns(feeds)
        self._of_feeds = {name: _Kind(name, feed.handles_retained) for name, feed in feeds.items()}
        self.handled = {kind.handles for kind in self._of_feeds.values()}
        if any(feed.availability_topics for feed in feeds.values()):
            self.handled.add(_SAID)

    def of(self, topic: bytes) -> _Kind:
        said = self._patterns.said_of(topic)
        if said:
            return _Kind(said[0], _SAID)
        found = self._patterns.whose(topic)
        return self._of_feeds.get(found.feed or found.topic_of or "", _NO_KIND)


class RetainedMessages:
    """Leaves out retained messages that are no readings, by what their feed says of them.

    Args:
        feeds: By name, those of one source.
        most: Topics that are remembered at most.
        path: The file.
        telemetry: Counts what is left out.
    """

    def __init__(
        self, feeds: Mapping[str, FeedConfig], most: int, path: Path, telemetry: Telemetry
    ) -> None:
        self._path = path
        self._telemetry = telemetry
        self._kinds = _Kinds(feeds)
        self._most = most
        handled = self._kinds.handled
        self._has_once = "once" in handled
        self._is_looked_at = not handled.isdisjoint(("once", "ignore", "state"))
        self._kind_of_topic: dict[bytes, _Kind] = {}
        # By topic, the one heard longest ago first, the digest of its newest payload; those of
        # which something retained came, the file's among them; and those of these that have been
        # forgotten since the last note.
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()
        self._retaining: set[bytes] = set()
        # The same of those that hold a state; only of this run.
        self._states: dict[bytes, bytes] = {}
        self._forgotten: list[bytes] = []
        self._database: sqlite3.Connection | None = None
        for name in feeds:
            telemetry.retained.labels(name)

    async def load(self) -> None:
        """Take up what an earlier run has noted."""
        if self._has_once:
            await asyncio.to_thread(self._open)

    def sift(self, received: Received) -> Received:
        """Messages without those to be left out; what is owed to the broker stays."""
        if not self._is_looked_at:
            return received
        topics = received.topics
        known = list(map(self._kind_of_topic.get, topics))
        kinds = list(map(self._kind_of, topics)) if None in known else cast("list[_Kind]", known)
        newest: dict[bytes, bytes] = {}
        left_out: set[int] = set()
        held: list[int] = []
        first = 0
        for at in received.retained:
            newest |= self._heard(received, kinds, slice(first, at))
            first = at
            if kinds[at].handles == "ignore":
                left_out.add(at)
            elif kinds[at].handles == "state":
                is_known = self._states.get(topics[at]) == _digest(received, at)
                left_out.add(at) if is_known else held.append(at)
            elif kinds[at].handles == "once" and len(topics[at]) <= MAX_TOPIC_BYTES:
                self._retaining.add(topics[at])
                if self._digests.get(topics[at]) == _digest(received, at):
                    left_out.add(at)
        newest |= self._heard(received, kinds, slice(first, None))
        for at in left_out:
            self._telemetry.retained.labels(kinds[at].feed).inc()
        to_note = {topic: newest[topic] for topic in newest.keys() & self._retaining}
        if held:
            received = replace(received, held=held)
        return _without(received, left_out, to_note)

    async def keep(self, safe: Iterable[Received]) -> None:
        """Note down what these messages say of their topics; the log has them.

        What can't be noted may count once more after a restart, and is not lost.
        """
        digests: dict[bytes, bytes] = {}
        for received in safe:
            digests.update(received.to_note)
        if digests:
            await asyncio.to_thread(self._note, digests)

    async def close(self, *, is_all_safe: bool) -> None:
        """Note down every topic, if the log has all messages that came; the end."""
        if self._database is not None:
            if is_all_safe:
                await asyncio.to_thread(self._note, self._digests)
            self._database.close()

    def _kind_of(self, topic: bytes) -> _Kind:
        known = self._kind_of_topic.get(topic)
        if known is not None:
            return known
        found = self._kinds.of(topic)
        if len(topic) <= MAX_TOPIC_BYTES and len(self._kind_of_topic) < self._most:
            self._kind_of_topic[topic] = found
        return found

    def _heard(self, received: Received, kinds: Sequence[_Kind], span: slice) -> dict[bytes, bytes]:
        """Remember the newest payload of each topic in a span of messages; their digests."""
        topics = received.topics
        positions = range(*span.indices(len(topics)))
        self._note_states(received, kinds, positions)
        newest = {topics[at]: at for at in positions if kinds[at].handles == "once"}
        digests = {
            topic: _digest(received, at)
            for topic, at in newest.items()
            if len(topic) <= MAX_TOPIC_BYTES
        }
        for topic, digest in digests.items():
            self._digests[topic] = digest
            self._digests.move_to_end(topic)
        while len(self._digests) > self._most:
            # What was heard longest ago goes: its value may count once more, but made-up topics
            # push out neither those that go on nor, for ever, any other.
            oldest, _ = self._digests.popitem(last=False)
            if oldest in self._retaining:
                self._retaining.remove(oldest)
                self._forgotten.append(oldest)
        return digests

    def _note_states(
        self, received: Received, kinds: Sequence[_Kind], positions: Iterable[int]
    ) -> None:
        """Remember what topics that hold a state say."""
        newest = {received.topics[at]: at for at in positions if kinds[at].handles == "state"}
        if len(self._states) + len(newest) > self._most:
            # It is handed on once more, which changes nothing.
            self._states.clear()
        self._states.update((topic, _digest(received, at)) for topic, at in newest.items())

    def _open(self) -> None:
        try:
            self._database = _opened(self._path)
            self._digests = OrderedDict(_read(self._database))
        except sqlite3.Error as error:
            _logger.warning(
                "The note of retained messages can't be read and is begun anew; they may count "
                "once more.",
                file=str(self._path),
                error=str(error),
            )
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    self._path.with_name(self._path.name + suffix).unlink()
            self._database = _opened(self._path)
        self._retaining = set(self._digests)

    def _note(self, digests: Mapping[bytes, bytes]) -> None:
        assert self._database is not None  # noqa: S101  (for the type checker)
        forgotten, self._forgotten = self._forgotten, []
        try:
            with self._database:
                self._database.executemany(
                    "DELETE FROM retained WHERE topic = ?", ((topic,) for topic in forgotten)
                )
                self._database.executemany(
                    "INSERT OR REPLACE INTO retained VALUES (?, ?)", digests.items()
                )
        except sqlite3.Error as error:
            _logger.warning(
                "Which retained messages have come can't be noted; they may count once more after "
                "a restart.",
                file=str(self._path),
                error=str(error),
            )


def _without(received: Received, left_out: set[int], to_note: Mapping[bytes, bytes]) -> Received:
    if not left_out:
        return replace(received, to_note=to_note) if to_note else received
    kept = [at for at in range(len(received.topics)) if at not in left_out]
    return replace(
        received,
        topics=[received.topics[at] for at in kept],
        payloads=[received.payloads[at] for at in kept],
        cut=_moved(received.cut, kept),
        properties=_moved(received.properties, kept),
        held=[to for to, at in enumerate(kept) if at in received.held],
        retained=(),
        to_note=to_note,
    )


def _moved(by_position: Mapping[int, _T], kept: Sequence[int]) -> dict[int, _T]:
    """What is known by position of those messages that are kept."""
    return {to: by_position[at] for to, at in enumerate(kept) if at in by_position}


def _digest(received: Received, at: int) -> bytes:
    digest = blake2b(received.payloads[at], digest_size=_DIGEST_BYTES)
    said = received.properties.get(at, NOTHING)
    if said.content_type:
        # By its content type the same payload may say something else.
        digest.update(b"\0" + said.content_type)
    if not said.user:
        return digest.digest()
    # By its user properties it may be another batch's, or another device's.
    beside = b"".join(
        len(each).to_bytes(4, "big") + each for each in chain.from_iterable(sorted(said.user))
    )
    of_both = blake2b(digest.digest() + beside, digest_size=_DIGEST_BYTES, person=_BESIDE)
    return of_both.digest()


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    # Outlives a kill; after a power cut the newest entries may be gone, which costs a repetition.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    database.execute(
        "CREATE TABLE IF NOT EXISTS retained (topic BLOB PRIMARY KEY, digest BLOB NOT NULL)"
    )
    return database


def _read(database: sqlite3.Connection) -> dict[bytes, bytes]:
    found: list[tuple[bytes, bytes]] = database.execute(
        "SELECT topic, digest FROM retained ORDER BY rowid"
    ).fetchall()
    return dict(found)
