"""What the gateway's own clock has to say of a feed's readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from connectors.formats.columns import Decoded
from headgate.config.schema import Feed
from headgate.core.batch import Quality


class Arrivals:
    """Holds the event times of one feed's readings against the times they arrived at.

    Args:
        feed: Its configuration.
    """

    def __init__(self, feed: Feed) -> None:
        # With half of the grace to spare, a device that is ahead makes nobody's readings late.
        self._tolerance_ns = feed.grace // 2

    def settle(self, decoded: Decoded, arrival_ns: NDArray[np.int64]) -> Decoded:
        """Mark readings that are ahead.

        It is done where they arrive, and kept with them: afterwards nobody could tell.

        Args:
            decoded: Readings of a run of messages.
            arrival_ns: int64[m], when each message of the run arrived, ns since 1970 UTC.
        """
        time_ns = decoded.time_ns
        if not len(time_ns) or time_ns.max() <= arrival_ns.min() + self._tolerance_ns:
            return decoded
        is_ahead = time_ns > arrival_ns[decoded.owner] + self._tolerance_ns
        quality = decoded.quality | np.where(is_ahead, np.uint16(Quality.AHEAD), np.uint16(0))
        return replace(decoded, quality=quality)
