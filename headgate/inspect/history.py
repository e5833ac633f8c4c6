"""Aggregates that the gateway has kept, for those who want to learn from them.

The local store keeps them for weeks, and the log for longer than the readings they were made of.
A store behind the uplink is not read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.logs.configured import open_existing_log, topic
from connectors.sinks.configured import points_file
from connectors.sinks.points import aggregate_fields, aggregate_measurement
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import Clock
from headgate.core.errors import ConfigError, TransientError
from headgate.core.log import AGGREGATES
from headgate.core.lookup import ByChannel
from headgate.core.units import format_duration
from headgate.inspect.log_contents import aggregates_of

#: Points taken from the store at a time.
_FETCHED = 10_000

#: Sets of tags of which it is remembered what device they belong to: they come with every window.
_TAGS_KEPT = 1 << 14


@dataclass(frozen=True, slots=True)
class Asked:
    """Which aggregates are wanted.

    Attributes:
        feed: Name of a feed in the configuration.
        names: Channels of that feed.
        span_ns: So much of them, back from the end of the newest window.
        begin_ns: None of a window that starts earlier.
        end_ns: None of a window that ends later.
    """

    feed: str
    names: tuple[str, ...]
    span_ns: int
    begin_ns: int | None = None
    end_ns: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Means of channels over windows of one length, m of them in no particular order.

    Attributes:
        source: Where they were read, for people.
        window_ns: Length of the windows.
        device: int32[m], a number for each device.
        column: int32[m], position in the names that were asked for.
        start_ns: int64[m], start of the window.
        mean: float64[m], of the channel's usable readings.
    """

    source: str
    window_ns: int
    device: NDArray[np.int32]
    column: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    mean: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of means."""
        return len(self.mean)


class _Part(NamedTuple):
    """Some of a history; see there."""

    device: NDArray[np.int32]
    column: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    mean: NDArray[np.float64]


async def read_history(
    config: Config, asked: Asked, clock: Clock, progress: Callable[[int], None] = lambda _read: None
) -> History:
    """Aggregates of the feed's shortest window, from the local store, or else from the log.

    Args:
        config: The gateway's.
        asked: Which.
        clock: For the log.
        progress: Called with how many means have been read.

    Raises:
        ConfigError: There are none; one line that names every place that was looked at.
    """
    windows_ns = [each.window for each in config.feed[asked.feed].aggregates]
    if not windows_ns:
        raise ConfigError(
            f"feed.{asked.feed}.aggregates: expected a window to train from, found none; "
            "train with --from-log or --data"
        )
    window_ns = min(windows_ns)
    stored = _cut(_from_store(config, asked, window_ns, progress), asked)
    if len(stored):
        return stored
    logged = _cut(await _from_log(config, asked, window_ns, clock, progress), asked)
    if len(logged):
        return logged
    raise ConfigError(
        f"--from-history: expected aggregates of {format_duration(window_ns)} of feed.{asked.feed} "
        f"in that span, found none in {stored.source}, none in {logged.source}; InfluxDB is not "
        "read: export what it has as CSV, and train with --data FILE.csv --resample mean"
    )


def _cut(history: History, asked: Asked) -> History:
    """What lies in the span that was asked for."""
    rows = np.isfinite(history.mean)
    if asked.end_ns is not None:
        rows &= history.start_ns + history.window_ns <= asked.end_ns
    if rows.any():
        newest_ns = int(history.start_ns[rows].max()) + history.window_ns
        rows &= history.start_ns >= max(newest_ns - asked.span_ns, asked.begin_ns or 0)
    return replace(
        history,
        device=history.device[rows],
        column=history.column[rows],
        start_ns=history.start_ns[rows],
        mean=history.mean[rows],
    )


def _joined(source: str, window_ns: int, parts: Iterable[_Part]) -> History:
    none = _Part(
        np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
    )
    return History(source, window_ns, *map(np.concatenate, zip(none, *parts, strict=True)))


def _from_store(
    config: Config, asked: Asked, window_ns: int, progress: Callable[[int], None]
) -> History:
    path = points_file(config)
    if path is None:
        return _joined("the local store (there is none)", window_ns, [])
    measurement = config.measurement_of(asked.feed)
    others = [
        name
        for name in config.feed
        if name != asked.feed and config.measurement_of(name) == measurement
    ]
    if others:
        # Its points name their measurement and not their feed.
        return _joined(
            f"the local store (which can't tell it from feed.{others[0]})", window_ns, []
        )
    name = aggregate_measurement(measurement, window_ns)
    identity = config.feed[asked.feed].identity
    parts = _stored(path, name, asked, identity, progress)
    return _joined(f"the local store {path}", window_ns, parts)


def _stored(
    path: Path,
    measurement: str,
    asked: Asked,
    identity: tuple[str, ...] | None,
    progress: Callable[[int], None],
) -> Iterator[_Part]:
    means = [aggregate_fields(name)[0] for name in asked.names]
    columns = ", ".join("json_extract(fields, ?)" for _ in means)
    read = 0
    numbers: dict[tuple[object, ...], int] = {}

    @lru_cache(_TAGS_KEPT)
    def number_of(text: str) -> int:
        tags = json.loads(text)
        names = sorted(tags) if identity is None else identity
        key = (tags.get("device"), *((name, tags.get(name)) for name in names))
        return numbers.setdefault(key, len(numbers))

    try:
        # Read-only: opening it otherwise would make one, with the wrong owner when root asks.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            cursor = database.execute(
                f"SELECT tags, time_ns, {columns} FROM points "  # noqa: S608
                "WHERE measurement = ?",
                (*(f'$."{mean}"' for mean in means), measurement),
            )
            while rows := cursor.fetchmany(_FETCHED):
                device = [number_of(row[0]) for row in rows]
                # None becomes NaN: a window without a usable reading of the channel.
                mean = np.array([row[2:] for row in rows], np.float64)
                shape = mean.shape
                read += mean.size
                progress(read)
                yield _Part(
                    np.repeat(np.array(device, np.int32), shape[1]),
                    np.tile(np.arange(shape[1], dtype=np.int32), shape[0]),
                    np.repeat(np.array([row[1] for row in rows], np.int64), shape[1]),
                    mean.reshape(-1),
                )
    except sqlite3.OperationalError as error:
        if path.is_file():
            raise TransientError(f"{path}: expected the local store: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path}: expected the local store: {error}") from error


async def _from_log(
    config: Config, asked: Asked, window_ns: int, clock: Clock, progress: Callable[[int], None]
) -> History:
    source = f"the log's topic {topic(config, AGGREGATES)}"
    try:
        log = await open_existing_log(config, clock)
    except TransientError:
        if not config.log.is_embedded:
            raise
        return _joined("the log (there is none yet)", window_ns, [])
    channels = ChannelTable(identities=config.identities)
    positions = {name: at for at, name in enumerate(asked.names)}
    column_of = ByChannel(channels, np.int32, lambda each: positions.get(each.field, -1))
    parts: list[_Part] = []
    read = 0
    try:
        async for rows in aggregates_of(config, log, asked.feed, channels):
            column = column_of[rows.channel]
            ours = (column >= 0) & (rows.window_ns == window_ns)
            parts.append(
                _Part(
                    channels.device_of[rows.channel[ours]],
                    column[ours],
                    rows.start_ns[ours],
                    rows.stats["mean"][ours],
                )
            )
            read += len(parts[-1].mean)
            progress(read)
    finally:
        await log.stop()
    return _joined(source, window_ns, parts)
