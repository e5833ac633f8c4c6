"""``headgate check``: is the configuration right? Connects to nothing."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option

if TYPE_CHECKING:
    from headgate.config.schema import Config


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration without connecting",
        description=(
            "Check the configuration, the files it names and its model packages, and print every "
            "problem with its line. Exits with 0 when there is none, else with 2. Settings that "
            "work and are not secure are warned of."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--strict", action="store_true", help="exit with 2 on warnings, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.insecure import insecure
    from headgate.config.load import located
    from headgate.core.errors import ConfigError

    try:
        config = _checked(args.config)
    except ConfigError as error:
        if not args.json:
            raise
        print(json.dumps({"good": False, "problems": error.problems, "warnings": []}))
        return 2
    warnings = located(args.config, insecure(config, args.config))
    if args.json:
        print(
            json.dumps(
                {
                    "good": not (args.strict and warnings),
                    "problems": [],
                    "warnings": warnings,
                    "feeds": list(config.feed),
                    "models": list(config.model),
                    "log": config.log.url,
                }
            )
        )
    else:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(
            f"{args.config}: {_verdict(len(warnings))}: {_count(len(config.feed), 'feed')}, "
            f"{_count(len(config.model), 'model')}, log {config.log.url}"
        )
    return 2 if args.strict and warnings else 0


def _checked(path: Path) -> Config:
    """The configuration, if it and all that it names are right.

    Raises:
        ConfigError: They are not; a line a problem.
    """
    from headgate.config.load import load_config, located
    from headgate.core.channels import ChannelTable
    from headgate.core.errors import ConfigError
    from streams.pipeline import build_pipeline

    config = load_config(path)
    try:
        build_pipeline(config, ChannelTable())
    except ConfigError as error:
        raise ConfigError(located(path, error.problems)) from error
    return config


def _verdict(warnings: int) -> str:
    return "good" if not warnings else f"good, with {_count(warnings, 'warning')}"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
