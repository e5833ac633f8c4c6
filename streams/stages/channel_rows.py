"""``ChannelRows``: rows of channels that wait until their devices ask for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.stage import Selection
from streams.stages.arrays import stable_order
from streams.stages.rowstore import Columns, RowStore


class ChannelRows(RowStore):
    """A ``RowStore`` whose rows say which channel they are of, and so which device.

    Args:
        channels: The pipeline's table.
        columns: dtype of each column but ``channel``, by name.
    """

    def __init__(self, channels: ChannelTable, **columns: type[np.generic]) -> None:
        every: dict[str, type[np.generic]] = {"channel": np.int32, **columns}
        super().__init__(**every)
        self._channels = channels

    def keep(self, rows: Columns) -> None:
        """Add rows, in any order of their devices; those of one stay in their order."""
        device = self._channels.device_of[rows["channel"]]
        order = stable_order(device)
        self.append(device[order], {name: column[order] for name, column in rows.items()})

    def take_until(
        self, devices: NDArray[np.int64], last_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Columns]:
        """Take out rows up to a time, which is in the column ``time_ns``; later ones stay.

        Args:
            devices: int64[d], rising.
            last_ns: int64[d], the last time of each.

        Returns:
            int64[n], the rows' devices, rising; and the rows, those of a device in their order.
        """
        device, rows = self.take(devices)
        is_taken = rows["time_ns"] <= last_ns[np.searchsorted(devices, device)]
        stays = ~is_taken
        self.append(device[stays], {name: each[stays] for name, each in rows.items()})
        return device[is_taken], {name: each[is_taken] for name, each in rows.items()}

    def snapshot(self, devices: NDArray[np.int32], position: NDArray[np.int32]) -> Columns:
        """The rows of these devices, rising, with their channels' places in a selection."""
        rows = self.peek(devices)[1]
        return {**rows, "channel": position[rows["channel"]]}

    def forget(self, selection: Selection) -> None:
        """Drop the rows of these devices and of these channels."""
        owners = self._channels.device_of[selection.channels]
        device, rows = self.take(np.unique(np.concatenate([selection.devices, owners])))
        is_kept = ~np.isin(device, selection.devices)
        is_kept &= ~np.isin(rows["channel"], selection.channels)
        self.append(device[is_kept], {name: each[is_kept] for name, each in rows.items()})
