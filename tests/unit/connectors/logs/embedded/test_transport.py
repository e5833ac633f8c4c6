"""What Faust on the embedded log does beyond what it does on both logs."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

import pytest

from headgate.core.log import TopicPartition, TopicSpec
from tests.contract.logs import Workshop, numbered, until
from tests.contract.test_faust_transport import worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("workshop", ["sqlite"], indirect=True),
]


async def test_a_worker_takes_its_topic_once_it_is_created(
    workshop: Workshop, tmp_path: Path
) -> None:
    """A worker that is up before its topic exists waits for it."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open() as log:
        with worker(workshop, at.topic, tmp_path / "out") as early:
            await until(lambda: "Waiting for topics" in early.printed())
            await log.ensure_topics([TopicSpec(at.topic, 3)])
            await log.append(at, numbered(3))
            await until(lambda: early.count() == 3)
            assert await asyncio.to_thread(early.terminate) < 2


async def test_a_worker_that_waits_for_its_topic_stops_when_asked(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Waiting does not hold up a stop."""
    with worker(workshop, workshop.topic(), tmp_path / "out") as waiting:
        await until(lambda: "Waiting for topics" in waiting.printed())

        assert await asyncio.to_thread(waiting.terminate) < 2
        assert waiting.process.returncode == 0


async def test_records_of_another_process_reach_the_agent_within_milliseconds(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Twenty of them are the agent's own wait for company."""
    at = TopicPartition(workshop.topic(), 0)
    loop = asyncio.get_running_loop()
    took_s = []
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        with worker(workshop, at.topic, tmp_path / "out") as reader:
            await log.append(at, numbered(1))
            await until(lambda: reader.count() == 1)
            for number in range(1, 21):
                await log.append(at, numbered(1, number))
                start = loop.time()
                while reader.count() <= number:  # noqa: ASYNC110  (another process writes)
                    await asyncio.sleep(0.001)
                took_s.append(loop.time() - start)

    assert statistics.median(took_s) < 0.1
