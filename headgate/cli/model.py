"""``headgate model``: making and looking at model packages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from headgate.cli import compress, train
from headgate.cli.output import say
from headgate.cli.times import add_columns, refuse_without_data
from headgate.cli.train import print_package
from headgate.installed.extras import with_extra


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command and its subcommands to the command line."""
    parser = subparsers.add_parser("model", help="train a model package, or show one")
    commands = parser.add_subparsers(dest="model_command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="show what is in a package, and verify it")
    show.add_argument("package", type=Path, metavar="PACKAGE")
    train.add_parser(commands)
    compress.add_parsers(commands)
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
        "--labels",
        metavar="COLUMN|FILE.csv",
        help="of --data: 1 where something was wrong, else 0; or a file of faulty spans",
    )
    add_columns(report)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    if args.model_command == "show":
        return _show(args.package)
    if args.model_command == "report":
        if args.data is not None:
            return _report_on(args)
        refuse_without_data(args, "none")
        return _report(args.package, args.out)
    if args.model_command in compress.COMMANDS:
        return compress.run(args)
    return train.run(args)


def _show(path: Path) -> int:
    from models.package import ModelPackage
    from models.runtime import Runtime

    package = ModelPackage.load(path)
    runtime = Runtime(package)
    print_package(package)
    for each in package.manifest.training.notes:
        say(f"note       {each}")
    say(f"verified: hashes and golden outputs agree on {runtime.provider}")
    return 0


def _report(path: Path, out: Path | None) -> int:
    import shutil

    from headgate.core.errors import ConfigError
    from models.package import ModelPackage

    page = ModelPackage.load(path).report
    if not page.is_file():
        raise ConfigError(
            f"{page}: expected the package's page, which headgate model train draws; train it again"
        )
    if out is not None:
        try:
            shutil.copyfile(page, out)
        except OSError as error:
            raise ConfigError(f"--out: expected a file that can be written: {error}") from error
        page = out
    say(str(page))
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
            f"install it with: {with_extra('train')}"
        ) from error
    from models.package import ModelPackage

    if args.out is None:
        raise ConfigError("--data: expected --out FILE.html, where the page is to go; give it")
    package = ModelPackage.load(args.package)
    names = [channel.name for channel in package.manifest.channels]
    with on_terminal() as progress:
        parts = recordings_for(args.data, args, names, progress)
        evaluation = look(f"Model {package.manifest.name}", package, parts, progress)
    write_page(evaluation, args.out)
    say(str(args.out))
    return 0
