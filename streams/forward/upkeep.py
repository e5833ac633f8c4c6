"""Looking after a backlog: how much it is, and what is done when it grows too large.

The oldest aggregates are thinned first, a tier after the other, so that what is left spans the
whole outage, finest where it is newest. Only when everything has been merged into the longest
windows, or has waited for too long, is the oldest given up, and counted. Anomalies are no business
of this: they are all kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np
import structlog

from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError
from headgate.core.log import Log, Record, StoredRecord
from headgate.core.records import (
    AGGREGATES_SCHEMAS,
    aggregates_records,
    check_schema,
    decode_aggregates,
)
from headgate.core.results import Aggregates
from headgate.core.telemetry import Telemetry
from streams.forward.backlog import EVICTED, Backlog, Tier
from streams.forward.ranges import Range, overlap, without
from streams.forward.thinning import concat, source_windows, thin
from streams.forward.timings import USUAL, ForwardTimings

_logger = structlog.get_logger()

#: Looks at records, and steps of thinning, in one call: the sink is not forgotten meanwhile.
_LOOKS, _STEPS = 8, 8

#: Thinning goes on until so much of the room is used.
_RELIEVED = 0.75

#: Rows in one record.
_MAX_ROWS = 4096

#: Why points are gone that were merged into those of longer windows.
THINNED_OUT = "thinned"


class BacklogUpkeep:
    """Looks after the backlogs of one sink.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time.
        telemetry: Where backlogs and losses are shown.
        sink: The sink's name.
        timings: How much is read at once, and how often is warned.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        sink: str,
        timings: ForwardTimings = USUAL,
    ) -> None:
        self._timings = timings
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._sink = sink
        self._max_age_ms = config.forward.max_age // 1_000_000
        self._room_bytes = config.max_backlog / config.log.partitions
        targets = config.forward.thin
        self._targets = targets
        self._feeds = config.feed
        self._sources = [source_windows(config.feed, targets, each) for each in targets]
        self._next_warning_ns = 0
        self._given_up = 0

    async def look(self, backlog: Backlog) -> None:
        """Look at records that have not been looked at, and make room."""
        for tier in backlog.tiers:
            await self._survey(backlog, tier)
        await self._give_up_old(backlog)
        if backlog.size_bytes <= self._room_bytes:
            return
        for _ in range(_STEPS):
            if backlog.size_bytes <= _RELIEVED * self._room_bytes:
                return
            await self._relieve(backlog)

    def show(self, backlogs: Iterable[Backlog], live: int, live_oldest_ms: int | None) -> None:
        """Put the backlog into the metrics.

        Args:
            backlogs: Of all partitions.
            live: Records that wait besides.
            live_oldest_ms: When the oldest of those was written, by the log's time, if known.
        """
        tiers = [tier for backlog in backlogs for tier in backlog.tiers]
        times = [tier.oldest_ms for tier in tiers]
        known = [each for each in (*times, live_oldest_ms if live else None) if each is not None]
        age_ms = self._log.now_ms() - min(known) if known else 0
        records = live + sum(end - first for tier in tiers for first, end in tier.ranges)
        telemetry = self._telemetry
        telemetry.backlog_records.labels(self._sink).set(records)
        telemetry.backlog_points.labels(self._sink).set(round(sum(tier.points for tier in tiers)))
        telemetry.backlog_bytes.labels(self._sink).set(
            round(sum(tier.size_bytes for tier in tiers))
        )
        telemetry.backlog_age.labels(self._sink).set(max(0, age_ms) / 1000)

    async def _survey(self, backlog: Backlog, tier: Tier) -> None:
        for _ in range(_LOOKS):
            unseen = tier.unseen()
            if unseen is None:
                return
            records = await self._read(tier, *unseen)
            if not records or records[0].offset > unseen[0]:
                # Retention was faster.
                self._lose(backlog, tier, (unseen[0], records[0].offset if records else unseen[1]))
                continue
            tier.note(records, [points_in(record) for record in records])

    async def _read(self, tier: Tier, first: int, end: int) -> list[StoredRecord]:
        records = await self._log.read(tier.at, first, max_bytes=self._timings.thinned_bytes)
        return [record for record in records if record.offset < end]

    async def _give_up_old(self, backlog: Backlog) -> None:
        now_ms = self._log.now_ms()
        for tier in backlog.tiers:
            if tier.oldest_ms is not None and now_ms - tier.oldest_ms > self._max_age_ms:
                await self._give_up(backlog, tier, "age")

    async def _relieve(self, backlog: Backlog) -> None:
        """Make the backlog smaller by a step."""
        tiers = backlog.tiers[: len(self._targets) + 1]
        for number in reversed(range(len(self._targets))):
            # The coarser of the thinned tiers may not fill the room either.
            is_full = number > 0 and tiers[number].size_bytes > self._room_bytes / 2
            is_turn = is_full or not any(_thinnable(tier) for tier in tiers[:number])
            if is_turn and _thinnable(tiers[number]):
                await self._thin(backlog, number)
                return
        for tier in reversed(tiers):
            if tier.ranges:
                await self._give_up(backlog, tier, "room")
                return

    async def _thin(self, backlog: Backlog, number: int) -> None:
        """Merge the oldest records of a tier into the next one."""
        source, target = backlog.tiers[number], backlog.tiers[number + 1]
        first, end = _thinnable(source)[0]
        records = await self._read(source, first, end)
        if not records:
            self._lose(backlog, source, (first, end))
            return
        channels = ChannelTable()
        carried = await self._carried(target)
        rows, unreadable = _rows([*carried, *records], channels)
        merged, waiting = await asyncio.to_thread(
            thin, rows, channels, self._targets[number], self._sources[number], self._feeds
        )
        # What can't be read stays as it is: whoever sends it puts it into quarantine.
        done, kept = [*unreadable, *_cut(merged, channels)], _cut(waiting, channels)
        start = await self._log.append(target.at, [*done, *kept]) if done or kept else 0
        # The last records of the old thinning are in the new ones, or wait again.
        for record in carried:
            place = (record.offset, record.offset + 1)
            backlog.let_go(target, place, THINNED_OUT, _points_of(target, [record]))
        middle = start + len(done)
        target.carried = (middle, middle + len(kept))
        target.add((start, target.carried[1]))
        points = _points_of(source, records)
        backlog.let_go(source, (first, records[-1].offset + 1), THINNED_OUT, points)
        await backlog.save()
        await self._survey(backlog, target)
        self._telemetry.thinned_windows.labels(self._sink).inc(
            max(0, len(rows) - len(merged) - len(waiting))
        )

    async def _carried(self, tier: Tier) -> list[StoredRecord]:
        """What the last thinning left to be merged, unless the sink has it by now."""
        first, end = tier.carried
        if not overlap(tier.ranges, tier.carried):
            return []
        return [
            record
            for record in await self._read(tier, first, end)
            if overlap(tier.ranges, (record.offset, record.offset + 1))
        ]

    async def _give_up(self, backlog: Backlog, tier: Tier, reason: str) -> None:
        """Let go of the oldest records of a tier."""
        first, end = tier.ranges[0]
        records = await self._read(tier, first, end)
        if not records:
            self._lose(backlog, tier, (first, end))
            await backlog.save()
            return
        points = _points_of(tier, records)
        backlog.let_go(tier, (first, records[-1].offset + 1), reason, points)
        await backlog.save()
        self._telemetry.given_up_points.labels(self._sink, reason).inc(points)
        self._given_up += points
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._next_warning_ns:
            self._next_warning_ns = now_ns + round(self._timings.warning_s * NS_PER_S)
            _logger.error(
                "Aggregates are given up: there is no room for the backlog, or it is too old.",
                sink=self._sink,
                reason=reason,
                points=self._given_up,
            )

    def _lose(self, backlog: Backlog, tier: Tier, gone: Range) -> None:
        records = gone[1] - gone[0]
        backlog.let_go(tier, gone, EVICTED, records)
        self._telemetry.missed_records.labels(self._sink).inc(records)
        _logger.error(
            "The log's retention deleted records before the sink had taken them.",
            sink=self._sink,
            records=records,
        )


def _points_of(tier: Tier, records: Sequence[StoredRecord]) -> int:
    """Points in a tier's records; most have been looked at before."""
    known = tier.points_by_offset(records[0].offset, records[-1].offset + 1)
    return sum(
        known[record.offset] if record.offset in known else points_in(record) for record in records
    )


def _thinnable(tier: Tier) -> list[Range]:
    """The pending ranges of a tier less what waits there for more to be merged with."""
    return without(tier.ranges, tier.carried)


def _rows(
    records: Sequence[StoredRecord], channels: ChannelTable
) -> tuple[Aggregates, list[Record]]:
    """The windows of records, and the records that can't be read."""
    parts: list[Aggregates] = []
    unreadable: list[Record] = []
    for record in records:
        try:
            check_schema(record.headers, *AGGREGATES_SCHEMAS)
            parts.append(decode_aggregates(record.value, channels))
        except DataError:
            unreadable.append(Record(record.value, record.key, record.headers))
    return concat(parts), unreadable


def _cut(rows: Aggregates, channels: ChannelTable) -> list[Record]:
    every = np.arange(len(rows))
    return [
        record
        for first in range(0, len(rows), _MAX_ROWS)
        for record in aggregates_records(rows.take(every[first : first + _MAX_ROWS]), channels)
    ]


def points_in(record: StoredRecord) -> int:
    """Points that a record becomes: one for each device and window."""
    channels = ChannelTable()
    try:
        check_schema(record.headers, *AGGREGATES_SCHEMAS)
        rows = decode_aggregates(record.value, channels, has_sketches=False)
    except DataError:
        return 0
    device = channels.device_of[rows.channel].astype(np.int64)
    places = np.stack([device, rows.start_ns, rows.window_ns])
    return int(np.unique(places, axis=1).shape[1])
