"""Since when devices can be heard: by the heartbeats of the sources of their messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.channels import Device
from headgate.core.heartbeat import HEARTBEAT_FILE, Heartbeat


class Hearing:
    """Asks the ingest lane, source by source.

    A device of a feed with several sources may be on its way through any of them, so all of them
    must be there for it to be heard. Where one is away, devices of the others' feeds are judged as
    always.

    Args:
        config: The whole configuration.
    """

    def __init__(self, config: Config) -> None:
        folder = config.gateway.data_dir
        self._heartbeats = {
            name: Heartbeat(folder, config.source_file(name, HEARTBEAT_FILE).name)
            for name in config.source
        }
        self._sources_of = {name: config.sources_of(name) for name in config.feed}

    def is_everything_heard(self, now_ns: int) -> bool:
        """Whether no device is out of hearing at this monotonic time."""
        return all(heartbeat.heard_ns(now_ns) != now_ns for heartbeat in self._heartbeats.values())

    def heard(
        self, rows: NDArray[np.int32], devices: Sequence[Device], now_ns: int
    ) -> Iterator[tuple[NDArray[np.int32], int]]:
        """Since when some devices can be heard, as far as anybody says so.

        Args:
            rows: int32[d], their rows.
            devices: All devices, by row.
            now_ns: Monotonic time.

        Yields:
            Some of the rows, and since when, of the monotonic clock; ``now_ns`` while they can't.
        """
        of_source = {name: each.heard_ns(now_ns) for name, each in self._heartbeats.items()}
        of_feed = {}
        for feed, sources in self._sources_of.items():
            told = [each for each in map(of_source.__getitem__, sources) if each is not None]
            of_feed[feed] = max(told, default=None)
        alike = {*of_feed.values()}
        if len(alike) == 1:
            heard_ns = alike.pop()
            if heard_ns is not None:
                yield rows, heard_ns
            return
        feeds = np.array([devices[row].feed for row in rows.tolist()], np.object_)
        for feed, heard_ns in of_feed.items():
            if heard_ns is not None:
                yield rows[feeds == feed], heard_ns
