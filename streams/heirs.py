"""Which devices of this process a snapshot's devices are.

Mostly they are the same. But what was one device by its name may be several by their tags, in
state of an older version or when ``feed.NAME.identity`` has been changed, or several may be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.errors import DataError
from headgate.core.stage import Snapshot


@dataclass(frozen=True, slots=True)
class Heirs:
    """Rows of a ``ChannelTable``.

    Attributes:
        devices: int32[d], what each device of the snapshot is, each row once.
        channels: int32[c], likewise of its channels.
        split: int32[s], further devices, which have channels in the snapshot and nothing else.
        ended: int32[e], those of ``devices`` that are none any more: another one has all of their
            channels, and goes on.
        behind: int32[b, 2]: devices that are told apart otherwise than in the snapshot, and for
            each one whose watermark it must not be behind.
    """

    devices: NDArray[np.int32]
    channels: NDArray[np.int32]
    split: NDArray[np.int32]
    ended: NDArray[np.int32]
    behind: NDArray[np.int32]


def heirs_of(snapshot: Snapshot, table: ChannelTable) -> Heirs:
    """Find or make the rows of a snapshot's devices and channels.

    Where devices are told apart otherwise now, what is known of a device goes to that one whose
    readings are the newest, what is known of a channel goes with the channel, and all devices of
    that name begin at the latest of their watermarks: what was closed stays closed.

    Raises:
        DataError: ``bad_record``: the snapshot's names don't fit together.
    """
    try:
        channels = np.array([table.row_of_key(key) for key in snapshot.channels], np.int32)
        newest_ns = _newest_ns(snapshot, channels, table)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError("bad_record", f"no state snapshot: {error!r}") from error
    found = list(zip(snapshot.devices, newest_ns, strict=True))
    rows = [table.device_row(device) if _is_same(device, now) else -1 for device, now in found]
    taken = set(rows)
    ended: list[int] = []
    renamed: dict[tuple[str, str], tuple[list[int], set[int]]] = {}
    for position, (device, now) in enumerate(found):
        if rows[position] < 0:
            heirs = map(table.device_row, sorted(now, key=lambda each: -now[each]))
            free = [row for row in heirs if row not in taken]
            # Of several devices that are one now, one goes on; the others end as what they were.
            rows[position] = free[0] if free else table.device_row(device)
            taken.add(rows[position])
            ended += [] if free else [rows[position]]
        if any(each != device for each in now):
            leaders, every = renamed.setdefault((device.feed, device.name), ([], set()))
            leaders.append(rows[position])
            every.update(map(table.device_row, now), leaders)
    behind = [
        (row, leader)
        for leaders, every in renamed.values()
        for row in sorted(every)
        for leader in leaders
        if row != leader
    ]
    split = sorted({row for row, _ in behind} - taken)
    return Heirs(
        np.array(rows, np.int32),
        channels,
        np.array(split, np.int32),
        np.array(ended, np.int32),
        np.array(behind, np.int32).reshape(-1, 2),
    )


def _is_same(device: Device, now: Mapping[Device, int]) -> bool:
    return not now or device in now


def _newest_ns(
    snapshot: Snapshot, channels: NDArray[np.int32], table: ChannelTable
) -> list[dict[Device, int]]:
    """By device of the snapshot: the devices of its channels, with their newest readings."""
    positions = {device: position for position, device in enumerate(snapshot.devices)}
    times_ns = snapshot.blocks.get("clean", {}).get("time_ns", np.zeros(len(channels), np.int64))
    newest_ns: list[dict[Device, int]] = [{} for _ in snapshot.devices]
    for key, row, time_ns in zip(
        snapshot.channels, channels.tolist(), times_ns.tolist(), strict=True
    ):
        owner = table.channels[row].owner
        position = positions.get(owner)
        if position is None:
            then = Channel.from_key(key).owner
            position = positions.get(then)
            if position is None:
                position = positions[Device(then.feed, then.name)]
        now = newest_ns[position]
        now[owner] = max(now.get(owner, time_ns), time_ns)
    return newest_ns
