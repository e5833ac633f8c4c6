"""``headgate lane NAME``: one lane of a gateway; started by the supervisor, not by people."""

from __future__ import annotations

import argparse
from typing import Any

from headgate.cli.config_option import add_config_option


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line, without a line in its help."""
    parser = subparsers.add_parser("lane")
    parser.add_argument("name")
    parser.add_argument("--workers", type=int, default=1)
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.gateway.process import load_small

    load_small()
    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError
    from headgate.gateway.lane import run_lane
    from headgate.gateway.report import lane_names

    names = lane_names(args.workers)
    if args.name not in names:
        raise ConfigError(f"lane: expected one of {', '.join(names)}, got {args.name!r}")
    return run_lane(args.name, load_config(args.config), args.config, args.workers)
