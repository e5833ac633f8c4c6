"""The account is settled from the topics alone, and a gap is a gap."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connectors.logs.configured import consumer_group, topic, topic_specs
from connectors.logs.embedded.database import OFFSET_BITS
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.clock import SystemClock
from headgate.core.log import AGGREGATES, QUARANTINE, READINGS, STREAMS, Record, TopicPartition
from headgate.core.records import (
    REJECTED_PART_SCHEMA,
    QuarantinedMessage,
    RetriedMessage,
    aggregates_record,
    messages_record,
    readings_record,
    rejected_record,
    retried_records,
)
from headgate.core.results import STATISTICS, Aggregates
from headgate.inspect.audit import Account, Audit, audit

_S = 10**9
_DEVICE = Device("f", "d")


class Books:
    """A log whose topics a test writes by hand."""

    def __init__(self, config: Config, log: SqliteLog) -> None:
        self._config = config
        self._log = log
        self.table = ChannelTable()
        self._row = self.table.row(Channel("f", "d", "f", "x"))

    async def append(self, name: str, record: Record) -> int:
        """Append to a topic; the record's offset."""
        return await self._log.append(TopicPartition(topic(self._config, name), 0), [record])

    def batch(self, seconds: list[int], origin: Origin | None = None) -> Batch:
        """Readings at these seconds."""
        n = len(seconds)
        return Batch.from_columns(
            self.table, np.array(seconds) * _S, [self._row] * n, [1.0] * n, origin=origin
        )

    async def received(self, *seconds: int) -> Origin:
        """Readings came in as one record."""
        offset = await self.append(READINGS, readings_record(self.batch(list(seconds)), "f"))
        return Origin("readings", 0, offset)

    async def aggregated(self, window: int, n: int, flagged: int = 0) -> None:
        """A window of 10 s has closed."""
        aggregates = self.windows(window, n, flagged)
        await self.append(AGGREGATES, aggregates_record(aggregates, self.table))

    async def derived(self, window: int, n: int, name: str = "p") -> None:
        """A window of 10 s of a derived channel has closed."""
        aggregates = self.windows(window, n, name=name)
        await self.append(AGGREGATES, aggregates_record(aggregates, self.table, np.array([True])))

    def windows(self, window: int, n: int, flagged: int = 0, name: str = "x") -> Aggregates:
        """A closed window of 10 s."""
        one = np.ones(1, np.int64)
        return Aggregates(
            channel=np.array([self.table.row(Channel("f", "d", "f", name))], np.int32),
            start_ns=one * window * 10 * _S,
            window_ns=one * 10 * _S,
            n=one * n,
            flagged=one * flagged,
            expected=one * 10,
            stats={name: np.zeros(1) for name in STATISTICS},
            sketch_keys=[np.empty(0, np.int32)],
            sketch_counts=[np.empty(0, np.int64)],
        )

    async def rejected(self, origin: Origin, reason: str, *seconds: int) -> None:
        """Readings of a record were rejected."""
        batch = self.batch(list(seconds), origin)
        await self.append(QUARANTINE, rejected_record(batch, [reason] * len(seconds)))

    async def rejected_in_parts(
        self, origin: Origin, *parts: list[int], part_count: int | None = None
    ) -> None:
        """Readings of a record were rejected, too many for one quarantine record."""
        for number, seconds in enumerate(parts):
            record = rejected_record(self.batch(seconds, origin), ["late"] * len(seconds))
            part = f"{number}/{part_count or len(parts)}".encode()
            headers = (("schema", REJECTED_PART_SCHEMA), ("part", part))
            await self.append(QUARANTINE, replace(record, headers=headers))

    async def committed(self, offset: int) -> None:
        """The streams lane has committed."""
        at = TopicPartition(topic(self._config, READINGS), 0)
        await self._log.commit(consumer_group(self._config, STREAMS), {at: offset})

    async def evict(self, name: str, count: int) -> None:
        """Retention deletes a topic's oldest records."""
        with closing(sqlite3.connect(self._config.log_path)) as database, database:
            database.execute(
                "DELETE FROM records WHERE id IN (SELECT r.id FROM records r"
                " JOIN partitions p ON r.id >> ? = p.id JOIN topics t ON t.id = p.topic_id"
                " WHERE t.name = ? ORDER BY r.id LIMIT ?)",
                (OFFSET_BITS, topic(self._config, name), count),
            )

    async def settle(self, span_s: int = 3600) -> tuple[Audit, Account]:
        """The audit, and the account of the only device's first span."""
        result = await audit(self._config, self._log, span_ns=span_s * _S)
        return result, result.accounts[_DEVICE, 0]

    @staticmethod
    def spans(result: Audit) -> dict[int, Account]:
        """The accounts by the second in which their span starts."""
        return {start_ns // _S: account for (_, start_ns), account in result.accounts.items()}


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    """Empty books."""
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "log": {"partitions": 1},
            "local_store": {},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )
    log = SqliteLog(config.log_path, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    yield Books(config, log)
    await log.stop()


async def test_what_is_aggregated_rejected_or_open_balances(books: Books) -> None:
    """Received = aggregated + rejected + open."""
    origin = await books.received(1, 2, 3, 3, 4, 11)
    await books.aggregated(0, 3, flagged=1)
    await books.rejected(origin, "duplicate", 3)
    await books.committed(1)
    result, account = await books.settle()

    assert result.is_balanced
    assert (account.received, account.aggregated, account.open) == (6, 4, 1)
    assert dict(account.rejected) == {"duplicate": 1}


async def test_a_lost_reading_is_a_gap(books: Books) -> None:
    """It was received, its window has closed, and it is nowhere."""
    await books.received(1, 2, 3)
    await books.aggregated(0, 2)
    await books.committed(1)
    result, account = await books.settle()

    assert not result.is_balanced
    assert account.gap == 1


async def test_windows_of_derived_channels_hold_no_readings(books: Books) -> None:
    """They say so themselves: the configuration has none of that name, any more."""
    await books.received(1, 2, 3)
    await books.aggregated(0, 3)
    await books.derived(0, 3)
    await books.committed(1)
    result, account = await books.settle()

    assert result.is_balanced
    assert (account.received, account.aggregated, account.became_derived) == (3, 3, 0)


async def test_a_derived_channel_hides_no_loss(books: Books) -> None:
    """However many readings its own windows have."""
    await books.received(1, 2, 3)
    await books.aggregated(0, 2)
    await books.derived(0, 30)
    await books.committed(1)
    _, account = await books.settle()

    assert account.gap == 1


@pytest.mark.parametrize(("held", "gap"), [(5, 0), (2, 0), (1, 1)])
async def test_a_channel_that_became_a_derived_one_is_not_lost(
    books: Books, held: int, gap: int
) -> None:
    """Neither what it sent before, nor what was in the window that was open then."""
    await books.received(1, 2, 3)
    await books.received(11, 12)
    await books.aggregated(0, 3)
    await books.derived(1, held, "x")
    await books.derived(2, 9, "x")
    # Others of the device go on.
    await books.append(AGGREGATES, aggregates_record(books.windows(2, 0, name="y"), books.table))
    await books.committed(2)
    _, account = await books.settle()

    assert account.gap == gap


async def test_a_channel_that_is_derived_today_was_sent_before(tmp_path: Path) -> None:
    """Its windows of that time are counted as what they were."""
    feed = {"topic": "{device}", "channels": {"y": {}}, "derived": {"x": "y * 2"}}
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "log": {"partitions": 1},
            "local_store": {},
            "feed": {"f": feed},
        }
    )
    log = SqliteLog(config.log_path, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    books = Books(config, log)
    await books.received(1, 2, 3)
    await books.aggregated(0, 3)
    await books.committed(1)
    result, account = await books.settle()
    await log.stop()

    assert result.is_balanced
    assert account.aggregated == 3


async def test_a_reading_counted_twice_is_a_gap(books: Books) -> None:
    """More came out than went in."""
    origin = await books.received(1, 2, 3)
    await books.aggregated(0, 3)
    await books.rejected(origin, "late", 3)
    await books.committed(1)
    result, account = await books.settle()

    assert not result.is_balanced
    assert account.gap == -1


async def test_a_replay_is_counted_once(books: Books) -> None:
    """The same window and the same rejected readings, written again after a crash."""
    origin = await books.received(1, 2, 3, 3)
    for _ in range(2):
        await books.aggregated(0, 3)
        await books.rejected(origin, "duplicate", 3)
    await books.committed(1)
    result, account = await books.settle()

    assert result.is_balanced
    assert account.rejected.total() == 1


async def test_readings_behind_the_committed_offset_may_be_under_way(books: Books) -> None:
    """Worked on or not, they are in the log; nothing is wrong with either."""
    await books.received(1, 2)
    await books.aggregated(0, 2)
    await books.received(3)
    await books.committed(1)
    result, account = await books.settle()

    assert result.is_balanced
    assert account.in_log == 1

    await books.committed(2)
    assert not (await books.settle())[0].is_balanced


async def test_a_record_that_holds_no_readings_does_not_stop_the_audit(books: Books) -> None:
    """The streams lane has put it into quarantine, and there it is counted."""
    await books.received(1)
    await books.append(READINGS, Record(b"rubbish"))
    await books.received(2)
    await books.aggregated(0, 2)
    message = QuarantinedMessage(0, "log:readings/0@1", b"rubbish", "bad_record", "", 7)
    await books.append(QUARANTINE, messages_record([message]))
    await books.committed(3)
    result, account = await books.settle()

    assert result.is_balanced
    assert account.received == 2
    assert dict(result.messages) == {"bad_record": 1}


async def test_readings_that_retention_took_are_no_gap(books: Books) -> None:
    """The spans it reaches into can't be settled; a gap in a later one is still found."""
    await books.received(*range(10))
    await books.received(13)
    late = await books.received(2)
    await books.received(16)
    await books.received(25)
    await books.aggregated(0, 10)
    await books.aggregated(1, 2)
    await books.aggregated(2, 1)
    await books.rejected(late, "late", 2)
    await books.committed(5)
    await books.evict(READINGS, 2)
    result, _ = await books.settle(span_s=10)

    assert {start: account.is_evicted for start, account in books.spans(result).items()} == {
        0: True,
        10: True,
        20: False,
    }
    assert not result.has_gaps
    assert not result.is_balanced

    await books.aggregated(2, 0)
    result, _ = await books.settle(span_s=10)
    assert books.spans(result)[20].gap == 1
    assert result.has_gaps


async def test_a_device_of_which_retention_left_no_readings_is_no_gap(books: Books) -> None:
    """Its aggregates outlive its readings."""
    await books.received(1, 2)
    await books.aggregated(0, 2)
    await books.committed(1)
    await books.evict(READINGS, 1)
    result, account = await books.settle()

    assert account.is_evicted
    assert not result.has_gaps
    assert not result.is_balanced
    assert result.sum().aggregated == 0


async def test_results_that_retention_took_are_no_gap(books: Books) -> None:
    """Neither windows nor rejections are missed where their topics have lost their beginning."""
    origin = await books.received(1, 2, 2)
    await books.received(12)
    last = await books.received(22, 22, 33)
    await books.rejected(origin, "duplicate", 2)
    for window, count in enumerate((2, 1, 1)):
        await books.aggregated(window, count)
    await books.rejected(last, "duplicate", 22)
    await books.committed(3)
    assert (await books.settle(span_s=10))[0].is_balanced

    await books.evict(QUARANTINE, 1)
    assert not (await books.settle(span_s=10))[0].has_gaps
    await books.evict(AGGREGATES, 1)
    result, _ = await books.settle(span_s=10)

    assert not result.has_gaps
    assert not result.is_balanced
    assert {start: account.is_evicted for start, account in books.spans(result).items()} == {
        0: True,
        10: True,
        20: False,
        30: False,
    }


async def test_rejections_of_one_record_in_parts_are_added_up_and_a_replay_is_not(
    books: Books,
) -> None:
    """A quarantine record that was too large is several; a replay may cut them elsewhere."""
    origin = await books.received(*range(10), 20)
    await books.aggregated(0, 4)
    await books.rejected_in_parts(origin, [0, 1, 2, 3], [4], part_count=3)  # and was killed then
    await books.rejected_in_parts(origin, [0, 1], [2, 3, 4], [5])
    await books.committed(1)
    result, account = await books.settle()

    assert account.rejected == {"late": 6}
    assert result.is_balanced


async def test_what_was_taken_of_quarantine_is_told(books: Books) -> None:
    """Beside what stands there; its readings are received like any others."""
    message = QuarantinedMessage(0, "mqtt:in", b"?", "bad_time", "", 1, 0)
    offset = await books.append(QUARANTINE, messages_record([message] * 3))
    await books.received(1, 2)
    retried = [RetriedMessage(0, offset, row, 1, "bad_time") for row in (0, 2)]
    await books.append(QUARANTINE, *retried_records(retried))
    await books.aggregated(0, 2)
    await books.committed(1)
    result, account = await books.settle()

    assert result.is_balanced
    assert account.received == account.aggregated == 2
    assert (result.messages, result.retried) == ({"bad_time": 3}, {"bad_time": 2})


@pytest.mark.parametrize("name", [AGGREGATES, QUARANTINE])
async def test_what_a_damaged_record_held_is_a_gap(books: Books, name: str) -> None:
    """The account is settled all the same, whatever stands in the log."""
    origin = await books.received(1, 2, 11)
    await books.aggregated(0, 1)
    await books.rejected(origin, "late", 2)
    for record in (
        aggregates_record(books.windows(1, 1), books.table),
        rejected_record(books.batch([11], origin), ["late"]),
        messages_record([QuarantinedMessage(0, "mqtt:in", b"?", "not_json", "", 1)]),
    ):
        await books.append(name, replace(record, value=record.value[:-100]))
    await books.committed(1)
    result, _ = await books.settle()

    assert not result.unchecked
    assert result.sum().received == 3
    assert result.sum().aggregated + result.sum().rejected.total() == 2
