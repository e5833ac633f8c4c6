"""Whether each device is there: when it is heard, has fallen silent, or has said so itself.

A device is away if it has said so, if what it is connected through has, or if it is silent; a
reading that is newer than all before ends all three. Of a device that has said to be there, and
would say it if it were not, silence says nothing unless its feed states how often it sends
(``expect_every``).

Silence is counted here from the last reading or the last word that a device is there, whichever is
later. What is closed for silence, windows and anomalies, is counted from readings alone: of those a
word that comes every few seconds tells nothing.

That a device is silent is decided by the clock, so the decision is written down before it is said:
what is said is part of the device's state one call earlier. A process that comes back after a kill
says the same again, with the same time, and never forgets that it has said so. What devices say of
themselves stands in the log among their readings, and is the same in a replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config.availability import is_of_one
from headgate.config.feed import FeedConfig
from headgate.core.channels import ChannelTable
from headgate.core.grown import grown
from headgate.core.lookup import ByDevice
from headgate.core.results import OFFLINE, ONLINE, WITHDRAWN, Availability, DeviceState
from headgate.core.runs import runs
from headgate.core.stage import StateBlock
from streams.stages.arrays import NEVER_NS, NO_TIME_NS, Groups
from streams.stages.columns import StateColumns

#: What has been said of a device: nothing; that it is there; that it is not, which is decided, and
#: said the next time; that it is not.
_NOTHING, _ONLINE, _DECIDED, _OFFLINE = range(4)

#: By what stands in a snapshot, how a device is; empty while nothing has been said.
STATES = ("", ONLINE, OFFLINE, OFFLINE)

#: What a device, or what it is connected through, has said itself: nothing that still holds; that
#: it is there, which holds until it says otherwise; that it is not.
_UNSAID, _THERE, _AWAY = range(3)

#: What a feed says of its devices: whether anything is to be said of them; whether it is stated how
#: often they send; and whether a topic says that they are there, or that what they are connected
#: through is.
_ASKED, _EXPECTED, _HAS_OWN, _HAS_THROUGH = 1, 2, 4, 8

#: The cause whose word holds: who has such a topic, or will, says there when it goes.
_LASTING = "availability"

#: When those said that they are there that have not.
_NEVER_SAID = np.int64(-1)


class DeviceStates:
    """What has been said of each device, by device row.

    Args:
        feeds: ``config.feed``.
        channels: The pipeline's table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._channels = channels
        self._known = StateColumns(
            said=np.int8(_NOTHING),
            # The time of what was said last: nothing that is said later is of an earlier one.
            said_ns=np.int64(NO_TIME_NS),
            own_word=np.int8(_UNSAID),
            through_word=np.int8(_UNSAID),
            # Neither reading nor word has come for too long.
            is_missed=np.False_,
        )
        # Monotonic time at which each said last itself that it is there: of this process only.
        self._word_ns = np.empty(0, np.int64)
        self._told = ByDevice(
            channels, np.uint8, lambda each: _told(feeds.get(each.feed), each.name)
        )

    def grow(self, rows: int) -> None:
        """Make room for so many devices."""
        self._word_ns = grown(self._word_ns, rows, _NEVER_SAID)
        self._known.grow(rows)

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
        are_away = (self._known["said"][groups.keys] != _ONLINE) & self._are(_ASKED, groups.keys)
        if not are_away.any():
            return []
        is_newer = time_ns > np.repeat(before_ns, groups.lengths)
        rows = np.flatnonzero(is_newer & np.repeat(are_away, groups.lengths))
        of = np.repeat(np.arange(len(groups.keys)), groups.lengths)[rows]
        first = runs(of)[0]
        of, rows = of[first], rows[first]
        devices = groups.keys[of].astype(np.int32)
        is_decided = self._known["said"][devices] == _DECIDED
        said = self._offline(devices[is_decided], before_ns[of][is_decided])
        self._known["said"][devices] = _ONLINE
        for words in (self._known["own_word"], self._known["through_word"]):
            words[devices[words[devices] == _AWAY]] = _UNSAID
        heard = zip(devices.tolist(), time_ns[rows].tolist(), strict=True)
        return said + [self._state(row, at_ns, ONLINE, "reading", at_ns) for row, at_ns in heard]

    def told(
        self,
        devices: NDArray[np.int32],
        newest_ns: NDArray[np.int64],
        word: Availability,
        now_ns: int,
    ) -> list[DeviceState]:
        """Take note of what was said of devices; what there is to say of those it changes.

        Args:
            devices: int32[d], rows.
            newest_ns: int64[d], event time of the newest reading of each.
            word: What was said.
            now_ns: Monotonic time. The silence of who says that it is there is counted from it.
        """
        if word.state == WITHDRAWN:
            self._withdraw(devices, is_through=word.is_through)
            return []
        is_there = word.state == ONLINE
        if word.is_through:
            self._known["through_word"][devices] = _UNSAID if is_there else _AWAY
        elif is_there:
            self._known["own_word"][devices] = _THERE if word.cause == _LASTING else _UNSAID
            self._word_ns[devices] = now_ns
            self._known["is_missed"][devices] = False
        else:
            self._known["own_word"][devices] = _AWAY
        is_asked = self._are(_ASKED, devices)
        devices, newest_ns = devices[is_asked], newest_ns[is_asked]
        is_decided = self._known["said"][devices] == _DECIDED
        said = self.say(devices[is_decided], newest_ns[is_decided])
        is_away = (self._known["own_word"][devices] == _AWAY) | (
            self._known["through_word"][devices] == _AWAY
        )
        is_away |= self.are_silent(devices)
        before = self._known["said"][devices]
        # That a bridge is there again does not say that a device ever was.
        may_be_new = not is_there or not word.is_through
        is_changed = np.where(is_away, before != _OFFLINE, before != _ONLINE)
        is_changed &= may_be_new | (before != _NOTHING)
        self._known["said"][devices[is_changed]] = np.where(is_away, _OFFLINE, _ONLINE)[is_changed]
        columns = (devices[is_changed], newest_ns[is_changed], is_away[is_changed])
        for row, seen_ns, has_gone in zip(*(column.tolist() for column in columns), strict=True):
            state = OFFLINE if has_gone else ONLINE
            at_ns = max(word.time_ns, seen_ns + 1)
            said.append(self._state(row, at_ns, state, word.cause, seen_ns))
        return said

    def _withdraw(self, devices: NDArray[np.int32], *, is_through: bool) -> None:
        """Let a word of these devices hold no longer: silence says again whether they are there.

        That they were said to be away stays so until something says otherwise.
        """
        (self._known["through_word"] if is_through else self._known["own_word"])[devices] = _UNSAID
        is_gone = self._are(_ASKED, devices) & (self._known["said"][devices] == _ONLINE)
        self._known["said"][devices[is_gone & self.are_silent(devices)]] = _DECIDED

    def seen(self, devices: NDArray[np.int32]) -> None:
        """Take note that newer readings of these devices have come."""
        self._known["is_missed"][devices] = False

    def heard_ns(self, arrival_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[d]: monotonic time of the last sign of life of each device.

        Args:
            arrival_ns: int64[d], likewise of the last reading that was newer than all before.
        """
        return np.maximum(arrival_ns, self._word_ns[: len(arrival_ns)])

    def are_awaited(self, newest_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[d]: the devices that may yet fall silent: by readings or words they were there.

        Args:
            newest_ns: int64[d], event time of the newest reading of each.
        """
        known = slice(0, len(newest_ns))
        is_known: NDArray[np.bool_] = (newest_ns > NO_TIME_NS) | (
            self._known["said"][known] == _ONLINE
        )
        is_known &= ~self._known["is_missed"][known]
        return is_known

    def are_silent(self, devices: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[d]: which of these devices are silent, and away by it."""
        return self._known["is_missed"][devices] & self._counts_silence(devices)

    def decide(self, devices: NDArray[np.int32]) -> None:
        """Note that these devices are silent."""
        self._known["is_missed"][devices] = True
        devices = devices[self._are(_ASKED, devices) & self._counts_silence(devices)]
        self._known["said"][devices[self._known["said"][devices] != _OFFLINE]] = _DECIDED

    def _counts_silence(self, devices: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool[d]: whether silence says that these devices are away."""
        counts: NDArray[np.bool_] = self._are(_EXPECTED, devices) | (
            self._known["own_word"][devices] != _THERE
        )
        return counts

    def decided(self, among: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
        """int32[d]: the devices of which it is decided and not said; of these, or of all."""
        found = np.flatnonzero(self._known["said"] == _DECIDED).astype(np.int32)
        return found if among is None else found[np.isin(found, among)]

    def say(self, devices: NDArray[np.int32], newest_ns: NDArray[np.int64]) -> list[DeviceState]:
        """Say what is decided of these devices.

        Args:
            devices: int32[d], rows.
            newest_ns: int64[d], event time of the newest reading of each.
        """
        self._known["said"][devices] = _OFFLINE
        return self._offline(devices, newest_ns)

    def go_back(self, devices: NDArray[np.int32], floor_ns: NDArray[np.int64]) -> None:
        """Say anew what was said by a clock that has been set back since.

        What was said before, by the right time, still holds.

        Args:
            devices: int32[d], rows.
            floor_ns: int64[d], event time that whatever comes of each from now on is later than.
        """
        # What is decided may have been said by a process that was killed.
        is_wrong = (self._known["said_ns"][devices] > floor_ns) | (
            self._known["said"][devices] == _DECIDED
        )
        devices = devices[is_wrong]
        self._known["said"][devices] = _NOTHING
        self._known["said_ns"][devices] = NO_TIME_NS

    def snapshot(self, devices: NDArray[np.int32]) -> StateBlock:
        """Copy out what was said of these devices."""
        return self._known.snapshot(devices)

    def restore(
        self,
        devices: NDArray[np.int32],
        block: Mapping[str, NDArray[np.generic]],
        is_silent: NDArray[np.bool_],
        is_known: NDArray[np.bool_],
    ) -> None:
        """Take over a snapshot; an older version's says nothing of this.

        Args:
            devices: int32[d], rows.
            block: What ``snapshot`` gave.
            is_silent: bool[d], which of them sent no readings when it was taken; an older version
                has no other silence.
            is_known: bool[d], which of them had sent any.
        """
        self._known.restore(devices, block, may_lack=True)
        # Who has no such topic any more could never take it back.
        own, through = self._known["own_word"], self._known["through_word"]
        is_forgone = (own[devices] == _THERE) & ~self._are(_HAS_OWN, devices)
        own[devices[is_forgone]] = _UNSAID
        through[devices[~self._are(_HAS_THROUGH, devices)]] = _UNSAID
        self._known["is_missed"][devices] = block.get("is_missed", is_silent)
        said_ns = self._known["said_ns"]
        said_ns[devices] = np.clip(said_ns[devices], NO_TIME_NS, NEVER_NS)
        said = self._known["said"][devices]
        # Of a feed that wanted nothing said, or a version that did not, nobody has heard that.
        is_unsaid = (is_known & (said == _NOTHING)) | (said == _ONLINE)
        said[self.are_silent(devices) & is_unsaid] = _DECIDED
        # What was said before nothing was wanted is how it is no longer.
        self._known["said"][devices] = np.where(self._are(_ASKED, devices), said, _NOTHING)

    def forget(self, devices: NDArray[np.int32]) -> None:
        """Drop what was said of these devices."""
        self._known.forget(devices)
        self._word_ns[devices] = _NEVER_SAID

    def _are(self, what: int, devices: NDArray[Any]) -> NDArray[np.bool_]:
        """bool[d]: of which of these devices their feed says this."""
        are: NDArray[np.bool_] = (self._told[devices] & np.uint8(what)) > 0
        return are

    def _offline(
        self, devices: NDArray[np.int32], newest_ns: NDArray[np.int64]
    ) -> list[DeviceState]:
        """That these are away: since right after their newest readings, or what was said last.

        So whatever they send next is later, and the last that is said of a device is how it is.
        """
        rows = zip(devices.tolist(), newest_ns.tolist(), strict=True)
        return [self._state(row, at_ns + 1, OFFLINE, "silence", at_ns) for row, at_ns in rows]

    def _state(self, row: int, time_ns: int, state: str, cause: str, seen_ns: int) -> DeviceState:
        """Say it, later than what was said before: the last that is said is how a device is."""
        time_ns = max(time_ns, int(self._known["said_ns"][row]) + 1)
        self._known["said_ns"][row] = time_ns
        seen_ns = seen_ns if seen_ns > NO_TIME_NS else 0
        device = self._channels.devices[row]
        return DeviceState(device.feed, device.name, time_ns, state, cause, seen_ns, device.tags)


def _told(feed: FeedConfig | None, device: str) -> int:
    """What a feed's configuration says of a device's state."""
    if feed is None:
        return 0
    are_own = [is_of_one(feed, topic) for topic in feed.availability_topics]
    return (
        _ASKED * feed.tells_state(device)
        | _EXPECTED * (feed.expect_every is not None)
        | _HAS_OWN * any(are_own)
        | _HAS_THROUGH * (not all(are_own))
    )
