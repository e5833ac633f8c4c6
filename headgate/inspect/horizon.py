"""How far each device's windows are closed, and whose clock may have gone back: for the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.core.batch import Batch
from headgate.core.channels import Device
from streams.stages.arrays import NO_TIME_NS, group_by


@dataclass(slots=True)
class Horizon:
    """How far a device's windows are closed, from the order in which they were.

    Attributes:
        starts_ns: Of all closed windows.
        closed_ns: The end of the last one.
        end_ns: The latest end.
    """

    starts_ns: set[int] = field(default_factory=set)
    closed_ns: int = -(2**63)
    end_ns: int = -(2**63)
    _island_ns: int | None = None

    def close(self, start_ns: int, end_ns: int) -> None:
        """Take in the next closed window; a replay closes the same ones again."""
        if start_ns not in self.starts_ns:
            self.starts_ns.add(start_ns)
            self.closed_ns = end_ns
            self.end_ns = max(self.end_ns, end_ns)
            self._island_ns = None

    @property
    def limits(self) -> tuple[int, int, int]:
        """The last closed window's end, the start of the island if any, and the latest end."""
        if self._island_ns is None:
            later_ns = (each for each in self.starts_ns if each >= self.closed_ns)
            is_back = self.closed_ns < self.end_ns
            self._island_ns = min(later_ns, default=self.end_ns) if is_back else self.end_ns
        return self.closed_ns, self._island_ns, self.end_ns

    def is_past(self, time_ns: int) -> bool:
        """Whether a reading of this time is in no closed window's time, and may still be open."""
        closed_ns, island_ns, end_ns = self.limits
        return time_ns >= end_ns or closed_ns <= time_ns < island_ns


class Returns:
    """Finds the readings of a partition with which devices' clocks may have gone back.

    Args:
        horizons: By device.
        grace_ns: By feed.
        window_ns: By feed, the shortest window.

    Attributes:
        open_ns: Their times, by device.
    """

    def __init__(
        self,
        horizons: Mapping[Device, Horizon],
        grace_ns: Mapping[str, int],
        window_ns: Mapping[str, int],
    ) -> None:
        self._horizons = horizons
        self._grace_ns = grace_ns
        self._window_ns = window_ns
        self._newest_ns: dict[Device, int] = {}
        self.open_ns: dict[Device, list[int]] = {}

    def look(self, batch: Batch, *, is_counted: bool) -> None:
        """Take in a record's readings, in the log's order."""
        groups = group_by(batch.device)
        times_ns = batch.time_ns[groups.order]
        for row, start, length in zip(
            groups.keys.tolist(), groups.starts.tolist(), groups.lengths.tolist(), strict=True
        ):
            device, times = batch.channels.devices[row], times_ns[start : start + length]
            if device.feed not in self._grace_ns:
                continue
            newest_ns, grace_ns = (
                self._newest_ns.get(device, NO_TIME_NS),
                self._grace_ns[device.feed],
            )
            if int(times.min()) >= newest_ns - grace_ns:
                # Nearly always.
                self.open_ns.pop(device, None)
                self._newest_ns[device] = max(newest_ns, int(times.max()))
                continue
            for time_ns in times.tolist():
                if time_ns >= self._newest_ns.get(device, NO_TIME_NS) - grace_ns:
                    self.open_ns.pop(device, None)
                    self._newest_ns[device] = max(self._newest_ns.get(device, NO_TIME_NS), time_ns)
                elif is_counted and self._may_be_open(device, time_ns):
                    self.open_ns.setdefault(device, []).append(time_ns)

    def _may_be_open(self, device: Device, time_ns: int) -> bool:
        horizon, window_ns = self._horizons[device], self._window_ns[device.feed]
        # Of one that has closed windows since it went back, these tell.
        is_told = horizon.closed_ns < horizon.end_ns or horizon.is_past(time_ns)
        return not is_told and time_ns - time_ns % max(window_ns, 1) not in horizon.starts_ns
