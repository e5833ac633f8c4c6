"""What a reader needs to know of each channel, looked up once a channel and not once a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable

_Kind = TypeVar("_Kind", bound=np.generic)


class ByChannel(Generic[_Kind]):
    """A value for each channel of a table that grows while records are read.

    A record brings rows of a few channels, the table holds those of a whole fleet: to go through
    all of it for each record would cost the square of the fleet.

    Args:
        channels: The table.
        kind: Type of the values.
        value_of: A channel's value; called once a channel.
    """

    def __init__(
        self, channels: ChannelTable, kind: type[_Kind], value_of: Callable[[Channel], object]
    ) -> None:
        self._channels = channels
        self._value_of = value_of
        self._known = 0
        self._values: NDArray[_Kind] = np.zeros(64, kind)

    def __getitem__(self, rows: NDArray[np.int32]) -> NDArray[_Kind]:
        """The values of int32[n] channels of the table, of shape [n]."""
        new = self._channels.channels[self._known :]
        if new:
            known = self._known + len(new)
            if known > len(self._values):
                self._values = np.resize(self._values, max(known, 2 * len(self._values)))
            values: list[Any] = [self._value_of(channel) for channel in new]
            self._values[self._known : known] = values
            self._known = known
        return self._values[rows]
