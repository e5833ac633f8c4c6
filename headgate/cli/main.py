"""Finds the command, runs it, and turns what went wrong into one line and an exit code.

Exit codes: 0 done, 1 runtime failure, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from headgate import __version__
from headgate.cli.output import note
from headgate.core.errors import ConfigError, HeadgateError

#: In the order of ``headgate --help``; each is a module of this package with ``add_parser`` and
#: ``run``. The modules import what they need only when they run.
_COMMANDS = (
    "init",
    "run",
    "check",
    "test",
    "status",
    "devices",
    "alarms",
    "audit",
    "log",
    "quarantine",
    "notify",
    "action",
    "discover",
    "components",
    "demo",
    "replay",
    "simulate",
    "model",
    "evaluate",
    "bench",
    "lane",
)


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
    from headgate.installed.packages import check_packages

    try:
        check_packages()
        code: int = modules[args.command].run(args)
    except ConfigError as error:
        for problem in error.problems:
            # What shows where in a value it is stands indented below it.
            first, *pointer = problem.split("\n    ")
            note(first)
            for line in pointer:
                note(f"    {line}")
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
