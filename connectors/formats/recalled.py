"""When devices were last heard by an earlier process, and at what pace."""

from __future__ import annotations

import numpy as np

from headgate.core.batch import Batch
from headgate.core.channels import Device
from headgate.core.runs import runs


class Recalled:
    """What earlier readings say of devices, until these are heard again.

    They take no place in the table before that.
    """

    def __init__(self) -> None:
        self._known: dict[Device, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        """Whether there is anything left to take."""
        return bool(self._known)

    def learn(self, batch: Batch) -> None:
        """Learn from readings of earlier, of whichever devices, in a table of their own."""
        order = np.lexsort((batch.time_ns, batch.device))
        device, time_ns = batch.device[order], batch.time_ns[order]
        step_ns = np.diff(time_ns)
        steps = np.flatnonzero((step_ns > 0) & (device[1:] == device[:-1]))
        steps = steps[np.lexsort((step_ns[steps], device[steps]))]
        starts, lengths = runs(device[steps])
        middle = steps[starts + lengths // 2]
        pace_ns = dict(zip(device[middle].tolist(), step_ns[middle].tolist(), strict=True))
        starts, lengths = runs(device)
        ends = starts + lengths - 1
        for row, last_ns in zip(device[starts].tolist(), time_ns[ends].tolist(), strict=True):
            each = batch.channels.devices[row]
            before_ns, before_pace_ns = self._known.get(each, (0, 0))
            self._known[each] = max(before_ns, last_ns), pace_ns.get(row, before_pace_ns)

    def take(self, device: Device) -> tuple[int, int]:
        """The time of a device's newest reading, ns since 1970 UTC, and its pace; 0 for none."""
        return self._known.pop(device, (0, 0))
