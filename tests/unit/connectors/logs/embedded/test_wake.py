"""Whoever waits for records is told of a commit, or looks."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from connectors.logs.embedded import wake
from connectors.logs.embedded.store import SqliteLog
from connectors.logs.embedded.wake import Wake, tell
from headgate.core.clock import SystemClock
from headgate.core.log import Record, StoredRecord, TopicPartition, TopicSpec

_AT = TopicPartition("readings", 0)
_IS_LINUX = sys.platform == "linux"


@pytest.mark.skipif(not _IS_LINUX, reason="inotify is Linux's")
def test_who_waits_is_woken_by_a_commit_of_somebody_else_and_by_nothing_before(
    tmp_path: Path,
) -> None:
    file = tmp_path / "log.db"
    file.touch()
    waking = Wake(file)
    tell(file)
    tell(file)
    waking.wait(60)  # would take that long if it were not woken
    woken = threading.Event()

    def wait() -> None:
        waking.wait(60)
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    # What was told twice was one piece of news.
    assert not woken.wait(0.2)
    tell(file)
    assert woken.wait(30)
    waiting.join()
    waking.close()


@pytest.mark.skipif(not _IS_LINUX, reason="inotify is Linux's")
def test_who_waits_is_woken_when_it_is_time_to_end(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    file.touch()
    waking = Wake(file)
    waking.interrupt()
    waking.wait(60)
    waking.wait(60)
    waking.close()


@pytest.mark.skipif(not _IS_LINUX, reason="inotify is Linux's")
def test_a_file_system_that_passes_nothing_on_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.db").touch()
    monkeypatch.setattr(wake, "tell", lambda _path: None)
    waking = Wake(tmp_path / "log.db")
    assert not waking.is_told
    waking.close()


def test_nobody_can_be_told_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    waking = Wake(tmp_path / "none")
    assert not waking.is_told
    waking.close()
    tell(tmp_path / "none")


@pytest.mark.slow
async def test_several_that_wait_at_one_log_get_their_own(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec("readings", 1), TopicSpec("anomalies", 1)])
    other = TopicPartition("anomalies", 0)
    for number in range(10):
        readings = asyncio.create_task(log.read(_AT, number, wait_s=60))
        anomalies = asyncio.create_task(log.read(other, number, wait_s=60))
        await asyncio.sleep(0.01)
        await log.append(other, [Record(b"anomaly")])
        assert [each.value for each in await asyncio.wait_for(anomalies, 30)] == [b"anomaly"]
        assert not readings.done()
        assert not await log.read(_AT, number, wait_s=0.01)
        await log.append(_AT, [Record(b"reading")])
        assert [each.value for each in await asyncio.wait_for(readings, 30)] == [b"reading"]
    await log.stop()


@pytest.mark.slow
@pytest.mark.parametrize("is_told", [True, False])
async def test_records_of_another_connection_reach_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_told: bool
) -> None:
    if not is_told:
        monkeypatch.setattr(wake, "_watch", lambda _path: None)
    reader, writer = (SqliteLog(tmp_path / "log.db", SystemClock()) for _ in range(2))
    await writer.start()
    await writer.ensure_topics([TopicSpec("readings", 1)])
    await reader.start()
    found: list[StoredRecord] = []
    for number in range(20):
        waiting = asyncio.create_task(reader.read(_AT, number, wait_s=60))
        # At first the reader has just begun to wait, later on it is about to.
        await asyncio.sleep(0.02 if number < 5 else 0)
        await writer.append(_AT, [Record(b"%d" % number)])
        found += await asyncio.wait_for(waiting, 30)
    assert [record.value for record in found] == [b"%d" % number for number in range(20)]
    await asyncio.gather(reader.stop(), writer.stop())
