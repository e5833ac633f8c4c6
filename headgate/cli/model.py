"""``headgate model``: making and looking at model packages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli import compress
from headgate.cli.numbers import count, positive, rate
from headgate.cli.times import UNITS, time_ns

if TYPE_CHECKING:
    from headgate.config.schema import ChannelConfig, Config, Feed
    from models.package import ModelPackage
    from models.training.data import TrainingData
    from models.training.train import TrainSettings


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command and its subcommands to the command line."""
    parser = subparsers.add_parser("model", help="train a model package, or show one")
    commands = parser.add_subparsers(dest="model_command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="show what is in a package, and verify it")
    show.add_argument("package", type=Path, metavar="PACKAGE")
    train = commands.add_parser(
        "train",
        help="train a package on recorded data",
        description=(
            "Fit a model to recorded healthy data and write a package that [model.NAME] can name. "
            "The same data and options give the same package. Needs the extra: "
            "pip install 'headgate[train]'"
        ),
    )
    train.add_argument("--feed", required=True, metavar="NAME", help="the feed it is for")
    train.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="takes the feed's channels and units"
    )
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", metavar="FILE.csv", help="recorded rows")
    source.add_argument(
        "--from-log",
        action="store_true",
        help="what the gateway's log holds of the feed, cleaned as it is live; needs -c",
    )
    train.add_argument("--from", dest="begin", metavar="TIME", help="of the log: from then on")
    train.add_argument("--to", dest="end", metavar="TIME", help="of the log: before then")
    train.add_argument("--time", default="time", metavar="COLUMN", help="default: time")
    train.add_argument(
        "--time-unit",
        choices=tuple(UNITS),
        default="s",
        help="of times that are numbers (default: s)",
    )
    train.add_argument(
        "--channels", metavar="A,B,…", help="columns (default: the feed's, or all with numbers)"
    )
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    train.add_argument("--name", metavar="NAME", help="default: the folder's name")
    train.add_argument(
        "--kind",
        default="auto",
        help="auto (default) chooses by the data and says why; see docs/model-packages.md",
    )
    train.add_argument("--window", type=count, metavar="STEPS", help="default: the kind's")
    train.add_argument("--hop", type=count, default=1, metavar="STEPS", help="default: 1")
    train.add_argument("--period", metavar="DURATION", help="step (default: the data's)")
    train.add_argument("--normalization", choices=("zscore", "minmax", "robust"), default="zscore")
    train.add_argument("--rows", type=count, metavar="N", help="use the first N rows of each file")
    train.add_argument(
        "--decimals", type=int, metavar="N", help="round to what the device will send"
    )
    train.add_argument(
        "--threshold",
        choices=("quantile", "events", "pot", "probability"),
        help="by a quantile of the training scores, by events in them, or by their fitted tail",
    )
    train.add_argument(
        "--false-alarm-rate",
        type=rate,
        metavar="RATE",
        help="windows, or events, over the limit that --margin multiplies, a training window",
    )
    train.add_argument(
        "--margin", type=positive, metavar="TIMES", help="the threshold is so many times the limit"
    )
    train.add_argument("--seed", type=int, default=0, help="default: 0")
    compress.add_parsers(commands)
    report = commands.add_parser(
        "report", help="where a package's page is: its training scores, threshold and channels"
    )
    report.add_argument("package", type=Path, metavar="PACKAGE")
    report.add_argument("--out", type=Path, metavar="FILE.html", help="copy the page there")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    if args.model_command == "show":
        return _show(args.package)
    if args.model_command == "report":
        return _report(args.package, args.out)
    if args.model_command in compress.COMMANDS:
        return compress.run(args)
    return _train(args)


def _show(path: Path) -> int:
    from models.package import ModelPackage
    from models.runtime import Runtime

    package = ModelPackage.load(path)
    runtime = Runtime(package)
    _print(package)
    print(f"verified: hashes and golden outputs agree on {runtime.provider}")
    return 0


def _report(path: Path, out: Path | None) -> int:
    import shutil

    from headgate.core.errors import ConfigError
    from models.package import ModelPackage

    page = ModelPackage.load(path).report
    if not page.is_file():
        raise ConfigError(
            f"{page}: expected the package's page; it was trained by an older version: train again"
        )
    if out is not None:
        try:
            shutil.copyfile(page, out)
        except OSError as error:
            raise ConfigError(f"--out: expected a file that can be written: {error}") from error
        page = out
    print(page)
    return 0


def _train(args: argparse.Namespace) -> int:
    from headgate.core.errors import ConfigError

    try:
        from models.training.train import train
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"headgate model train: expected the package {error.name!r}; "
            "install it with: pip install 'headgate[train]'"
        ) from error
    feed = _feed(args)
    mapped = {} if feed is None else feed.channels
    package = train(
        args.name or args.out.name,
        args.feed,
        _from_log(args) if args.from_log else _from_files(args, mapped),
        {name: mapping.unit for name, mapping in mapped.items()},
        args.out,
        _settings(args),
    )
    _print(package)
    return 0


def _from_files(args: argparse.Namespace, mapped: Mapping[str, ChannelConfig]) -> TrainingData:
    from models.training.data import TrainingData, csv_columns, read_csv

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
    )
    channel_of = {column: name for name, column in column_of.items()}
    # Names in the configuration have no spaces, columns may.
    renamed = tuple(channel_of.get(name, name.replace(" ", "_")) for name in data.names)
    return TrainingData(renamed, data.time_ns, data.device, data.values)


def _from_log(args: argparse.Namespace) -> TrainingData:
    import asyncio

    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError

    if args.config is None:
        raise ConfigError("--from-log: expected -c FILE, the gateway's configuration; give it")
    return asyncio.run(_read_log(args, load_config(args.config, check_files=False)))


async def _read_log(args: argparse.Namespace, config: Config) -> TrainingData:
    import numpy as np

    from connectors.log_contents import Filter, readings_of
    from connectors.logs import open_existing_log
    from headgate.core.batch import Batch
    from headgate.core.channels import ChannelTable
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from models.training.data import from_readings
    from streams.arrays import stable_order
    from streams.clean import Cleaner

    feed = config.feed[args.feed]
    names = args.channels.split(",") if args.channels else list(feed.channels)
    absent = [name for name in names if name not in feed.channels]
    if absent:
        raise ConfigError(f"--channels: expected some of {', '.join(feed.channels)}, got {absent}")
    wanted = Filter(time_ns("--from", args.begin), time_ns("--to", args.end))
    channels = ChannelTable()
    cleaner = Cleaner(config.feed, channels)
    parts: list[Batch] = []
    log = await open_existing_log(config, SystemClock())
    try:
        async for batch in readings_of(config, log, args.feed, wanted, channels):
            cleaned = cleaner.process(batch.take(stable_order(batch.device))).main
            parts.append(cleaned.take(cleaned.usable))
    finally:
        await log.stop()
    column_of = np.array(
        [names.index(each.field) if each.field in names else -1 for each in channels.channels],
        np.int32,
    )
    channel = np.concatenate([part.channel for part in parts]) if parts else np.empty(0, np.int32)
    kept = column_of[channel] >= 0 if len(channel) else np.empty(0, np.bool_)
    channel = channel[kept]
    return from_readings(
        names,
        device=channels.device_of[channel],
        column=column_of[channel] if len(channel) else channel,
        time_ns=np.concatenate([part.time_ns for part in parts])[kept] if parts else channel,
        value=np.concatenate([part.value for part in parts])[kept] if parts else channel,
        period_ns=feed.period,
    )


def _feed(args: argparse.Namespace) -> Feed | None:
    if args.config is None:
        return None
    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError

    feeds = load_config(args.config, check_files=False).feed
    if args.feed not in feeds:
        raise ConfigError(f"--feed: expected one of {', '.join(feeds)}, got {args.feed!r}")
    return feeds[args.feed]


def _settings(args: argparse.Namespace) -> TrainSettings:
    from headgate.config.units import parse_duration_ns
    from headgate.core.errors import ConfigError
    from models.training.train import TrainSettings

    try:
        period_ns = None if args.period is None else parse_duration_ns(args.period)
    except ValueError as error:
        raise ConfigError(f"--period: {error}") from error
    return TrainSettings(
        kind=args.kind,
        window=args.window,
        hop=args.hop,
        period_ns=period_ns,
        normalization=args.normalization,
        decimals=args.decimals,
        threshold=args.threshold,
        false_alarm_rate=args.false_alarm_rate,
        margin=args.margin,
        seed=args.seed,
    )


def _print(package: ModelPackage) -> None:
    from headgate.config.units import format_duration

    manifest = package.manifest
    framing, alarm, training = manifest.framing, manifest.alarm, manifest.training
    why = f" ({training.chosen_because})" if training.chosen_because else ""
    print(f"{manifest.name} {manifest.version} for feed {manifest.feed}: {training.kind}{why}")
    for channel in manifest.channels:
        print(
            f"  {channel.name} [{channel.unit or '-'}] offset {channel.offset:.6g}, "
            f"scale {channel.scale:.6g}"
        )
    print(
        f"windows    {framing.window} steps of {format_duration(framing.period)}, "
        f"every {framing.hop}"
    )
    print(f"threshold  {alarm.threshold:.4g}: {alarm.chosen_by}")
    print(
        f"alarm      opens after {alarm.open_after}, closes after {alarm.close_after} below "
        f"{alarm.threshold_low:.4g}"
    )
    print(
        f"trained on {training.rows} rows over {training.span / 1e9:.0f} s, seed {training.seed}, "
        f"data {training.fingerprint[:12]}…"
    )
