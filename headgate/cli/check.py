"""``headgate check``: is the configuration right? Connects to nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from headgate.cli.config_option import add_config_option


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration without connecting",
        description=(
            "Check the configuration, the files it names and its model packages, and print every "
            "problem with its line. Exits with 0 when there is none, else with 2."
        ),
    )
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config, located
    from headgate.core.channels import ChannelTable
    from headgate.core.errors import ConfigError
    from streams.pipeline import build_pipeline

    config = load_config(args.config)
    try:
        build_pipeline(config, ChannelTable())
    except ConfigError as error:
        raise ConfigError(located(args.config, error.problems)) from error
    print(
        f"{args.config}: good: {_count(config.feed, 'feed')}, "
        f"{_count(config.model, 'model')}, log {config.log.url}"
    )
    return 0


def _count(things: Mapping[str, object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
