"""``headgate audit``: the account of every reading."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from streams.audit import Account, Audit

#: Accounts shown as rows; a fleet has more devices than a screen has lines.
_MOST_ROWS = 50


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "audit",
        help="settle the account of every reading",
        description=(
            "Read the log from end to end and settle, per device and span of event time, what was "
            "received against what was aggregated, rejected, or is still open. Exits with 1 on "
            "any gap. Runs beside a running gateway."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--span", default="1h", metavar="DURATION", help="default: 1h")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config
    from headgate.config.units import parse_duration_ns
    from headgate.core.errors import ConfigError

    try:
        span_ns = parse_duration_ns(args.span)
    except ValueError as error:
        raise ConfigError(f"--span: {error}") from error
    result = asyncio.run(_audit(load_config(args.config, check_files=False), span_ns))
    if args.json:
        print(json.dumps(_as_json(result)))
    else:
        _print(result)
    return 0 if result.is_balanced else 1


async def _audit(config: Config, span_ns: int) -> Audit:
    from connectors.logs import open_existing_log
    from headgate.core.clock import SystemClock
    from streams.audit import audit

    log = await open_existing_log(config, SystemClock())
    try:
        return await audit(config, log, span_ns=span_ns)
    finally:
        await log.stop()


def _as_json(result: Audit) -> dict[str, Any]:
    return {
        "balanced": result.is_balanced,
        "totals": _numbers(result.sum()),
        "messages": dict(result.messages),
        "accounts": [
            {
                "feed": device.feed,
                "device": device.name,
                "tags": dict(device.tags),
                "start": _text(start_ns),
                **_numbers(account),
            }
            for (device, start_ns), account in result.accounts.items()
        ],
    }


def _numbers(account: Account) -> dict[str, Any]:
    return {
        "received": account.received,
        "aggregated": account.aggregated,
        "rejected": dict(account.rejected),
        "open": account.open,
        "in_log": account.in_log,
        "evicted": account.is_evicted,
        "gap": account.gap,
    }


def _text(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _print(result: Audit) -> None:
    from rich.console import Console
    from rich.table import Table

    from headgate.core.text import printable

    table = Table(title="Readings by device and span", title_justify="left")
    table.add_column("device")
    table.add_column("from")
    for name in ("received", "aggregated", "rejected", "open", "gap"):
        table.add_column(name, justify="right")
    # Gaps first: they are what one runs this for.
    ordered = sorted(result.accounts.items(), key=lambda item: -abs(item[1].gap))
    for (device, start_ns), account in ordered[:_MOST_ROWS]:
        table.add_row(
            printable(f"{device.feed}/{device.label}"),
            _text(start_ns),
            str(account.received),
            str(account.aggregated),
            ", ".join(f"{count} {reason}" for reason, count in account.rejected.items()) or "0",
            str(account.open),
            "evicted" if account.is_evicted else str(account.gap),
        )
    console = Console(markup=False, highlight=False)
    console.print(table)
    if len(ordered) > _MOST_ROWS:
        console.print(f"… and {len(ordered) - _MOST_ROWS} more; --json prints all")
    for reason, count in result.messages.items():
        console.print(printable(f"{count} messages in quarantine: {reason}"))
    total = result.sum()
    verdict = "balanced" if result.is_balanced else "NOT balanced"
    console.print(
        f"{verdict}: {total.received} received = {total.aggregated} aggregated + "
        f"{total.rejected.total()} rejected + {total.open} open"
    )
