"""The stage behind a watermark, for tests of what it makes and of what it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.config.rule import RuleConfig
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.clock import NS_PER_S
from headgate.core.results import Alarm
from headgate.core.stage import Selection
from headgate.core.stretches import Stretches
from headgate.testing.stages import everything
from streams.stages.arrays import NEVER_NS, NO_TIME_NS
from streams.stages.blocks import checked
from streams.stages.derive.stage import Derivation, Deriver
from streams.stages.watermark.pace import Expected

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
    rules: Mapping[str, RuleConfig] = field(default_factory=dict)
    looked_at: Mapping[str, Stretches] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = ChannelTable()
        self.deriver = self._deriver()
        self.newest: dict[str, int] = {}
        self.made: dict[tuple[str, str, int], float] = {}
        self.alarms: list[Alarm] = []
        self.count = 0

    def take(self, rows: Sequence[Row]) -> None:
        """Take readings in."""
        self.take_of([(Channel("f", f"d{row[0]}", "f", row[2]), row[1], row[3]) for row in rows])

    def take_of(self, rows: Sequence[tuple[Channel, float, float]]) -> None:
        """Take readings in of channels that have more than a name: each with second and value."""
        channel = [self.table.row(each) for each, *_ in rows]
        time_ns = [START_NS + round(second * NS_PER_S) for _, second, _ in rows]
        for (each, *_), at_ns in zip(rows, time_ns, strict=True):
            self.newest[each.device] = max(self.newest.get(each.device, 0), at_ns)
        batch = Batch.from_columns(self.table, time_ns, channel, [value for *_, value in rows])
        self._note(self.deriver.process(batch, self._watermark))

    def settle(self, second: float) -> None:
        """Let the clock be there, for devices that send seldom."""
        now_ns = START_NS + round(second * NS_PER_S)

        def expected(devices: NDArray[np.int32]) -> Expected:
            names = [self.table.devices[row].name for row in devices.tolist()]
            newest_ns = np.array([self.newest.get(name, 0) for name in names], np.int64)
            is_over = now_ns - newest_ns >= GRACE_NS
            watermark_ns = self._watermark(devices)
            return Expected(
                np.where(is_over, np.maximum(newest_ns + 1, watermark_ns), watermark_ns),
                np.where(is_over, now_ns - GRACE_NS + 1, NO_TIME_NS),
                np.ones(len(devices), np.bool_),
            )

        self._note(self.deriver.settle(np.empty(0, np.int32), expected, None)[0])

    def end(self) -> dict[tuple[str, str, int], float]:
        """All that has been made, once nothing comes any more."""
        every = np.arange(len(self.table.devices), dtype=np.int32)
        never = self.deriver.close(every, lambda rows: np.full(len(rows), NEVER_NS))
        self._note(never)
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
        self.deriver = self._deriver()
        there = Selection(devices, channels)
        self.deriver.restore(there, checked(block, self.deriver.snapshot(there), there))

    def _deriver(self) -> Deriver:
        return Deriver({"f": self.feed}, self.table, rules=self.rules, looked_at=self.looked_at)

    def _watermark(self, devices: NDArray[np.int32]) -> NDArray[np.int64]:
        names = [self.table.devices[row].name for row in devices.tolist()]
        return np.array([self.newest.get(name, 0) - GRACE_NS for name in names], np.int64)

    def _note(self, found: Derivation) -> None:
        made = found.made
        self.alarms += found.alarms
        channels = self.table.channels
        for row, at_ns, value in zip(
            made.channel.tolist(), made.time_ns.tolist(), made.value.tolist(), strict=True
        ):
            owner = Device("f", channels[row].device, channels[row].tags)
            key = (owner.label, channels[row].field, at_ns)
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
