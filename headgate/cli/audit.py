"""``headgate audit``: the account of every reading."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option

if TYPE_CHECKING:
    from rich.console import Console

    from headgate.config.schema import Config
    from headgate.inspect.audit import Account, Audit
    from headgate.inspect.sink_audit import SinkAccount

#: Accounts shown as rows; a fleet has more devices than a screen has lines.
_MOST_ROWS = 50


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "audit",
        help="settle the account of every reading",
        description=(
            "Read the log from end to end and settle, per device and span of event time, what was "
            "received against what was aggregated, rejected, or is still open; and per sink, what "
            "became of each point. Exits with 1 on any gap, and where the log has deleted what it "
            "would take to tell. Runs beside a running gateway."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--span", default="1h", metavar="DURATION", help="default: 1h")
    parser.add_argument(
        "--since",
        metavar="DURATION",
        help="only spans that began so long ago or later, such as 1d; default: all that is there",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError
    from headgate.core.units import parse_duration_ns

    given: dict[str, int | None] = {"span": None, "since": None}
    for name in given:
        try:
            text = getattr(args, name)
            given[name] = None if text is None else parse_duration_ns(text)
        except ValueError as error:
            raise ConfigError(f"--{name}: {error}") from error
    config = load_config(args.config, check_files=False)
    result = asyncio.run(_audit(config, given["span"] or 0, given["since"]))
    if args.json:
        print(json.dumps(_as_json(result)))
    else:
        _print(result)
    return 0 if result.is_balanced else 1


async def _audit(config: Config, span_ns: int, age_ns: int | None) -> Audit:
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.audit import audit

    log = await open_existing_log(config, SystemClock())
    try:
        return await audit(config, log, span_ns=span_ns, age_ns=age_ns)
    finally:
        await log.stop()


def _as_json(result: Audit) -> dict[str, Any]:
    return {
        "balanced": result.is_balanced,
        "totals": _numbers(result.sum()),
        "messages": dict(result.messages),
        "retried": dict(result.retried),
        "unchecked": [
            {"feed": device.feed, "device": device.name, "start": _text(start_ns)}
            for device, start_ns in result.unchecked
        ],
        "unread_records": result.unread,
        "sinks": [
            {"sink": sink, "topic": name, **_points(account)}
            for (sink, name), account in result.sinks.items()
        ],
        "commands": {action: dict(states) for action, states in result.commands.items()},
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


def _points(account: SinkAccount) -> dict[str, Any]:
    return {
        "balanced": account.is_balanced,
        "points": account.made,
        "acknowledged": account.acknowledged,
        "waiting": account.waiting,
        "let_go": dict(account.let_go),
        "passed_over": account.passed_over,
        "refused": account.refused,
        "evicted_records": account.evicted,
        "let_go_ever": dict(account.let_go_ever),
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
        taken = result.retried[reason]
        retried = f"; {taken} of them are received by now, by quarantine --retry" if taken else ""
        console.print(printable(f"{count} messages in quarantine: {reason}{retried}"))
    _print_sinks(result, console)
    for action, states in result.commands.items():
        said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        console.print(printable(f"commands of {action}: {said or 'none'}"))
    _print_verdict(result, console)


def _print_sinks(result: Audit, console: Console) -> None:
    from rich.table import Table

    table = Table(title="Points in the log by sink", title_justify="left")
    table.add_column("sink")
    table.add_column("of")
    columns = ("points", "acknowledged", "passed over", "waiting", "thinned", "given up")
    for name in (*columns, "refused", "evicted"):
        table.add_column(name, justify="right")
    for (sink, name), account in result.sinks.items():
        given_up = {reason: n for reason, n in account.let_go.items() if reason != "thinned"}
        table.add_row(
            sink,
            name,
            str(account.made),
            str(account.acknowledged),
            str(account.passed_over),
            str(account.waiting),
            str(account.let_go["thinned"]),
            ", ".join(f"{count} {reason}" for reason, count in given_up.items()) or "0",
            str(account.refused),
            f"{account.evicted} records" if account.evicted else "0",
        )
    if result.sinks:
        console.print(table)


def _print_verdict(result: Audit, console: Console) -> None:
    if result.unread:
        console.print(
            f"{result.unread} records of readings were deleted before they were worked on: the log "
            "was over log.retention_bytes"
        )
    for (sink, name), account in result.sinks.items():
        if account.evicted:
            console.print(
                f"{sink}: {account.evicted} records of {name} were deleted before it had taken "
                "them: the log was over log.retention_bytes"
            )
    total = result.sum()
    equation = (
        f"{total.received} received = {total.aggregated} aggregated + "
        f"{total.rejected.total()} rejected + {total.open} open"
    )
    if result.is_balanced:
        console.print(f"balanced: {equation}")
        return
    if result.has_gaps:
        console.print(f"NOT balanced: {equation}")
    elif result.unread or not all(each.is_balanced for each in result.sinks.values()):
        console.print("NOT balanced: records were deleted before their time, see above")
    if result.unchecked:
        console.print(
            f"NOT settled: {len(result.unchecked)} of {len(result.accounts)} spans can't be "
            "checked, for the log has deleted part of them (evicted); --since leaves out older ones"
        )
