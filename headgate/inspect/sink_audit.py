"""The account of every point, per sink, settled from what stands in the log.

For each topic of results, every record that stands there is in one place: the sink has
acknowledged it (its offset is committed, which happens after its word and never before), or it
waits, or it was let go for a reason that was written down before the offset moved. Of records that
are not there any more only that much is known: those that a sink was done with are no matter, and
those that the log's limit of size deleted before are a gap.

Points are counted as they stand in the log: one that a replay has written twice counts twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from connectors.actions.configured import asks_for_nothing
from connectors.sinks.configured import configured_sinks, sink_component
from connectors.sinks.points import Kind, Point, told_points
from headgate.config.action import ACTIONS
from headgate.config.chosen import Chosen
from headgate.config.schema import Config
from headgate.core.errors import DataError
from headgate.core.log import ANOMALIES, Log, StoredRecord, TopicPartition, records_between
from headgate.core.records import QuarantinedMessage, kind_of
from streams.forward.backlog import EVICTED, Backlog, Tier
from streams.forward.ranges import overlap, without
from streams.forward.upkeep import points_in

#: Places of a record that has not been let go.
WAITING, ACKNOWLEDGED = "waiting", "acknowledged"


@dataclass(slots=True)
class SinkAccount:
    """One sink's points in one topic of results.

    Attributes:
        made: Points in the records that stand in the log.
        acknowledged: Those that the sink has said yes to.
        waiting: Those that are still to be sent.
        let_go: Those that will not be sent, by reason: ``thinned`` (they are in points of longer
            windows, which have an account of their own), and ``age`` and ``room``, the limits of
            ``[forward]``.
        passed_over: Those that the sink said yes to and keeps nothing of, because its table says
            so: an alarm that nobody wants to be told of.
        refused: Those that the sink refused for good; they are in quarantine.
        evicted: Records that the log deleted before the sink had taken them, since the beginning.
        let_go_ever: Like ``let_go``, since the beginning; the records may have left the log.
    """

    made: int = 0
    acknowledged: int = 0
    waiting: int = 0
    let_go: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0
    refused: int = 0
    evicted: int = 0
    let_go_ever: Counter[str] = field(default_factory=Counter)

    @property
    def is_balanced(self) -> bool:
        """Nothing is missing: what stands in the log is in one of these places each."""
        return not self.evicted


class Places:
    """Where the records of one tier are for a sink.

    Args:
        backlog: The sink's, looked at.
        tier: One of the backlog's.
    """

    def __init__(self, backlog: Backlog, tier: Tier) -> None:
        self._tier = tier
        self._is_first = tier is backlog.tiers[0]
        #: Offsets that wait.
        self.pending = [*tier.ranges, (backlog.live, 2**62)] if self._is_first else tier.ranges

    def of(self, offset: int) -> str | None:
        """``WAITING``, ``ACKNOWLEDGED``, why it was let go, or None: it is another sink's."""
        place = (offset, offset + 1)
        if overlap(self.pending, place):
            return WAITING
        for reason, ranges in self._tier.gone.items():
            if reason != EVICTED and overlap(ranges, place):
                return reason
        if self._is_first or overlap(self._tier.owned, place):
            return ACKNOWLEDGED
        return None


#: What the points of the topic ``anomalies`` begin with, and no aggregates do.
_TOLD = (
    b"anomalies,",
    b"alarms,",
    b"alarm_notes,",
    b"commands,",
    b"sensor_health,",
    b"device_state,",
    b"channel_state,",
)


class SinkAuditor:
    """Settles the accounts of all configured sinks, a partition at a time.

    Args:
        config: The gateway's configuration.
        log: A started log.
        since_ms: What was evicted before counts no more, by the log's time.
    """

    def __init__(self, config: Config, log: Log, since_ms: int | None) -> None:
        self._config = config
        self._log = log
        self._since_ms = since_ms
        self._sinks = configured_sinks(config)
        self._passes_over = {name: _passes_over(config.sink[name]) for name in self._sinks}
        if config.action:
            self._sinks[ACTIONS] = ("anomalies",)
            self._passes_over[ACTIONS] = partial(asks_for_nothing, config)
        self._refused: Counter[tuple[str, Kind]] = Counter()
        self.accounts: dict[tuple[str, str], SinkAccount] = {}

    def note_refused(self, messages: Sequence[QuarantinedMessage]) -> None:
        """Take up the points among what stands in quarantine."""
        for message in messages:
            if message.reason == "rejected_by_sink":
                is_told = message.payload.startswith(_TOLD)
                self._refused[message.source, "anomalies" if is_told else "aggregates"] += 1

    async def read(self, partition: int) -> None:
        """Settle the accounts of a partition."""
        for kind in ("anomalies", "aggregates"):
            sinks = [sink for sink in self._sinks if kind in self._sinks[sink]]
            if sinks:
                await self._read(kind, partition, sinks)

    async def _read(self, kind: Kind, partition: int, sinks: Sequence[str]) -> None:
        # Where the records begin is looked up before where the sinks are, and not after: what a
        # running gateway deletes meanwhile is what they are done with.
        backlogs = {sink: Backlog(self._config, self._log, sink, partition, kind) for sink in sinks}
        tiers = next(iter(backlogs.values())).tiers
        bounds = await self._log.offsets_many([tier.at for tier in tiers])
        for backlog in backlogs.values():
            await backlog.look()
        for number, (at, (start, end)) in enumerate(bounds.items()):
            points, passed_over = await self._points(kind, at, start, end, sinks)
            for sink, backlog in backlogs.items():
                account = self.accounts.setdefault(
                    (sink, kind if number == 0 else f"{kind}, thinned"), SinkAccount()
                )
                tier = backlog.tiers[number]
                self._settle(account, backlog, tier, points, passed_over[sink], start)

    def _settle(
        self,
        account: SinkAccount,
        backlog: Backlog,
        tier: Tier,
        points: Mapping[int, int],
        passed_over: Mapping[int, int],
        start: int,
    ) -> None:
        places = Places(backlog, tier)
        for offset, count in points.items():
            place = places.of(offset)
            if place is None:
                continue
            if place == WAITING:
                account.waiting += count
            elif place == ACKNOWLEDGED:
                account.acknowledged += count - passed_over.get(offset, 0)
                account.passed_over += passed_over.get(offset, 0)
            else:
                account.let_go[place] += count
            account.made += count
        # What waits before the first record there is will wait for ever.
        account.evicted += sum(end - first for first, end in _before(places.pending, start))
        if self._since_ms is None or (tier.evicted_ms or 0) >= self._since_ms:
            account.evicted += tier.counts[EVICTED]
        account.let_go_ever.update(
            {reason: tier.counts[reason] for reason in tier.counts if reason != EVICTED}
        )

    async def _points(
        self, kind: Kind, at: TopicPartition, start: int, end: int, sinks: Sequence[str]
    ) -> tuple[dict[int, int], dict[str, dict[int, int]]]:
        """By offset, the points that each record becomes; by sink, those that it passes over."""
        points: dict[int, int] = {}
        passed_over: dict[str, dict[int, int]] = {sink: {} for sink in sinks}
        choosy = {sink: chosen for sink in sinks if (chosen := self._passes_over[sink])}
        async for page in records_between(self._log, at, start, end):
            for record in page:
                if kind == "aggregates":
                    points[record.offset] = points_in(record)
                    continue
                points[record.offset] = _told_in(record)
                told = self._told(record) if choosy else ()
                for sink, passes_over in choosy.items():
                    passed_over[sink][record.offset] = sum(map(passes_over, told))
        return points, passed_over

    def _told(self, record: StoredRecord) -> Sequence[Point]:
        try:
            return told_points(record, self._config.gateway.name)
        except (DataError, ValueError, TypeError, OverflowError):
            return ()  # as a whole in quarantine

    def settle_refused(self) -> None:
        """Tell what was refused from what was written, once all has been read."""
        for (sink, kind), refused in self._refused.items():
            account = self.accounts.get((sink, kind))
            if account is not None:
                # Of thinned points, or of records that have left the log, it may be more.
                account.refused = min(refused, account.acknowledged)
                account.acknowledged -= account.refused


def _before(ranges: Sequence[tuple[int, int]], start: int) -> list[tuple[int, int]]:
    return without(ranges, (start, 2**62))


def _told_in(record: StoredRecord) -> int:
    """Anomalies and changes of health in a record; a point each."""
    try:
        kind = kind_of(record.headers)
        return kind.count(record.value) if kind.topic == ANOMALIES else 0
    except DataError:
        return 0


def _passes_over(chosen: Chosen) -> Callable[[Point], bool] | None:
    """Which points a configured sink passes over; None: it keeps all."""
    passes_over = sink_component(chosen).passes_over
    return None if passes_over is None else partial(passes_over, chosen.table)
