"""What ``headgate model train`` learns from: files, the log, or kept aggregates."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from connectors.history import Asked, read_history
from connectors.log_contents import Filter, readings_of
from connectors.logs import open_existing_log
from headgate.cli.times import time_ns
from headgate.cli.train import UNITS
from headgate.config.load import load_config
from headgate.config.schema import Config, Feed
from headgate.config.units import format_duration, parse_duration_ns
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.errors import ConfigError
from models.training.data import TrainingData, csv_columns, from_readings, read_csv
from models.training.progress import Progress
from streams.arrays import stable_order
from streams.clean import Cleaner


@dataclass(frozen=True, slots=True)
class Gathered:
    """Data to train on.

    Attributes:
        data: The rows.
        units: Units by channel, where they are known.
        period_ns: Length of the windows that the rows are means of; None for single readings.
        notes: What a person should know about it, a line each.
    """

    data: TrainingData
    units: Mapping[str, str]
    period_ns: int | None = None
    notes: list[str] = field(default_factory=list)


def gathered(args: argparse.Namespace, progress: Progress) -> Gathered:
    """Read what the options name.

    Raises:
        ConfigError: It can't be read, or holds nothing to train on.
    """
    config = None if args.config is None else load_config(args.config, check_files=False)
    if config is not None and args.feed not in config.feed:
        raise ConfigError(f"--feed: expected one of {', '.join(config.feed)}, got {args.feed!r}")
    if args.data is not None:
        return _from_files(args, None if config is None else config.feed[args.feed], progress)
    option = "--from-log" if args.from_log else "--from-history"
    if config is None:
        raise ConfigError(f"{option}: expected -c FILE, the gateway's configuration; give it")
    if args.labels is not None:
        raise ConfigError(f"--labels: expected --data, whose column it names, got {option}")
    if args.from_log:
        return asyncio.run(_from_log(args, config, progress))
    return asyncio.run(_from_history(args, config, progress))


def _from_files(args: argparse.Namespace, feed: Feed | None, progress: Progress) -> Gathered:
    mapped = {} if feed is None else feed.channels
    header = csv_columns(args.data[0])
    # A recording names its columns like the feed's channels, or like the payload's paths.
    column_of = {
        name: name if name in header else mapping.path or name for name, mapping in mapped.items()
    }
    data = read_csv(
        args.data,
        time_column=args.time,
        time_unit_ns=UNITS[args.time_unit],
        channels=args.channels.split(",") if args.channels else list(column_of.values()) or None,
        first_rows=args.rows,
        progress=progress,
    )
    channel_of = {column: name for name, column in column_of.items()}
    # Names in the configuration have no spaces, columns may.
    renamed = tuple(channel_of.get(name, name.replace(" ", "_")) for name in data.names)
    units = {name: mapping.unit for name, mapping in mapped.items()}
    return Gathered(replace(data, names=renamed), units)


async def _from_log(args: argparse.Namespace, config: Config, progress: Progress) -> Gathered:
    feed, names = config.feed[args.feed], _names(args, config)
    wanted = Filter(time_ns("--from", args.begin), time_ns("--to", args.end))
    channels = ChannelTable()
    cleaner = Cleaner(config.feed, channels)
    parts = [Batch.empty(channels)]
    read = 0
    log = await open_existing_log(config, SystemClock())
    try:
        async for batch in readings_of(config, log, args.feed, wanted, channels):
            cleaned = cleaner.process(batch.take(stable_order(batch.device))).main
            parts.append(cleaned.take(cleaned.usable))
            read += len(batch)
            progress("reading the log", read, 0)
    finally:
        await log.stop()
    column_of = np.array(
        [names.index(each.field) if each.field in names else -1 for each in channels.channels],
        np.int32,
    )
    channel = np.concatenate([part.channel for part in parts])
    kept = column_of[channel] >= 0
    channel = channel[kept]
    data = from_readings(
        names,
        device=channels.device_of[channel],
        column=column_of[channel],
        time_ns=np.concatenate([part.time_ns for part in parts])[kept],
        value=np.concatenate([part.value for part in parts])[kept],
        period_ns=feed.period,
    )
    return Gathered(data, _units(feed))


async def _from_history(args: argparse.Namespace, config: Config, progress: Progress) -> Gathered:
    try:
        span_ns = parse_duration_ns(args.from_history)
    except ValueError as error:
        raise ConfigError(f"--from-history: {error}") from error
    names = _names(args, config)
    asked = Asked(
        args.feed,
        tuple(names),
        span_ns,
        time_ns("--from", args.begin),
        time_ns("--to", args.end),
    )
    history = await read_history(
        config, asked, SystemClock(), lambda read: progress("reading aggregates", read, 0)
    )
    data = from_readings(
        names,
        device=history.device,
        column=history.column,
        time_ns=history.start_ns,
        value=history.mean,
        period_ns=history.window_ns,
    )
    begin, last = (
        np.datetime64(int(each), "ns").astype("datetime64[s]")
        for each in (data.time_ns.min(), data.time_ns.max())
    )
    note = (
        f"trained on means over {format_duration(history.window_ns)} from {history.source}, "
        f"{begin}Z to {last}Z: a window is scored when the next one begins"
    )
    return Gathered(data, _units(config.feed[args.feed]), history.window_ns, [note])


def _names(args: argparse.Namespace, config: Config) -> list[str]:
    feed = config.feed[args.feed]
    names = args.channels.split(",") if args.channels else list(feed.channels)
    absent = [name for name in names if name not in feed.channels]
    if absent:
        raise ConfigError(f"--channels: expected some of {', '.join(feed.channels)}, got {absent}")
    return names


def _units(feed: Feed) -> dict[str, str]:
    return {name: mapping.unit for name, mapping in feed.channels.items()}
