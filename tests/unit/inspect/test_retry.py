"""Which messages of quarantine are taken, and why others are left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from connectors.logs.configured import consumer_group, topic, topic_specs
from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import QUARANTINE, READINGS, STREAMS, TopicPartition
from headgate.core.properties import kept_type
from headgate.core.records import (
    QuarantinedMessage,
    decode_messages,
    decode_readings,
    messages_record,
    readings_record,
    schema_of,
)
from headgate.inspect.retry import WHY_LEFT, Outcome, Retry, Wanted
from headgate.testing.memory_log import MemoryLog, MemoryStore
from streams.ingest.refusals import shown_topic

_NOW_S = 1_795_900_000
_CONFIG = {
    "log": {"url": "kafka://localhost", "partitions": 1},
    "local_store": {},
    "mqtt": {"ignore": ["m/ignored/#"]},
    "feed": {
        "f": {
            "topic": "m/{device}/data",
            "time": {"path": "ts", "unit": "s"},
            "grace": "10s",
            "availability": {"topic": "m/{device}/state"},
            "channels": {"x": {}, "y": {}},
        },
        "typed": {
            "topic": "typed/{device}",
            "content_types": {"text/csv": {"type": "csv", "columns": ["ts", "x"]}},
            "time": {"path": "ts", "unit": "s"},
            "channels": {"x": {}},
        },
        "tagged": {
            "topic": "tagged/{device}",
            "tags": {"site": {"user_property": "site"}},
            "channels": {"x": {}},
        },
        "s": {"topic": "spBv1.0/{group}/+/{node}/#", "format": "sparkplug", "channels": {"x": {}}},
    },
}


class Scene:
    """A log with something in quarantine, and what is made of it."""

    def __init__(self, log: MemoryLog) -> None:
        self.config = Config.model_validate(_CONFIG)
        self.log = log

    async def quarantine(self, *messages: QuarantinedMessage) -> None:
        """Put messages into quarantine."""
        at = TopicPartition(topic(self.config, QUARANTINE), 0)
        await self.log.append(at, [messages_record(messages)])

    async def receive(self, *seconds: int) -> None:
        """Readings of device d, so many seconds before now, have come in as a record."""
        table = ChannelTable()
        table.row(Channel("f", "d", "f", "x"))
        times_ns = [(_NOW_S - each) * NS_PER_S for each in seconds]
        count = len(seconds)
        batch = Batch.from_columns(table, times_ns, [0] * count, [1.0] * count)
        at = TopicPartition(topic(self.config, READINGS), 0)
        await self.log.append(at, [readings_record(batch, "f")])

    async def retry(self, wanted: Wanted | None = None, *, takes: bool = True) -> list[Outcome]:
        """Take what can be taken."""
        retry = Retry(self.config, self.log, SystemClock(), wanted or Wanted(), takes=takes)
        await retry.run()
        return retry.outcomes

    async def readings(self) -> list[tuple[float, float]]:
        """Times in s and values of all readings in the log."""
        at = TopicPartition(topic(self.config, READINGS), 0)
        found: list[tuple[float, float]] = []
        for record in await self.log.read(at, 0, max_bytes=1 << 26):
            batch = decode_readings(record.value, ChannelTable())
            times = (batch.time_ns / NS_PER_S).tolist()
            found += zip(times, batch.value.tolist(), strict=True)
        return found


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """An empty log."""
    log = MemoryLog(MemoryStore(), SystemClock())
    await log.start()
    scene = Scene(log)
    await log.ensure_topics(topic_specs(scene.config))
    yield scene
    await log.stop()


def _message(
    payload: object,
    name: str = "m/d/data",
    reason: str = "bad_time",
    readings: int = 0,
    arrival_s: int = _NOW_S,
) -> QuarantinedMessage:
    value = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    source = name if ":" in name else f"mqtt:{name}"
    arrival_ns = arrival_s * NS_PER_S
    return QuarantinedMessage(arrival_ns, source, value, reason, "", len(value), readings)


_GOOD = {"ts": _NOW_S, "x": 1}

_LEFT = {
    "cut": [
        _message(_GOOD)._replace(payload_bytes=9000),
        _message(_GOOD, shown_topic(b"m/" + b"d" * 2000)),
        _message(_GOOD, "m/\ufffd/data"),
    ],
    "part": [_message(_GOOD, readings=2), _message(_GOOD, reason="bad_field", readings=-1)],
    "unknown": [_message(_GOOD, readings=-1)],
    "memory": [_message(b"", "spBv1.0/g/NDATA/n", "no_birth")],
    "state": [_message(b"online", "m/d/state", "bad_state")],
    "retained": [_message(_GOOD)._replace(detail="byte 1; retained")],
    "beside": [
        _message(_GOOD, "tagged/d"),
        _message(_GOOD, "typed/d"),
        _message(_GOOD, "typed/d")._replace(content_type=kept_type(b"text/csv" * 50)),
    ],
    "poison": [_message(_GOOD, reason="poison")],
    "late": [_message({"ts": _NOW_S - 11, "x": 1})],
    "ahead": [_message({"ts": _NOW_S + 7200, "x": 1})],
    "nothing": [_message(_GOOD, "m/ignored/data", "unknown_topic")],
    "other": [
        _message(b"p v=1", "influxdb:", "rejected_by_sink"),
        _message(b"p v=1", "", "rejected_by_sink")._replace(source="mqtt"),
    ],
}

#: What it takes more for than a message: see ``tests/contract/test_retry_marks.py``.
_LEFT_BESIDE = {"behind", "held", "spread"}


@pytest.mark.parametrize(("why", "messages"), _LEFT.items(), ids=[*_LEFT])
async def test_what_is_left_is_told(
    scene: Scene, why: str, messages: Sequence[QuarantinedMessage]
) -> None:
    """With the reason; and it can be tried again."""
    await scene.receive(0)
    await scene.quarantine(*messages)
    before = await scene.readings()
    outcomes = await scene.retry()

    assert sum(each.left[why] for each in outcomes) == len(messages)
    assert not any(each.taken or each.refused for each in outcomes)
    assert await scene.readings() == before
    assert await scene.retry() == outcomes


def test_every_reason_is_tried() -> None:
    """And none is told that is not there."""
    assert {*WHY_LEFT} == {*_LEFT} | _LEFT_BESIDE


async def test_a_message_is_taken_as_a_whole_or_not_at_all(scene: Scene) -> None:
    """One of two records is still refused; a field that is bad is missing, as it always is."""
    await scene.quarantine(
        _message([_GOOD, {"ts": "never", "x": 2}]), _message({**_GOOD, "x": "strong", "y": 3})
    )
    (outcome,) = await scene.retry()

    assert (outcome.messages, outcome.taken, outcome.readings) == (2, 1, 2)
    assert outcome.refused == {"bad_time": 1}
    readings = await scene.readings()
    assert [time for time, _ in readings] == [_NOW_S] * 2
    assert np.isnan(readings[0][1])
    assert readings[1][1] == 3
    # Of the bad field there is an example, as of any, and it is not tried again.
    at = TopicPartition(topic(scene.config, QUARANTINE), 0)
    *_, example, _ = await scene.log.read(at, 0)
    assert schema_of(example.headers) == b"messages/2"
    (kept,) = decode_messages(example.value)
    assert (kept.reason, kept.readings) == ("bad_field", 2)
    left = {each.reason: each.left for each in await scene.retry()}
    assert left == {"bad_time": {}, "bad_field": {"part": 1}}


async def test_what_has_no_time_has_that_of_its_arrival(scene: Scene) -> None:
    """And not that of now."""
    feed = {"topic": "m/{device}/data", "channels": {"x": {}}}
    scene.config = Config.model_validate({**_CONFIG, "feed": {"f": feed}})
    await scene.quarantine(*(_message({"x": at}, arrival_s=_NOW_S + at) for at in (0, 5, 9)))
    await scene.retry()

    assert await scene.readings() == [(_NOW_S + at, at) for at in (0, 5, 9)]


async def test_what_a_message_said_that_it_is_is_believed(scene: Scene) -> None:
    """What its detail quotes of it is not: that may be what a sender wrote."""
    message = _message(b"%d,7\n" % _NOW_S, "typed/d")
    quoted = _message(b"%d,8\n" % _NOW_S, "typed/d")._replace(
        detail="got 'x; content type text/csv"
    )
    await scene.quarantine(message._replace(content_type="text/csv"), quoted)
    (outcome,) = await scene.retry()

    assert (outcome.feed, outcome.taken, outcome.left) == ("typed", 1, {"beside": 1})
    assert await scene.readings() == [(_NOW_S, 7)]


async def test_only_what_arrived_since_is_tried(scene: Scene) -> None:
    """The others stay."""
    messages = [_message({"ts": _NOW_S + at, "x": at}, arrival_s=_NOW_S + at) for at in (0, 5, 9)]
    await scene.quarantine(*messages)
    (outcome,) = await scene.retry(Wanted(since_ns=(_NOW_S + 5) * NS_PER_S))

    assert (outcome.messages, outcome.taken) == (2, 2)
    assert await scene.readings() == [(_NOW_S + at, at) for at in (5, 9)]


async def test_what_waits_in_the_log_makes_older_ones_late(scene: Scene) -> None:
    """Not what the streams lane has noted long since."""
    await scene.receive(100)
    await scene.receive(20, 40)
    await scene.quarantine(*(_message({"ts": _NOW_S - at, "x": 1}) for at in (30, 31)))
    (outcome,) = await scene.retry(takes=False)
    assert (outcome.taken, outcome.left) == (1, {"late": 1})
    at = TopicPartition(topic(scene.config, READINGS), 0)
    await scene.log.commit(consumer_group(scene.config, STREAMS), {at: 2})
    (outcome,) = await scene.retry(takes=False)
    assert outcome.taken == 2
