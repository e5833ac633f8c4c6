"""Devices whose times are coarser than their rate: what people are told, never a result."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import structlog

from headgate.core.channels import ChannelTable
from headgate.core.grown import grown
from headgate.core.stage import Rejected
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

#: Readings of one channel in conflict from which on it is no accident: a message that was sent
#: again with other values has one.
_FEWEST = 3

_UNITS = ((1_000_000_000, "whole seconds"), (1_000_000, "whole milliseconds"))


class Conflicts:
    """Counts readings in conflict, and tells of the first device of each feed that has several.

    Args:
        channels: The pipeline's table.
        telemetry: Where people are told.
    """

    def __init__(self, channels: ChannelTable, telemetry: Telemetry) -> None:
        self._channels = channels
        self._telemetry = telemetry
        # By channel row.
        self._count = np.empty(0, np.int64)
        self._told: set[str] = set()

    def look(self, rejected: Iterable[Rejected]) -> None:
        """See whether there are more of them."""
        for part in rejected:
            if part.reason != "conflict":
                continue
            self._count = grown(self._count, len(self._channels), 0)
            np.add.at(self._count, part.batch.channel, 1)
            often = np.flatnonzero(self._count[part.batch.channel] >= _FEWEST)
            for row in np.unique(part.batch.device[often], return_index=True)[1].tolist():
                self._tell(part, int(often[row]))

    def _tell(self, part: Rejected, row: int) -> None:
        batch = part.batch
        device = self._channels.devices[int(batch.device[row])]
        if device.feed in self._told:
            return
        self._told.add(device.feed)
        times_ns = batch.time_ns[batch.device == batch.device[row]]
        unit = next((f" in {name}" for ns, name in _UNITS if not (times_ns % ns).any()), "")
        _logger.warning(
            "A device sends several values of a channel under one time; the first one counts.",
            feed=device.feed,
            device=device.label,
            channel=self._channels.channels[int(batch.channel[row])].field,
        )
        self._telemetry.warn(
            f"conflict {device.feed}",
            f"feed.{device.feed}: {device.label} sends several values of a channel under one "
            f"time{unit}; the first counts, the others go to quarantine as conflict. Send finer "
            f"times, leave out feed.{device.feed}.time for the arrival time, or tell devices "
            "apart that share the name",
        )
