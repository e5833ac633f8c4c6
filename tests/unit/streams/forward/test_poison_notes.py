"""Who died on which record is noted for as long as that record is to be met, and no longer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.logs.configured import topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.in_flight import RecordsInFlight
from headgate.core.log import AGGREGATES, QUARANTINE, Record, TopicPartition
from headgate.core.note import TRIES_ALONE
from headgate.core.records import decode_messages
from headgate.core.telemetry import Telemetry
from streams.forward.lane import ForwardLane

#: The place of aggregates among the topics that are forwarded, of one partition each.
_PLACE = 1


class _Sink:
    """Takes everything."""

    name = "s"
    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 100
    max_wait_s = 0.0

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Take them."""
        return []


@pytest.mark.parametrize(
    ("poison", "reasons"), [(3, {"bad_record", "poison"}), (10, {"bad_record"})]
)
async def test_a_note_does_not_outlive_its_record(
    tmp_path: Path, poison: int, reasons: set[str]
) -> None:
    """Once that is done with, or when the topic was made anew and ends before it."""
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "local_store": {},
            "log": {"partitions": 1},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )
    path = tmp_path / "forward-s.in-flight"
    for _ in range(TRIES_ALONE):
        dying = RecordsInFlight(path)
        dying.open()
        dying.take({_PLACE: (poison, poison + 1)}, "points for aggregates")
    clock = SystemClock()
    log = SqliteLog(config.log_path, clock)
    await log.start()
    await log.ensure_topics(topic_specs(config))
    await log.append(TopicPartition(topic(config, AGGREGATES), 0), [Record(b"rubbish")] * 5)
    (consumer,) = ForwardLane(config, log, clock, Telemetry(clock), [_Sink()])._consumers
    consumer._in_flight.open()
    assert consumer._in_flight.is_poison(_PLACE, poison) is not None
    await consumer._round()

    kept = await log.read(TopicPartition(topic(config, QUARANTINE), 0), 0, max_bytes=1 << 20)
    messages = [message for record in kept for message in decode_messages(record.value)]
    await log.stop()
    assert len(messages) == 5
    assert {message.reason for message in messages} == reasons
    successor = RecordsInFlight(path)
    successor.open()
    assert successor.is_poison(_PLACE, poison) is None
    assert successor.count_together([(_PLACE, poison), (_PLACE, poison + 1)]) == 2
