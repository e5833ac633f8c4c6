"""``headgate model``: making and looking at model packages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from headgate.cli import train
from headgate.cli.numbers import rate
from headgate.cli.train import UNITS, print_package


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command and its subcommands to the command line."""
    parser = subparsers.add_parser("model", help="train a model package, or show one")
    commands = parser.add_subparsers(dest="model_command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="show what is in a package, and verify it")
    show.add_argument("package", type=Path, metavar="PACKAGE")
    train.add_parser(commands)
    for name, what in (
        ("quantize", "write a package with matrices of 8 bits"),
        ("fp16", "write a package in half precision, for accelerators"),
        ("prune", "write a package with part of its network's units cut out"),
        ("distill", "write a package with a small network that this one has taught"),
    ):
        smaller = commands.add_parser(
            name,
            help=what,
            description=(
                "Make a package smaller, and show before and after: size, time, scores. Refuses to "
                "write one that judges more windows of the data differently than --max-loss."
            ),
        )
        smaller.add_argument("package", type=Path, metavar="PACKAGE")
        smaller.add_argument(
            "--data", type=Path, nargs="+", required=True, metavar="FILE.csv", help="healthy data"
        )
        smaller.add_argument("--time", default="time", metavar="COLUMN", help="default: time")
        smaller.add_argument("--time-unit", choices=tuple(UNITS), default="s")
        smaller.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        smaller.add_argument(
            "--max-loss", type=rate, default=0.01, metavar="PART", help="default: 0.01"
        )
        if name == "quantize":
            smaller.add_argument(
                "--static",
                action="store_true",
                help="products in 8 bits too, scaled as in the data",
            )
        if name == "prune":
            smaller.add_argument(
                "--part", type=rate, default=0.5, metavar="PART", help="of the units: default 0.5"
            )
    report = commands.add_parser(
        "report", help="where a package's page is: its training scores, threshold and channels"
    )
    report.add_argument("package", type=Path, metavar="PACKAGE")
    report.add_argument("--out", type=Path, metavar="FILE.html", help="write the page there")
    report.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="FILE.csv",
        help="a page about these recordings instead: scores and alarms by the gateway's pipeline",
    )
    report.add_argument(
        "--labels", metavar="COLUMN", help="of --data: 1 where something was wrong, else 0"
    )
    report.add_argument("--time", default="time", metavar="COLUMN", help="default: time")
    report.add_argument("--time-unit", choices=tuple(UNITS), default="s")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    if args.model_command == "show":
        return _show(args.package)
    if args.model_command == "report":
        if args.data is not None:
            return _report_on(args)
        return _report(args.package, args.out)
    if args.model_command in ("quantize", "fp16", "prune", "distill"):
        return _compress(args)
    return train.run(args)


def _show(path: Path) -> int:
    from models.package import ModelPackage
    from models.runtime import Runtime

    package = ModelPackage.load(path)
    runtime = Runtime(package)
    print_package(package)
    for note in package.manifest.training.notes:
        print(f"note       {note}")
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


def _report_on(args: argparse.Namespace) -> int:
    from headgate.cli.progress import on_terminal
    from headgate.core.errors import ConfigError

    try:
        from headgate.cli.training_data import recordings_for
        from headgate.evaluation.labelled import look
        from headgate.evaluation.plots import write_page
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"headgate model report: expected the package {error.name!r}; "
            "install it with: pip install 'headgate[train]'"
        ) from error
    from models.package import ModelPackage

    if args.out is None:
        raise ConfigError("--data: expected --out FILE.html, where the page is to go; give it")
    package = ModelPackage.load(args.package)
    names = [channel.name for channel in package.manifest.channels]
    with on_terminal() as progress:
        parts = recordings_for(args, names, progress)
        evaluation = look(f"Model {package.manifest.name}", package, parts, progress)
    write_page(evaluation, args.out)
    print(args.out)
    return 0


def _compress(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from headgate.core.errors import ConfigError

    try:
        from models.training import compress
        from models.training.data import read_csv
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"headgate model {args.model_command}: expected the package {error.name!r}; "
            "install it with: pip install 'headgate[train]'"
        ) from error
    from models.package import ModelPackage

    package = ModelPackage.load(args.package)
    data = read_csv(
        args.data,
        time_column=args.time,
        time_unit_ns=UNITS[args.time_unit],
        channels=[channel.name for channel in package.manifest.channels],
    )
    method: compress.Method = args.model_command
    if args.model_command == "quantize":
        method = "static" if args.static else "weights"
    part = args.part if method == "prune" else 0.0
    refusal: compress.RefusedError | None = None
    try:
        comparison = compress.compress(package, method, data, args.out, args.max_loss, part)
    except compress.RefusedError as error:
        refusal, comparison = error, error.comparison
    table = Table("", "before", "after")
    for row in compress.table(comparison):
        table.add_row(*row)
    Console().print(table)
    if refusal is not None:
        raise refusal
    return 0
