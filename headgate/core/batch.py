"""``Batch``: readings that move together, as columns.

A batch is frozen. A stage that changes something makes a new batch and shares the columns it
left alone, so columns must never be written to in place once they are in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntFlag
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable


class Quality(IntFlag):
    """What is known about one reading; 0 is good. Stored as uint16."""

    GOOD = 0
    MISSING = 1  # the device sent null, or the field was absent: the value is NaN
    OUT_OF_RANGE = 2  # outside the channel's configured range
    SPIKE = 4  # a lone outlier by the Hampel identifier
    STUCK = 8  # has not changed for longer than the channel is allowed to stand still
    IMPUTED = 16  # not measured: filled in by the gateway to bridge a gap
    DUPLICATE = 32  # same channel and event time as an earlier reading, whatever the value
    LATE = 64  # older than the device's watermark when it arrived
    ARRIVAL_TIME = 128  # stamped with the ingest time, because the device sent none
    NOT_FINITE = 256  # the device sent NaN or infinity; the value is NaN and MISSING is set too
    AHEAD = 512  # ahead of the gateway's clock on arrival, by more than half of the feed's grace
    ESTIMATED_TIME = 1024  # the arrival time is an estimate: it had waited, or no clock was set
    BAD_FIELD = 2048  # the field was there, but held no usable number; MISSING is set too
    BAD_AT_SOURCE = 4096  # the sender itself says that it is not good; MISSING is set too
    RULED_OUT = 8192  # a cleaning rule that another package has brought says it is of no use


#: Readings with any of these bits are counted, but take no part in statistics or models.
UNUSABLE = Quality.MISSING | Quality.OUT_OF_RANGE | Quality.SPIKE | Quality.RULED_OUT


@dataclass(frozen=True, slots=True)
class Origin:
    """One record of the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """n readings in arrival order.

    Attributes:
        channels: The table that ``channel`` points into.
        time_ns: int64[n], event time, ns since 1970 UTC; not necessarily sorted.
        channel: int32[n], row in ``channels``.
        value: float64[n], in the channel's unit, of a text channel the code of its text; NaN
            exactly where MISSING is set.
        quality: uint16[n], bits of ``Quality``.
        origin: The log records that the readings came from: the unit of commit. Empty for
            readings that are not in the log yet.
        source: int32[n], position in ``origin`` of the record that each reading came from; all
            zero when there is one origin or none. A reading that a stage made up carries the
            source of the reading that made it do so.
    """

    channels: ChannelTable
    time_ns: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    origin: tuple[Origin, ...]
    source: NDArray[np.int32]

    @classmethod
    def empty(cls, channels: ChannelTable) -> Batch:
        """A batch without readings."""
        return cls(
            channels,
            np.empty(0, np.int64),
            np.empty(0, np.int32),
            np.empty(0, np.float64),
            np.empty(0, np.uint16),
            (),
            np.empty(0, np.int32),
        )

    @classmethod
    def from_columns(
        cls,
        channels: ChannelTable,
        time_ns: Sequence[int] | NDArray[np.int64],
        channel: Sequence[int] | NDArray[np.int32],
        value: Sequence[float] | NDArray[np.float64],
        *,
        quality: Sequence[int] | NDArray[np.uint16] | None = None,
        origin: Origin | None = None,
    ) -> Batch:
        """Build a batch from anything array-like, converting to the columns' types.

        Quality defaults to good, and MISSING is added wherever the value is NaN.
        """
        values = np.asarray(value, np.float64)
        flags = (
            np.zeros(len(values), np.uint16) if quality is None else np.array(quality, np.uint16)
        )
        flags[np.isnan(values)] |= np.uint16(Quality.MISSING)
        return cls(
            channels,
            np.asarray(time_ns, np.int64),
            np.asarray(channel, np.int32),
            values,
            flags,
            () if origin is None else (origin,),
            np.zeros(len(values), np.int32),
        )

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.time_ns)

    @property
    def device(self) -> NDArray[np.int32]:
        """int32[n]: the device row of each reading."""
        return self.channels.device_of[self.channel]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """bool[n]: readings that statistics and models may use."""
        usable: NDArray[np.bool_] = (self.quality & np.uint16(UNUSABLE)) == 0
        return usable

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Batch:
        """The readings at these positions, or under this mask; same origin."""
        return replace(
            self,
            time_ns=self.time_ns[rows],
            channel=self.channel[rows],
            value=self.value[rows],
            quality=self.quality[rows],
            source=self.source[rows],
        )

    def flagged(self, rows: NDArray[np.intp] | NDArray[np.bool_], flag: Quality) -> Batch:
        """The same readings with ``flag`` added at these positions."""
        quality = self.quality.copy()
        quality[rows] |= np.uint16(flag)
        return replace(self, quality=quality)

    def with_value(self, value: NDArray[np.float64]) -> Batch:
        """The same readings with other values (float64[n])."""
        return replace(self, value=value)


def concat(batches: Iterable[Batch], channels: ChannelTable) -> Batch:
    """Join batches in order. All must point into ``channels``; origins are joined too."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Batch.empty(channels)
    firsts = accumulate((len(part.origin) for part in parts[:-1]), initial=0)
    return Batch(
        channels,
        np.concatenate([part.time_ns for part in parts]),
        np.concatenate([part.channel for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
        tuple(record for part in parts for record in part.origin),
        np.concatenate(
            [part.source + np.int32(first) for part, first in zip(parts, firsts, strict=True)]
        ),
    )
