"""Whether each device is there: said when it is heard, and when it has fallen silent.

That a device is silent is decided by the clock, so the decision is written down before it is said:
what is said is part of the device's state one call earlier. A process that comes back after a kill
says the same again, with the same time, and never forgets that it has said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.results import DeviceState
from headgate.core.runs import runs
from headgate.core.stage import StateBlock
from streams.stages.arrays import Groups, grown

#: What has been said of a device: nothing; that it is there; that it is not, which is decided, and
#: said the next time; that it is not.
_NOTHING, _ONLINE, _DECIDED, _OFFLINE = range(4)

#: By what stands in a snapshot, how a device is; empty while nothing has been said.
STATES = ("", "online", "offline", "offline")


class DeviceStates:
    """What has been said of each device, by device row.

    Args:
        channels: The pipeline's table.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._said = np.empty(0, np.int8)
        self._is_asked = np.empty(0, np.bool_)

    def grow(self, rows: int, is_asked: Sequence[bool]) -> None:
        """Make room for so many devices; of the new ones, whether anything is to be said."""
        self._is_asked = np.concatenate([self._is_asked, np.array(is_asked, np.bool_)])
        self._said = grown(self._said, rows, _NOTHING)

    def heard(
        self, groups: Groups, time_ns: NDArray[np.int64], before_ns: NDArray[np.int64]
    ) -> list[DeviceState]:
        """Take note of readings; what there is to say of devices that were away.

        Each is heard by its first reading that is newer than all before.

        Args:
            groups: Readings by device.
            time_ns: int64[n], their event times, in that order.
            before_ns: int64[d], event time of the newest one before them, by group.
        """
        are_away = (self._said[groups.keys] != _ONLINE) & self._is_asked[groups.keys]
        if not are_away.any():
            return []
        is_newer = time_ns > np.repeat(before_ns, groups.lengths)
        rows = np.flatnonzero(is_newer & np.repeat(are_away, groups.lengths))
        of = np.repeat(np.arange(len(groups.keys)), groups.lengths)[rows]
        first = runs(of)[0]
        of, rows = of[first], rows[first]
        devices = groups.keys[of].astype(np.int32)
        is_decided = self._said[devices] == _DECIDED
        said = self._offline(devices[is_decided], before_ns[of][is_decided])
        self._said[devices] = _ONLINE
        heard = zip(devices.tolist(), time_ns[rows].tolist(), strict=True)
        return said + [self._state(row, at_ns, "online", "reading", at_ns) for row, at_ns in heard]

    def decide(self, devices: NDArray[np.int32]) -> None:
        """Note that these devices are silent."""
        self._said[devices[self._is_asked[devices]]] = _DECIDED

    def decided(self, among: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
        """int32[d]: the devices of which it is decided and not said; of these, or of all."""
        found = np.flatnonzero(self._said == _DECIDED).astype(np.int32)
        return found if among is None else found[np.isin(found, among)]

    def say(self, devices: NDArray[np.int32], newest_ns: NDArray[np.int64]) -> list[DeviceState]:
        """Say what is decided of these devices.

        Args:
            devices: int32[d], rows.
            newest_ns: int64[d], event time of the newest reading of each.
        """
        self._said[devices] = _OFFLINE
        return self._offline(devices, newest_ns)

    def go_back(self, devices: NDArray[np.int32]) -> None:
        """Say it anew: these devices' clocks were set back."""
        self._said[devices] = _NOTHING

    def snapshot(self, devices: NDArray[np.int32]) -> StateBlock:
        """Copy out what was said of these devices."""
        return {"said": self._said[devices]}

    def restore(
        self,
        devices: NDArray[np.int32],
        block: Mapping[str, NDArray[np.generic]],
        is_silent: NDArray[np.bool_],
    ) -> None:
        """Take over a snapshot; an older version's says nothing of this.

        Args:
            devices: int32[d], rows.
            block: What ``snapshot`` gave.
            is_silent: bool[d], which of them were silent when it was taken.
        """
        said = np.full(len(devices), _NOTHING, np.int8)
        said[:] = block.get("said", _NOTHING)
        # Of a feed that wanted nothing said, or a version that did not, nobody has heard that.
        said[is_silent & ((said == _NOTHING) | (said == _ONLINE))] = _DECIDED
        # What was said before nothing was wanted is how it is no longer.
        self._said[devices] = np.where(self._is_asked[devices], said, _NOTHING)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Drop what was said of these devices."""
        self._said[devices] = _NOTHING

    def _offline(
        self, devices: NDArray[np.int32], newest_ns: NDArray[np.int64]
    ) -> list[DeviceState]:
        """That these are away: since right after their newest readings.

        So whatever they send next is later, and the last that is said of a device is how it is.
        """
        rows = zip(devices.tolist(), newest_ns.tolist(), strict=True)
        return [self._state(row, at_ns + 1, "offline", "silence", at_ns) for row, at_ns in rows]

    def _state(self, row: int, time_ns: int, state: str, cause: str, seen_ns: int) -> DeviceState:
        device = self._channels.devices[row]
        return DeviceState(device.feed, device.name, time_ns, state, cause, seen_ns, device.tags)
