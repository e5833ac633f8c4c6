"""Of what is taken out of quarantine the streams lane rejects nothing; what it would is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from connectors.logs.configured import consumer_group, topic, topic_specs
from headgate.config.schema import Config
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable, device_partition
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.errors import TransientError
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import QUARANTINE, READINGS, STREAMS, Log, Record, TopicPartition
from headgate.core.records import decode_readings, decode_rejected, kind_of
from headgate.core.telemetry import Telemetry
from headgate.inspect.retry import Outcome, Retry, Wanted
from headgate.testing.memory_log import MemoryLog, MemoryStore
from headgate.testing.memory_reader import MemoryReader
from streams.build import build_pipeline
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds
from streams.process.passing import SilentDevicesInFlight
from streams.process.worker import Worker

_T = TypeVar("_T")

_NOW_S = 1_795_900_000
_SQLITE, _KAFKA = "sqlite:///log.db", "kafka://localhost"

_TIMED = {"topic": "m/{device}/data", "time": {"path": "ts", "unit": "s"}, "grace": "10s"}
_TIMELESS = {"topic": "m/{device}/data"}


class World:
    """A log in memory, with the lanes that have worked on it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._folder = folder
        self._store = MemoryStore()
        self._clock = SystemClock()
        self.log = MemoryLog(self._store, self._clock)
        self.log.open()

    def config(self, feed: Mapping[str, object], **ingest: int) -> Config:
        """A configuration with one feed, ``f``, of a channel ``x`` if it says no other."""
        config = Config.model_validate(
            {
                "gateway": {"data_dir": str(self._folder)},
                "log": {"url": self.url, "partitions": 2},
                "local_store": {},
                "mqtt": {},
                "ingest": ingest,
                "feed": {"f": {"channels": {"x": {}}, **feed}},
            }
        )
        self._store.specs = {spec.name: spec for spec in topic_specs(config)}
        return config

    async def receive(
        self, config: Config, messages: Sequence[tuple[str, object]], at_s: float = _NOW_S
    ) -> None:
        """Take in messages as an ingest lane that has just been started does, all at once."""
        telemetry = Telemetry(self._clock)
        translator = Translator(
            config,
            telemetry,
            Refusals(config, telemetry, self._clock),
            UnheardFeeds(config.feed, telemetry),
        )
        translated = Translated()
        arrival_ns = np.full(len(messages), round(at_s * NS_PER_S))
        topics = [f"m/{name}/data".encode() for name, _ in messages]
        payloads = [json.dumps(payload).encode() for _, payload in messages]
        translator.take(Messages(topics, payloads, arrival_ns, {}), translated)
        translator.encode(translated)
        await self.log.append_many(translated.records)

    async def retry(
        self,
        config: Config,
        wanted: Wanted | None = None,
        log: Log | None = None,
        *,
        takes: bool = True,
        at_once: int = 500,
    ) -> Outcome:
        """Take what the configuration reads; all of one kind."""
        (outcome,) = await self.told(config, wanted, log, takes=takes, at_once=at_once)
        return outcome

    async def told(
        self,
        config: Config,
        wanted: Wanted | None = None,
        log: Log | None = None,
        *,
        takes: bool = True,
        at_once: int = 500,
    ) -> list[Outcome]:
        """The same of all kinds, and of none."""
        log = self.log if log is None else log
        wanted = wanted or Wanted()
        retry = Retry(config, log, self._clock, wanted, takes=takes, at_once=at_once)
        await retry.run()
        return retry.outcomes

    async def work(self, config: Config) -> None:
        """Have a streams lane work on all that is there, and be stopped."""
        name, group = topic(config, READINGS), consumer_group(config, STREAMS)
        reader = MemoryReader(self._store, name, group, config.log.partitions)
        in_flight, silent = (
            RecordsInFlight(self._folder / "in-flight"),
            SilentDevicesInFlight(self._folder / "silent"),
        )
        in_flight.open()
        silent.open()
        worker = Worker(
            config,
            self.log,
            self._clock,
            Telemetry(self._clock),
            build_pipeline(config, ChannelTable(identities=config.identities)),
            in_flight,
            silent,
            in_thread=_at_once,
        )
        worker.assign(reader.numbers, reader.generation)
        while events := reader.take(100):
            await worker.work_on(events)
        await worker.finish()
        reader.commit()

    def readings(self, config: Config) -> list[tuple[str, float, int]]:
        """Device, value, and time, ns after ``_NOW_S``, of each reading in the log."""
        found: list[tuple[str, float, int]] = []
        for partition in range(config.log.partitions):
            for record in self._store.records[TopicPartition(topic(config, READINGS), partition)]:
                batch = decode_readings(record.value, ChannelTable())
                names = [batch.channels.channels[row].device for row in batch.channel.tolist()]
                times = [time_ns - _NOW_S * NS_PER_S for time_ns in batch.time_ns.tolist()]
                found += zip(names, batch.value.tolist(), times, strict=True)
        return found

    def lose_quarantine(self, config: Config) -> None:
        """Have quarantine be made anew."""
        for partition in range(config.log.partitions):
            self._store.records[TopicPartition(topic(config, QUARANTINE), partition)].clear()

    def rejected(self, config: Config) -> Counter[str]:
        """How many readings the streams lane has rejected, by reason."""
        found: Counter[str] = Counter()
        for partition in range(config.log.partitions):
            for record in self._store.records[TopicPartition(topic(config, QUARANTINE), partition)]:
                if kind_of(record.headers).name == "rejected":
                    found.update(decode_rejected(record.value, ChannelTable()).reasons)
        return found


async def _at_once(call: Callable[..., _T], *arguments: object) -> _T:
    return call(*arguments)


@pytest.fixture(params=[_SQLITE, _KAFKA])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """One whose gateway takes its log for either of the two."""
    return World(tmp_path, request.param)


class _Killed:
    """A log whose process ends at an append, when only so many partitions of it are there."""

    def __init__(self, log: Log, after: int, partitions: int = 0) -> None:
        self._log = log
        self._left = after
        self._partitions = partitions

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the log has)
        return getattr(self._log, name)

    async def append_many(self, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Append, while it lasts."""
        if not self._left:
            there = sorted(batches)[: self._partitions]
            await self._log.append_many({at: batches[at] for at in there})
            raise TransientError("killed")
        self._left -= 1
        await self._log.append_many(batches)


@pytest.mark.parametrize("after", range(4))
async def test_readings_without_times_get_each_its_own(world: World, after: int) -> None:
    """Beside those that came live at once, by several calls, and over a kill in between."""
    config = world.config(_TIMELESS)
    await world.receive(config, [("d", {"x": 0})])
    wrongs: list[dict[str, object]] = [{"channels": {"y": {}}}, {"time": {"path": "ts"}}]
    for number, wrong in enumerate(wrongs):
        values = range(1 + 4 * number, 5 + 4 * number)
        await world.receive(
            world.config({**_TIMELESS, **wrong}), [("d", {"x": at}) for at in values]
        )
    await world.work(config)
    for reason in ("no_channels", "bad_time"):
        with suppress(TransientError):
            await world.retry(config, Wanted(reason=reason), _Killed(world.log, after), at_once=2)
        outcome = await world.told(config, Wanted(reason=reason))
        assert not any(each.left + each.refused for each in outcome)
    await world.work(config)

    readings = world.readings(config)
    assert sorted(value for _, value, _ in readings) == [*range(9)]
    assert len({time_ns for _, _, time_ns in readings}) == 9
    assert max(time_ns for _, _, time_ns in readings) < 100
    assert not world.rejected(config)


async def test_readings_without_times_may_be_estimates(world: World) -> None:
    """Their messages may have waited at the broker, and nobody knows any more."""
    config = world.config(_TIMELESS)
    await world.receive(world.config({**_TIMELESS, "channels": {"y": {}}}), [("d", {"x": 1})])
    await world.retry(config)

    for partition in range(2):
        at = TopicPartition(topic(config, READINGS), partition)
        for record in await world.log.read(at, 0):
            quality = decode_readings(record.value, ChannelTable()).quality
            assert quality.tolist() == [Quality.ARRIVAL_TIME | Quality.ESTIMATED_TIME]


async def test_what_has_no_time_is_not_dated_behind_what_came_later(world: World) -> None:
    """Its own time is among readings that are in windows by now."""
    config = world.config(_TIMELESS)
    await world.receive(world.config({**_TIMELESS, "channels": {"y": {}}}), [("d", {"x": 1})])
    await world.receive(config, [("d", {"x": 2})], _NOW_S + 5)
    outcome = await world.retry(config)

    assert (outcome.taken, outcome.left) == (0, {"behind": 1})


async def test_a_message_of_several_records_is_left_where_it_can_be_halved(
    tmp_path: Path,
) -> None:
    """On Kafka; others are there once, however the append ended."""
    world = World(tmp_path, _KAFKA)
    feed = {**_TIMED, "topic": "m/+/data", "device": "{d}"}
    config = world.config(feed)
    names = "abcdefgh"
    one, other = (
        next(name for name in names if device_partition("f", name, 2) == number)
        for number in range(2)
    )
    wrong = world.config({**feed, "time": {"path": "time", "unit": "s"}})
    for step in range(4):
        both = [{"d": name, "ts": _NOW_S + 60 * step, "x": step} for name in (one, other)]
        await world.receive(wrong, [("g", both)], _NOW_S + 60 * step)
    for name in (one, other):
        await world.receive(wrong, [("g", {"d": name, "ts": _NOW_S + 240, "x": 9})], _NOW_S + 240)
    with pytest.raises(TransientError):
        await world.retry(config, log=_Killed(world.log, after=0, partitions=1))
    assert len(world.readings(config)) == 1
    outcome = await world.retry(config)

    assert outcome.left == {"spread": 4}
    assert sorted(world.readings(config)) == [
        (one, 9.0, 240 * NS_PER_S),
        (other, 9.0, 240 * NS_PER_S),
    ]
    assert (await world.retry(config)).taken == 0
    await world.work(config)
    assert len(world.readings(config)) == 2
    assert not world.rejected(config)


async def test_what_stands_where_another_stood_is_not_taken_for_it(tmp_path: Path) -> None:
    """Where the topic was made anew; its readings are in the log, and not noted."""
    world = World(tmp_path, _KAFKA)
    config = world.config(_TIMED)
    wrong = world.config({**_TIMED, "time": {"path": "time", "unit": "s"}})
    await world.receive(wrong, [("d", {"ts": _NOW_S, "x": 1})])
    with pytest.raises(TransientError):
        await world.retry(config, log=_Killed(world.log, after=1))
    world.lose_quarantine(config)
    await world.receive(wrong, [("d", {"ts": _NOW_S + 1, "x": 2})], _NOW_S + 1)

    assert (await world.retry(config)).taken == 1
    assert [value for _, value, _ in world.readings(config)] == [1, 2]


@pytest.mark.parametrize(
    ("feed", "limits", "messages", "taken"),
    [
        (_TIMED, {"max_devices": 3}, [(f"d{at}", {"x": 1}) for at in range(8)], 3),
        (
            {**_TIMED, "other_channels": {}},
            {"max_channels": 3},
            [("d", {f"c{at}": 1}) for at in range(8)],
            2,
        ),
        (
            {**_TIMED, "tags": {"k": {"path": "k"}}, "identity": []},
            {"max_tag_values": 3},
            [("d", {"x": at, "k": f"k{at}"}) for at in range(8)],
            3,
        ),
    ],
    ids=["devices", "channels", "tag values"],
)
async def test_limits_hold_over_several_calls(
    world: World,
    feed: dict[str, object],
    limits: dict[str, int],
    messages: list[tuple[str, dict[str, object]]],
    taken: int,
) -> None:
    """They count what there is, in the log and in the streams lane's state."""
    config = world.config(feed, **limits)
    wrong = world.config({**feed, "time": {"path": "no", "unit": "s"}})
    await world.receive(wrong, [(name, {"ts": _NOW_S - 1, **each}) for name, each in messages])
    wanted = Wanted(reason="bad_time")
    assert (await world.retry(config, wanted)).taken == taken
    assert sum(each.taken for each in await world.told(config, wanted)) == 0
    await world.work(config)
    assert sum(each.taken for each in await world.told(config, wanted)) == 0


async def test_what_is_late_by_others_that_are_taken_is_left(world: World) -> None:
    """Also where it is only looked at."""
    config = world.config(_TIMED)
    wrong = world.config({**_TIMED, "time": {"path": "time", "unit": "s"}})
    for step, time_s in enumerate((0, 100, 95, 20, 101)):
        await world.receive(
            wrong, [("d", {"ts": _NOW_S + time_s, "x": time_s})], _NOW_S + 200 + step
        )
    told = await world.retry(config, takes=False)
    assert (told.taken, told.left) == (4, {"late": 1})
    assert await world.retry(config) == told
    await world.work(config)

    assert [value for _, value, _ in world.readings(config)] == [0, 100, 95, 101]
    assert not world.rejected(config)


async def test_one_late_reading_leaves_its_message(world: World) -> None:
    """And what else is in it moves nothing on."""
    config = world.config(_TIMED)
    wrong = world.config({**_TIMED, "time": {"path": "time", "unit": "s"}})
    for times in ((200,), (400, 2), (201,)):
        payload = [{"ts": _NOW_S + time_s, "x": time_s} for time_s in times]
        await world.receive(wrong, [("d", payload)], _NOW_S + 400 + times[0])
    outcome = await world.retry(config)

    assert (outcome.taken, outcome.left) == (2, {"late": 1})
    await world.work(config)
    assert not world.rejected(config)


@pytest.mark.parametrize("is_worked_on", [False, True])
async def test_what_would_refute_readings_that_are_held_is_left(
    world: World, *, is_worked_on: bool
) -> None:
    """What decides on a clock that jumped ahead is what its device says next."""
    config = world.config(_TIMED)
    wrong = world.config({**_TIMED, "time": {"path": "time", "unit": "s"}})
    await world.receive(wrong, [("d", {"ts": _NOW_S, "x": 1})])
    await world.receive(config, [("d", {"ts": _NOW_S, "x": 2})])
    await world.receive(config, [("d", {"ts": _NOW_S + 7200, "x": 3})], _NOW_S + 1)
    await world.receive(wrong, [("e", {"ts": _NOW_S, "x": 4})])
    if is_worked_on:
        await world.work(config)
    outcome = await world.retry(config)

    assert (outcome.taken, outcome.left) == (1, {"held": 1})
    await world.work(config)
    assert not world.rejected(config)


async def test_what_is_for_windows_ahead_that_are_closed_is_left(world: World) -> None:
    """The device's clock had jumped and gone back: what it sent in between is an island."""
    config = world.config(_TIMED)
    wrong = world.config({**_TIMED, "time": {"path": "time", "unit": "s"}})
    await world.receive(wrong, [("d", {"ts": _NOW_S + 7203, "x": 1})], _NOW_S + 7300)
    for arrival_s, time_s in enumerate([0, 1, *range(7200, 7208), *range(30, 50)]):
        payload = {"ts": _NOW_S + time_s, "x": time_s}
        await world.receive(config, [("d", payload)], _NOW_S + min(arrival_s, time_s))
    await world.work(config)
    assert not world.rejected(config)
    outcome = await world.retry(config)

    assert (outcome.taken, outcome.left) == (0, {"held": 1})


async def test_what_is_ahead_itself_is_left(world: World) -> None:
    """It would be held, and refuted by what is taken behind it."""
    config = world.config(_TIMED)
    wrong = world.config({**_TIMED, "time": {"path": "time", "unit": "s"}})
    for step, time_s in enumerate((0, 7200, 2, 10)):
        await world.receive(wrong, [("d", {"ts": _NOW_S + time_s, "x": step})], _NOW_S + step)
    outcome = await world.retry(config)

    # The last is ahead by no more than may be.
    assert (outcome.taken, outcome.left) == (3, {"ahead": 1})
    await world.work(config)
    assert not world.rejected(config)


@pytest.mark.parametrize("is_worked_on", [False, True])
async def test_who_is_told_apart_anew_has_a_watermark(world: World, *, is_worked_on: bool) -> None:
    """It is that of the devices of the same name."""
    feed = {**_TIMED, "topic": "m/{device}/{kind}", "time": {"path": "time", "unit": "s"}}
    wrong = world.config(feed)
    late, on_time = ({"ts": _NOW_S + time_s, "x": 1} for time_s in (500, 995))
    await world.receive(wrong, [("d", late), ("d", on_time)])
    await world.receive(wrong, [("d", {"time": _NOW_S + 1000, "x": 1})], _NOW_S + 1000)
    if is_worked_on:
        await world.work(wrong)
    mended = world.config({**feed, "identity": [], "time": {"path": "ts", "unit": "s"}})
    outcome = await world.retry(mended, takes=False)

    assert outcome.left["late"] == 1
    await world.retry(mended)
    await world.work(mended)
    assert not world.rejected(mended)
