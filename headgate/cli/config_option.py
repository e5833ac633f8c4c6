"""The option that names the configuration file, shared by the commands that need it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``-c FILE``."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=Path("headgate.toml"),
        metavar="FILE",
        help="configuration file (default: headgate.toml)",
    )
