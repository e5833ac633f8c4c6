"""The same Faust agents on both logs: nothing skipped, nothing replayed that was committed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headgate.core.log import MAX_RECORD_BYTES, Log, Record, TopicPartition, TopicSpec
from tests.contract.faust_worker import Options
from tests.contract.logs import Workshop, numbered, read_all, until

_ROOT = Path(__file__).parents[2]
_PARTITIONS = 3


@dataclass
class Worker:
    """A running worker process and what it has written down."""

    process: subprocess.Popen[bytes]
    output: Path

    def seen(self) -> dict[int, list[int]]:
        """Offsets by partition, in the order in which the agent got them."""
        offsets: dict[int, list[int]] = {}
        for line in self.output.read_text().splitlines():
            partition, offset, *_ = line.split(maxsplit=3)
            offsets.setdefault(int(partition), []).append(int(offset))
        return offsets

    def count(self) -> int:
        """Records the agent got."""
        return sum(map(len, self.seen().values()))

    def printed(self) -> str:
        """What the process wrote to its terminal."""
        return self.output.with_suffix(".log").read_text()

    def terminate(self) -> float:
        """SIGTERM; returns how long the process took to end, s."""
        start = time.perf_counter()
        self.process.terminate()
        self.process.wait(30)
        return time.perf_counter() - start


@contextmanager
def worker(
    workshop: Workshop, topic: str, output: Path, options: Options | None = None
) -> Iterator[Worker]:
    """Run a worker of the group ``<prefix>group``."""
    arguments = [workshop.broker, _group(workshop), topic, str(output)]
    arguments.append(json.dumps(vars(options or Options())))
    output.touch()
    with output.with_suffix(".log").open("ab") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.faust_worker", *arguments],
            cwd=_ROOT,
            stdout=terminal,
            stderr=terminal,
        )
    try:
        yield Worker(process, output)
    finally:
        process.kill()
        process.wait()


def _group(workshop: Workshop) -> str:
    return f"{workshop.prefix}group"


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(_PARTITIONS)]


def _everywhere(offsets: range) -> dict[int, list[int]]:
    return {partition: list(offsets) for partition in range(_PARTITIONS)}


async def _wait_for_commit(log: Log, group: str, wanted: dict[TopicPartition, int]) -> None:
    async with asyncio.timeout(20):
        while {at: await log.committed(group, at) for at in wanted} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_an_agent_gets_every_record_and_goes_on_after_a_stop(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Earlier and later records of all partitions arrive in order; a restart repeats none."""
    topic = workshop.topic()
    spec = TopicSpec(topic, _PARTITIONS)
    async with workshop.open(spec) as log:
        for at in _partitions(topic):
            await log.append(at, numbered(200))
        with worker(workshop, topic, tmp_path / "first") as first:
            await until(lambda: first.count() == 600)
            for number in range(200, 210):
                for at in _partitions(topic):
                    await log.append(at, numbered(1, number))
            await until(lambda: first.count() == 630)
            took_s = await asyncio.to_thread(first.terminate)
        assert first.seen() == _everywhere(range(210))
        assert first.process.returncode == 0
        assert took_s < (2 if workshop.is_embedded else 10)
        await _wait_for_commit(log, _group(workshop), dict.fromkeys(_partitions(topic), 210))

        for at in _partitions(topic):
            await log.append(at, numbered(5, 210))
        with worker(workshop, topic, tmp_path / "second") as second:
            await until(lambda: second.count() >= 15)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(second.terminate)
        assert second.seen() == _everywhere(range(210, 215))


async def test_a_killed_worker_replays_what_it_had_not_acknowledged(
    workshop: Workshop, tmp_path: Path
) -> None:
    """After kill -9 the next worker begins at the first record that was not acknowledged."""
    topic = workshop.topic()
    async with workshop.open(TopicSpec(topic, _PARTITIONS)) as log:
        for at in _partitions(topic):
            await log.append(at, numbered(100))
        with worker(workshop, topic, tmp_path / "first", Options(ack_below=70)) as first:
            await until(lambda: first.count() == 300)
            await _wait_for_commit(log, _group(workshop), dict.fromkeys(_partitions(topic), 70))
            os.kill(first.process.pid, signal.SIGKILL)
            first.process.wait()

        with worker(workshop, topic, tmp_path / "second") as second:
            await until(lambda: second.count() >= 90)
            await _wait_for_commit(log, _group(workshop), dict.fromkeys(_partitions(topic), 100))
        assert second.seen() == _everywhere(range(70, 100))


async def test_agents_send_records_of_any_size_on(workshop: Workshop, tmp_path: Path) -> None:
    """Keys, headers and the largest records pass through Faust's consumer and producer."""
    topic, copy = workshop.topic(), workshop.topic("copy")
    records = [
        Record(b"small", b"key", (("schema", b"readings/1"), ("feed", b"pumps"))),
        Record(b"\x00" * (MAX_RECORD_BYTES - 100)),
        Record(b"after"),
    ]
    source, target = TopicPartition(topic, 2), TopicPartition(copy, 2)
    specs = (TopicSpec(topic, _PARTITIONS), TopicSpec(copy, _PARTITIONS))
    async with workshop.open(*specs) as log:
        await log.append(source, records)
        with worker(workshop, topic, tmp_path / "out", Options(echo_to=copy)) as echo:
            await until(lambda: echo.count() == 3)
            await asyncio.to_thread(echo.terminate)

        stored = await read_all(log, target)

        assert [Record(each.value, each.key, each.headers) for each in stored] == records
