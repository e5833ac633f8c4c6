"""What has values of its own: a device, or a part of one that a tag tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.channels import Channel, ChannelTable, Tags
from headgate.core.grown import grown

#: What tells places apart: the device's row, measurement, and tags.
_Key: TypeAlias = tuple[int, str, Tags]


class Places:
    """The places of the channels that formulas name, numbered from 0.

    Args:
        feeds: ``config.feed``.
        channels: The pipeline's table.
        inputs: By feed and field of a channel that formulas name, the number of its feed's
            program, and as which input that takes it.
    """

    def __init__(
        self,
        feeds: Mapping[str, FeedConfig],
        channels: ChannelTable,
        inputs: Mapping[tuple[str, str], tuple[int, int]],
    ) -> None:
        self._feeds = feeds
        self._channels = channels
        self._inputs = inputs
        self._number: dict[_Key, int] = {}
        self._groups: dict[Channel, int] = {}
        #: By channel: its place or -1, and which input of its feed's program it is.
        self.of = np.empty(0, np.int64)
        self.input = np.empty(0, np.int64)
        #: By channel: which group it is of, or -1. Those of one group differ in nothing but their
        #: fields and units, so what is derived of them stands beside all of them.
        self.group = np.empty(0, np.int64)
        # By channel: whether anything is known of it.
        self._is_heard = np.empty(0, np.bool_)
        #: By place: the number of its program, and one of its channels: one that is heard, where
        #: anything is known of the place.
        self.program = np.empty(0, np.int64)
        self.channel = np.empty(0, np.int32)
        #: By place: the name of its device.
        self.devices: list[str] = []

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self._groups)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.channel)

    def extend(self, rows: list[int]) -> None:
        """Take in rows that the table has got; others than these have no place."""
        self.of = grown(self.of, len(self._channels), -1)
        self.input = grown(self.input, len(self._channels), -1)
        self.group = grown(self.group, len(self._channels), -1)
        self._is_heard = grown(self._is_heard, len(self._channels), fill=False)
        firsts: list[int] = []
        programs: list[int] = []
        for row in rows:
            channel = self._channels.channels[row]
            found = self._inputs.get((channel.feed, channel.field))
            if found is None:
                continue
            number, self.input[row] = found
            group = replace(channel, field="", unit="")
            self.group[row] = self._groups.setdefault(group, len(self._groups))
            self.of[row] = place = self._number.setdefault(self._key(row), len(self._number))
            if place == len(self) + len(firsts):
                firsts.append(row)
                self.devices.append(channel.device)
                programs.append(number)
        self.channel = np.concatenate([self.channel, np.array(firsts, np.int32)])
        self.program = np.concatenate([self.program, np.array(programs, np.int64)])

    def of_channels(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        """The places that these channels are of, each once."""
        places: NDArray[np.int64] = np.unique(self.of[channels])
        return places[places >= 0]

    def of_devices(self, devices: NDArray[np.int64]) -> NDArray[np.int64]:
        """All places of these devices, rising."""
        return np.flatnonzero(np.isin(self._channels.device_of[self.channel], devices))

    def beside(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64[n]: the place that each channel is of, also where no formula names it any more.

        -1 where none names any channel of the place.
        """
        every, which = np.unique(channels, return_inverse=True)
        found = self.of[every]
        for at in np.flatnonzero(found < 0).tolist():
            if self._channels.channels[every[at]].feed in self._feeds:
                found[at] = self._number.get(self._key(int(every[at])), -1)
        places: NDArray[np.int64] = found[which]
        return places

    def hear(self, channels: NDArray[np.int32]) -> None:
        """Note that something is known of these channels."""
        self._is_heard[channels] = True

    def hear_all(self, channels: NDArray[np.int32]) -> None:
        """The same, and let their places stand by them where they stand by none that is heard."""
        self.hear(channels)
        self._left_of(self.of_channels(channels))

    def let_go(self, channels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Note that nothing is known of these channels any more.

        Returns:
            Their places, rising, of which none is heard now. Of the others what is known stays.
        """
        self._is_heard[channels] = False
        places = self.of_channels(channels)
        return np.setdiff1d(places, self._left_of(places))

    def _left_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of some places those of which channels are heard; they stand by one of these then."""
        heard = np.flatnonzero(self._is_heard[: len(self._channels)])
        heard = heard[np.isin(self.of[heard], places)]
        place = self.of[heard]
        is_other = ~self._is_heard[self.channel[place]]
        self.channel[place[is_other]] = heard[is_other]
        return place

    def _key(self, row: int) -> _Key:
        """What tells a channel's place from others of its feed."""
        channel: Channel = self._channels.channels[row]
        tags = place_tags(self._feeds[channel.feed], channel)
        return int(self._channels.device_of[row]), channel.measurement, tags


def place_tags(feed: FeedConfig, channel: Channel) -> Tags:
    """The tags that tell a channel's place from others of its feed.

    What stands in the topic, or is a key, says which of several it is, be it a phase or a line.
    """
    names = {*feed.placeholders, *feed.record_keys}
    return tuple(tag for tag in channel.tags if tag[0] in names)
