"""Messages of quarantine are taken once, on every log, and whatever ends the taking."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from connectors.logs.configured import consumer_group, topic, topic_specs
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.errors import TransientError
from headgate.core.log import READINGS, STREAMS, Log, Record, TopicPartition
from headgate.core.records import decode_readings, is_retried
from headgate.core.telemetry import Telemetry
from headgate.inspect.quarantine import kinds
from headgate.inspect.retry import Outcome, Retry, Wanted
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds
from tests.contract.logs import EVERY_LOG, Workshop, read_all

pytestmark = pytest.mark.parametrize("workshop", EVERY_LOG, indirect=True)

_NOW_S = 1_795_900_000

#: Of a reading: device, channel, time in s, and value.
_Reading = tuple[str, str, float, float]


class Scene:
    """A log on which a gateway has worked with the wrong place for the time."""

    def __init__(self, workshop: Workshop, log: Log) -> None:
        url = "sqlite:///log.db" if workshop.is_embedded else "kafka://localhost"
        self.log = log
        self._settings = {
            "log": {"url": url, "partitions": 2, "topic_prefix": workshop.prefix},
            "local_store": {},
            "mqtt": {},
        }
        self.mended = self.config({"path": "ts", "unit": "s"})

    def config(self, time: Mapping[str, str]) -> Config:
        """A configuration with the time there."""
        feed = {"topic": "m/{device}/+", "time": time, "channels": {"x": {}, "y": {}}}
        return Config.model_validate({**self._settings, "feed": {"f": feed}})

    async def receive(
        self, config: Config, messages: Sequence[tuple[str, object]], every_s: int = 1
    ) -> None:
        """Take in messages as the ingest lane does, one each so many seconds."""
        telemetry = Telemetry(SystemClock())
        translator = Translator(
            config,
            telemetry,
            Refusals(config, telemetry, SystemClock()),
            UnheardFeeds(config.feed, telemetry),
        )
        for number, (topic_name, payload) in enumerate(messages):
            translated = Translated()
            arrival_ns = np.array([(_NOW_S + number * every_s) * NS_PER_S])
            run = Messages([topic_name.encode()], [json.dumps(payload).encode()], arrival_ns, {})
            translator.take(run, translated)
            translator.encode(translated)
            await self.log.append_many(translated.records)

    async def groups_can_be_asked(self) -> None:
        """Wait for a Kafka that has just been started."""
        at = TopicPartition(topic(self.mended, READINGS), 0)
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.log.committed(consumer_group(self.mended, STREAMS), at)
                except TransientError:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def retry(
        self, log: Log | None = None, wanted: Wanted | None = None, *, at_once: int = 500
    ) -> list[Outcome]:
        """Take what the mended configuration reads."""
        return await self.told(self.mended, log, wanted, takes=True, at_once=at_once)

    async def told(
        self,
        config: Config,
        log: Log | None = None,
        wanted: Wanted | None = None,
        *,
        takes: bool = False,
        at_once: int = 500,
    ) -> list[Outcome]:
        """What would be taken with a configuration, or is."""
        log = self.log if log is None else log
        wanted = wanted or Wanted()
        retry = Retry(config, log, SystemClock(), wanted, takes=takes, at_once=at_once)
        await retry.run()
        return retry.outcomes

    async def readings(self) -> list[_Reading]:
        """All readings in the log, partition by partition, and each of its records marked."""
        found = []
        for partition in range(2):
            at = TopicPartition(topic(self.mended, READINGS), partition)
            for record in await read_all(self.log, at):
                assert is_retried(record.headers)
                batch = decode_readings(record.value, ChannelTable())
                columns = (batch.channel, batch.time_ns, batch.value)
                for row, time_ns, value in zip(*(each.tolist() for each in columns), strict=True):
                    channel = batch.channels.channels[row]
                    found.append((channel.device, channel.field, time_ns / NS_PER_S, value))
        return found


@pytest.fixture
async def scene(workshop: Workshop) -> AsyncIterator[Scene]:
    """Twelve messages of three devices, all refused; those of each stand in two partitions."""
    async with workshop.open() as log:
        scene = Scene(workshop, log)
        await log.ensure_topics(topic_specs(scene.mended))
        await scene.receive(scene.config({"path": "time", "unit": "s"}), _messages())
        await scene.groups_can_be_asked()
        yield scene


def _messages() -> list[tuple[str, object]]:
    return [
        (f"m/d{number % 3}/{'ad'[number // 3 % 2]}", {"ts": _NOW_S + number, "x": number, "y": 0})
        for number in range(12)
    ]


def _expected() -> set[_Reading]:
    return {
        (f"d{number % 3}", name, float(_NOW_S + number), value)
        for number in range(12)
        for name, value in (("x", float(number)), ("y", 0.0))
    }


async def test_what_is_read_now_is_taken_once(scene: Scene) -> None:
    """With their values and times, each device's in the order in which they came."""
    (outcome,) = await scene.retry()

    assert (outcome.feed, outcome.reason) == ("f", "bad_time")
    assert (outcome.messages, outcome.taken, outcome.readings) == (12, 12, 24)
    assert not outcome.refused + outcome.left
    readings = await scene.readings()
    assert len(readings) == 24
    assert {*readings} == _expected()
    for device in ("d0", "d1", "d2"):
        times = [time for name, _, time, _ in readings if name == device]
        assert times == sorted(times)

    assert await scene.retry() == []
    assert await kinds(scene.mended, scene.log) == []
    assert await scene.readings() == readings


async def test_what_had_waited_is_in_the_order_of_its_times(scene: Scene) -> None:
    """It has come at once, and nobody knows in which order by several topics."""
    await scene.retry()
    before = len(await scene.readings())
    wrong = scene.config({"path": "time", "unit": "s"})
    first = _NOW_S - 8 * 3600
    hours = [(f"m/d9/{'ad'[hour % 2]}", {"ts": first + 3600 * hour, "x": 1}) for hour in range(8)]
    await scene.receive(wrong, hours, every_s=0)
    (outcome,) = await scene.retry()

    assert outcome.taken == 8
    readings = await scene.readings()
    assert len(readings) == before + 8
    times = [time for name, _, time, _ in readings if name == "d9"]
    assert times == [first + 3600 * hour for hour in range(8)]


async def test_what_is_not_asked_for_stays(scene: Scene) -> None:
    """For the next time; what is not read then, too."""
    await scene.receive(scene.mended, [("m/d9/a", {"ts": _NOW_S}), ("m/d9/a", {"x": 1})])

    assert await scene.retry(wanted=Wanted(reason="no_such")) == []
    assert await scene.readings() == []
    (outcome,) = await scene.retry(wanted=Wanted(reason="no_channels"))
    assert (outcome.taken, outcome.refused) == (0, {"no_channels": 1})
    taken = {each.reason: each for each in await scene.retry(wanted=Wanted(feed="f"))}
    assert taken["no_channels"] == outcome
    assert taken["bad_time"].taken == 12
    assert taken["bad_time"].refused == {"bad_time": 1}
    assert {*await scene.readings()} == _expected()


async def test_looking_changes_nothing(scene: Scene) -> None:
    """What would be taken is told as what is taken."""
    told = await scene.told(scene.mended)

    assert await scene.readings() == []
    assert await scene.retry() == told


class _Ending:
    """A log that fails for good at an append, before or after it is done."""

    def __init__(self, log: Log, at: int, *, is_done: bool) -> None:
        self._log = log
        self._left = at
        self._is_done = is_done

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Append, while it lasts."""
        if self._left or self._is_done:
            await self._log.append_many(batches)
        if not self._left:
            raise TransientError("killed")
        self._left -= 1


@pytest.mark.parametrize("is_done", [False, True])
async def test_an_end_in_the_middle_loses_nothing(scene: Scene, *, is_done: bool) -> None:
    """And nothing comes twice."""
    ends = 0
    for at in count():
        ending: Any = _Ending(scene.log, at, is_done=is_done)
        try:
            await scene.retry(ending, at_once=5)
        except TransientError:
            ends += 1
        else:
            break
    readings = Counter(await scene.readings())

    assert ends > 1
    assert {*readings} == _expected()
    assert {*readings.values()} == {1}
    assert await scene.retry() == []
    assert Counter(await scene.readings()) == readings
    assert await kinds(scene.mended, scene.log) == []
