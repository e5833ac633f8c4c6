"""``headgate run``: the gateway in the foreground."""

from __future__ import annotations

import argparse
from typing import Any

from headgate.cli.config_option import add_config_option


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run the gateway in the foreground",
        description=(
            "Run the gateway until SIGTERM or SIGINT. It then finishes what is in hand and exits "
            "with 0; a second signal ends it at once. Nothing acknowledged is lost either way."
        ),
    )
    add_config_option(parser)
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that divide the log's partitions among themselves; default streams.workers",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.gateway.process import load_small

    load_small()
    from headgate.config.load import load_config
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.core.logging import configure_logging
    from headgate.gateway.supervisor import run_gateway

    config = load_config(args.config)
    configure_logging(config.logging.level, config.logging.format, lane="supervisor")
    workers = config.streams.workers if args.workers is None else args.workers
    if not 1 <= workers <= config.log.partitions:
        raise ConfigError(
            f"--workers: expected 1 to {config.log.partitions}, the partitions of the log, "
            f"got {workers}; see log.partitions"
        )
    return run_gateway(config, args.config.absolute(), SystemClock(), workers)
