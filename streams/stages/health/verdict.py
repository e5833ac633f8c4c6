"""Whose fault an anomaly is: the process's, or that of a sensor which is not well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.channels import ChannelTable
from headgate.core.grown import grown
from headgate.core.lookup import ByDevice
from streams.stages.health.stage import HealthMonitor

#: An anomaly of which faulty sensors make up this part is theirs.
_MOST = 0.5


class ModelSensors:
    """The sensors behind a model's channels, device by device.

    Args:
        names: The model's channels.
        monitor: Knows how each sensor is.
        feeds: ``config.feed``.
        channels: The pipeline's table.
    """

    def __init__(
        self,
        names: Sequence[str],
        monitor: HealthMonitor,
        feeds: Mapping[str, FeedConfig],
        channels: ChannelTable,
    ) -> None:
        self._column = {name: column for column, name in enumerate(names)}
        self._monitor = monitor
        self._channels = channels
        graces_ns = {name: feed.grace for name, feed in feeds.items()}
        # How long after its end a window of a device is sure to have closed.
        self._delay_ns = ByDevice(channels, np.int64, lambda each: graces_ns.get(each.feed, 0))
        self._known = 0
        # By device row: the channels' rows in the model's order, -1 where there is none.
        self._rows = np.empty((0, len(names)), np.int32)

    def faulty(self, devices: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[d, channel]: which sensors of these devices were known to be faulty at a time."""
        self._extend()
        return self._monitor.faulty_at(self._rows[devices], time_ns - self._delay_ns[devices])

    def _extend(self) -> None:
        """Take in the channels that the table has got since the last call."""
        table = self._channels
        self._rows = grown(self._rows, len(table.devices), -1)
        for row in range(self._known, len(table)):
            channel = table.channels[row]
            if channel.field in self._column:
                self._rows[table.device_of[row], self._column[channel.field]] = row
        self._known = len(table)


def is_of_sensors(share: NDArray[np.float32], faulty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[e]: whether most of these anomalies' scores stems from faulty sensors.

    Args:
        share: float32[e, channel], parts of the score at the peak.
        faulty: bool[e, channel], sensors that were faulty during the anomaly.
    """
    theirs = np.where(faulty, share, 0).sum(axis=1)
    answer: NDArray[np.bool_] = faulty.any(axis=1) & (theirs >= _MOST * share.sum(axis=1))
    return answer
