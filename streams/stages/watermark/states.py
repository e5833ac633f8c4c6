"""Whether each device is there: when it is heard, has fallen silent, or has said so itself.

A device is away if it has said so, if what it is connected through has, or if it is silent; a
reading that is newer than all before ends all three. Of a device that has said to be there, and
would say it if it were not, silence says nothing unless its feed states how often it sends
(``expect_every``).

That a device is silent is decided by the clock, so the decision is written down before it is said:
what is said is part of the device's state one call earlier. A process that comes back after a kill
says the same again, with the same time, and never forgets that it has said so. What devices say of
themselves stands in the log among their readings, and is the same in a replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.results import OFFLINE, ONLINE, Availability, DeviceState
from headgate.core.runs import runs
from headgate.core.stage import StateBlock
from streams.stages.arrays import NEVER_NS, NO_TIME_NS, Groups, grown

#: What has been said of a device: nothing; that it is there; that it is not, which is decided, and
#: said the next time; that it is not.
_NOTHING, _ONLINE, _DECIDED, _OFFLINE = range(4)

#: By what stands in a snapshot, how a device is; empty while nothing has been said.
STATES = ("", ONLINE, OFFLINE, OFFLINE)

#: What a device, or what it is connected through, has said itself: nothing that still holds; that
#: it is there, which holds until it says otherwise; that it is not.
_UNSAID, _THERE, _AWAY = range(3)

#: The cause whose word holds: who has such a topic, or will, says there when it goes.
_LASTING = "availability"


class DeviceStates:
    """What has been said of each device, by device row.

    Args:
        channels: The pipeline's table.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._said = np.empty(0, np.int8)
        # The time of what was said last: nothing that is said later is of an earlier one.
        self._said_ns = np.empty(0, np.int64)
        self._own = np.empty(0, np.int8)
        self._through = np.empty(0, np.int8)
        self._is_asked = np.empty(0, np.bool_)
        self._is_expected = np.empty(0, np.bool_)

    def grow(self, rows: int, is_asked: Sequence[bool], is_expected: Sequence[bool]) -> None:
        """Make room for so many devices.

        Args:
            rows: How many there are.
            is_asked: Of the new ones, whether anything is to be said.
            is_expected: Likewise, whether it is stated how often they send.
        """
        self._is_asked = np.concatenate([self._is_asked, np.array(is_asked, np.bool_)])
        self._is_expected = np.concatenate([self._is_expected, np.array(is_expected, np.bool_)])
        self._said = grown(self._said, rows, _NOTHING)
        self._said_ns = grown(self._said_ns, rows, NO_TIME_NS)
        self._own = grown(self._own, rows, _UNSAID)
        self._through = grown(self._through, rows, _UNSAID)

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
        for words in (self._own, self._through):
            words[devices[words[devices] == _AWAY]] = _UNSAID
        heard = zip(devices.tolist(), time_ns[rows].tolist(), strict=True)
        return said + [self._state(row, at_ns, ONLINE, "reading", at_ns) for row, at_ns in heard]

    def told(
        self,
        devices: NDArray[np.int32],
        newest_ns: NDArray[np.int64],
        is_silent: NDArray[np.bool_],
        word: Availability,
    ) -> list[DeviceState]:
        """Take note of what was said of devices; what there is to say of those it changes.

        Args:
            devices: int32[d], rows.
            newest_ns: int64[d], event time of the newest reading of each.
            is_silent: bool[d], which of them are silent.
            word: What was said.
        """
        is_there = word.state == ONLINE
        if word.is_through:
            self._through[devices] = _UNSAID if is_there else _AWAY
        elif is_there:
            self._own[devices] = _THERE if word.cause == _LASTING else _UNSAID
        else:
            self._own[devices] = _AWAY
        is_asked = self._is_asked[devices]
        devices, newest_ns, is_silent = devices[is_asked], newest_ns[is_asked], is_silent[is_asked]
        is_decided = self._said[devices] == _DECIDED
        said = self.say(devices[is_decided], newest_ns[is_decided])
        is_away = (self._own[devices] == _AWAY) | (self._through[devices] == _AWAY)
        is_away |= is_silent & self._counts_silence(devices)
        before = self._said[devices]
        # That a bridge is there again does not say that a device ever was.
        may_be_new = not is_there or not word.is_through
        is_changed = np.where(is_away, before != _OFFLINE, before != _ONLINE)
        is_changed &= may_be_new | (before != _NOTHING)
        self._said[devices[is_changed]] = np.where(is_away, _OFFLINE, _ONLINE)[is_changed]
        columns = (devices[is_changed], newest_ns[is_changed], is_away[is_changed])
        for row, seen_ns, has_gone in zip(*(column.tolist() for column in columns), strict=True):
            state = OFFLINE if has_gone else ONLINE
            at_ns = max(word.time_ns, seen_ns + 1)
            said.append(self._state(row, at_ns, state, word.cause, seen_ns))
        return said

    def decide(self, devices: NDArray[np.int32]) -> None:
        """Note that these devices are silent."""
        devices = devices[self._is_asked[devices] & self._counts_silence(devices)]
        self._said[devices[self._said[devices] != _OFFLINE]] = _DECIDED

    def _counts_silence(self, devices: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[d]: whether silence says that these devices are away."""
        counts: NDArray[np.bool_] = self._is_expected[devices] | (self._own[devices] != _THERE)
        return counts

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
        self._said_ns[devices] = NO_TIME_NS

    def snapshot(self, devices: NDArray[np.int32]) -> StateBlock:
        """Copy out what was said of these devices."""
        return {
            "said": self._said[devices],
            "said_ns": self._said_ns[devices],
            "own_word": self._own[devices],
            "through_word": self._through[devices],
        }

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
        self._own[devices] = block.get("own_word", _UNSAID)
        self._through[devices] = block.get("through_word", _UNSAID)
        self._said_ns[devices] = np.clip(block.get("said_ns", NO_TIME_NS), NO_TIME_NS, NEVER_NS)
        said = np.full(len(devices), _NOTHING, np.int8)
        said[:] = block.get("said", _NOTHING)
        # Of a feed that wanted nothing said, or a version that did not, nobody has heard that.
        is_silent = is_silent & self._counts_silence(devices)
        said[is_silent & ((said == _NOTHING) | (said == _ONLINE))] = _DECIDED
        # What was said before nothing was wanted is how it is no longer.
        self._said[devices] = np.where(self._is_asked[devices], said, _NOTHING)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Drop what was said of these devices."""
        self._said[devices] = _NOTHING
        self._said_ns[devices] = NO_TIME_NS
        self._own[devices] = _UNSAID
        self._through[devices] = _UNSAID

    def _offline(
        self, devices: NDArray[np.int32], newest_ns: NDArray[np.int64]
    ) -> list[DeviceState]:
        """That these are away: since right after their newest readings.

        So whatever they send next is later, and the last that is said of a device is how it is.
        """
        rows = zip(devices.tolist(), newest_ns.tolist(), strict=True)
        return [self._state(row, at_ns + 1, OFFLINE, "silence", at_ns) for row, at_ns in rows]

    def _state(self, row: int, time_ns: int, state: str, cause: str, seen_ns: int) -> DeviceState:
        """Say it, later than what was said before: the last that is said is how a device is."""
        time_ns = max(time_ns, int(self._said_ns[row]) + 1)
        self._said_ns[row] = time_ns
        seen_ns = seen_ns if seen_ns > NO_TIME_NS else 0
        device = self._channels.devices[row]
        return DeviceState(device.feed, device.name, time_ns, state, cause, seen_ns, device.tags)
