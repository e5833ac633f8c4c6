"""``headgate model train``: recorded data in, model package out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.numbers import count, positive, rate
from headgate.cli.output import note, say
from headgate.cli.times import add_columns
from headgate.installed.extras import with_extra

if TYPE_CHECKING:
    from models.package import ModelPackage
    from models.training.train import TrainSettings
    from models.training.windows import Resample

#: Largest part that one score may move thresholds by: faster, and they follow faults.
_MOST_ADAPTING = 0.1


def add_parser(commands: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to those of ``headgate model``."""
    train = commands.add_parser(
        "train",
        help="train a package on recorded data",
        description=(
            "Fit a model to recorded healthy data and write a package that [model.NAME] can name. "
            "The same data and options give the same package. Needs the extra "
            f"`train`: {with_extra('train')}"
        ),
    )
    train.add_argument("--feed", required=True, metavar="NAME", help="the feed it is for")
    train.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="takes the feed's channels and units, and cleans recorded rows as it is done live",
    )
    _add_sources(train)
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
    train.add_argument(
        "--resample",
        choices=("instant", "mean"),
        help="what stands in a step: its first reading, or the mean of all (default: instant)",
    )
    train.add_argument("--normalization", choices=("zscore", "minmax", "robust"), default="zscore")
    train.add_argument(
        "--rows", type=count, metavar="N", help="use the first N rows of each file of --data"
    )
    train.add_argument(
        "--decimals", type=int, metavar="N", help="round to what the device will send"
    )
    train.add_argument(
        "--threshold",
        choices=("quantile", "events", "pot", "probability", "limit"),
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
    train.add_argument(
        "--adapt",
        type=_part_of_adapting,
        default=0.0,
        metavar="PART",
        help="thresholds follow each device, by this part a score at most: by DSPOT with "
        "--threshold pot, else by adaptive conformal inference (default: 0, not at all)",
    )
    train.add_argument("--seed", type=int, default=0, help="default: 0")


def _add_sources(train: argparse.ArgumentParser) -> None:
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", metavar="FILE.csv", help="recorded rows")
    source.add_argument(
        "--from-log",
        action="store_true",
        help="what the gateway's log holds of the feed, cleaned as it is live; needs -c",
    )
    source.add_argument(
        "--from-history",
        metavar="SPAN",
        help="the last SPAN (7d) of the feed's shortest aggregates that the local store, or else "
        "the log, has kept: means, for the time that raw readings are gone; needs -c",
    )
    train.add_argument("--from", dest="begin", metavar="TIME", help="rows from then on")
    train.add_argument("--to", dest="end", metavar="TIME", help="rows before then")
    add_columns(train)
    train.add_argument(
        "--channels", metavar="A,B,…", help="columns (default: the feed's, or all with numbers)"
    )
    train.add_argument(
        "--labels",
        metavar="COLUMN|FILE.csv",
        help="of --data: 1 where something was wrong, else 0; or a file of faulty spans, with "
        "columns start, end and, where they differ, device; such rows are left out",
    )


def _part_of_adapting(text: str) -> float:
    part = rate(text)
    if part > _MOST_ADAPTING:
        raise argparse.ArgumentTypeError(f"expected 0 to {_MOST_ADAPTING:g}, got {text!r}")
    return part


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.cli.progress import on_terminal
    from headgate.core.errors import ConfigError

    try:
        from headgate.cli.training_data import gathered
        from models.training.train import train
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"headgate model train: expected the package {error.name!r}; "
            f"install it with: {with_extra('train')}"
        ) from error
    with on_terminal() as progress:
        source = gathered(args, progress)
        package = train(
            args.name or args.out.name,
            args.feed,
            source.data,
            source.units,
            args.out,
            _settings(args, source.period_ns),
            notes=source.notes,
            has_page=True,
            progress=progress,
        )
    for each in package.manifest.training.notes:
        note(f"note: {each}")
    print_package(package)
    return 0


def _settings(args: argparse.Namespace, history_ns: int | None) -> TrainSettings:
    from headgate.cli.times import duration_ns
    from headgate.core.errors import ConfigError
    from headgate.core.units import format_duration
    from models.training.train import TrainSettings

    period_ns = duration_ns("--period", args.period)
    resample: Resample = args.resample or "instant"
    if history_ns is not None:
        if period_ns not in (None, history_ns):
            raise ConfigError(
                f"--period: expected {format_duration(history_ns)}, the window of the history, "
                f"got {args.period}; leave it out"
            )
        if args.resample == "instant":
            raise ConfigError("--resample: expected mean, which a history holds, got instant")
        period_ns, resample = history_ns, "mean"
    return TrainSettings(
        kind=args.kind,
        window=args.window,
        hop=args.hop,
        period_ns=period_ns,
        resample=resample,
        normalization=args.normalization,
        decimals=args.decimals,
        threshold=args.threshold,
        false_alarm_rate=args.false_alarm_rate,
        margin=args.margin,
        adapt=args.adapt,
        seed=args.seed,
    )


def print_package(package: ModelPackage) -> None:
    """Describe a package on stdout."""
    from headgate.core.units import format_duration

    manifest = package.manifest
    framing, alarm, training = manifest.framing, manifest.alarm, manifest.training
    why = f" ({training.chosen_because})" if training.chosen_because else ""
    say(f"{manifest.name} {manifest.version} for feed {manifest.feed}: {training.kind}{why}")
    for channel in manifest.channels:
        say(
            f"  {channel.name} [{channel.unit or '-'}] offset {channel.offset:.6g}, "
            f"scale {channel.scale:.6g}"
        )
    say(
        f"windows    {framing.window} steps of {format_duration(framing.period)}, "
        f"every {framing.hop}"
    )
    say(f"threshold  {alarm.threshold:.4g}: {alarm.chosen_by}")
    say(
        f"alarm      opens after {alarm.open_after}, closes after {alarm.close_after} below "
        f"{alarm.threshold_low:.4g}"
    )
    if alarm.following:
        say(f"           {alarm.following}")
    say(
        f"trained on {training.rows} rows over {training.span / 1e9:.0f} s, seed {training.seed}, "
        f"data {training.fingerprint[:12]}…"
    )
