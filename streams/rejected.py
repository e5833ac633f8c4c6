"""Taking note of rejected readings, for people: by reason and feed, from which devices."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from headgate.core.batch import Batch
from headgate.core.refused import RefusedKinds
from headgate.core.stage import Rejected

#: Devices that are named of one batch, those with the most rejected readings.
_NAMED = 5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def note_rejected(part: Rejected, kinds: RefusedKinds) -> None:
    """Take note of the readings that a stage has rejected for one reason."""
    batch = part.batch
    if not len(batch):
        return
    devices = batch.channels.devices
    rows, firsts, counts = np.unique(batch.device, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    feeds: Counter[str] = Counter()
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        feeds[devices[row].feed] += count
    for at in order[:_NAMED].tolist():
        device, count = devices[rows[at]], int(counts[at])
        feeds[device.feed] -= count
        kinds.note(
            part.reason,
            device.feed,
            device.label.encode(errors="replace"),
            count,
            example=_shown(batch, int(firsts[at])),
        )
    for feed, count in feeds.items():
        if count:
            kinds.note(part.reason, feed, b"", count)


def _shown(batch: Batch, row: int) -> bytes:
    channel = batch.channels.channels[batch.channel[row]]
    time = _EPOCH + timedelta(microseconds=int(batch.time_ns[row]) // 1000)
    value = float(batch.value[row])
    said = batch.channels.said(int(batch.channel[row]), value)
    shown = said if isinstance(said, str) else f"{value:g}"
    return f"{channel.field}={shown} at {time:%Y-%m-%dT%H:%M:%S.%fZ}".encode(errors="replace")
