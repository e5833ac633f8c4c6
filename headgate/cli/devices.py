"""``headgate devices``: the devices that a gateway knows, and whether each is there."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option
from headgate.core.text import json_line, printable

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.inspect.devices import HeldValue, KnownDevice


#: Values that are shown of a device.
_SHOWN = 4


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "devices",
        help="list the devices, and whether each is there",
        description=(
            "List all devices that the gateway knows, from its log: whether it runs or not. A "
            "running gateway writes down what it knows within streams.snapshot_interval."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--feed", metavar="NAME", help="of this feed only")
    parser.add_argument("--offline", action="store_true", help="those only that are away")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError

    config = load_config(args.config, check_files=False)
    if args.feed is not None and args.feed not in config.feed:
        raise ConfigError(f"--feed: expected one of {', '.join(config.feed)}, got {args.feed}")
    devices = [
        each
        for each in asyncio.run(_known(config))
        if args.feed in (None, each.device.feed) and not (args.offline and each.state != "offline")
    ]
    if args.json:
        for each in devices:
            print(json_line(_as_json(each)))
    else:
        _print(devices)
    return 0


async def _known(config: Config) -> list[KnownDevice]:
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.devices import known_devices

    log = await open_existing_log(config, SystemClock())
    try:
        return await known_devices(config, log)
    finally:
        await log.stop()


def _as_json(each: KnownDevice) -> dict[str, Any]:
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    return {
        "feed": each.device.feed,
        "device": each.device.name,
        "tags": dict(each.device.tags),
        "state": each.state or None,
        "seen": None if each.seen_ns is None else iso_text(each.seen_ns),
        "period_s": each.period_ns / NS_PER_S if each.period_ns else None,
        "channels": each.channels,
        "rejected": each.rejected,
        "held": {
            held.channel.field: {
                "value": held.value,
                "unit": held.channel.unit,
                "since": iso_text(held.time_ns),
            }
            for held in each.held
        },
    }


def _shown_held(each: KnownDevice) -> str:
    """What its channels hold, of many the first."""
    words = [
        f"{held.channel.field} {_shown_value(held)}"
        for held in sorted(each.held, key=lambda held: held.channel.field)
    ]
    return ", ".join([*words[:_SHOWN], *(["…"] if len(words) > _SHOWN else [])])


def _shown_value(held: HeldValue) -> str:
    value = held.value if isinstance(held.value, str) else f"{held.value:g}"
    return f"{value} {held.channel.unit}" if held.channel.unit else value


def _print(devices: list[KnownDevice]) -> None:
    from rich.console import Console
    from rich.table import Table

    from headgate.console.details import shown_s
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    table = Table("feed", "device", "state")
    table.add_column("last seen (UTC)", no_wrap=True)
    for name in ("a reading every", "channels", "in quarantine"):
        table.add_column(name, justify="right")
    has_held = any(each.held for each in devices)
    if has_held:
        table.add_column("holds")
    for each in devices:
        table.add_row(
            printable(each.device.feed),
            printable(each.device.label),
            each.state or "-",
            "-" if each.seen_ns is None else iso_text(each.seen_ns)[:19].replace("T", " "),
            shown_s(each.period_ns / NS_PER_S) if each.period_ns else "-",
            f"{each.channels:,}",
            f"{each.rejected:,}",
            *([printable(_shown_held(each))] if has_held else []),
        )
    console = Console(markup=False, highlight=False)
    if table.rows:
        console.print(table)
    away = sum(each.state == "offline" for each in devices)
    console.print(f"devices: {len(devices):,}, away: {away:,}")
