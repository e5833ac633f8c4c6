"""What could not be used of the messages: into quarantine, counted, and told in the log.

Each refused message is kept by itself. Of bad fields, whose records are kept, an example is put
there now and then. In the log each kind of refusal is told once with an example, and as long as it
goes on, once a minute with how many there were.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from zlib import crc32

import numpy as np
import structlog
from numpy.typing import NDArray

from connectors.formats.columns import Decoded
from connectors.formats.devices import MAX_TOPIC_BYTES
from headgate.config.schema import Config
from headgate.config.source import FORMER_SOURCE
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError
from headgate.core.properties import NOTHING, Properties, kept_type, noted
from headgate.core.records import QuarantinedMessage
from headgate.core.refused import MAX_SOURCES
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

#: A kind of refusal is told at most once in so long, and an example of bad fields kept, ns.
_INTERVAL_NS = 60 * NS_PER_S

#: A longer detail is cut, characters.
_MAX_DETAIL = 400

#: So much of a payload is shown in the log, bytes.
_HEAD_BYTES = 80


@dataclass(frozen=True, slots=True)
class Messages:
    """A run of messages, in the order they came in.

    Attributes:
        topics: Their topics, as they were sent.
        payloads: Their payloads.
        arrival_ns: int64[n], when each arrived, ns since 1970 UTC.
        cut: By position, the bytes of each payload of which only the beginning is here.
        unheard_ns: int64[n], for each that may have waited at the broker, since when nobody had
            listened to it; 0 for the others. None: for all of them.
        source: The name of the source that they came from.
        properties: By position, what is said beside those of which that is asked.
        held: Positions of those that are no readings, but what their channels hold.
    """

    topics: Sequence[bytes]
    payloads: Sequence[bytes]
    arrival_ns: NDArray[np.int64]
    cut: Mapping[int, int]
    unheard_ns: NDArray[np.int64] | None = None
    source: str = FORMER_SOURCE
    properties: Mapping[int, Properties] = field(default_factory=dict)
    held: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Number of messages."""
        return len(self.topics)

    def part(self, first: int, end: int) -> Messages:
        """Those from the first to before the end."""
        if first == 0 and end == len(self.topics):
            return self
        cut = {at - first: size for at, size in self.cut.items() if first <= at < end}
        properties = self.properties
        if properties:
            found = ((at, properties.get(at)) for at in range(first, end))
            properties = {at - first: each for at, each in found if each is not None}
        span = slice(first, end)
        unheard_ns = None if self.unheard_ns is None else self.unheard_ns[span]
        return Messages(
            self.topics[span],
            self.payloads[span],
            self.arrival_ns[span],
            cut,
            unheard_ns,
            self.source,
            properties,
            frozenset(at - first for at in self.held if first <= at < end),
        )

    def only(self, positions: Sequence[int]) -> Messages:
        """Those at these positions; none is cut."""
        if len(positions) == len(self.topics):
            return self
        said = self.properties
        if said:
            said = {to: said[at] for to, at in enumerate(positions) if at in said}
        return Messages(
            [self.topics[at] for at in positions],
            [self.payloads[at] for at in positions],
            self.arrival_ns[positions],
            {},
            None if self.unheard_ns is None else self.unheard_ns[positions],
            self.source,
            said,
            frozenset(to for to, at in enumerate(positions) if at in self.held)
            if self.held
            else self.held,
        )


@dataclass(slots=True)
class _Kind:
    """One kind of refusal that goes on: when it was told last, and how many there were since."""

    told_ns: int
    count: int = 0
    topic: bytes = b""


class Refusals:
    """Turns refusals of one lane into entries of quarantine.

    Args:
        config: The whole configuration.
        telemetry: Where they are counted.
        clock: Only its monotonic side is used.
        examples_every_ns: An example of bad fields of one kind is kept at most once in so long.
    """

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        clock: Clock,
        *,
        examples_every_ns: int = _INTERVAL_NS,
    ) -> None:
        self._partitions = config.log.partitions
        self._examples_every_ns = examples_every_ns
        self._kept_bytes = config.ingest.quarantine_payload
        self._telemetry = telemetry
        self._clock = clock
        # By feed and reason; by feed, channel and kind, when an example was kept. Both are bounded
        # by the configuration.
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._kept_ns: dict[tuple[str, str, str], int] = {}

    def refuse(
        self,
        feed: str,
        messages: Messages,
        refused: Sequence[tuple[int, DataError]],
        into: dict[int, list[QuarantinedMessage]],
        taken: Sequence[int] | None = None,
    ) -> None:
        """Add messages to what goes to quarantine.

        Args:
            feed: Theirs; empty for those of no feed.
            messages: The run that they are part of.
            refused: Position and reason of each.
            into: By partition, what goes there.
            taken: How many readings were taken of each all the same; None: of none of them any.
        """
        if not refused:
            return
        # Nothing is done for each message but what is kept of it.
        topics, payloads, cut = messages.topics, messages.payloads, messages.cut
        arrival_ns, said = messages.arrival_ns.tolist(), messages.properties
        by_reason: defaultdict[str, list[tuple[int, DataError]]] = defaultdict(list)
        # By topic: its name in quarantine, and what goes to its partition there.
        kept_of: dict[bytes, tuple[str, list[QuarantinedMessage]]] = {}
        for each, readings in zip(refused, repeat(0) if taken is None else taken, strict=False):
            position, error = each
            by_reason[error.reason].append(each)
            topic, payload = topics[position], payloads[position]
            kept = kept_of.get(topic)
            if kept is None:
                partition = crc32(topic) % self._partitions
                kept = (f"{messages.source}:{shown_topic(topic)}", into.setdefault(partition, []))
                kept_of[topic] = kept
            source, messages_kept = kept
            content_type = kept_type(said[position].content_type) if position in said else ""
            size = cut.get(position, len(payload)) if cut else len(payload)
            messages_kept.append(
                QuarantinedMessage(
                    arrival_ns[position],
                    source,
                    payload[: self._kept_bytes],
                    error.reason,
                    error.detail[:_MAX_DETAIL],
                    size,
                    readings,
                    content_type,
                )
            )
        for reason, alike in by_reason.items():
            position, error = alike[-1]
            self._telemetry.quarantined.labels(reason).inc(len(alike))
            self._note(feed, messages, alike)
            self._tell(feed, error, messages, position, len(alike))

    def keep_examples(
        self,
        feed: str,
        messages: Messages,
        decoded: Decoded,
        into: dict[int, list[QuarantinedMessage]],
    ) -> None:
        """Count bad fields, and keep a message as an example of each kind now and then."""
        now_ns = self._clock.monotonic_ns()
        for (channel, kind), bad in decoded.bad_fields.items():
            self._telemetry.bad_fields.labels(feed, channel, kind).inc(bad.count)
            kept_ns = self._kept_ns.get((feed, channel, kind))
            if kept_ns is not None and now_ns - kept_ns < self._examples_every_ns:
                continue
            self._kept_ns[feed, channel, kind] = now_ns
            refused = [(bad.position, DataError("bad_field", bad.detail))]
            self.refuse(feed, messages, refused, into, decoded.taken_of([bad.position]))

    def tell(self) -> None:
        """Tell in the log of what goes on; call it often."""
        now_ns = self._clock.monotonic_ns()
        for (feed, reason), kind in list(self._kinds.items()):
            if now_ns - kind.told_ns < _INTERVAL_NS:
                continue
            if not kind.count:
                del self._kinds[feed, reason]
                continue
            _logger.warning(
                "More messages of this kind went to quarantine.",
                feed=feed,
                reason=reason,
                count=kind.count,
                within_s=round((now_ns - kind.told_ns) / NS_PER_S),
                topic=shown_topic(kind.topic),
            )
            self._kinds[feed, reason] = _Kind(now_ns)

    def _note(self, feed: str, messages: Messages, alike: Sequence[tuple[int, DataError]]) -> None:
        """Take note of refusals of one reason, for people: whose most of them are, and the last."""
        position, error = alike[-1]
        kinds, example = self._telemetry.refused, messages.payloads[position]
        named = Counter(messages.topics[at] for at, _ in alike).most_common(MAX_SOURCES)
        for topic, count in reversed(named):
            kinds.note(error.reason, feed, topic, count, example=example, detail=error.detail)
        others = len(alike) - sum(count for _, count in named)
        kinds.note(error.reason, feed, b"", others)

    def _tell(
        self, feed: str, error: DataError, messages: Messages, position: int, count: int
    ) -> None:
        kind = self._kinds.get((feed, error.reason))
        topic = messages.topics[position]
        if kind is not None:
            kind.count += count
            kind.topic = topic
            return
        now_ns = self._clock.monotonic_ns()
        self._kinds[feed, error.reason] = _Kind(now_ns, count - 1, topic)
        head = messages.payloads[position][:_HEAD_BYTES]
        _logger.warning(
            "A message went to quarantine; of more of this kind there is a line a minute.",
            feed=feed,
            reason=error.reason,
            topic=shown_topic(topic),
            detail=noted(
                error.detail[:_MAX_DETAIL],
                kept_type(messages.properties.get(position, NOTHING).content_type),
            ),
            payload=head.decode(errors="backslashreplace"),
            payload_bytes=messages.cut.get(position, len(messages.payloads[position])),
        )


def shown_topic(topic: bytes) -> str:
    """A topic as text; one that is too long is cut, with its length behind it."""
    if len(topic) <= MAX_TOPIC_BYTES:
        return topic.decode(errors="replace")
    return f"{topic[:MAX_TOPIC_BYTES].decode(errors='replace')}… ({len(topic)} bytes)"
