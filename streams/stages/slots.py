"""``DeviceSlots``: places for the devices that one stage knows, among all that there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.grown import grown


class DeviceSlots:
    """Numbers, from 0 on, for the devices that have come: those of other feeds take no room.

    Args:
        channels: The pipeline's table.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        #: int64[d], by device row: its slot; -1 where it has none.
        self.by_device: NDArray[np.int64] = np.empty(0, np.int64)
        #: Slots in use.
        self.count = 0

    def extend(self) -> None:
        """Follow the table."""
        self.by_device = grown(self.by_device, len(self._channels.devices), -1)

    def give(self, devices: NDArray[np.int64] | NDArray[np.int32]) -> bool:
        """Give slots to those of these devices that have none; whether there were any."""
        is_new = self.by_device[devices] < 0
        if not is_new.any():
            return False
        new = np.unique(devices[is_new])
        self.by_device[new] = np.arange(self.count, self.count + len(new))
        self.count += len(new)
        return True

    def known(self, devices: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Those of these devices that have a slot: intp[k], where they stand here; int64[k], it."""
        slot = self.by_device[devices]
        position = np.flatnonzero(slot >= 0)
        return position, slot[position]
