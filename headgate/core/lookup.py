"""What is to be known of each channel or device, looked up once for each and not once a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.grown import grown

_Kind = TypeVar("_Kind", bound=np.generic)
_Row = TypeVar("_Row")
_Rows: TypeAlias = NDArray[np.integer[Any]] | slice


class _ByRow(Generic[_Kind, _Row]):
    """A value for each row of a table that grows while records are read.

    A record brings a few rows, the table holds those of a whole fleet: to go through all of it for
    each record would cost the square of the fleet.

    Args:
        rows: The table's rows.
        kind: Type of the values.
        value_of: A row's value; called once a row.
    """

    def __init__(
        self, rows: Sequence[_Row], kind: type[_Kind], value_of: Callable[[_Row], object]
    ) -> None:
        self._rows = rows
        self._value_of = value_of
        self._known = 0
        self._values: NDArray[_Kind] = np.empty(0, kind)

    @overload
    def __getitem__(self, rows: _Rows) -> NDArray[_Kind]: ...
    @overload
    def __getitem__(self, rows: int) -> _Kind: ...
    def __getitem__(self, rows: _Rows | int) -> NDArray[_Kind] | _Kind:
        """The values of these rows of the table, or the value of one."""
        if len(self._rows) > self._known:
            new = self._rows[self._known :]
            known = self._known + len(new)
            self._values = grown(self._values, known, 0)
            values: list[Any] = [self._value_of(row) for row in new]
            self._values[self._known : known] = values
            self._known = known
        found: NDArray[_Kind] | _Kind = self._values[: self._known][rows]
        return found


class ByChannel(_ByRow[_Kind, Channel]):
    """A value for each channel of a table that grows.

    Args:
        channels: The table.
        kind: Type of the values.
        value_of: A channel's value; called once a channel.
    """

    def __init__(
        self, channels: ChannelTable, kind: type[_Kind], value_of: Callable[[Channel], object]
    ) -> None:
        super().__init__(channels.channels, kind, value_of)


class ByDevice(_ByRow[_Kind, Device]):
    """A value for each device of a table that grows.

    Args:
        channels: The table.
        kind: Type of the values.
        value_of: A device's value; called once a device.
    """

    def __init__(
        self, channels: ChannelTable, kind: type[_Kind], value_of: Callable[[Device], object]
    ) -> None:
        super().__init__(channels.devices, kind, value_of)
