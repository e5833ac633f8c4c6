"""The alarms that stand in the log, each in its newest state, and what people say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.channels import Tags, device_partition
from headgate.core.errors import DataError
from headgate.core.log import ANOMALIES, Log, TopicPartition, records_between
from headgate.core.records import (
    ALARM_NOTES_SCHEMAS,
    ALARMS_SCHEMA,
    alarm_notes_records,
    decode_alarm_notes,
    decode_alarms,
    schema_of,
)
from headgate.core.results import Alarm, AlarmNote

#: What tells apart the places that have alarms: a rule at a device, a part or a sensor of it.
Place: TypeAlias = tuple[str, str, Tags, Tags, str, str]

#: What tells alarms apart: their place, and their start.
Identity: TypeAlias = tuple[Place, int]


@dataclass(frozen=True, slots=True)
class KnownAlarm:
    """An alarm in its newest state, and what people have said of it.

    Attributes:
        alarm: The alarm.
        notes: In the order in which they were said.
        shelved_by: What was said last of whether alarms of its place are shelved, be it of another
            of them; None where nothing was.
        is_newest: Whether no other alarm of its place began later.
    """

    alarm: Alarm
    notes: tuple[AlarmNote, ...] = ()
    shelved_by: AlarmNote | None = None
    is_newest: bool = True

    @property
    def identity(self) -> Identity:
        """What tells it from others."""
        return _identity(self.alarm)

    @property
    def acknowledged(self) -> AlarmNote | None:
        """By what it was acknowledged first."""
        return next((each for each in self.notes if each.acknowledges), None)

    def is_shelved(self, now_ns: int) -> bool:
        """Whether it is at this time, ns since 1970 UTC."""
        return self.shelved_by is not None and now_ns < self.shelved_by.until_ns


async def known_alarms(config: Config, log: Log) -> list[KnownAlarm]:
    """All alarms of which the log holds a state; by their start.

    What the log has deleted (``log.retention``) is not among them, though it be open still.

    Args:
        config: Says what the topic is called.
        log: A started log.
    """
    found: dict[Identity, Alarm] = {}
    notes: dict[Identity, list[AlarmNote]] = {}
    shelved: dict[Place, AlarmNote] = {}
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, ANOMALIES), partition)
        start, end = await log.offsets(at)
        async for records in records_between(log, at, start, end):
            for record in records:
                schema = schema_of(record.headers)
                try:
                    if schema == ALARMS_SCHEMA:
                        found.update(
                            (_identity(each), each) for each in decode_alarms(record.value)
                        )
                    elif schema in ALARM_NOTES_SCHEMAS:
                        for note in decode_alarm_notes(record.value):
                            notes.setdefault(_identity(note), []).append(note)
                            if note.until_ns:
                                shelved[_place(note)] = note
                except DataError:
                    continue  # ``log verify`` tells of it
    in_order = sorted(found.items(), key=lambda each: (each[1].start_ns, each[0]))
    newest = dict(identity for identity, _ in in_order)
    return [
        KnownAlarm(
            alarm,
            tuple(notes.get((place, start_ns), ())),
            shelved.get(place),
            is_newest=start_ns == newest[place],
        )
        for (place, start_ns), alarm in in_order
    ]


async def say_of(
    config: Config,
    log: Log,
    alarms: Iterable[Alarm],
    *,
    by: str,
    time_ns: int,
    acknowledges: bool,
    comment: str,
    until_ns: int = 0,
) -> None:
    """Write down what somebody says of alarms; returns when it is durable.

    Args:
        config: Says what the topic is called.
        log: A started log.
        alarms: Of which.
        by: Who says it.
        time_ns: When, ns since 1970 UTC.
        acknowledges: Whether it acknowledges them.
        comment: What else is said.
        until_ns: As in ``AlarmNote``.
    """
    by_partition: dict[int, list[AlarmNote]] = {}
    said: Counter[Place] = Counter()
    for each in alarms:
        note = AlarmNote(
            feed=each.feed,
            device=each.device,
            rule=each.rule,
            channel=each.channel,
            start_ns=each.start_ns,
            # Of the same time and place one would overwrite the other in a sink.
            time_ns=time_ns + said[_place(each)],
            by=by,
            acknowledges=acknowledges,
            comment=comment,
            part=each.part,
            tags=each.tags,
            until_ns=until_ns,
        )
        said[_place(each)] += 1
        partition = device_partition(each.feed, each.device, config.log.partitions)
        by_partition.setdefault(partition, []).append(note)
    for partition, notes in by_partition.items():
        at = TopicPartition(topic(config, ANOMALIES), partition)
        await log.append(at, alarm_notes_records(notes))


def _identity(of: Alarm | AlarmNote) -> Identity:
    return _place(of), of.start_ns


def _place(of: Alarm | AlarmNote) -> Place:
    return (of.feed, of.device, of.tags, of.part, of.channel, of.rule)
