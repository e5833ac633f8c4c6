"""Readings as columns, on their way from both ways of decoding to one ``Decoded``."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.format import Stated
from connectors.formats.numbers import shown
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable, Tags
from headgate.core.errors import DataError

#: Of a reading that the sender itself does not believe in.
BAD_AT_SOURCE = int(Quality.MISSING | Quality.BAD_AT_SOURCE)


@dataclass(frozen=True, slots=True)
class BadField:
    """Fields of one channel that held no usable number, all of one kind.

    Attributes:
        count: How many.
        position: The message that the first of them stood in.
        detail: What stood in it.
    """

    count: int
    position: int
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Readings and refusals of a run of messages, in their order.

    Attributes:
        owner: intp[n], position in the run of the message that each came from, rising.
        time_ns: int64[n], event time, ns since 1970 UTC.
        channel: int32[n], row of the ``ChannelTable``.
        value: float64[n], in the channel's unit; NaN where missing.
        quality: uint16[n], ``Quality`` bits.
        refused: ``(message's position in the run, error)``; a message stands once at most, and
            may have readings all the same.
        bad_fields: By channel and kind (``text``, ``not_finite`` …).
        stated: ``(message's position in the run, tags and name of the device, what was said)``: it
            is said behind the readings of its message.
        later_ns: int64[n], how much later each is than what its record says, which has one time for
            several; None: none is.
    """

    owner: NDArray[np.intp]
    time_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    refused: list[tuple[int, DataError]]
    bad_fields: dict[tuple[str, str], BadField]
    stated: list[tuple[int, tuple[Tags, str], Stated]] = field(default_factory=list)
    later_ns: NDArray[np.int64] | None = None

    def moved_to(
        self, positions: Sequence[int], refused: Sequence[tuple[int, DataError]]
    ) -> Decoded:
        """The same of a longer run, with each message's position in that, and more refusals."""
        moved = [(positions[at], error) for at, error in self.refused]
        bad_fields = {
            key: replace(bad, position=positions[bad.position])
            for key, bad in self.bad_fields.items()
        }
        return replace(
            self,
            owner=np.array(positions, np.intp)[self.owner],
            refused=sorted([*moved, *refused], key=_position),
            bad_fields=bad_fields,
            stated=[(positions[at], named, stated) for at, named, stated in self.stated],
        )

    def taken_of(self, positions: Sequence[int]) -> list[int]:
        """How much was taken of the messages at these positions: readings, and what they state."""
        at = np.array(positions, np.intp)
        first = np.searchsorted(self.owner, at, side="left")
        count = np.searchsorted(self.owner, at, side="right") - first
        if self.stated:
            stating = np.array([position for position, *_ in self.stated], np.intp)
            count += (stating == at[:, None]).sum(axis=1)
        counts: list[int] = count.tolist()
        return counts

    def batch(self, channels: ChannelTable) -> Batch:
        """The readings as a batch without origin."""
        return Batch.from_columns(
            channels, self.time_ns, self.channel, self.value, quality=self.quality
        )


@dataclass(slots=True)
class Rows:
    """Readings on their way one by one, and the position of the message each came from.

    Not lists: of a message of nothing but short records they would be larger than all else.
    """

    owner: array[int] = field(default_factory=lambda: array("q"))
    time_ns: array[int] = field(default_factory=lambda: array("q"))
    channel: array[int] = field(default_factory=lambda: array("i"))
    value: array[float] = field(default_factory=lambda: array("d"))
    quality: array[int] = field(default_factory=lambda: array("H"))
    refused: list[tuple[int, DataError]] = field(default_factory=list)
    bad_fields: dict[tuple[str, str], BadField] = field(default_factory=dict)
    stated: list[tuple[int, tuple[Tags, str], Stated]] = field(default_factory=list)
    #: See ``Decoded``; as long as there are such readings.
    later_ns: array[int] = field(default_factory=lambda: array("q"))

    @property
    def newest_owner(self) -> int:
        """The message that the last of them came from; -1 when there is none."""
        return self.owner[-1] if self.owner else -1

    def cut(self, length: int) -> None:
        """Take back what was added to channel, value and quality past this length."""
        del self.channel[length:]
        del self.value[length:]
        del self.quality[length:]

    def doubt(self, length: int) -> None:
        """Mark what was added past this length as what the sender itself does not believe in."""
        for at in range(length, len(self.value)):
            self.value[at] = np.nan
            self.quality[at] |= BAD_AT_SOURCE

    def note_later(self, length: int, later_ns: int | NDArray[np.int64]) -> None:
        """Note that what was added past this length is so much later than its record says.

        Args:
            length: As many were there before.
            later_ns: By how much, all of them or each.
        """
        noted = self.later_ns
        noted.extend([0] * (length - len(noted)))
        each_ns = np.broadcast_to(np.asarray(later_ns, np.int64), len(self.channel) - length)
        noted.frombytes(each_ns.tobytes())

    def note_bad(
        self,
        channel: str,
        kind: str,
        position: int,
        value: object,
        label: str = "",
        expected: str = "a number",
        *,
        count: int = 1,
    ) -> None:
        """Count fields that held no usable number, or text.

        Args:
            channel: Its channel.
            kind: What it held, in a word.
            position: The message that the first of them stood in.
            value: What that one held.
            label: What it is counted as, if not as the channel: its names must be few.
            expected: What it should have held.
            count: How many.
        """
        key = (label or channel, kind)
        known = self.bad_fields.get(key)
        if known is None:
            detail = f"{channel}: expected {expected}, got {shown(value)}"
            self.bad_fields[key] = BadField(count, position, detail)
        else:
            self.bad_fields[key] = replace(known, count=known.count + count)

    def extend(
        self,
        position: int,
        time_ns: NDArray[np.int64],
        channel: NDArray[np.int32],
        value: NDArray[np.float64],
        quality: NDArray[np.uint16],
    ) -> None:
        """Add readings of one message, [n] each."""
        self.owner.frombytes(np.full(len(time_ns), position, np.int64).tobytes())
        self.time_ns.frombytes(time_ns.tobytes())
        self.channel.frombytes(channel.tobytes())
        self.value.frombytes(value.tobytes())
        self.quality.frombytes(quality.tobytes())

    def columns(self) -> Columns:
        """The same as columns."""
        return Columns(
            np.array(self.owner, np.intp),
            np.array(self.time_ns, np.int64),
            np.array(self.channel, np.int32),
            np.array(self.value, np.float64),
            np.array(self.quality, np.uint16),
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Readings as columns, and the position of the message each came from."""

    owner: NDArray[np.intp]
    time_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of them, in the order in which they stand above."""
        return self.owner, self.time_ns, self.channel, self.value, self.quality

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
        """The readings at these positions, or under this mask."""
        return Columns(
            self.owner[rows],
            self.time_ns[rows],
            self.channel[rows],
            self.value[rows],
            self.quality[rows],
        )


def joined(columns: Columns | None, careful: Rows) -> Decoded:
    """What both ways gave, in the messages' order."""
    more = careful.columns()
    later_ns = None
    if careful.later_ns:
        # Of such records none goes the fast way.
        careful.note_later(len(careful.channel), 0)
        later_ns = np.array(careful.later_ns, np.int64)
    if columns is None or not len(columns.owner):
        columns = more
    elif len(more.owner):
        columns = Columns(
            np.concatenate([columns.owner, more.owner]),
            np.concatenate([columns.time_ns, more.time_ns]),
            np.concatenate([columns.channel, more.channel]),
            np.concatenate([columns.value, more.value]),
            np.concatenate([columns.quality, more.quality]),
        )
        columns = columns.take(np.argsort(columns.owner, kind="stable"))
    return Decoded(
        columns.owner,
        columns.time_ns,
        columns.channel,
        columns.value,
        columns.quality,
        careful.refused,
        careful.bad_fields,
        careful.stated,
        later_ns,
    )


def in_order(parts: Sequence[Decoded]) -> Decoded:
    """What came of several parts of a run of messages, of which each is in one, in their order.

    Positions are those in the whole run.
    """
    if len(parts) == 1:
        return parts[0]
    owner = np.concatenate([each.owner for each in parts])
    order = np.argsort(owner, kind="stable")
    bad_fields: dict[tuple[str, str], BadField] = {}
    for part in parts:
        for key, bad in part.bad_fields.items():
            known = bad_fields.get(key)
            if known is not None:
                first = min(known, bad, key=lambda each: each.position)
                bad = replace(first, count=known.count + bad.count)  # noqa: PLW2901
            bad_fields[key] = bad
    later_ns = None
    if any(part.later_ns is not None for part in parts):
        every = [
            np.zeros(len(part.owner), np.int64) if part.later_ns is None else part.later_ns
            for part in parts
        ]
        later_ns = np.concatenate(every)[order]
    return Decoded(
        owner[order],
        np.concatenate([each.time_ns for each in parts])[order],
        np.concatenate([each.channel for each in parts])[order],
        np.concatenate([each.value for each in parts])[order],
        np.concatenate([each.quality for each in parts])[order],
        sorted((each for part in parts for each in part.refused), key=_position),
        bad_fields,
        sorted((each for part in parts for each in part.stated), key=itemgetter(0)),
        later_ns,
    )


def in_time(decoded: Decoded, device_of: NDArray[np.int32]) -> Decoded:
    """The same with the readings of each message in the order of their times.

    Channels that stand one after the other, each with its times, would be late by those before.
    Messages in which each device's times rise stay as they are.

    Args:
        decoded: What came of some messages.
        device_of: int32[channels], by channel its device.
    """
    owner, time_ns = decoded.owner, decoded.time_ns
    falls = (owner[1:] == owner[:-1]) & (time_ns[1:] < time_ns[:-1])
    if not falls.any():
        return decoded
    # Devices may stand one after the other, too: then nothing is out of order.
    at = np.flatnonzero(np.isin(owner, owner[1:][falls]))
    device = device_of[decoded.channel[at]]
    order = np.lexsort((device, owner[at]))
    sorted_at, device = at[order], device[order]
    falls = (owner[sorted_at[1:]] == owner[sorted_at[:-1]]) & (device[1:] == device[:-1])
    falls &= time_ns[sorted_at[1:]] < time_ns[sorted_at[:-1]]
    if not falls.any():
        return decoded
    at = at[np.isin(owner[at], owner[sorted_at[1:]][falls])]
    rows = np.arange(len(owner))
    rows[at] = at[np.lexsort((time_ns[at], owner[at]))]
    return replace(
        decoded,
        time_ns=time_ns[rows],
        channel=decoded.channel[rows],
        value=decoded.value[rows],
        quality=decoded.quality[rows],
        later_ns=None if decoded.later_ns is None else decoded.later_ns[rows],
    )


def _position(refusal: tuple[int, DataError]) -> int:
    return refusal[0]
