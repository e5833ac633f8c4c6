"""What ``headgate model train`` learns from: files, the log, or kept aggregates."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectors.logs.configured import open_existing_log
from headgate.cli.times import UNITS, duration_ns, refuse_without_data, time_ns
from headgate.config.feed import FeedConfig
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality, concat
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.errors import ConfigError
from headgate.core.units import format_duration, parse_duration_ns
from headgate.inspect.history import Asked, read_history
from headgate.inspect.log_contents import Filter, readings_of
from models.training.data import TrainingData, csv_columns, from_readings, read_csv, time_text
from models.training.labels import marked, read_spans, spans_file
from models.training.progress import Progress, silent
from streams.stages.arrays import NEVER_NS, stable_order
from streams.stages.clean.stage import Cleaner
from streams.stages.derive.stage import Deriver


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
        return _from_files(args, config, progress)
    option = "--from-log" if args.from_log else "--from-history"
    if config is None:
        raise ConfigError(f"{option}: expected -c FILE, the gateway's configuration; give it")
    refuse_without_data(args, option)
    if args.from_log:
        return asyncio.run(_from_log(args, config, progress))
    return asyncio.run(_from_history(args, config, progress))


def _from_files(args: argparse.Namespace, config: Config | None, progress: Progress) -> Gathered:
    mapped = {} if config is None else config.feed[args.feed].channels
    header = csv_columns(args.data[0])
    # A recording names its columns like the feed's channels, or like the payload's paths.
    column_of = {
        name: name if name in header else mapping.path or name for name, mapping in mapped.items()
    }
    notes: list[str] = []
    channels = args.channels.split(",") if args.channels else list(column_of.values()) or None
    file = None if args.labels is None else spans_file(args.labels, header)
    if channels is not None and args.labels is not None and file is None:
        channels = [*(name for name in channels if name != args.labels), args.labels]
    data = read_csv(
        args.data,
        time_column=args.time or "time",
        time_unit_ns=UNITS[args.time_unit or "s"],
        channels=channels,
        first_rows=args.rows,
        period_ns=duration_ns("--period", args.period),
        label_column=None if file is not None else args.labels,
        progress=progress,
        note=notes.append,
    )
    data = _between(data, args)
    is_faulty = None
    if file is not None:
        is_faulty = _in_spans(file, data, args, notes)
    elif args.labels is not None:
        data, is_faulty = data.split_labels(args.labels)
    if is_faulty is not None and is_faulty.all():
        raise ConfigError(
            f"--labels: expected rows with 0 in {args.labels!r}, found 1 in all {len(data)}; "
            "is 1 where something was wrong?"
            if file is None
            else f"{file}: expected rows outside its spans, found all {len(data)} inside"
        )
    channel_of = {column: name for name, column in column_of.items()}
    # Names in the configuration have no spaces, columns may.
    renamed = tuple(channel_of.get(name, name.replace(" ", "_")) for name in data.names)
    data = replace(data, names=renamed)
    if is_faulty is not None:
        notes.append(
            f"{int(is_faulty.sum()):,} of {len(data):,} rows are labelled as faulty and left out"
        )
        data = data.without(is_faulty)
    if config is not None:
        data = _cleaned(data, args.feed, config, notes)
    units = {} if config is None else _units(config.feed[args.feed])
    return Gathered(data, units, notes=notes)


def _in_spans(
    file: Path, data: TrainingData, args: argparse.Namespace, notes: list[str]
) -> NDArray[np.bool_]:
    """bool[n]: the rows that this file says are faulty, and a note where it says that of none."""
    is_part = any(option is not None for option in (args.rows, args.begin, args.end))
    spans = read_spans(file, UNITS[args.time_unit or "s"])
    is_faulty = marked(file, spans, [data], may_miss=is_part)[0]
    if not is_faulty.any():
        notes.append(f"no row lies in any of the {len(spans):,} spans of {file.name}")
    # Later rows may be theirs, or the name is mistyped.
    absent = dict.fromkeys(each.device for each in spans if each.device not in ("", *data.devices))
    if absent:
        notes.append(f"no row is of a device that {file.name} names: {', '.join(absent)}")
    return is_faulty


def _between(data: TrainingData, args: argparse.Namespace) -> TrainingData:
    begin_ns, end_ns = time_ns("--from", args.begin), time_ns("--to", args.end)
    wanted = np.ones(len(data), np.bool_)
    if begin_ns is not None:
        wanted &= data.time_ns >= begin_ns
    if end_ns is not None:
        wanted &= data.time_ns < end_ns
    if not wanted.any():
        raise ConfigError(
            f"--from, --to: expected a span with rows in it, found rows from "
            f"{time_text(data.time_ns.min())} to {time_text(data.time_ns.max())}"
        )
    return data.take(wanted)


def _cleaned(data: TrainingData, feed: str, config: Config, notes: list[str]) -> TrainingData:
    """Without the values that the gateway would flag as unusable, and a note of them."""
    table = ChannelTable()
    devices, of = np.unique(data.device, return_inverse=True)
    channel = np.array(
        [
            [table.row(Channel(feed, str(number), feed, name)) for name in data.names]
            for number in devices.tolist()
        ],
        np.int32,
    )[of]
    width = len(data.names)
    batch = Batch.from_columns(
        table, np.repeat(data.time_ns, width), channel.reshape(-1), data.values.reshape(-1)
    )
    cleaned = Cleaner(config.feed, table).process(batch).main
    counts = {
        what: int(np.count_nonzero(cleaned.quality & np.uint16(flag)))
        for what, flag in (
            ("out of range", Quality.OUT_OF_RANGE),
            ("spikes", Quality.SPIKE),
            ("ruled out", Quality.RULED_OUT),
        )
    }
    if not any(counts.values()):
        return data
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    notes.append(f"{told}: left out of {data.values.size:,} values, as the gateway does it live")
    # What was imputed is no part of the recording.
    kept = cleaned.take(cleaned.usable & ((cleaned.quality & np.uint16(Quality.IMPUTED)) == 0))
    position = np.array([data.names.index(each.field) for each in table.channels], np.int32)
    return from_readings(
        data.names,
        device=table.device_of[kept.channel],
        column=position[kept.channel],
        time_ns=kept.time_ns,
        value=kept.value,
        period_ns=1,
    )


async def _from_log(args: argparse.Namespace, config: Config, progress: Progress) -> Gathered:
    feed, names = config.feed[args.feed], _names(args, config)
    wanted = Filter(time_ns("--from", args.begin), time_ns("--to", args.end))
    channels = ChannelTable(identities=config.identities)
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
    if not config.feed[args.feed].derived.keys().isdisjoint(names):
        every = concat(parts, channels)
        made = Deriver(config.feed, channels).process(every, _in_the_end).made
        parts.append(made.take(made.usable))
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
    note = (
        f"trained on means over {format_duration(history.window_ns)} from {history.source}, "
        f"{time_text(data.time_ns.min())} to {time_text(data.time_ns.max())}: "
        "a window is scored when the next one begins"
    )
    return Gathered(data, _units(config.feed[args.feed]), history.window_ns, [note])


def _in_the_end(devices: NDArray[np.int32]) -> NDArray[np.int64]:
    """Watermarks that everything is behind."""
    return np.full(len(devices), NEVER_NS)


def _names(args: argparse.Namespace, config: Config) -> list[str]:
    feed = config.feed[args.feed]
    numbers = [
        name for name, each in feed.channels.items() if not each.is_text and each.counter is None
    ]
    names = args.channels.split(",") if args.channels else numbers
    numbers = [*numbers, *feed.derived]
    absent = [name for name in names if name not in numbers]
    if absent or (feed.channels and not names):
        others = any(name in feed.channels for name in absent) or not numbers
        why = "; no model takes texts or counters" if others else ""
        raise ConfigError(f"--channels: expected some of {', '.join(numbers)}, got {absent}{why}")
    return names


def _units(feed: FeedConfig) -> dict[str, str]:
    return {name: each.kept_unit for name, each in {**feed.channels, **feed.derived}.items()}


def recordings_for(
    files: Sequence[Path],
    args: argparse.Namespace,
    names: Sequence[str] | None,
    progress: Progress = silent,
) -> list[tuple[str, TrainingData, NDArray[np.bool_] | None]]:
    """Name, rows and labels (where the options name some) of each device in the files.

    Args:
        files: CSV files; see ``read_csv``.
        args: ``labels`` (a column, or a file of spans), ``time`` and ``time_unit``.
        names: Channels; a column may have spaces where these have underscores. None takes what
            holds numbers in the first file.
        progress: Is told how much has been read.

    Raises:
        ConfigError: A file can't be read, or labels say nothing about these rows.
    """
    file = None if args.labels is None else spans_file(args.labels, csv_columns(files[0]))
    column = args.labels if file is None else None
    parts: list[tuple[str, TrainingData, NDArray[np.bool_] | None]] = []
    for path, title in zip(files, _titles(files), strict=True):
        header = csv_columns(path)
        spaced = {name.replace(" ", "_"): name for name in header if name}
        data = read_csv(
            [path],
            time_column=args.time or "time",
            time_unit_ns=UNITS[args.time_unit or "s"],
            channels=None
            if names is None
            # Labels come first: a channel may be the label itself.
            else ([] if column is None else [column]) + [spaced.get(name, name) for name in names],
            period_ns=duration_ns("--period", getattr(args, "period", None)),
            label_column=column,
            progress=progress,
        )
        label = None
        if column is not None:
            data, label = data.split_labels(column)
        if names is None:
            names = tuple(name.replace(" ", "_") for name in data.names)
        # Spans call a device as it is called everywhere; titles are for people.
        data = replace(data, names=tuple(names))
        devices = np.unique(data.device).tolist()
        for number in devices:
            rows = data.device == number
            name = title if len(devices) == 1 else f"{title}, {data.devices[number]}"
            parts.append((name, data.take(rows), None if label is None else label[rows]))
    if file is None:
        return parts
    spans = read_spans(file, UNITS[args.time_unit or "s"])
    labels = marked(file, spans, [data for _, data, _ in parts])
    return [(name, data, label) for (name, data, _), label in zip(parts, labels, strict=True)]


def _titles(files: Sequence[Path]) -> list[str]:
    """A name for each file: its stem, and as many of its folders as tell it from the others."""
    every = [path.absolute().with_suffix("").parts for path in files]
    titles = []
    for at, parts in enumerate(every):
        others = every[:at] + every[at + 1 :]
        for length in range(1, len(parts)):
            if all(other[-length:] != parts[-length:] for other in others):
                titles.append("/".join(parts[-length:]))
                break
        else:
            # The same file twice, or files whose names end differently only.
            titles.append(f"{files[at].name} ({at + 1})")
    return titles
