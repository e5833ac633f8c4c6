"""Finds the command, runs it, and turns what went wrong into one line and an exit code.

Exit codes: 0 done, 1 runtime failure, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from headgate import __version__
from headgate.cli.output import note
from headgate.core.errors import ConfigError, HeadgateError

#: In the order of ``headgate --help``; each is a module of this package with ``add_parser`` and
#: ``run``. The modules import what they need only when they run.
_COMMANDS = (
    "run",
    "check",
    "status",
    "audit",
    "log",
    "demo",
    "replay",
    "simulate",
    "model",
    "evaluate",
    "bench",
    "lane",
)

_OWN_PACKAGES = ("streams", "connectors", "models")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="headgate",
        description="Streaming analytics for edge gateways: MQTT in, anomalies and aggregates out.",
    )
    parser.add_argument("--version", action="version", version=f"headgate {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: importlib.import_module(f"headgate.cli.{name}") for name in _COMMANDS}
    for module in modules.values():
        module.add_parser(subparsers)
    try:
        args = parser.parse_args(arguments)
    except SystemExit as request:
        return request.code if isinstance(request.code, int) else 2
    try:
        _check_packages()
        code: int = modules[args.command].run(args)
    except ConfigError as error:
        for problem in error.problems:
            note(problem)
        return 2
    except HeadgateError as error:
        note(f"headgate {args.command}: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _check_packages() -> None:
    """Refuse to run with somebody else's package in the place of one of ours.

    ``streams``, ``connectors`` and ``models`` are common names: a folder of that name in the
    working directory, or another distribution, could take their place.
    """
    root = Path(__file__).parents[2]
    for name in _OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin) if spec is not None and spec.origin else None
        if found is None or found.parents[1] != root:
            raise ConfigError(
                f"headgate: expected its own package {name!r} in {root}, got {found}; "
                "install Headgate in a virtual environment of its own"
            )
