"""Which devices something is said of that names them only in part, or not at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable, Device
from headgate.core.results import Availability


class ConcernedDevices:
    """Finds devices of a table that only grows, without a look at all of them each time.

    Args:
        channels: The table.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._known = 0
        # Rows, by feed and by feed and name.
        self._of_feed: dict[str, list[int]] = {}
        self._of_name: dict[tuple[str, str], list[int]] = {}

    def rows(self, said: Availability) -> NDArray[np.int32]:
        """int32[d]: the devices that something is said of; one that is new is added, if it may be.

        Args:
            said: What is said.
        """
        if said.adds and said.device is not None:
            device = Device(said.feed, said.device, said.tags)
            return np.array([self._channels.device_row(device)], np.int32)
        self._extend()
        if said.device is None:
            rows = self._of_feed.get(said.feed, [])
        else:
            rows = self._of_name.get((said.feed, said.device), [])
        if said.tags:
            wanted = {*said.tags}
            rows = [row for row in rows if wanted <= {*self._channels.devices[row].tags}]
        return np.array(rows, np.int32)

    def _extend(self) -> None:
        devices = self._channels.devices
        for row in range(self._known, len(devices)):
            device = devices[row]
            self._of_feed.setdefault(device.feed, []).append(row)
            self._of_name.setdefault((device.feed, device.name), []).append(row)
        self._known = len(devices)
