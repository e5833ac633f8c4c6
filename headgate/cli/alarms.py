"""``headgate alarms``: the alarms of rules that are open, and those that were."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option
from headgate.core.text import json_line, printable

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.core.results import Alarm


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "alarms",
        help="list the alarms that are open",
        description=(
            "List the alarms of rules, the worst first, from the gateway's log: whether it runs "
            "or not. Alarms that the log has deleted (log.retention) stand in the sinks."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--all", action="store_true", help="those, too, that are over")
    parser.add_argument("--rule", metavar="NAME", help="of this rule only")
    parser.add_argument("--device", metavar="NAME", help="of the devices of this name only")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config
    from headgate.core.results import SEVERITIES

    config = load_config(args.config, check_files=False)
    alarms = [
        each
        for each in asyncio.run(_known(config))
        if (args.all or each.is_open)
        and args.rule in (None, each.rule)
        and args.device in (None, each.device)
    ]
    # What is open comes first, the worst of it before all; of equals the newest.
    alarms.sort(key=lambda each: each.start_ns, reverse=True)
    alarms.sort(key=lambda each: (each.is_open, SEVERITIES.index(each.severity)), reverse=True)
    if args.json:
        for each in alarms:
            print(json_line(_as_json(each)))
    else:
        _print(alarms)
    return 0


async def _known(config: Config) -> list[Alarm]:
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.alarms import known_alarms

    log = await open_existing_log(config, SystemClock())
    try:
        return await known_alarms(config, log)
    finally:
        await log.stop()


def _as_json(each: Alarm) -> dict[str, Any]:
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    return {
        "rule": each.rule,
        "severity": each.severity,
        "feed": each.feed,
        "device": each.device,
        "tags": dict(each.tags),
        "part": dict(each.part),
        "channel": each.channel or None,
        "text": each.text,
        "is_open": each.is_open,
        "start": iso_text(each.start_ns),
        "opened": iso_text(each.opened_ns),
        "over": None if each.is_open else iso_text(each.time_ns),
        "duration_s": None if each.is_open else (each.time_ns - each.start_ns) / NS_PER_S,
    }


def _print(alarms: list[Alarm]) -> None:
    from rich.console import Console
    from rich.table import Table

    from headgate.console.details import shown_s
    from headgate.core.channels import Device
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    table = Table("severity", "rule", "device")
    table.add_column("since (UTC)", no_wrap=True)
    table.add_column("lasted", justify="right")
    table.add_column("what")
    for each in alarms:
        label = Device(each.feed, each.device, (*each.tags, *each.part)).label
        lasted_s = (each.time_ns - each.start_ns) / NS_PER_S
        table.add_row(
            each.severity,
            printable(each.rule),
            printable(" ".join([label, *([each.channel] if each.channel else [])])),
            iso_text(each.start_ns)[:19].replace("T", " "),
            "open" if each.is_open else shown_s(lasted_s),
            printable(each.text),
        )
    console = Console(markup=False, highlight=False)
    if table.rows:
        console.print(table)
    count = sum(each.is_open for each in alarms)
    over = len(alarms) - count
    console.print(f"alarms: {count:,} open" + (f", {over:,} over" if over else ""))
