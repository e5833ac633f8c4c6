"""Channels and devices, numbered.

A batch carries one small integer a row instead of names; the ``ChannelTable`` turns that
integer into the channel's names, and back. It only ever grows, so a number stays valid for the
life of the table. Numbers are never written to a topic: there the names go (``Channel.key``).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import NamedTuple, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from headgate.core.grown import grown
from headgate.core.texts import Texts

#: What a key ends with whose channel says texts.
_TEXT = "text"

#: Tags as sorted ``(name, value)`` pairs, without ``device``.
Tags: TypeAlias = tuple[tuple[str, str], ...]


class Device(NamedTuple):
    """One device: what has a watermark, windows and model state of its own.

    Attributes:
        feed: Name of the feed in the configuration that it belongs to.
        name: Its name.
        tags: What else tells it from others of its name in the feed: by default every other
            placeholder of the topic, such as the line it stands in.
    """

    feed: str
    name: str
    tags: Tags = ()

    @property
    def label(self) -> str:
        """What people call it within its feed: ``p07``, or ``p07 line=a``."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.tags)])


def telling_tags(tags: Tags, identity: tuple[str, ...] | None) -> Tags:
    """Those of the tags that tell devices of one name apart: the ones named, or all with None."""
    return tags if identity is None else tuple(tag for tag in tags if tag[0] in identity)


@dataclass(frozen=True)
class Channel:
    """One signal of one device.

    Attributes:
        feed: Name of the feed in the configuration that the device belongs to.
        device: The device's name.
        measurement: InfluxDB measurement its points are written to.
        field: InfluxDB field, the signal's name.
        unit: Unit of the value as text, empty when it has none.
        tags: Further InfluxDB tags.
        identity: Names of the tags that tell devices of one name apart; None: all of them.
        is_text: Whether it says texts, and no numbers: then values are codes of
            ``ChannelTable.texts``.
    """

    feed: str
    device: str
    measurement: str
    field: str
    unit: str = ""
    tags: Tags = ()
    identity: tuple[str, ...] | None = None
    is_text: bool = False

    @cached_property
    def owner(self) -> Device:
        """The device that the channel belongs to."""
        return Device(self.feed, self.device, telling_tags(self.tags, self.identity))

    @cached_property
    def key(self) -> str:
        """The channel as compact JSON: ``[feed, device, measurement, field, unit, {tags}]``.

        Where not all of the tags tell devices apart, the names of those that do are a seventh
        element; the last one is ``"text"`` where it says texts. Equal channels have equal keys in
        every process, so keys identify channels in topics.
        """
        names = [self.feed, self.device, self.measurement, self.field, self.unit, dict(self.tags)]
        if self.owner.tags != self.tags:
            names.append([name for name, _ in self.owner.tags])
        if self.is_text:
            names.append(_TEXT)
        return orjson.dumps(names).decode()

    @classmethod
    def from_key(cls, key: str) -> Channel:
        """Rebuild a channel from its key; raises ValueError for text that is no key."""
        feed, device, measurement, name, unit, tags, *more = orjson.loads(key)
        ordered = tuple(sorted(tags.items()))
        is_text = more[-1:] == [_TEXT]
        identities = [tuple(each) for each in (more[:-1] if is_text else more)]
        identity = identities.pop() if identities else None
        if identities:
            raise ValueError(f"no channel: {key[:100]!r}")
        return cls(feed, device, measurement, name, unit, ordered, identity, is_text)


def device_hash(feed: str, device: str) -> int:
    """Stable 32-bit hash of a device, the same in every process and on every machine."""
    return zlib.crc32(f"{feed}\x00{device}".encode("utf-8", "surrogatepass"))


def device_partition(feed: str, device: str, partitions: int) -> int:
    """The partition in which all topics keep this device's records."""
    return device_hash(feed, device) % partitions


@dataclass
class ChannelTable:
    """Append-only numbering of channels and of the devices they belong to.

    ``device_of[channel]`` is the device's row; ``devices[row]`` is the device. Feeds are part of
    a device's identity, so two feeds may use the same device name.

    Attributes:
        channels: The channels, by row.
        devices: The devices, by row.
        identities: By feed, the tags that tell its devices apart, as ``Channel.identity``. Of
            these feeds every channel is taken so, whatever its key says: it may be from before
            the configuration was changed.
        texts: What the text channels among them have said.
    """

    channels: list[Channel] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    identities: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)
    _channel_rows: dict[str, int] = field(default_factory=dict)
    _device_rows: dict[Device, int] = field(default_factory=dict)
    _device_of: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    _is_text: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    _has_texts: bool = False

    def __len__(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def device_of(self) -> NDArray[np.int32]:
        """int32[channels]: the device row of each channel. A view; do not write to it."""
        return self._device_of[: len(self.channels)]

    @property
    def is_text(self) -> NDArray[np.bool_]:
        """bool[channels]: those that say texts. A view; do not write to it."""
        return self._is_text[: len(self.channels)]

    @property
    def has_texts(self) -> bool:
        """Whether any does, or did: where none does nothing need be looked at."""
        return self._has_texts

    def device_row(self, device: Device) -> int:
        """The device's row, added when it is new."""
        row = self._device_rows.get(device)
        if row is None:
            row = len(self.devices)
            self.devices.append(device)
            self._device_rows[device] = row
        return row

    def has_device(self, device: Device) -> bool:
        """Whether the device is in the table."""
        return device in self._device_rows

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
        return known if known is not None else self._add(Channel.from_key(key), key)

    def known_rows(self, keys: Iterable[str]) -> list[int | None]:
        """The rows of the channels with these keys, None for those that are new."""
        return list(map(self._channel_rows.get, keys))

    def keys(self, rows: NDArray[np.int32]) -> list[str]:
        """Keys of these channels, in order."""
        channels = self.channels
        return [channels[row].key for row in rows.tolist()]

    def said(self, row: int, value: float) -> float | str | None:
        """What a reading of the channel says by its value: a number, a text, or nothing."""
        if math.isnan(value):
            return None
        return self.texts.text(row, value) if self._is_text[row] else value

    def only(self, is_kept: NDArray[np.bool_]) -> Remaining:
        """A table of some of the channels and their devices, numbered anew in the same order.

        Args:
            is_kept: bool[channels].
        """
        channel_rows = _numbered(is_kept)
        has_kept = np.zeros(len(self.devices), np.bool_)
        has_kept[self.device_of[is_kept]] = True
        device_rows = _numbered(has_kept)
        row_of, device_of = channel_rows.tolist(), device_rows.tolist()
        table = ChannelTable(
            list(compress(self.channels, is_kept.tolist())),
            list(compress(self.devices, has_kept.tolist())),
            self.identities,
            self.texts.renumbered(row_of),
            {key: row_of[row] for key, row in self._channel_rows.items() if row_of[row] >= 0},
            {
                each: device_of[row]
                for each, row in self._device_rows.items()
                if device_of[row] >= 0
            },
        )
        table._device_of = device_rows[self.device_of[is_kept]]
        table._is_text = self.is_text[is_kept]
        table._has_texts = self._has_texts
        return Remaining(table, channel_rows, device_rows)

    def _add(self, channel: Channel, known_as: str | None = None) -> int:
        if channel.feed in self.identities:
            channel = replace(channel, identity=self.identities[channel.feed])
        row = self._channel_rows.get(channel.key)
        if row is None:
            row = len(self.channels)
            self._device_of = grown(self._device_of, row + 1, 0)
            self._is_text = grown(self._is_text, row + 1, fill=False)
            self._device_of[row] = self.device_row(channel.owner)
            self._is_text[row] = channel.is_text
            self._has_texts |= channel.is_text
            self.channels.append(channel)
            self._channel_rows[channel.key] = row
        if known_as is not None:
            # A key in another notation, or of another configuration, is looked up once only.
            self._channel_rows[known_as] = row
        return row


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of a table.

    Attributes:
        table: The channels and devices that are left, in the order they had.
        channels: int32[c], by row of the former table the row in this one, or -1.
        devices: int32[d], likewise.
    """

    table: ChannelTable
    channels: NDArray[np.int32]
    devices: NDArray[np.int32]


def _numbered(is_kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Numbers from 0 for those that are kept, -1 for the others."""
    numbers = (np.cumsum(is_kept) - 1).astype(np.int32)
    numbers[~is_kept] = -1
    return numbers
