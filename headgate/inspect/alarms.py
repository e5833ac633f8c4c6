"""The alarms that stand in the log, each in its newest state."""

from __future__ import annotations

from typing import TypeAlias

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.channels import Tags
from headgate.core.errors import DataError
from headgate.core.log import ANOMALIES, Log, TopicPartition, records_between
from headgate.core.records import ALARMS_SCHEMA, decode_alarms, schema_of
from headgate.core.results import Alarm

#: What tells alarms apart.
_Identity: TypeAlias = tuple[str, str, Tags, Tags, str, str, int]


async def known_alarms(config: Config, log: Log) -> list[Alarm]:
    """All alarms of which the log holds a state, the newest of each; by their start.

    What the log has deleted (``log.retention``) is not among them, though it be open still.

    Args:
        config: Says what the topic is called.
        log: A started log.
    """
    found: dict[_Identity, Alarm] = {}
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, ANOMALIES), partition)
        start, end = await log.offsets(at)
        async for records in records_between(log, at, start, end):
            for record in records:
                if schema_of(record.headers) != ALARMS_SCHEMA:
                    continue
                try:
                    alarms = decode_alarms(record.value)
                except DataError:
                    continue  # ``log verify`` tells of it
                found.update((_identity(each), each) for each in alarms)
    return sorted(found.values(), key=lambda each: (each.start_ns, _identity(each)))


def _identity(alarm: Alarm) -> _Identity:
    return (
        alarm.feed,
        alarm.device,
        alarm.tags,
        alarm.part,
        alarm.channel,
        alarm.rule,
        alarm.start_ns,
    )
