"""What one sink has yet to get of one partition: which offsets, and where that is written down.

So is what it will never get, with the reason: ``headgate audit`` settles the account of each sink
from there.

Pending aggregates are a *live* end, from an offset on, and any number of *backlog* ranges that
outages have left before it, so that live points can go first. Aggregates that were thinned wait in
topics of their own, one for each tier, in ranges too.

In ordinary times there is only the live end, and the consumer group's committed offset is all there
is to remember. It is committed before anything has been sent, so that the log keeps what a sink has
not taken from the first record on. Otherwise the ranges are kept in the compacted topic
``forwarded``, which is written before the offset is committed: a crash in between makes points be
sent again, and never be skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import structlog
from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, ValidationError

from connectors.logs.configured import sink_group, topic
from connectors.sinks.points import Kind
from headgate.config.schema import Config
from headgate.core.errors import DataError
from headgate.core.log import (
    AGGREGATES,
    ANOMALIES,
    FORWARDED,
    THINNED,
    Log,
    Record,
    StoredRecord,
    TopicPartition,
    records_between,
)
from streams.forward.ranges import Range, fewer, overlap, united, without

_logger = structlog.get_logger()

_HEADERS = (("schema", b"forwarded/1"),)

#: Why records are gone that the log's limit of size deleted before the sink had taken them.
EVICTED = "evicted"

#: Ranges of a tier that are noted at most; with more, some of what was sent is sent again.
_MOST_RANGES = 10_000


def _rising(pair: Range) -> Range:
    if pair[0] > pair[1]:
        raise ValueError("expected a range that does not end before it begins")
    return pair


_Pair: TypeAlias = Annotated[tuple[NonNegativeInt, NonNegativeInt], AfterValidator(_rising)]


_Ranges: TypeAlias = Annotated[list[_Pair], Field(max_length=4 * _MOST_RANGES)]


class _NotedTier(BaseModel, strict=True):
    ranges: _Ranges
    carried: _Pair
    # What an account needs besides; earlier notes have none of it.
    owned: _Ranges = []
    gone: dict[str, _Ranges] = {}
    counts: dict[str, NonNegativeInt] = {}
    evicted_ms: int | None = None


class Note(BaseModel, strict=True):
    """What ``save`` writes down: where live begins, by tier what is pending and what was let go."""

    live: NonNegativeInt
    tiers: Annotated[list[_NotedTier], Field(max_length=1 + len(THINNED))]


def read_note(value: bytes) -> Note:
    """Read a note back.

    Raises:
        DataError: ``bad_record`` when it is none.
    """
    try:
        return Note.model_validate_json(value)
    except ValidationError as error:
        raise DataError(
            "bad_record", f"no note of what waits: {error.errors()[0]['msg']}"
        ) from error


@dataclass(slots=True)
class _Span:
    """Records next to each other that have been looked at.

    Attributes:
        first: Offset of the first.
        end: Offset after the last.
        size_bytes: Bytes of their values.
        points: By offset, the points that each becomes.
        oldest_ms: When the first was written, by the log's time.
    """

    first: int
    end: int
    size_bytes: int
    points: dict[int, int]
    oldest_ms: int


@dataclass(slots=True)
class Tier:
    """Pending offsets of one topic and partition, and what is known of the records there.

    Attributes:
        at: Where they are.
        ranges: What is pending, rising.
        carried: A range at the end of a thinning: rows that wait there for more to be merged with.
        owned: All that this sink has put into a thinned topic, which others use too.
        gone: By reason, what was let go without having been sent, as far as it is in the log.
        counts: By reason, how many points were let go since the beginning; evicted ones, which
            nobody can count, in records.
        evicted_ms: When records were last found evicted, by the log's time.
    """

    at: TopicPartition
    ranges: list[Range] = field(default_factory=list)
    carried: Range = (0, 0)
    owned: list[Range] = field(default_factory=list)
    gone: dict[str, list[Range]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    evicted_ms: int | None = None
    _spans: list[_Span] = field(default_factory=list)

    def add(self, added: Range) -> None:
        """Make a range pending that this sink has put there."""
        self.ranges = united([*self.ranges, added])
        self.owned = united([*self.owned, added])

    def note(self, records: Sequence[StoredRecord], points: Sequence[int]) -> None:
        """Note what records hold that have been looked at."""
        size = sum(len(record.value) for record in records)
        first, end = records[0].offset, records[-1].offset + 1
        by_offset = dict(zip((record.offset for record in records), points, strict=True))
        self._spans.append(_Span(first, end, size, by_offset, records[0].timestamp_ms))

    def points_by_offset(self, first: int, end: int) -> dict[int, int]:
        """Points of the records in a range that have been looked at."""
        points: dict[int, int] = {}
        for span in self._spans:
            if overlap([(first, end)], (span.first, span.end)):
                points |= span.points
        return points

    def let_go(self, gone: Range, reason: str, count: int) -> None:
        """Take out what will not be sent, and keep an account of it."""
        self.done(gone)
        self.gone[reason] = united([*self.gone.get(reason, ()), gone])
        self.counts[reason] += count

    def forget(self, oldest: int) -> None:
        """Leave what is no longer in the log out of the ranges that are kept for the account."""
        self.owned = without(self.owned, (0, oldest))
        self.gone = {reason: without(self.gone[reason], (0, oldest)) for reason in self.gone}

    def done(self, gone: Range) -> None:
        """Take out what has been sent."""
        self.ranges = without(self.ranges, gone)
        self._spans = [span for span in self._spans if overlap(self.ranges, (span.first, span.end))]

    def unseen(self) -> Range | None:
        """The first pending range that has not been looked at."""
        unseen = self.ranges
        for span in self._spans:
            unseen = without(unseen, (span.first, span.end))
        return unseen[0] if unseen else None

    @property
    def size_bytes(self) -> float:
        """Bytes of the pending records that have been looked at."""
        return sum(span.size_bytes * self._part(span) for span in self._spans)

    @property
    def points(self) -> float:
        """Points in them."""
        return sum(sum(span.points.values()) * self._part(span) for span in self._spans)

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of them was written; None when there is none."""
        return min((span.oldest_ms for span in self._spans if self._part(span)), default=None)

    def _part(self, span: _Span) -> float:
        return overlap(self.ranges, (span.first, span.end)) / (span.end - span.first)


class Backlog:
    """The pending results of one kind, for one sink, in one partition.

    Anomalies have a live end only: they never fall behind.

    Args:
        config: The whole configuration.
        log: A started log.
        sink: The sink's name.
        partition: Which one.
        kind: Which results.
    """

    def __init__(
        self, config: Config, log: Log, sink: str, partition: int, kind: Kind = "aggregates"
    ) -> None:
        self.kind = kind
        names = (AGGREGATES, *THINNED) if kind == "aggregates" else (ANOMALIES,)
        #: Results as they came, then those of each thinning.
        self.tiers = [Tier(TopicPartition(topic(config, name), partition)) for name in names]
        self.at = self.tiers[0].at
        #: From here on results are live.
        self.live = 0
        self._log = log
        self._group = sink_group(config, sink)
        self._state = TopicPartition(topic(config, FORWARDED), partition)
        suffix = "" if kind == "aggregates" else f"/{kind}"
        self._key = f"{sink}/{partition}{suffix}".encode()
        # Whether the newest note says that something waits, and whether it must be written anew.
        self._is_noted = self._is_outdated = False
        # What the group has committed: by these offsets the log knows what it may delete.
        self._committed: dict[TopicPartition, int] = {}

    def __bool__(self) -> bool:
        """Whether anything waits besides what is live."""
        return any(tier.ranges for tier in self.tiers)

    @property
    def size_bytes(self) -> float:
        """Bytes of the records in it."""
        return sum(tier.size_bytes for tier in self.tiers)

    @property
    def needs_note(self) -> bool:
        """Whether an offset alone does not say it all."""
        return bool(self) or self._is_noted or self._is_outdated

    async def load(self) -> None:
        """Take up where the last run left off."""
        await self.look()
        await self.commit()

    async def look(self) -> None:
        """See where the last run left off, and leave everything as it is."""
        for tier in self.tiers:
            committed = await self._log.committed(self._group, tier.at)
            if committed is not None:
                self._committed[tier.at] = committed
        start, end = await self._log.offsets(self.at)
        committed = self._committed.get(self.at)
        if committed is None or committed > end:
            # New to us, or made anew: it ends before the place where we left the old one.
            committed = start
        self.live = committed
        note, is_lost = await self._newest_note()
        if note and note.live <= end:
            self._take_up(note, committed)
        if is_lost and not self:
            # What is thinned waits nowhere else: better all of it once more than some of it never.
            for tier in self.tiers[1:]:
                tier.ranges = united([await self._log.offsets(tier.at)])

    def _take_up(self, note: Note, committed: int) -> None:
        for tier, kept in zip(self.tiers, note.tiers, strict=False):
            # Before its offset a group waits for nothing: a sink that was out of the
            # configuration for a while has begun anew.
            tier.ranges = without(united(kept.ranges), (0, self._committed.get(tier.at, 0)))
            tier.carried = kept.carried
            tier.owned = united([*kept.owned, *tier.ranges])
            tier.gone = {reason: united(kept.gone[reason]) for reason in kept.gone}
            tier.counts, tier.evicted_ms = Counter(kept.counts), kept.evicted_ms
        self._is_noted = any(tier.ranges for tier in note.tiers)
        if self._is_noted:
            self.live = max(committed, note.live)

    def let_go(self, tier: Tier, gone: Range, reason: str, count: int) -> None:
        """Take out what will not be sent; ``save`` makes it durable.

        Args:
            tier: Which one.
            gone: Offsets.
            reason: ``age``, ``room``, ``thinned``, or ``EVICTED``.
            count: Points in it; of what was evicted, records.
        """
        tier.let_go(gone, reason, count)
        self._is_outdated = True
        if reason == EVICTED:
            tier.evicted_ms = self._log.now_ms()

    def go_on(self, first: int, end: int) -> int:
        """Move the live end from where the next record was found to after the last that was sent.

        Returns:
            How many records are missing before the first: results are never compacted, so they
            were evicted.
        """
        missed = max(0, first - self.live)
        if missed:
            self.let_go(self.tiers[0], (self.live, first), EVICTED, missed)
        self.live = max(self.live, end)
        return missed

    async def save(self) -> None:
        """Write down what is pending, and commit; both durable when it returns."""
        if self.needs_note:
            await self._write_note()
        await self.commit()

    async def commit(self, ends: Mapping[TopicPartition, tuple[int, int]] | None = None) -> None:
        """Commit what is done of every topic: the log keeps what lies behind, however old.

        Args:
            ends: Of the topics of the tiers, where they are known. What other sinks have put there
                is none of this one's business.
        """
        for tier in self.tiers:
            tier.forget((ends or {}).get(tier.at, (0, 0))[0])
        if self._is_outdated:
            # An offset that moves past what was let go would be all that is known of it.
            await self._write_note()
        offsets = {self.at: self.live}
        for tier in self.tiers[1:]:
            offsets[tier.at] = max(
                self._committed.get(tier.at, 0), (ends or {}).get(tier.at, (0, 0))[1]
            )
        offsets.update((tier.at, tier.ranges[0][0]) for tier in self.tiers if tier.ranges)
        moved = {at: each for at, each in offsets.items() if each != self._committed.get(at)}
        if moved:
            await self._log.commit(self._group, moved)
            self._committed.update(moved)

    def has_committed(self) -> None:
        """Note that the live end was committed by somebody else."""
        self._committed[self.at] = self.live

    def fall_behind(self, end: int) -> None:
        """Make what is live up to an offset part of the backlog."""
        if end > self.live:
            self.tiers[0].ranges = united([*self.tiers[0].ranges, (self.live, end)])
            self.live = end

    async def _write_note(self) -> None:
        tiers = [_noted(tier) for tier in self.tiers]
        note = Note(live=self.live, tiers=tiers).model_dump_json().encode()
        await self._log.append(self._state, [Record(note, self._key, _HEADERS)])
        self._is_noted, self._is_outdated = bool(self), False

    async def _newest_note(self) -> tuple[Note | None, bool]:
        """The newest note that can be read, if any, and whether there is one that can't.

        An older one makes points be sent again, and never be skipped: it says what waited then,
        and all that has come since is behind it.
        """
        newest, is_lost = None, False
        bounds = await self._log.offsets(self._state)
        async for records in records_between(self._log, self._state, *bounds, max_bytes=1 << 20):
            for record in records:
                if record.key == self._key and record.headers == _HEADERS:
                    try:
                        newest, is_lost = read_note(record.value), False
                    except DataError as error:
                        is_lost = True
                        _logger.error(
                            "A note of what waits for a sink can't be read; some of it is sent "
                            "again.",
                            partition=self.at.partition,
                            offset=record.offset,
                            error=str(error),
                        )
        return newest, is_lost


def _noted(tier: Tier) -> _NotedTier:
    return _NotedTier(
        ranges=fewer(tier.ranges, _MOST_RANGES),
        carried=tier.carried,
        owned=fewer(tier.owned, _MOST_RANGES),
        gone={reason: fewer(ranges, _MOST_RANGES) for reason, ranges in tier.gone.items()},
        counts=dict(tier.counts),
        evicted_ms=tier.evicted_ms,
    )
