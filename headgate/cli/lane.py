"""``headgate lane NAME``: one lane of a gateway; started by the supervisor, not by people."""

from __future__ import annotations

import argparse
from typing import Any

from headgate.cli.config_option import add_config_option


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line, without a line in its help."""
    parser = subparsers.add_parser("lane")
    parser.add_argument("name", choices=("ingest", "streams", "forward"))
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config
    from headgate.gateway.lane import run_lane

    return run_lane(args.name, load_config(args.config), args.config)
