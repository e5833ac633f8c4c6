"""``headgate model quantize``, ``fp16``, ``prune`` and ``distill``: smaller packages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.numbers import rate
from headgate.cli.times import UNITS
from headgate.installed.extras import with_extra

if TYPE_CHECKING:
    from models.package import ModelPackage
    from models.training import compress
    from models.training.data import TrainingData

#: By name, what each does.
COMMANDS = {
    "quantize": "write a package with matrices of 8 bits",
    "fp16": "write a package in half precision, for accelerators",
    "prune": "write a package with part of its network's units cut out",
    "distill": "write a package with a small network that this one has taught",
}


def add_parsers(commands: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add them to the subcommands of ``headgate model``."""
    for name, what in COMMANDS.items():
        parser = commands.add_parser(
            name,
            help=what,
            description=(
                "Make a package smaller, and show before and after: size, time, scores, and, where "
                "there are labelled recordings, what is found in them. Refuses to write one that "
                "judges more windows of the data differently than --max-loss, or whose F1 on the "
                "recordings falls by more."
            ),
        )
        parser.add_argument("package", type=Path, metavar="PACKAGE")
        parser.add_argument(
            "--data", type=Path, nargs="+", required=True, metavar="FILE.csv", help="healthy data"
        )
        parser.add_argument("--time", default="time", metavar="COLUMN", help="default: time")
        parser.add_argument("--time-unit", choices=tuple(UNITS), default="s")
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        parser.add_argument(
            "--max-loss", type=rate, default=0.01, metavar="PART", help="default: 0.01"
        )
        parser.add_argument(
            "--evaluate",
            type=Path,
            nargs="+",
            default=[],
            metavar="FILE.csv",
            help="labelled recordings, a device at a time through the pipeline; needs --labels",
        )
        parser.add_argument(
            "--labels",
            metavar="COLUMN|FILE.csv",
            help="of --evaluate: 1 where something was wrong, else 0; or a file of faulty spans",
        )
        if name == "quantize":
            products = parser.add_mutually_exclusive_group()
            products.add_argument(
                "--static",
                action="store_true",
                help="products in 8 bits too, scaled as in the data",
            )
            products.add_argument(
                "--dynamic",
                action="store_true",
                help="products in 8 bits too, each row scaled as it comes",
            )
        if name == "prune":
            parser.add_argument(
                "--part", type=rate, default=0.5, metavar="PART", help="of the units: default 0.5"
            )


def run(args: argparse.Namespace) -> int:
    """Run one of them; its exit code."""
    from rich.console import Console
    from rich.table import Table

    from headgate.core.errors import ConfigError

    if bool(args.evaluate) != bool(args.labels):
        raise ConfigError(
            "--evaluate: expected recordings and --labels, the column or file that says where "
            "something was wrong; give both or none"
        )
    try:
        from models.training import compress
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"headgate model {args.model_command}: expected the package {error.name!r}; "
            f"install it with: {with_extra('train')}"
        ) from error
    from models.package import ModelPackage

    package = ModelPackage.load(args.package)
    method: compress.Method = args.model_command
    if args.model_command == "quantize":
        method = "static" if args.static else "dynamic" if args.dynamic else "weights"
    refusal: compress.RefusedError | None = None
    try:
        comparison = compress.compress(
            package,
            method,
            _read(args, package),
            args.out,
            args.max_loss,
            args.part if method == "prune" else 0.0,
            _judge(args, package),
        )
    except compress.RefusedError as error:
        refusal, comparison = error, error.comparison
    table = Table("", "before", "after")
    for row in compress.table(comparison):
        table.add_row(*row)
    Console().print(table)
    if refusal is not None:
        raise refusal
    return 0


def _judge(args: argparse.Namespace, package: ModelPackage) -> compress.Judge | None:
    if not args.evaluate:
        return None
    from functools import partial

    from headgate.cli.training_data import recordings_for
    from headgate.evaluation import labelled

    names = [channel.name for channel in package.manifest.channels]
    recordings = [
        labelled.Recording(name, data, label)
        for name, data, label in recordings_for(args.evaluate, args, names)
        if label is not None
    ]
    return partial(labelled.judge, recordings)


def _read(args: argparse.Namespace, package: ModelPackage) -> TrainingData:
    """The healthy rows with the package's channels."""
    from models.training.data import TrainingData, csv_columns, read_csv

    names = tuple(channel.name for channel in package.manifest.channels)
    # Columns may have spaces where channels can't.
    column_of = {column.replace(" ", "_"): column for column in csv_columns(args.data[0])}
    data = read_csv(
        args.data,
        time_column=args.time,
        time_unit_ns=UNITS[args.time_unit],
        channels=[column_of.get(name, name) for name in names],
    )
    return TrainingData(names, data.time_ns, data.device, data.values)
