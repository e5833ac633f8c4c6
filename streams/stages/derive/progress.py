"""Up to when devices have been worked on, where their watermarks alone don't say it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.grown import grown
from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS, position_of
from streams.stages.derive.places import Places
from streams.stages.derive.timed import Passing


class Progress:
    """By device row.

    Args:
        places: Where channels are worked out.
        channels: The pipeline's table.
    """

    def __init__(self, places: Places, channels: ChannelTable) -> None:
        self._places = places
        self._channels = channels
        #: Before when all is settled, beyond its watermark.
        self.settled_ns = np.empty(0, np.int64)
        #: Before when rules have been looked at, whether a reading came or not.
        self.looked_ns = np.empty(0, np.int64)

    def grow(self, devices: int) -> None:
        """Make room for so many devices."""
        self.settled_ns = grown(self.settled_ns, devices, NO_TIME_NS)
        self.looked_ns = grown(self.looked_ns, devices, NO_TIME_NS)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Let nothing be known of these devices."""
        self.settled_ns[devices] = NO_TIME_NS
        self.looked_ns[devices] = NO_TIME_NS

    def snapshot(self, selection: Selection, awaited: NDArray[np.int32]) -> StateBlock:
        """What there is of some devices.

        Args:
            selection: The devices.
            awaited: Those of them of which anybody will ask up to when rules have been looked at.
        """
        at = position_of(selection.devices, len(self._channels.devices))
        settled = selection.devices[self.settled_ns[selection.devices] > NO_TIME_NS]
        looked = awaited[self.looked_ns[awaited] > NO_TIME_NS]
        return {
            "settled_device": at[settled],
            "settled_time_ns": self.settled_ns[settled],
            "looked_device": at[looked],
            "looked_time_ns": self.looked_ns[looked],
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; an older version's may lack some of it."""
        for name, times_ns in (("settled", self.settled_ns), ("looked", self.looked_ns)):
            if f"{name}_device" in block:
                devices = selection.devices[np.asarray(block[f"{name}_device"], np.intp)]
                times_ns[devices] = block[f"{name}_time_ns"]

    def passing(self, devices: NDArray[np.int64], passed_ns: NDArray[np.int64]) -> Passing:
        """How time passes that has passed at some devices, and at no others.

        Args:
            devices: int64[d], rising.
            passed_ns: int64[d], before when nothing can come any more.
        """
        every_ns = np.full(len(self.looked_ns), NO_TIME_NS)
        every_ns[devices] = passed_ns
        owner_of = self._channels.device_of[self._places.channel]

        def until_of(places: NDArray[np.int64]) -> NDArray[np.int64]:
            found: NDArray[np.int64] = every_ns[owner_of[places]]
            return found

        def since_of(places: NDArray[np.int64]) -> NDArray[np.int64]:
            found: NDArray[np.int64] = self.looked_ns[owner_of[places]]
            return found

        latest_ns = int(passed_ns.max()) if len(passed_ns) else NO_TIME_NS
        return Passing(since_of, until_of, latest_ns, self._places.channel)
