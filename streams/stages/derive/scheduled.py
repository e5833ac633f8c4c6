"""What alarms do by themselves as time passes.

Those whose rule is not looked at any more are over when its schedule is. A device that sends seldom
would be asked for them late. So they end as soon as its watermark has passed the end of the
schedule, whether a reading comes or not. And where a condition has held for long enough one opens,
or is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from streams.stages.arrays import NEVER_NS, NO_TIME_NS
from streams.stages.derive.latch import Turn
from streams.stages.derive.places import Places
from streams.stages.derive.program import Program
from streams.stages.derive.rule import Rule

#: No places.
_NOWHERE = np.empty(0, np.int64)


class Scheduled:
    """The alarms of rules with a schedule, and those that time brings about.

    Args:
        programs: Those of all feeds.
        places: Where they are worked out.
        channels: The pipeline's table.
    """

    def __init__(self, programs: Sequence[Program], places: Places, channels: ChannelTable) -> None:
        self._programs = programs
        self._rules = [rule for each in programs for rule in each.rules if rule.is_scheduled]
        self._places = places
        self._channels = channels

    def due_ns(self, devices: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[d]: when the next alarm of each of these devices ends; ``NEVER_NS`` for none.

        Args:
            devices: int64[d], rising.
        """
        found = np.full(len(devices), NEVER_NS)
        for rule, places, which in self._open(devices):
            np.minimum.at(found, which, rule.until_ns(places))
        return found

    def next_ns(self, devices: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[d]: when time brings an alarm of each of these devices about; ``NEVER_NS``: never.

        Args:
            devices: int64[d], rising.
        """
        every_ns = np.full(len(self._channels.devices), NEVER_NS)
        is_one = np.zeros(len(every_ns), np.bool_)
        is_one[devices] = True
        owner = self._channels.device_of[self._places.channel]
        places = np.flatnonzero(is_one[owner])
        for rule in (rule for each in self._programs for rule in each.rules if rule.is_timed):
            np.minimum.at(every_ns, owner[places], rule.due_ns[places])
        found: NDArray[np.int64] = every_ns[devices]
        return found

    def awaited(self, devices: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of these devices at which a condition holds, and time may bring about what of it.

        Of the others nobody asks up to when they have been looked at.
        """
        owner = self._channels.device_of[self._places.channel]
        places = [rule.awaited() for each in self._programs for rule in each.rules if rule.is_timed]
        found: NDArray[np.int32] = np.intersect1d(
            devices, owner[np.unique(np.concatenate([_NOWHERE, *places]))]
        )
        return found

    def end(self, devices: NDArray[np.int64], watermark_ns: NDArray[np.int64]) -> Iterator[Turn]:
        """End the alarms whose schedule was over before the watermarks of these devices.

        Args:
            devices: int64[d], rising.
            watermark_ns: int64[d].
        """
        # Where all is closed because a clock was set back, no schedule is over by that.
        passed_ns = np.where(watermark_ns < NEVER_NS, watermark_ns, NO_TIME_NS)
        for rule, places, which in self._open(devices):
            yield from rule.end_until(places, passed_ns[which], self._places.channel[places])

    def _open(
        self, devices: NDArray[np.int64]
    ) -> Iterator[tuple[Rule, NDArray[np.int64], NDArray[np.intp]]]:
        """By rule, places of these devices at which an alarm is open, and which those are of."""
        for rule in self._rules:
            if not rule.latch.has_open:
                continue
            places = np.flatnonzero(rule.latch.is_open)
            owner = self._channels.device_of[self._places.channel[places]]
            is_ours = np.isin(owner, devices)
            if is_ours.any():
                yield rule, places[is_ours], np.searchsorted(devices, owner[is_ours])
