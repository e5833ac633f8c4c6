"""Channels and devices, numbered.

A batch carries one small integer a row instead of names; the ``ChannelTable`` turns that
integer into the channel's names, and back. It only ever grows, so a number stays valid for the
life of the process. Numbers are never written to a topic: there the names go (``Channel.key``).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import orjson
from numpy.typing import NDArray


@dataclass(frozen=True)
class Channel:
    """One signal of one device.

    Attributes:
        feed: Name of the feed in the configuration that the device belongs to.
        device: The device's name, unique within its feed.
        measurement: InfluxDB measurement its points are written to.
        field: InfluxDB field, the signal's name.
        unit: Unit of the value as text, empty when it has none.
        tags: Further InfluxDB tags as sorted ``(name, value)`` pairs, without ``device``.
    """

    feed: str
    device: str
    measurement: str
    field: str
    unit: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    @cached_property
    def key(self) -> str:
        """The channel as compact JSON: ``[feed, device, measurement, field, unit, {tags}]``.

        Equal channels have equal keys in every process, so keys identify channels in topics.
        """
        names = [self.feed, self.device, self.measurement, self.field, self.unit, dict(self.tags)]
        return orjson.dumps(names).decode()

    @classmethod
    def from_key(cls, key: str) -> Channel:
        """Rebuild a channel from its key; raises ValueError for text that is no key."""
        feed, device, measurement, name, unit, tags = orjson.loads(key)
        return cls(feed, device, measurement, name, unit, tuple(sorted(tags.items())))


def device_hash(feed: str, device: str) -> int:
    """Stable 32-bit hash of a device, the same in every process and on every machine."""
    return zlib.crc32(f"{feed}\x00{device}".encode("utf-8", "surrogatepass"))


def device_partition(feed: str, device: str, partitions: int) -> int:
    """The partition in which all topics keep this device's records."""
    return device_hash(feed, device) % partitions


@dataclass
class ChannelTable:
    """Append-only numbering of channels and of the devices they belong to.

    ``device_of[channel]`` is the device's row; ``devices[row]`` is its ``(feed, name)``. Feeds
    are part of a device's identity, so two feeds may use the same device name.
    """

    channels: list[Channel] = field(default_factory=list)
    devices: list[tuple[str, str]] = field(default_factory=list)
    _channel_rows: dict[str, int] = field(default_factory=dict)
    _device_rows: dict[tuple[str, str], int] = field(default_factory=dict)
    _device_of: NDArray[np.int32] = field(default_factory=lambda: np.empty(64, np.int32))

    def __len__(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def device_of(self) -> NDArray[np.int32]:
        """int32[channels]: the device row of each channel. A view; do not write to it."""
        return self._device_of[: len(self.channels)]

    def device_row(self, feed: str, device: str) -> int:
        """The device's row, added when it is new."""
        row = self._device_rows.get((feed, device))
        if row is None:
            row = len(self.devices)
            self.devices.append((feed, device))
            self._device_rows[feed, device] = row
        return row

    def row(self, channel: Channel) -> int:
        """The channel's row, added when it is new."""
        known = self._channel_rows.get(channel.key)
        return known if known is not None else self._add(channel)

    def row_of_key(self, key: str) -> int:
        """The row of the channel with this key, added when it is new.

        Raises:
            ValueError: The text is no channel key.
        """
        known = self._channel_rows.get(key)
        return known if known is not None else self._add(Channel.from_key(key))

    def keys(self, rows: NDArray[np.int32]) -> list[str]:
        """Keys of these channels, in order."""
        channels = self.channels
        return [channels[row].key for row in rows.tolist()]

    def _add(self, channel: Channel) -> int:
        row = len(self.channels)
        if row == len(self._device_of):
            self._device_of = np.resize(self._device_of, 2 * row)
        self._device_of[row] = self.device_row(channel.feed, channel.device)
        self.channels.append(channel)
        self._channel_rows[channel.key] = row
        return row
