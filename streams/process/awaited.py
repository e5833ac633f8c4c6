"""What stood in the log when time had something to say of a device, and may be of the device.

A device is silent, and what it has said is settled, once that has been worked on. To wait until
nothing stands in the log at all could be for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class Awaited:
    """By device, up to where its partition must have been worked on."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}

    def among(self, devices: NDArray[np.int32]) -> NDArray[np.int32]:
        """The same devices; of others nothing is awaited."""
        if self._ends:
            rows = {*devices.tolist()}
            self._ends = {row: end for row, end in self._ends.items() if row in rows}
        return devices

    def heard(self, devices: NDArray[np.int32]) -> None:
        """Of these devices, which may stand more than once, something has come."""
        for row in {*devices.tolist()} & self._ends.keys() if self._ends else ():
            del self._ends[row]

    def passed(
        self,
        devices: NDArray[np.int32],
        partitions: NDArray[np.int32],
        ends: Mapping[int, tuple[int, int]],
        next_offsets: Mapping[int, int],
    ) -> NDArray[np.int32]:
        """Of devices of which time has something to say, those of which nothing is awaited.

        Args:
            devices: int32[d], all of them.
            partitions: int32[d], theirs.
            ends: By partition, where the log begins and ends now.
            next_offsets: By partition, below where all has been worked on.
        """
        is_passed = np.ones(len(devices), np.bool_)
        found: dict[int, int] = {}
        for at, (row, partition) in enumerate(
            zip(devices.tolist(), partitions.tolist(), strict=True)
        ):
            if partition in ends:
                found[row] = self._ends.get(row, ends[partition][1])
                is_passed[at] = found[row] <= next_offsets[partition]
        self._ends = found
        return devices[is_passed]
