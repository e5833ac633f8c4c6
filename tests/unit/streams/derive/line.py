"""The stage behind a watermark, for tests of what it makes and of what it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.stage import Selection
from headgate.testing.stages import everything
from streams.stages.arrays import NEVER_NS
from streams.stages.blocks import checked
from streams.stages.derive.stage import Deriver

START_NS = 1_750_000_000 * NS_PER_S
GRACE_NS = 3 * NS_PER_S
FIELDS = ("x", "y", "z")

#: (device, second, field, value)
Row = tuple[int, float, str, float]


def feed_of(derived: Mapping[str, object], **more: object) -> FeedConfig:
    """A feed with these derived channels."""
    return FeedConfig.model_validate(
        {
            "topic": "{device}",
            "channels": {"x": {}, "y": {}, "z": {}, "total": {"counter": {"wraps_at": 100}}},
            "aggregates": [{"window": "5s"}],
            "derived": derived,
            **more,
        }
    )


@dataclass
class Line:
    """The stage behind a watermark, and what it has made."""

    feed: FeedConfig

    def __post_init__(self) -> None:
        self.table = ChannelTable()
        self.deriver = Deriver({"f": self.feed}, self.table)
        self.newest: dict[str, int] = {}
        self.made: dict[tuple[str, str, int], float] = {}
        self.count = 0

    def take(self, rows: Sequence[Row]) -> None:
        """Take readings in."""
        channel = [self.table.row(Channel("f", f"d{row[0]}", "f", row[2])) for row in rows]
        time_ns = [START_NS + round(row[1] * NS_PER_S) for row in rows]
        for row, at_ns in zip(rows, time_ns, strict=True):
            name = f"d{row[0]}"
            self.newest[name] = max(self.newest.get(name, 0), at_ns)
        batch = Batch.from_columns(self.table, time_ns, channel, [row[3] for row in rows])
        self._note(self.deriver.process(batch, self._watermark).made)

    def end(self) -> dict[tuple[str, str, int], float]:
        """All that has been made, once nothing comes any more."""
        every = np.arange(len(self.table.devices), dtype=np.int32)
        never = self.deriver.close(every, lambda rows: np.full(len(rows), NEVER_NS))
        self._note(never.made)
        return self.made

    def restart(self) -> None:
        """Go on with what was written down, under other numbers."""
        old = self.table
        here = everything(old)
        block = self.deriver.snapshot(here)
        self.table = ChannelTable()
        for channel in reversed(old.channels):
            self.table.row(channel)
        devices = np.array([self.table.device_row(each) for each in old.devices], np.int32)
        channels = np.array([self.table.row(each) for each in old.channels], np.int32)
        self.deriver = Deriver({"f": self.feed}, self.table)
        there = Selection(devices, channels)
        self.deriver.restore(there, checked(block, self.deriver.snapshot(there), there))

    def _watermark(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        names = [self.table.devices[row].name for row in devices.tolist()]
        return np.array([self.newest.get(name, 0) - GRACE_NS for name in names], np.int64)

    def _note(self, made: Batch) -> None:
        channels = self.table.channels
        for row, at_ns, value in zip(
            made.channel.tolist(), made.time_ns.tolist(), made.value.tolist(), strict=True
        ):
            key = (channels[row].device, channels[row].field, at_ns)
            assert key not in self.made, f"{key} is made twice"
            self.made[key] = value


def worked_out(
    derived: Mapping[str, object], rows: Sequence[Row], **more: object
) -> dict[str, list[float]]:
    """By derived channel, its values of device 0, in the order of their times."""
    line = Line(feed_of(derived, **more))
    line.take(rows)
    found: dict[str, list[float]] = {}
    for (_, name, _), value in sorted(line.end().items(), key=lambda each: each[0][2]):
        found.setdefault(name, []).append(value)
    return found
