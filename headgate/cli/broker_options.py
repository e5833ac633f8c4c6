"""Options of the commands that publish as devices do: which broker, and how to log in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connectors.replay.publisher import Publisher
    from headgate.core.clock import Clock


def add_broker_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--host``, ``--port``, ``--qos`` and what else a connection needs."""
    broker = parser.add_argument_group("broker")
    broker.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    broker.add_argument("--port", type=int, default=1883, help="default: 1883")
    broker.add_argument("--qos", type=int, choices=(0, 1, 2), default=1, help="default: 1")
    broker.add_argument("--username", metavar="NAME")
    broker.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file that holds the password"
    )
    broker.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificate authority; switches TLS on"
    )
    broker.add_argument(
        "--mqtt-version", choices=("3.1.1", "5"), default="5", help="default: 5", metavar="VERSION"
    )


def open_publisher(args: argparse.Namespace, clock: Clock) -> Publisher:
    """The publisher that the options describe, not connected yet.

    Raises:
        ConfigError: The port is none, or a file that was named can't be read.
    """
    from connectors.replay.publisher import Publisher
    from headgate.core.errors import ConfigError

    problems = []
    if not 1 <= args.port <= 65_535:
        problems.append(f"--port: expected 1 to 65535, got {args.port}; 1883 is the usual one")
    password = None
    if args.password_file is not None:
        try:
            password = args.password_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(
                f"--password-file: expected a text file, got {args.password_file} ({error}); "
                f"check its path and mode"
            )
        if args.username is None:
            problems.append("--password-file: expected --username with it, got none; give both")
    if args.ca_file is not None and not args.ca_file.is_file():
        problems.append(f"--ca-file: expected a file, got {args.ca_file}; check its path")
    if problems:
        raise ConfigError(problems)
    return Publisher(
        args.host,
        args.port,
        clock,
        qos=args.qos,
        version=args.mqtt_version,
        username=args.username,
        password=password,
        ca_file=args.ca_file,
    )
