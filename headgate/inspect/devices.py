"""The devices that a gateway knows, from what its lanes have written down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.errors import DataError
from headgate.core.log import QUARANTINE, STATE, Log, TopicPartition, records_between
from headgate.core.records import (
    REJECTED_SCHEMAS,
    decode_rejected,
    part_of,
    schema_of,
)
from headgate.core.stage import Snapshot
from streams.process.state import newest_records, read_snapshot
from streams.stages.arrays import NO_TIME_NS
from streams.stages.watermark.states import STATES


@dataclass(frozen=True, slots=True)
class HeldValue:
    """What a channel holds whose topic holds a state.

    Attributes:
        channel: Which one.
        value: In its unit, or a text.
        time_ns: When it was said, or became known, ns since 1970 UTC.
    """

    channel: Channel
    value: float | str
    time_ns: int


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """What is known of a device.

    Attributes:
        device: Which one.
        state: ``"online"``, ``"offline"``, or empty where its feed wants nothing said of it.
        seen_ns: Event time of its newest reading; None: it has sent none that counts.
        period_ns: By how much that moves on from one arrival to the next; 0 when it is not known.
        channels: How many it has.
        rejected: Its readings that stand in quarantine.
        held: What its channels hold, of a feed with ``retained = "state"``.
    """

    device: Device
    state: str
    seen_ns: int | None
    period_ns: int
    channels: int
    rejected: int
    held: tuple[HeldValue, ...] = ()


async def known_devices(config: Config, log: Log) -> list[KnownDevice]:
    """All devices in the newest snapshots, by feed and name.

    A running gateway writes a device down within ``streams.snapshot_interval``. Of snapshots that
    can't be read the gateway itself tells.

    Args:
        config: Says what the topics are called.
        log: A started log.
    """
    found: dict[Device, KnownDevice] = {}
    rejected = await _rejected(config, log)
    for partition in range(config.log.partitions):
        for record in await newest_records(log, TopicPartition(topic(config, STATE), partition)):
            try:
                found.update(_devices_in(read_snapshot(record), rejected))
            except DataError:
                continue
    return sorted(found.values(), key=lambda each: tuple(each.device))


def _devices_in(snapshot: Snapshot, rejected: Counter[Device]) -> dict[Device, KnownDevice]:
    block = snapshot.blocks.get("watermark", {})
    count = len(snapshot.devices)
    columns = [
        block.get(name, np.zeros(count, np.int64)) for name in ("newest_ns", "pace_ns", "said")
    ]
    if any(column.shape != (count,) for column in columns):
        raise DataError("bad_record", "not as many rows as devices")
    table = ChannelTable()
    channels = Counter(table.channels[table.row_of_key(key)].owner for key in snapshot.channels)
    held = _held_in(snapshot, table)
    found = {}
    for device, seen_ns, pace_ns, said in zip(
        snapshot.devices, *(column.tolist() for column in columns), strict=True
    ):
        state = STATES[said] if 0 <= said < len(STATES) else ""
        has_sent = seen_ns > NO_TIME_NS
        if not has_sent and not state and device not in held:
            continue  # known, and nothing of it has counted yet
        found[device] = KnownDevice(
            device,
            state,
            seen_ns if has_sent else None,
            pace_ns,
            channels[device],
            rejected[device],
            tuple(held.get(device, ())),
        )
    return found


def _held_in(snapshot: Snapshot, table: ChannelTable) -> dict[Device, list[HeldValue]]:
    """By device, what its channels hold."""
    block = snapshot.blocks.get("held", {})
    found: dict[Device, list[HeldValue]] = {}
    if not block:
        return found
    names = ("channel", "channel_value", "channel_time_ns")
    try:
        columns = [block[name].tolist() for name in names]
        for position, text in snapshot.texts:
            table.texts.add(table.row_of_key(snapshot.channels[position]), text)
        for place, value, time_ns in zip(*columns, strict=True):
            row = table.row_of_key(snapshot.channels[place])
            channel, said = table.channels[row], table.said(row, value)
            known = value if said is None else said
            found.setdefault(channel.owner, []).append(HeldValue(channel, known, time_ns))
    except (KeyError, IndexError, ValueError) as error:
        raise DataError("bad_record", f"held: {error!r}") from error
    return found


async def _rejected(config: Config, log: Log) -> Counter[Device]:
    """Readings in quarantine, each once, however often a replay has put it there."""
    counts: Counter[Device] = Counter()
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, QUARANTINE), partition)
        met: set[tuple[int, int, int]] = set()
        async for records in records_between(log, at, *await log.offsets(at)):
            for record in records:
                if schema_of(record.headers) not in REJECTED_SCHEMAS:
                    continue
                table = ChannelTable(identities=config.identities)
                try:
                    found = decode_rejected(record.value, table)
                except DataError:
                    continue
                number, _ = part_of(record.headers)
                pairs = zip(found.partition.tolist(), found.offset.tolist(), strict=True)
                sources = [(number, *pair) for pair in pairs]
                is_new = np.array([source not in met for source in sources], np.bool_)
                met.update(sources)
                devices = found.batch.device[is_new].tolist()
                counts.update(table.devices[row] for row in devices)
    return counts
