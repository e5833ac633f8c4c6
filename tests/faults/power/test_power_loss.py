"""Two thousand power cuts: every acknowledged record is there, and recovery never fails."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.logs.embedded import database, upkeep
from connectors.logs.embedded.database import open_reader, open_writer
from connectors.logs.embedded.engine import Engine
from connectors.logs.embedded.store import SqliteLog
from headgate.core.errors import HeadgateError, TransientError
from headgate.core.log import Record, TopicPartition, TopicSpec
from headgate.testing import ManualClock
from tests.faults.power.disk import Disk, Operation, Recorder

pytestmark = pytest.mark.timeout(300)

_CUTS = 2000
_SPECS = [
    TopicSpec("readings", 2, retention_s=5, retention_bytes=60_000),
    TopicSpec("state", 2, is_compacted=True),
]
_GROUP = "streams"


@dataclass
class _Ledger:
    """What must be there, by the number of events after which it was acknowledged."""

    topics_at: int | None = None
    records: list[tuple[int, TopicPartition, int, Record]] = field(default_factory=list)
    committed: list[tuple[int, TopicPartition, int]] = field(default_factory=list)
    appended: dict[TopicPartition, dict[int, Record]] = field(default_factory=dict)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """Below the very library that Python uses."""
    if find_library("sqlite3") is None:
        pytest.skip("SQLite is not a shared library here: nothing can be put below it.")
    recorder = Recorder()
    with recorder.recording(), closing(sqlite3.connect(tmp_path / "probe.db")) as probe:
        probe.execute("CREATE TABLE probe (x)")
    if not recorder.events:
        pytest.skip("Python's SQLite is another than the shared one.")
    recorder.events.clear()
    return recorder


@contextmanager
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that a short run has checkpoints, retention and a file that shrinks."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "_CHECKPOINT_BYTES", 40 * 4096)
        patch.setattr(upkeep, "_SPARE_PAGES", 4)
        patch.setattr(upkeep, "WAL_LIMIT_BYTES", 400_000)
        patch.setattr("connectors.logs.embedded.store._UPKEEP_INTERVAL_NS", 0)
        yield


async def _work(path: Path, recorder: Recorder, ledger: _Ledger, clock: ManualClock) -> None:
    """Append, commit, let records expire, close and open again."""
    draw = random.Random(7)
    number = 0
    for _ in range(3):
        log = SqliteLog(path, clock)
        await log.start()
        await log.ensure_topics(_SPECS)
        ledger.topics_at = ledger.topics_at or len(recorder.events)
        for _ in range(60):
            clock.advance(0.2)
            batches = {}
            for topic in draw.sample(("readings", "state"), draw.randint(1, 2)):
                at = TopicPartition(topic, draw.randint(0, 1))
                batches[at] = [
                    Record(draw.randbytes(draw.choice((10, 400, 3000))), b"%d" % (number % 5))
                    for number in range(number, number + draw.randint(1, 4))
                ]
                number += 4
            starts = {at: len(ledger.appended.setdefault(at, {})) for at in batches}
            for at, records in batches.items():
                ledger.appended[at].update(enumerate(records, starts[at]))
            await log.append_many(batches)
            for at, records in batches.items():
                for step, record in enumerate(records):
                    ledger.records.append((len(recorder.events), at, starts[at] + step, record))
            if draw.random() < 0.3:
                at = draw.choice(list(batches))
                offset = starts[at]
                await log.commit(_GROUP, {at: offset})
                ledger.committed.append((len(recorder.events), at, offset))
        await log.stop()


def _check(path: Path, ledger: _Ledger, cut: int) -> None:
    """Open what is left, and hold it against what was acknowledged before the cut."""
    due = [entry for entry in ledger.records if entry[0] <= cut]
    if not path.exists():
        assert not due, "the log is gone"
        return
    # Opening is recovery, and it never fails.
    with closing(open_writer(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        engine = Engine(connection)
        if ledger.topics_at is None or cut < ledger.topics_at:
            return
        for at, appended in ledger.appended.items():
            _check_partition(
                engine, at, appended, {offset for _, where, offset, _ in due if where == at}
            )
        for _, at, offset in [entry for entry in ledger.committed if entry[0] <= cut]:
            assert (engine.committed(_GROUP, at) or 0) >= offset


def _check_partition(
    engine: Engine, at: TopicPartition, appended: dict[int, Record], due: set[int]
) -> None:
    oldest, end = engine.offsets(at)
    found, _ = engine.read(at, 0, 1 << 40)
    kept = {record.offset: record for record in found}
    for offset, record in kept.items():
        assert (record.value, record.key) == (appended[offset].value, appended[offset].key)
    for offset in due - kept.keys():
        assert offset < end, f"{at}@{offset} was acknowledged"
        if at.topic == "readings":
            # Only retention takes records away, and only the oldest.
            assert offset < oldest
        else:
            # Only a newer record of the key takes its place.
            key = appended[offset].key
            assert any(each.key == key and each.offset > offset for each in found)


def _cut_everywhere(
    recorder: Recorder, ledger: _Ledger, path: Path, folder: Path, cuts: int
) -> int:
    """Cut after every event, and so often in all; after how many cuts something was wrong."""
    lost = 0
    events = recorder.events
    disk, applied = Disk(), 0
    every = range(len(events) + 1)
    more = random.Random(1).choices(every, k=max(0, cuts - len(every)))
    at = sorted([*every, *more])
    for number, cut in enumerate(at):
        while applied < cut:
            disk.apply(events[applied])
            applied += 1
        place = folder / "cut"
        place.mkdir()
        for name, content in disk.cut(random.Random(number)).items():
            inside = Path(name)
            if inside.parent == path.parent and not name.endswith("-shm"):
                (place / inside.name).write_bytes(content)
        try:
            _check(place / path.name, ledger, cut)
        except (AssertionError, sqlite3.Error, HeadgateError):
            lost += 1
        for each in place.iterdir():
            each.unlink()
        place.rmdir()
    return lost


@pytest.mark.parametrize(
    ("synchronous", "cuts"), [("FULL", _CUTS), pytest.param("OFF", 150, marks=pytest.mark.thorough)]
)
async def test_power_cuts_lose_nothing_that_was_acknowledged(
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    synchronous: str,
    cuts: int,
) -> None:
    """And lose it when nothing is synced, or the model would prove nothing."""
    ledger, path = _Ledger(), tmp_path / "log" / "log.db"
    if synchronous == "OFF":
        connect = database._connect

        def careless(where: Path, busy_timeout_s: float) -> sqlite3.Connection:
            connection = connect(where, busy_timeout_s)
            connection.execute("PRAGMA synchronous = OFF")
            return connection

        monkeypatch.setattr(database, "_connect", careless)
    with _small_limits(monkeypatch), recorder.recording():
        await _work(path, recorder, ledger, ManualClock())
    monkeypatch.undo()
    kinds = {event.operation for event in recorder.events}
    lost = await asyncio.to_thread(_cut_everywhere, recorder, ledger, path, tmp_path, cuts)

    assert {"write", "truncate", "link", "sync folder"} <= kinds
    assert (lost == 0) == (synchronous == "FULL")


_IOERR_WRITE, _IOERR_FSYNC, _IOERR_TRUNCATE, _FULL = 778, 1034, 1546, 13


@pytest.mark.parametrize(
    ("operation", "code"),
    [("write", _IOERR_WRITE), ("write", _FULL), ("sync", _IOERR_FSYNC),
     ("truncate", _IOERR_TRUNCATE)],
)  # fmt: skip
async def test_a_disk_that_fails_at_any_call_costs_nothing_acknowledged(
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: Operation,
    code: int,
) -> None:
    """Every Nth call fails: the append says so, and the next one works."""
    at = TopicPartition("readings", 0)
    path, clock = tmp_path / "log.db", ManualClock()
    acknowledged: dict[int, bytes] = {}
    failures = 0
    with _small_limits(monkeypatch), recorder.recording():
        log = SqliteLog(path, clock)
        await log.start()
        await log.ensure_topics(_SPECS[:1])
        for number in range(60):
            left = number % 12

            def failing(what: Operation, left: list[int] = [left]) -> int:  # noqa: B006
                if what != operation:
                    return 0
                left[0] -= 1
                return code if left[0] == -1 else 0

            recorder.failing = failing
            value = b"%d" % number * 300
            try:
                offset = await log.append(at, [Record(value)])
            except TransientError:
                failures += 1
                recorder.failing = lambda _operation: 0
                offset = await log.append(at, [Record(value)])
            acknowledged[offset] = value
        recorder.failing = lambda _operation: 0
        await log.stop()
    with closing(open_reader(path)) as connection:
        found, _ = Engine(connection).read(at, 0, 1 << 40)

    assert failures or operation == "truncate"
    kept = {record.offset: record.value for record in found}
    oldest = min(kept)
    assert {offset: kept.get(offset) for offset in acknowledged if offset >= oldest} == {
        offset: value for offset, value in acknowledged.items() if offset >= oldest
    }
