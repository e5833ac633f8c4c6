"""``SqliteLog``: the log's contract over one SQLite file that several processes may share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from connectors.counted_time import CountedTime
from connectors.logs.embedded import upkeep
from connectors.logs.embedded.database import (
    begin_writing,
    error_of,
    mapped_errors,
    open_reader,
    open_writer,
)
from connectors.logs.embedded.engine import Engine
from connectors.logs.embedded.wake import tell
from connectors.logs.embedded.watch import Watcher
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import Record, StoredRecord, TopicPartition, TopicSpec

_logger = structlog.get_logger()
_T = TypeVar("_T")

_NS_PER_MS = 1_000_000

#: How often retention is looked at while records are appended, ns.
_UPKEEP_INTERVAL_NS = NS_PER_S

#: A write-ahead log that can't be emptied is reported this often, ns.
_WAL_WARNING_INTERVAL_NS = 300 * NS_PER_S


@dataclass(slots=True)
class _Job:
    """One writing call that waits for its transaction."""

    call: Callable[[Engine], Any]
    done: asyncio.Future[Any]


@dataclass(slots=True)
class _Side:
    """A connection and the one thread that uses it."""

    connection: sqlite3.Connection
    engine: Engine
    thread: ThreadPoolExecutor


class SqliteLog:
    """A durable log in one file.

    Writes that arrive while another one is being synced share the next transaction, so the number
    of syncs does not grow with the number of callers. Reads have a connection of their own and
    never wait for a sync.

    Args:
        path: The file; created when missing, readable by its owner alone.
        clock: What the log's time is counted with, and what says when upkeep is due.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._time = CountedTime(clock)
        self._writer: _Side | None = None
        self._reader: _Side | None = None
        self._watcher: Watcher | None = None
        # What was looked for last of which there was none, how much news there had been then, and
        # what must be passed for there to be some.
        self._nothing: tuple[int, tuple[tuple[TopicPartition, int], ...]] | None = None
        self._thresholds: dict[int, int] = {}
        self._jobs: list[_Job] = []
        self._writing: asyncio.Task[None] | None = None
        self._upkeep_due_ns = 0
        self._wal_warning_due_ns = 0

    async def start(self) -> None:
        if self._writer is not None:
            return
        self._writer = await _open_side("log-write", open_writer, self._path)
        try:
            await _in_thread(self._writer, self._take_up_time, self._writer)
            self._reader = await _open_side("log-read", open_reader, self._path)
        except BaseException:
            await self.stop()
            raise
        self._nothing = None
        self._upkeep_due_ns = self._clock.monotonic_ns()

    async def stop(self) -> None:
        while self._writing is not None:
            # What was handed over is written: its callers may be waiting for it.
            await asyncio.wait([self._writing])
        watcher, self._watcher = self._watcher, None
        sides = (self._reader, self._writer)
        self._reader = self._writer = None
        if watcher is not None:
            await asyncio.to_thread(watcher.close)
        for side in sides:
            if side is not None:
                # The last connection to go empties the write-ahead log, which takes its time.
                with suppress(sqlite3.Error):
                    await _in_thread(side, side.connection.close)
                side.thread.shutdown(wait=False)

    async def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        specs = list(topics)
        await self._write(lambda engine: engine.ensure_topics(specs))

    async def append(self, at: TopicPartition, records: Sequence[Record]) -> int:
        time_ms = self.now_ms()
        offsets = await self._write(lambda engine: engine.append({at: records}, time_ms))
        return offsets[at]

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        time_ms = self.now_ms()
        await self._write(lambda engine: engine.append(batches, time_ms))

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int = 1 << 20, wait_s: float = 0.0
    ) -> list[StoredRecord]:
        found = await self.read_many({at: offset}, max_bytes=max_bytes, wait_s=wait_s)
        return found.get(at, [])

    async def read_many(
        self,
        offsets: Mapping[TopicPartition, int],
        *,
        reader: str = "",  # noqa: ARG002  (nothing is kept between two calls)
        max_bytes: int = 1 << 20,
        wait_s: float = 0.0,
    ) -> dict[TopicPartition, list[StoredRecord]]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        if self._watcher is None and self._reader is not None and wait_s > 0:
            # Not before: most that open a log never wait, and would be told of each commit.
            self._watcher = Watcher(self._path)
        while True:
            watcher = self._watcher
            news = 0 if watcher is None else watcher.news
            wanted = (news, tuple(offsets.items()))
            thresholds = self._thresholds
            if wait_s <= 0 or wanted != self._nothing:
                found, thresholds = await self._read(lambda log: _read(log, offsets, max_bytes))
                if found or wait_s <= 0 or watcher is None:
                    return found
                # Until there is news, nobody has to look again.
                self._nothing, self._thresholds = wanted, thresholds
            left_s = deadline - loop.time()
            if left_s <= 0 or watcher is None:
                return {}
            await watcher.wait(thresholds, news, left_s)

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        return await self._read(lambda engine: engine.offsets(at))

    async def offsets_many(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        return await self._read(lambda engine: {at: engine.offsets(at) for at in partitions})

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        await self._write(lambda engine: engine.commit(group, offsets))

    async def committed(self, group: str, at: TopicPartition) -> int | None:
        return await self._read(lambda engine: engine.committed(group, at))

    async def partitions(self, topic: str) -> int:
        """Number of partitions of the topic; 0 when it does not exist."""
        return await self._read(lambda engine: engine.partitions(topic))

    async def evicted(self) -> dict[TopicPartition, int]:
        """Records deleted for want of room before a group had finished them, since the file began.

        Partitions without any are left out.
        """
        return await self._read(lambda engine: engine.evicted())

    async def size_bytes(self) -> int | None:
        return await asyncio.to_thread(upkeep.bytes_on_disk, self._path)

    def now_ms(self) -> int:
        return self._time.now_ns() // _NS_PER_MS

    def wall_ms(self, timestamp_ms: int) -> int:
        return self._time.wall_ns(timestamp_ms * _NS_PER_MS) // _NS_PER_MS

    def _take_up_time(self, side: _Side) -> None:
        with mapped_errors(self._path):
            begin_writing(side.connection)
            try:
                self._time.begin(side.connection, lambda: side.engine.newest_ms() * _NS_PER_MS)
                side.connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._roll_back(side)
                if isinstance(error, sqlite3.OperationalError):
                    raise
                # Damaged: whoever reads it is told, and ``verify`` says where.

    def _side(self, side: _Side | None) -> _Side:
        if side is None:
            raise TransientError(f"{self._path}: the log is not open; start it first")
        return side

    async def _read(self, call: Callable[[Engine], _T]) -> _T:
        side = self._side(self._reader)

        def run() -> _T:
            with mapped_errors(self._path):
                return call(side.engine)

        return await _in_thread(side, run)

    async def _write(self, call: Callable[[Engine], _T]) -> _T:
        self._side(self._writer)
        job = _Job(call, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name="log-write")
        result: _T = await job.done
        return result

    async def _write_all(self) -> None:
        """Write what is waiting, all of it in one transaction, until nothing waits."""
        side = self._side(self._writer)
        try:
            while self._jobs:
                jobs, self._jobs = self._jobs, []
                outcomes = await _in_thread(side, self._transact, side, jobs)
                for job, outcome in zip(jobs, outcomes, strict=True):
                    # A caller that was cancelled meanwhile has no use for the outcome.
                    if job.done.done():
                        continue
                    if isinstance(outcome, BaseException):
                        job.done.set_exception(outcome)
                    else:
                        job.done.set_result(outcome)
                if self._clock.monotonic_ns() >= self._upkeep_due_ns:
                    await _in_thread(side, self._keep_up, side)
        finally:
            self._writing = None

    def _transact(self, side: _Side, jobs: Sequence[_Job]) -> list[Any]:
        """Run the jobs in one transaction; returns each one's result or exception."""
        outcomes: list[Any] = []
        try:
            begin_writing(side.connection)
            for job in jobs:
                try:
                    outcomes.append(job.call(side.engine))
                except PermanentError as error:
                    # Refused before it wrote anything: the others go on.
                    outcomes.append(error)
            side.connection.execute("COMMIT")
            tell(self._path)
        except Exception as error:  # noqa: BLE001  (handed to every caller, nothing is kept)
            self._roll_back(side)
            failure = error_of(error, self._path) if isinstance(error, sqlite3.Error) else error
            return [failure] * len(jobs)
        return outcomes

    def _roll_back(self, side: _Side) -> None:
        with suppress(sqlite3.Error):
            side.connection.rollback()
        # Topics created in the transaction are gone, and what was remembered of them with them.
        side.engine = Engine(side.connection)

    def _keep_up(self, side: _Side) -> None:
        """One slice of upkeep. Trouble is left to the next append, which reports it."""
        self._upkeep_due_ns = self._clock.monotonic_ns() + _UPKEEP_INTERVAL_NS
        try:
            begin_writing(side.connection)
            has_more = upkeep.delete_expired(side.connection, self.now_ms())
            if self._time.is_due:
                self._time.note(side.connection)
            side.connection.execute("COMMIT")
            has_more |= upkeep.give_space_back(side.connection)
            wal_bytes = upkeep.empty_wal(side.connection, self._path)
        except sqlite3.Error as error:
            self._roll_back(side)
            _logger.warning(
                "Upkeep of the log failed; will retry.", path=str(self._path), error=str(error)
            )
            return
        if has_more:
            # After the next append: deleting keeps up with appending, whatever the rate.
            self._upkeep_due_ns = 0
        now_ns = self._clock.monotonic_ns()
        if wal_bytes > upkeep.WAL_LIMIT_BYTES and now_ns >= self._wal_warning_due_ns:
            self._wal_warning_due_ns = now_ns + _WAL_WARNING_INTERVAL_NS
            _logger.warning(
                "The log's write-ahead file can't be emptied while another program reads it.",
                path=str(self._path),
                wal_bytes=wal_bytes,
            )


def _read(
    engine: Engine, offsets: Mapping[TopicPartition, int], max_bytes: int
) -> tuple[dict[TopicPartition, list[StoredRecord]], dict[int, int]]:
    """What there is, and for each partition the offset that must be passed for more to be there."""
    found: dict[TopicPartition, list[StoredRecord]] = {}
    thresholds: dict[int, int] = {}
    for at, offset in offsets.items():
        records, next_offset = engine.read(at, offset, max_bytes)
        if records:
            found[at] = records
        # Past the end, or into a hole that reaches the end: only a newer record helps.
        thresholds[engine.slot(at).id] = max(offset, next_offset)
    return found, thresholds


async def _open_side(name: str, opened: Callable[[Path], sqlite3.Connection], path: Path) -> _Side:
    thread = ThreadPoolExecutor(1, name)
    try:
        connection = await asyncio.get_running_loop().run_in_executor(thread, opened, path)
    except BaseException:
        thread.shutdown(wait=False)
        raise
    return _Side(connection, Engine(connection), thread)


async def _in_thread(side: _Side, call: Callable[..., _T], *args: object) -> _T:
    return await asyncio.get_running_loop().run_in_executor(side.thread, call, *args)
