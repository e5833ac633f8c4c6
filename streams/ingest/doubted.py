"""Readings that are missing because their sender says that they are not good.

A sensor that is broken says so now and then. Where that is said of each reading from the start, it
may as well be that ``quality`` means other words than those which the sender has for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import structlog

from connectors.formats.columns import Decoded
from headgate.config.feed import FeedConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

#: So many readings of a channel without a good one, of all devices, are told of.
_LEAST: Final = 20

#: Channels of one feed that are watched, and those that are named.
_MOST_CHANNELS: Final = 1000
_TOLD_CHANNELS: Final = 3


class DoubtedReadings:
    """Counts them, and tells of channels of which no reading has ever been good.

    Args:
        feeds: ``config.feed``.
        telemetry: Where they are counted and told.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        # By feed, how many readings there were of channels of which none has been good.
        self._doubted: dict[str, dict[str, int]] = {
            name: {}
            for name, feed in feeds.items()
            if feed.quality is not None
            or any(each.quality is not None for each in feed.channels.values())
        }
        self._believed: dict[str, set[str]] = {name: set() for name in self._doubted}
        self._told: dict[str, list[str]] = {name: [] for name in self._doubted}
        for name in self._doubted:
            telemetry.doubted.labels(name)

    def note(self, name: str, decoded: Decoded, channels: ChannelTable) -> None:
        """Note the readings of some messages.

        Args:
            name: Their feed's.
            decoded: What came of the messages.
            channels: The table that the readings point into.
        """
        if name not in self._doubted or not len(decoded.quality):
            return
        is_bad = decoded.quality & np.uint16(Quality.BAD_AT_SOURCE) != 0
        doubted, believed = self._doubted[name], self._believed[name]
        self._telemetry.doubted.labels(name).inc(int(is_bad.sum()))
        for row in np.unique(decoded.channel[~is_bad]).tolist():
            field = channels.channels[row].field
            doubted.pop(field, None)
            if len(believed) < _MOST_CHANNELS:
                believed.add(field)
        rows, counts = np.unique(decoded.channel[is_bad], return_counts=True)
        for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
            field = channels.channels[row].field
            if field in doubted or (field not in believed and len(doubted) < _MOST_CHANNELS):
                doubted[field] = doubted.get(field, 0) + count
        self._tell(name)

    def _tell(self, name: str) -> None:
        doubted = self._doubted[name]
        found = [field for field, count in doubted.items() if count >= _LEAST]
        if found == self._told[name]:
            return
        is_first, self._told[name] = not self._told[name], found
        more = f" and {len(found) - _TOLD_CHANNELS} more" if found[_TOLD_CHANNELS:] else ""
        line = (
            f"feed.{name}: each reading of {', '.join(found[:_TOLD_CHANNELS])}{more} since the "
            "start is missing, because its sender says that it is not good; if it is, mend "
            "quality: `headgate check --sample` shows what stands there"
        )
        self._telemetry.warn(f"quality of {name}", line if found else "")
        if is_first:
            _logger.warning("No reading is good by what its sender says.", about=line)
