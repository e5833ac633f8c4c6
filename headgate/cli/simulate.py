"""``headgate simulate``: a fleet of pumps that publishes over MQTT, or writes a CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from headgate.cli.broker_options import add_broker_options, open_publisher
from headgate.cli.numbers import count, positive, rate_hz

#: Where a CSV file's times begin: a fixed instant (2026-01-01 00:00 UTC), so that the same
#: options write the same bytes.
_CSV_START_NS = 1_767_225_600_000_000_000

#: In a run without end the faults' script is this long, and begins anew after it.
_ROUND_S = 600.0


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="publish a fleet of simulated pumps over MQTT, or write it to a CSV file",
        description="Simulate a fleet of pumps. The same seed gives the same readings.",
    )
    parser.add_argument("--devices", type=count, default=20, metavar="N", help="default: 20")
    parser.add_argument(
        "--rate", type=rate_hz, default=10.0, metavar="HZ", help="of each pump (default: 10)"
    )
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="default: until stopped; needed with --csv"
    )
    parser.add_argument("--seed", type=count, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--faults",
        choices=("none", "demo"),
        default="none",
        help=f"demo: eight faults; in a run without end every {_ROUND_S:.0f} s (default: none)",
    )
    parser.add_argument("--topic", help="default: plant/{line}/{device}/telemetry")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a file, publish nothing")
    add_broker_options(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit code."""
    return _write(args) if args.csv is not None else _publish(args)


def _write(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from connectors.simulator.faults import demo_faults
    from connectors.simulator.fleet import Fleet
    from connectors.simulator.recording import write_csv
    from headgate.core.errors import ConfigError

    if args.seconds is None:
        raise ConfigError("--seconds: expected how much to write with --csv, got nothing; give it")
    faults = demo_faults(args.devices, _CSV_START_NS, args.seconds) if args.faults == "demo" else ()
    fleet = Fleet(args.devices, args.rate, args.seed, start_ns=_CSV_START_NS, faults=faults)
    steps = max(1, round(args.seconds * args.rate))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Simulating", total=steps)
        try:
            rows = write_csv(
                fleet, args.csv, steps, progress=lambda done: progress.update(task, completed=done)
            )
        except OSError as error:
            raise ConfigError(
                f"--csv: expected a file that can be written, got {args.csv} "
                f"({error.strerror}); give another path"
            ) from error
        progress.update(task, completed=steps)
    print(f"Wrote {rows} rows to {args.csv}.")
    return 0


def _publish(args: argparse.Namespace) -> int:
    import signal
    import threading

    from connectors.simulator.faults import demo_faults
    from connectors.simulator.fleet import Fleet
    from connectors.simulator.payload import DEFAULT_TOPIC, PayloadWriter
    from connectors.simulator.run import run_fleet
    from headgate.core.clock import SystemClock

    clock = SystemClock()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    start_ns = clock.wall_ns()
    faults = (
        demo_faults(args.devices, start_ns, args.seconds or _ROUND_S)
        if args.faults == "demo"
        else ()
    )
    fleet = Fleet(
        args.devices,
        args.rate,
        args.seed,
        start_ns=start_ns,
        faults=faults,
        repeat_faults_s=_ROUND_S if args.seconds is None else None,
    )
    writer = PayloadWriter(fleet, args.topic or DEFAULT_TOPIC)
    steps = None if args.seconds is None else max(1, round(args.seconds * args.rate))
    with open_publisher(args, clock) as publisher:
        print(f"Publishing {args.devices} pumps at {args.rate:g} Hz.", flush=True)
        messages = run_fleet(fleet, writer, publisher, clock, steps=steps, stop=stop)
    print(f"Published {messages} messages, all confirmed.")
    return 0
