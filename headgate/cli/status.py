"""``headgate status``: what the running gateway is doing, on one screen."""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from typing import Any

from headgate.cli.config_option import add_config_option


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="show what the running gateway is doing",
        description="Ask the running gateway's console how it is doing.",
    )
    add_config_option(parser)
    parser.add_argument("--url", metavar="URL", help="the console, instead of -c's")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.core.errors import TransientError

    url = args.url or _console_url(args)
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/status", timeout=5) as reply:  # noqa: S310
            status = json.load(reply)
    except (OSError, ValueError) as error:
        raise TransientError(f"expected a running gateway at {url}, got {error}") from error
    if args.json:
        print(json.dumps(status))
    else:
        _print(status)
    return 0


def _console_url(args: argparse.Namespace) -> str:
    from headgate.config.load import load_config

    console = load_config(args.config).console
    return f"http://{console.host}:{console.port}"


def _print(status: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    lanes = Table("lane", "state", "restarts", "cpu s", "memory MB", title="Lanes")
    for name, lane in status["lanes"].items():
        lanes.add_row(
            name,
            "ready" if lane["ready"] else f"not ready: {lane['reason']}",
            str(lane["restarts"]),
            f"{status['cpu_seconds'].get(name, 0):.1f}",
            f"{status['resident_bytes'].get(name, 0) / 1e6:.0f}",
        )
    sinks = Table("sink", "points", "bytes", "retries", "backlog", title="Sinks")
    for name, sink in status["sinks"].items():
        sinks.add_row(
            name,
            *(f"{sink[key]:,.0f}" for key in ("points", "bytes", "retries", "backlog_records")),
        )
    totals, rates, inference = status["totals"], status["rates"], status["inference"]
    console = Console()
    console.print(lanes)
    console.print(
        f"in        {rates['messages_per_s']:,.0f} messages/s, {rates['rows_per_s']:,.0f} readings/s"
        f"   (total {totals['messages']:,.0f} messages, {totals['rows']:,.0f} readings)"
    )
    if inference["mean_batch"] is not None:
        console.print(
            f"inference {totals['windows']:,.0f} windows, {inference['mean_batch']:.1f} a run, "
            f"{1000 * (inference['mean_s'] or 0):.2f} ms a run"
        )
    console.print(
        f"out       {totals['aggregates']:,.0f} aggregates, {totals['anomalies']:,.0f} anomalies "
        f"({totals['open_anomalies']:,.0f} open)"
    )
    held_back = ", ".join(f"{n:,.0f} {reason}" for reason, n in status["quarantined"].items() if n)
    console.print(f"quarantine {held_back or 'empty'}")
    console.print(f"busiest   {status['busiest_stage'] or '-'}")
    console.print(sinks)
