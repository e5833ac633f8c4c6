"""``headgate evaluate``: how well models detect, on labelled recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.numbers import count
from headgate.cli.output import note
from headgate.cli.times import UNITS, duration_ns
from headgate.core.text import printable
from headgate.installed.extras import with_extra

if TYPE_CHECKING:
    from headgate.evaluation.result import Evaluation
    from models.training.train import TrainSettings


#: Columns that fit a terminal of 80 characters.
_MOST_ACROSS = 5

#: What the folder of a benchmark has in it.
_HOLDS = {
    "skab": "*/*.csv",
    "nab": "labels/combined_windows.json",
    "batadal": "*.csv",
    "nasa": "*.*",
    "suite": "*.*",
}


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command and its subcommands to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score models on labelled recordings and public benchmarks",
        description=(
            "Send labelled recordings through the gateway's own pipeline, row by row, and score "
            f"what it finds. Needs the extra `train`: {with_extra('train')}"
        ),
    )
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name, what in (
        ("skab", "the Skoltech Anomaly Benchmark: F1, FAR, MAR"),
        ("nab", "the Numenta Anomaly Benchmark: its three profiles"),
        ("batadal", "the BATtle of the Attack Detection ALgorithms: S"),
    ):
        benchmark = commands.add_parser(name, help=what)
        benchmark.add_argument(
            "--data",
            type=Path,
            required=True,
            metavar="DIR",
            help=f"its files, or the folder that holds them in one called {name}",
        )
        _add_common(benchmark)
        if name == "batadal":
            their_attacks = (
                "their attacks (default: attacks_X.csv beside BATADAL_X.csv, else its column "
                "ATT_FLAG where that is 0 or 1 in every row"
            )
            for option, meaning in (
                ("--train", "hours without attacks (default: dataset 03)"),
                ("--choose", "hours with attacks to choose the threshold by"),
                ("--choose-attacks", f"{their_attacks})"),
                ("--test", "hours to score (default: dataset 04)"),
                ("--attacks", f"{their_attacks}, else those of dataset 04)"),
            ):
                benchmark.add_argument(option, type=Path, metavar="FILE", help=meaning)
    _add_folders(commands)
    own = commands.add_parser(
        "csv",
        help="your own labelled recordings, of one device or several",
        description=(
            "Each FILE, or each name in its column device, is a device and is judged "
            "by itself; what is found is counted together. Without --package one model "
            "is trained, on the first rows of all devices, which are not scored then."
        ),
    )
    own.add_argument("file", type=Path, nargs="+", metavar="FILE")
    own.add_argument(
        "--labels",
        required=True,
        metavar="COLUMN|FILE.csv",
        help="1 where something was wrong, else 0; or a file of faulty spans, with columns start, "
        "end and, where they differ, device",
    )
    own.add_argument("--time", default="time", metavar="COLUMN", help="default: time")
    own.add_argument(
        "--time-unit",
        choices=tuple(UNITS),
        default="s",
        help="of times that are numbers (default: s)",
    )
    own.add_argument("--channels", metavar="A,B,…", help="columns (default: all with numbers)")
    own.add_argument(
        "--rows",
        type=count,
        metavar="N",
        help="rows of each device to train on (default: its first quarter; with --package none)",
    )
    own.add_argument(
        "--package",
        type=Path,
        metavar="PACKAGE",
        help="score this model instead of one that is trained on --rows of the recordings",
    )
    _add_common(own)


def _add_folders(commands: Any) -> None:  # noqa: ANN401
    """Add the commands that score every recording of a folder."""
    for name, what, where in (
        (
            "nasa",
            "NASA's telemetry of SMAP and MSL: VUS-PR",
            "series as .csv or .parquet, and a README.md with a table of series and train rows",
        ),
        (
            "suite",
            "any folder of labelled recordings, each with a model of its own",
            "recordings as .csv or .parquet, in and below it",
        ),
    ):
        parser = commands.add_parser(name, help=what)
        parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=where)
        parser.add_argument(
            "--labels",
            metavar="COLUMN",
            help="0 or 1, or words (default: label, fault, anomaly, attack …, the first there is)",
        )
        parser.add_argument("--time", metavar="COLUMN", help="default: time, timestamp or datetime")
        parser.add_argument("--time-unit", choices=tuple(UNITS), default="s")
        parser.add_argument(
            "--channels", metavar="A,B,…", help="columns (default: all with numbers)"
        )
        if name == "suite":
            parser.add_argument(
                "--rows",
                type=count,
                metavar="N",
                help="rows of each recording to train on (default: its first quarter)",
            )
        _add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    import json

    from rich.console import Console
    from rich.text import Text

    from headgate.core.errors import ConfigError

    try:
        import models.training.page  # noqa: F401  (all that the extra brings)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"headgate evaluate: expected the package {error.name!r}; "
            f"install it with: {with_extra('train')}"
        ) from error
    console = Console(stderr=True)
    with console.status("…") as status:
        # Names are the user's: brackets in them are no markup, and nothing between colons a face.
        evaluation = _evaluate(args, lambda line: status.update(Text(printable(line))))
    output = Console(stderr=args.json, markup=False, emoji=False)
    for table in _tables(evaluation):
        output.print(table)
    if args.report is not None:
        from headgate.evaluation.plots import write_report

        console.print(Text(f"Plots are in {write_report(evaluation, args.report)}."))
    for each in evaluation.notes:
        note(f"note: {each}")
    for problem in evaluation.failed:
        note(f"not scored: {problem}")
    if args.json:
        print(json.dumps(_figures(evaluation)), flush=True)
    return 1 if evaluation.failed else 0


def _figures(evaluation: Evaluation) -> dict[str, float]:
    """The figures, and between what 95 % of draws of as many recordings lie where that is known."""
    figures = dict(evaluation.figures)
    for name, (low, high) in evaluation.intervals.items():
        figures[f"{name}_low"], figures[f"{name}_high"] = low, high
    return figures


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", default="auto", help="of model (default: auto)")
    parser.add_argument(
        "--window", type=count, metavar="STEPS", help="steps in a window (default: the kind's)"
    )
    parser.add_argument(
        "--period",
        metavar="DURATION",
        help="time between two steps, and between rows without times (default: the data's)",
    )
    parser.add_argument(
        "--resample",
        choices=("instant", "mean"),
        default="instant",
        help="of several rows in a step: the first, or their mean (default: instant)",
    )
    parser.add_argument(
        "--threshold",
        choices=("quantile", "events", "pot", "probability", "limit"),
        help="how the threshold is chosen (default: the kind's)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--report", type=Path, metavar="DIR", help="plots and a page go there")
    parser.add_argument(
        "--json", action="store_true", help="print the figures as one JSON object, last on stdout"
    )


def _evaluate(args: argparse.Namespace, say: Any) -> Evaluation:  # noqa: ANN401
    from headgate.core.errors import ConfigError
    from headgate.evaluation import batadal, nab, skab
    from models.training.train import TrainSettings

    settings = TrainSettings(
        kind=args.kind,
        seed=args.seed,
        window=args.window,
        period_ns=duration_ns("--period", args.period),
        resample=args.resample,
        threshold=args.threshold,
    )
    if args.benchmark == "csv":
        return _own(args, settings, say)
    folder = _folder(args)
    if args.benchmark in ("nasa", "suite"):
        return _of_folder(args, folder, settings, say)
    if args.benchmark == "skab":
        return skab.evaluate(folder, settings, say)
    if args.benchmark == "nab":
        return nab.evaluate(folder, settings, say)
    if args.choose_attacks is not None and args.choose is None:
        raise ConfigError(
            "--choose-attacks: expected --choose FILE, whose attacks they are; give both or none"
        )
    choose = _file(args, args.choose)
    return batadal.evaluate(
        _file(args, args.train) or folder / batadal.TRAIN,
        _file(args, args.test) or folder / batadal.TEST,
        _file(args, args.attacks),
        settings,
        usual=folder / batadal.ATTACKS,
        choose=None if choose is None else (choose, _file(args, args.choose_attacks)),
        say=say,
    )


def _of_folder(
    args: argparse.Namespace,
    folder: Path,
    settings: TrainSettings,
    say: Any,  # noqa: ANN401
) -> Evaluation:
    from headgate.evaluation import suite

    columns = suite.Columns(
        time=args.time,
        time_unit_ns=UNITS[args.time_unit],
        period_ns=settings.period_ns,
        label=args.labels,
        channels=None if args.channels is None else args.channels.split(","),
    )
    if args.benchmark == "suite":
        return suite.evaluate(folder, settings, columns, rows=args.rows, say=say)
    training = suite.training_rows(folder)
    return suite.evaluate(
        folder, settings, columns, training=training, title="NASA SMAP and MSL", say=say
    )


def _folder(args: argparse.Namespace) -> Path:
    """The benchmark's own folder: ``--data``, or the one in it with the benchmark's name.

    By what is in it: a clone of NAB has a folder ``nab`` too, with its code.
    """
    inner: Path = args.data / args.benchmark
    return inner if any(inner.glob(_HOLDS[args.benchmark])) else args.data


def _file(args: argparse.Namespace, given: Path | None) -> Path | None:
    """A file that was given, as such or below ``--data``; None where none was."""
    if given is None or given.is_absolute() or given.exists():
        return given
    inner = _folder(args) / given
    outer: Path = args.data / given
    return outer if outer.exists() and not inner.exists() else inner


def _own(args: argparse.Namespace, settings: TrainSettings, say: Any) -> Evaluation:  # noqa: ANN401
    from headgate.cli.training_data import recordings_for
    from headgate.core.errors import ConfigError
    from headgate.evaluation import labelled
    from models.package import ModelPackage

    package = None if args.package is None else ModelPackage.load(args.package)
    # Columns may have spaces, channels not.
    channels = None if args.channels is None else args.channels.replace(" ", "_").split(",")
    if channels is not None:
        # Left in, the label would explain the faults.
        channels = [name for name in channels if name != args.labels.replace(" ", "_")]
    recordings = [
        labelled.Recording(name, data, label)
        for name, data, label in recordings_for(args.file, args, channels)
        if label is not None
    ]
    if package is not None:
        names = recordings[0].data.names
        wanted = [channel.name for channel in package.manifest.channels]
        absent = [name for name in wanted if name not in names]
        if absent:
            raise ConfigError(
                f"--package: expected channels {', '.join(wanted)} in the recording, found no "
                f"{', '.join(absent)} in {', '.join(names)}"
            )
    title = recordings[0].name if len(recordings) == 1 else f"{len(recordings)} devices"
    return labelled.evaluate(
        title, recordings, rows=args.rows, package=package, settings=settings, say=say
    )


def _tables(evaluation: Evaluation) -> list[Any]:
    from rich.table import Column, Table

    from headgate.evaluation.plots import text

    columns, rows = evaluation.columns, list(evaluation.rows.items())
    tables = []
    if len(columns) > _MOST_ACROSS:
        # One below the other, so that no figure is cut off on a narrow terminal.
        for first in range(0, len(rows), _MOST_ACROSS - 1):
            some = rows[first : first + _MOST_ACROSS - 1]
            names = (Column(printable(name), overflow="fold") for name, _ in some)
            table = Table(Column(no_wrap=True), *names)
            for column in columns:
                table.add_row(column, *(text(figures[column], column) for _, figures in some))
            tables.append(table)
    else:
        table = Table("", *columns)
        for name, figures in rows:
            table.add_row(printable(name), *(text(figures[column], column) for column in columns))
        tables.append(table)
    tables[0].title, tables[0].title_justify = evaluation.title, "left"
    if not evaluation.spread:
        return tables
    spread = Table("", "least", "median", "largest", title="Over recordings", title_justify="left")
    for name, values in evaluation.spread.items():
        spread.add_row(name, *(text(value, name) for value in values))
    return [*tables, spread]
