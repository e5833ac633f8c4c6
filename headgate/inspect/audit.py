"""The account of every reading, settled from what stands in the log and from nothing else.

For each device and span of event time: every reading that was received is in an aggregate, in
quarantine, or still on its way. No counter of the running gateway is believed; the topics are
read from end to end. Whatever a replay wrote twice is counted once: aggregates by their identity,
rejected readings by the record they came from.

A device's *horizon* is the end of its last closed window. Readings before it must all be accounted
for; readings past it are open. (Of a device whose clock was set back the last window is not the
latest: later ones, its *island*, are closed, too, and what lies between is open. Until the first of
its windows since then is closed, its readings since then may be open.) Those at or behind the
offset that the streams lane has committed may or may not have been worked on yet, so they may be
accounted for but need not.

Retention deletes the oldest records, of each topic at its own pace. Spans of which a record may be
gone can't be settled and are marked as evicted; an account with such spans is not balanced, because
nobody knows.

What became of the results at each sink is another account: ``headgate.inspect.sink_audit``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.logs.configured import consumer_group, topic
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable, Device, device_partition
from headgate.core.errors import DataError
from headgate.core.log import (
    AGGREGATES,
    QUARANTINE,
    READINGS,
    STREAMS,
    Log,
    StoredRecord,
    TopicPartition,
    records_between,
)
from headgate.core.records import (
    AGGREGATES_SCHEMAS,
    MESSAGES_SCHEMA,
    OLD_MESSAGES_SCHEMA,
    READINGS_SCHEMAS,
    REJECTED_SCHEMAS,
    RETRIED_SCHEMA,
    check_schema,
    decode_aggregates,
    decode_messages,
    decode_readings,
    decode_rejected,
    decode_retried,
    derived_in,
    part_of,
    schema_of,
)
from headgate.inspect.commands import command_account
from headgate.inspect.horizon import Horizon, Returns
from headgate.inspect.sink_audit import SinkAccount, SinkAuditor

Rejection: TypeAlias = tuple[Device, int, str, bool]


@dataclass(slots=True)
class Account:
    """One device and span. All numbers count readings.

    Attributes:
        received: In the ``readings`` topic, worked on or not.
        aggregated: In closed windows, flagged ones included.
        rejected: In quarantine, by reason.
        in_log: Received at or behind the committed offset.
        past_horizon: Received past the device's horizon.
        rejected_past_horizon: Rejected past the device's horizon.
        in_log_before_horizon: Those of ``in_log`` that lie before the horizon.
        became_derived: Others before it that may be in windows of a derived channel: such a window
            was open when the channel that sent them became a derived one of the same name.
        set_back: Others before the horizon, which may be open: the device's clock went back with
            them, to where no window was ever closed, and nothing has come since that refutes it.
        is_evicted: Retention has deleted part of the span, so it can't be checked.
    """

    received: int = 0
    aggregated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    in_log: int = 0
    past_horizon: int = 0
    rejected_past_horizon: int = 0
    in_log_before_horizon: int = 0
    became_derived: int = 0
    set_back: int = 0
    is_evicted: bool = False

    @property
    def open(self) -> int:
        """Readings in windows that have not closed yet."""
        return self.past_horizon - self.rejected_past_horizon

    @property
    def gap(self) -> int:
        """Readings lost (positive) or counted twice (negative); 0 when the account balances."""
        if self.is_evicted:
            return 0
        due = self.received - self.past_horizon
        settled = self.aggregated + self.rejected.total() - self.rejected_past_horizon
        if settled > due:
            return due - settled
        may_be = self.in_log_before_horizon + self.set_back + self.became_derived
        return max(0, due - may_be - settled)


@dataclass(slots=True)
class Audit:
    """The whole account.

    Attributes:
        span_ns: Length of a span.
        accounts: By device and start of the span (ns since 1970 UTC).
        messages: Quarantined messages and refused points, by reason; they hold no readings.
        retried: Those of them that were taken after all, by the reason they had been refused for:
            what they gave is among the received.
        sinks: Points by sink and topic of results.
        unread: Records of readings that the log deleted before they were worked on.
        commands: By action, how many commands to devices are in which state, and why.
    """

    span_ns: int
    accounts: dict[tuple[Device, int], Account]
    messages: Counter[str]
    retried: Counter[str] = field(default_factory=Counter)
    sinks: dict[tuple[str, str], SinkAccount] = field(default_factory=dict)
    unread: int = 0
    commands: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def is_balanced(self) -> bool:
        """Everything could be checked, and nothing is missing, on the way in and at any sink."""
        return not (
            self.unread
            or self.has_gaps
            or self.unchecked
            or not all(account.is_balanced for account in self.sinks.values())
        )

    @property
    def has_gaps(self) -> bool:
        """Some device has a gap in some span that can be checked."""
        return any(account.gap for account in self.accounts.values())

    @property
    def unchecked(self) -> list[tuple[Device, int]]:
        """The spans that can't be checked: retention has deleted part of them."""
        return [place for place, account in self.accounts.items() if account.is_evicted]

    def sum(self) -> Account:
        """All that can be checked added up; its ``gap`` means nothing, since gaps may cancel."""
        total = Account()
        for account in self.accounts.values():
            if account.is_evicted:
                continue
            total.received += account.received
            total.aggregated += account.aggregated
            total.rejected.update(account.rejected)
            total.in_log += account.in_log
            total.past_horizon += account.past_horizon
            total.rejected_past_horizon += account.rejected_past_horizon
            total.in_log_before_horizon += account.in_log_before_horizon
            total.became_derived += account.became_derived
            total.set_back += account.set_back
        return total


async def audit(
    config: Config, log: Log, *, span_ns: int = 3600 * 10**9, age_ns: int | None = None
) -> Audit:
    """Read the topics and settle the account.

    Spans start at whole multiples of ``span_ns``, which is rounded up to a multiple of each
    feed's shortest aggregate window so that no window lies across two spans.

    Args:
        config: The gateway's configuration.
        log: A started log.
        span_ns: Length of a span, ns.
        age_ns: Only what is at most so old: spans that began later, and evictions since.
    """
    return await _Auditor(config, log, span_ns, age_ns).run()


class _Auditor:
    """One pass over the topics, partition by partition, in constant memory but for the counts."""

    def __init__(self, config: Config, log: Log, span_ns: int, age_ns: int | None) -> None:
        self._config = config
        self._log = log
        self._not_before_ns, since_ms = -(2**63), None
        if age_ns is not None:
            since_ms = log.now_ms() - age_ns // 1_000_000
            self._not_before_ns = 1_000_000 * log.wall_ms(since_ms)
        self._sinks = SinkAuditor(config, log, since_ms)
        self._unread = 0
        # By feed, the shortest window: a reading is in exactly one window of each length.
        self._window_ns = {
            name: min((each.window for each in feed.aggregates), default=0)
            for name, feed in config.feed.items()
        }
        self._span_ns = int(np.lcm.reduce([span_ns, *filter(None, self._window_ns.values())]))
        self._accounts: defaultdict[tuple[Device, int], Account] = defaultdict(Account)
        # Of the partition at hand, readings in windows of derived channels, by channel and start.
        self._derived: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._horizons: defaultdict[Device, Horizon] = defaultdict(Horizon)
        self._grace_ns = {name: feed.grace for name, feed in config.feed.items()}
        # What retention has taken. By device, the last span that it reaches into; partitions whose
        # readings have lost their beginning; by partition, the source offset below which
        # rejections may be gone; and who was late in which record, where that matters.
        self._evicted_to: dict[Device, int] = {}
        self._evicting: set[int] = set()
        self._rejections_from: dict[int, float] = {}
        self._late: set[tuple[int, int, Device]] = set()
        self._messages: Counter[str] = Counter()
        self._retried: Counter[str] = Counter()

    async def run(self) -> Audit:
        for partition in range(self._config.log.partitions):
            await self._read_aggregates(partition)
            await self._read_quarantine(partition)
            await self._read_readings(partition)
            await self._sinks.read(partition)
        self._sinks.settle_refused()
        for (device, start_ns), account in self._accounts.items():
            if device in self._evicted_to:
                account.is_evicted |= start_ns <= self._evicted_to[device]
            elif self._partition_of(device) in self._evicting:
                account.is_evicted = True  # none of its readings is left
        asked = {
            place: account
            for place, account in sorted(self._accounts.items())
            if place[1] >= self._not_before_ns
        }
        return Audit(
            self._span_ns,
            asked,
            self._messages,
            self._retried,
            self._sinks.accounts,
            self._unread,
            await command_account(self._config, self._log),
        )

    def _partition_of(self, device: Device) -> int:
        return device_partition(device.feed, device.name, self._config.log.partitions)

    def _table(self) -> ChannelTable:
        return ChannelTable(identities=self._config.identities)

    async def _records(self, at: TopicPartition) -> AsyncIterator[StoredRecord]:
        async for page in records_between(self._log, at, *await self._log.offsets(at)):
            for record in page:
                yield record

    async def _read_readings(self, partition: int) -> None:
        at = TopicPartition(topic(self._config, READINGS), partition)
        start, _ = await self._log.offsets(at)
        committed = await self._log.committed(consumer_group(self._config, STREAMS), at) or 0
        self._unread += max(0, start - committed)
        met: set[Device] = set()
        returns = Returns(self._horizons, self._grace_ns, self._window_ns)
        async for record in self._records(at):
            channels = self._table()
            try:
                check_schema(record.headers, *READINGS_SCHEMAS)
                batch = decode_readings(record.value, channels)
            except DataError:
                # What is said of devices; or no record of ours, which is in quarantine.
                continue
            horizons = [self._horizons[device] for device in channels.devices]
            limits = np.array([each.limits for each in horizons], np.int64).reshape(-1, 3)
            closed_ns, island_ns, end_ns = limits[batch.device].T
            is_past = (batch.time_ns >= end_ns) | (
                (batch.time_ns >= closed_ns) & (batch.time_ns < island_ns)
            )
            in_log = record.offset >= committed
            self._note_became_derived(batch, is_counted=not in_log)
            returns.look(batch, is_counted=not in_log)
            for device, span, count, past in self._count(channels, batch, is_past):
                account = self._accounts[device, span]
                account.received += count
                account.past_horizon += past
                if in_log:
                    account.in_log += count
                    account.in_log_before_horizon += count - past
                if record.offset < self._rejections_from.get(partition, 0):
                    account.is_evicted = True
            if start > 0:
                self._note_eviction(record.offset, partition, batch, met)
        if start > 0:
            self._evicting.add(partition)
        for device, times_ns in returns.open_ns.items():
            for time_ns in times_ns:
                self._accounts[device, self._span_of(time_ns)].set_back += 1

    def _note_became_derived(self, batch: Batch, *, is_counted: bool) -> None:
        """Let readings be in windows of a derived channel of their name, as many as those have."""
        channels = batch.channels.channels
        for row in np.unique(batch.channel).tolist():
            channel = channels[row]
            windows = self._derived.get(channel.key)
            if windows is None or not is_counted:
                continue
            window_ns = self._window_ns[channel.feed]
            starts_ns = batch.time_ns[batch.channel == row] // window_ns * window_ns
            for start_ns, count in zip(
                *(each.tolist() for each in np.unique(starts_ns, return_counts=True)), strict=True
            ):
                may_be = min(windows.get(start_ns, 0), count)
                if may_be:
                    windows[start_ns] -= may_be
                    self._accounts[channel.owner, self._span_of(start_ns)].became_derived += may_be

    def _note_eviction(self, offset: int, partition: int, batch: Batch, met: set[Device]) -> None:
        """Find out, from the first kept record of each device, how far eviction reaches.

        What was on time there came at most the grace after whatever is gone.
        """
        devices = batch.channels.devices
        for row in np.unique(batch.device).tolist():
            device = devices[row]
            if device not in met and (partition, offset, device) not in self._late:
                met.add(device)
                newest_ns = int(batch.time_ns[batch.device == row].max())
                self._evict_to(device, newest_ns + self._grace_ns.get(device.feed, 0))

    def _evict_to(self, device: Device, time_ns: int) -> None:
        span = self._span_of(time_ns)
        self._evicted_to[device] = max(self._evicted_to.get(device, span), span)

    async def _read_aggregates(self, partition: int) -> None:
        newest: dict[tuple[str, int], int] = {}
        owners: dict[str, Device] = {}
        self._derived.clear()
        at = TopicPartition(topic(self._config, AGGREGATES), partition)
        start, _ = await self._log.offsets(at)
        async for record in self._records(at):
            channels = self._table()
            try:
                check_schema(record.headers, *AGGREGATES_SCHEMAS)
                aggregates = decode_aggregates(record.value, channels, has_sketches=False)
                # Nobody has sent what is in windows of derived channels. The windows say which
                # these are: today's configuration does not know what it was when they closed.
                is_derived = derived_in(record.headers, len(aggregates))
            except DataError:
                continue  # damaged: its readings are missing, and the account says so
            counts = aggregates.n + aggregates.flagged
            columns = (aggregates.channel, aggregates.start_ns, aggregates.window_ns)
            for row, start_ns, window_ns, count, is_made in zip(
                *(column.tolist() for column in (*columns, counts, is_derived)), strict=True
            ):
                channel = channels.channels[row]
                if window_ns != self._window_ns.get(channel.feed):
                    continue
                if is_made:
                    self._derived[channel.key][start_ns] = count
                    continue
                device = channel.owner
                if start > 0 and device not in self._evicted_to:
                    self._evict_to(device, start_ns)
                self._horizons[device].close(start_ns, start_ns + window_ns)
                newest[channel.key, start_ns] = count
                owners[channel.key] = device
        for (key, start_ns), count in newest.items():
            self._accounts[owners[key], self._span_of(start_ns)].aggregated += count

    async def _read_quarantine(self, partition: int) -> None:
        # A replay rejects a source record's readings again, in another quarantine record: of all
        # the times a source record is met, the fullest counts.
        fullest: dict[tuple[int, int], Counter[Rejection]] = {}
        # What the parts so far of a divided quarantine record hold.
        together: defaultdict[tuple[int, int], Counter[Rejection]] = defaultdict(Counter)
        at = TopicPartition(topic(self._config, QUARANTINE), partition)
        start, _ = await self._log.offsets(at)
        if start > 0:
            self._rejections_from[partition] = math.inf
        async for record in self._records(at):
            schema = schema_of(record.headers)
            is_rejected = schema in REJECTED_SCHEMAS
            if is_rejected and part_of(record.headers)[0] == 0:
                together.clear()
            try:
                self._note_messages(record, start)
                found = self._rejections(record, partition) if is_rejected else {}
            except DataError:
                continue  # damaged: what was rejected is missing, and the account says so
            for source, counter in found.items():
                together[source] += counter
                fullest[source] = fullest.get(source, Counter()) | together[source]
        for counter in fullest.values():
            for (device, span, reason, is_past), count in counter.items():
                account = self._accounts[device, span]
                account.rejected[reason] += count
                account.rejected_past_horizon += count * is_past

    def _note_messages(self, record: StoredRecord, start: int) -> None:
        """Count messages, and those of what is there, from ``start`` on, that have been taken."""
        schema = schema_of(record.headers)
        if schema in (MESSAGES_SCHEMA, OLD_MESSAGES_SCHEMA):
            messages = decode_messages(record.value)
            self._messages.update(message.reason for message in messages)
            self._sinks.note_refused(messages)
        elif schema == RETRIED_SCHEMA:
            retried = decode_retried(record.value)
            self._retried.update(each.reason for each in retried if each.offset >= start)

    def _rejections(
        self, record: StoredRecord, partition: int
    ) -> dict[tuple[int, int], Counter[Rejection]]:
        """What a quarantine record holds, by the record that the readings came from."""
        channels = self._table()
        rejected = decode_rejected(record.value, channels)
        met: defaultdict[tuple[int, int], Counter[Rejection]] = defaultdict(Counter)
        batch = rejected.batch
        for source, row, time_ns, reason in zip(
            zip(rejected.partition.tolist(), rejected.offset.tolist(), strict=True),
            batch.device.tolist(),
            batch.time_ns.tolist(),
            rejected.reasons,
            strict=True,
        ):
            device = channels.devices[row]
            is_past = self._horizons[device].is_past(time_ns)
            met[source][device, self._span_of(time_ns), reason, is_past] += 1
            if reason == "late":
                self._late.add((*source, device))
            if self._rejections_from.get(partition) == math.inf:
                # Of the first, an earlier part may be gone.
                self._rejections_from[partition] = source[1] + (part_of(record.headers)[0] > 0)
        return met

    def _span_of(self, time_ns: int) -> int:
        return time_ns // self._span_ns * self._span_ns

    def _count(
        self, channels: ChannelTable, batch: Batch, is_past: NDArray[np.bool_]
    ) -> list[tuple[Device, int, int, int]]:
        """Per device and span: ``(device, span start, readings, readings past the horizon)``."""
        spans = batch.time_ns // self._span_ns
        pairs, group = np.unique(np.stack([batch.device, spans]), axis=1, return_inverse=True)
        n = pairs.shape[1]
        counts = np.bincount(group, minlength=n)
        past = np.bincount(group, weights=is_past, minlength=n)
        return [
            (channels.devices[row], span * self._span_ns, count, int(count_past))
            for row, span, count, count_past in zip(
                pairs[0].tolist(), pairs[1].tolist(), counts.tolist(), past.tolist(), strict=True
            )
        ]
