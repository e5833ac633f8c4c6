"""``headgate bench``: what the gateway costs on this machine."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

#: What four minutes are enough for.
_QUICK_PARTS = ("mosquitto_sub", "end_to_end", "plain_faust", "stages", "loads")


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="measure what the gateway costs on this machine",
        description=(
            "Measure the gateway end to end beside mosquitto_sub and plain Faust, every stage by "
            "itself, and how cost grows; see benchmarks/README.md. Needs a checkout of the source, "
            "mosquitto, and Java for Kafka."
        ),
    )
    parser.add_argument("--quick", action="store_true", help="four minutes instead of half an hour")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each; default 3, quick 1")
    parser.add_argument("--only", nargs="+", metavar="PART", default=[], help="only these parts")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.core.errors import ConfigError

    root = Path(__file__).parents[2]
    if not (root / "benchmarks" / "run.py").exists():
        raise ConfigError(
            "bench: expected a checkout of Headgate's source, found an installed package; "
            "clone the repository and run it there"
        )
    if args.runs is not None and args.runs < 1:
        raise ConfigError(f"--runs: expected 1 or more, got {args.runs}")
    # Started as a command, Python does not look into the checkout.
    sys.path.insert(0, str(root))
    try:
        from benchmarks.run import PARTS, Bench, print_tables, say
    except ImportError as error:
        raise ConfigError(
            f"bench: expected the development environment, found no {error.name}; "
            "run `make .venv/.ready`, then .venv/bin/headgate bench"
        ) from error
    unknown = [part for part in args.only if part not in PARTS]
    if unknown:
        raise ConfigError(f"--only: expected some of {', '.join(PARTS)}, got {unknown[0]!r}")
    from rich.console import Console

    # What was started is stopped by whoever started it, not left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parts = args.only or (_QUICK_PARTS if args.quick else PARTS)
    runs = args.runs or (1 if args.quick else 3)
    bench = Bench(runs=runs, seconds=5 if args.quick else 8, is_quick=args.quick, say=say)
    result = bench.run(parts)
    if args.json:
        print(json.dumps(result))
    else:
        print_tables(result, Console())
    return 0
