"""``headgate log``: look after what the log holds."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from headgate.cli.config_option import add_config_option
from headgate.cli.times import time_ns
from headgate.core.text import csv_cell, json_line, printable

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.inspect.log_contents import TopicReport

_TOPICS = ("readings", "aggregates", "anomalies", "quarantine")

#: Damaged records that are listed one by one.
_MOST_LINES = 50


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser("log", help="check the log, or export what it holds")
    commands = parser.add_subparsers(dest="log_command", required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="read every record and see whether it is whole",
        description=(
            "Read the log from end to end, check what can be checked of each record, and of the "
            "embedded log the file itself. Exits with 1 when anything is damaged. Runs beside a "
            "running gateway."
        ),
    )
    add_config_option(verify)
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    export = commands.add_parser(
        "export",
        help="write a topic's rows out as text",
        description="Write rows as JSON lines or CSV, oldest record first.",
    )
    add_config_option(export)
    export.add_argument("--topic", choices=_TOPICS, default="readings", help="default: readings")
    export.add_argument("--from", dest="begin", metavar="TIME", help="from this event time on")
    export.add_argument("--to", dest="end", metavar="TIME", help="before this event time")
    export.add_argument("--device", metavar="NAME", help="of this device only")
    export.add_argument("--format", choices=("ndjson", "csv"), default="ndjson")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: stdout")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config

    config = load_config(args.config, check_files=False)
    if args.log_command == "export":
        return asyncio.run(_export(config, args))
    reports, file_problems = asyncio.run(_verify(config))
    damaged = sum(len(report.damaged) for report in reports)
    if args.json:
        print(json.dumps(_as_json(reports, file_problems)))
    else:
        _print(reports, file_problems)
    return 1 if damaged or file_problems else 0


async def _verify(config: Config) -> tuple[list[TopicReport], list[str]]:
    from rich.progress import Progress

    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.log_contents import verify

    log = await open_existing_log(config, SystemClock())
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task("reading the log", total=None)

            def show(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            reports = await verify(config, log, show)
    finally:
        await log.stop()
    problems: list[str] = []
    if config.log.is_embedded:
        from connectors.logs.embedded.database import open_reader
        from connectors.logs.embedded.upkeep import file_problems

        with closing(open_reader(config.log_path)) as connection:
            problems = await asyncio.to_thread(file_problems, connection, config.log_path)
    return reports, problems


async def _export(config: Config, args: argparse.Namespace) -> int:
    import sys

    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.inspect.log_contents import Filter, exported

    wanted = Filter(time_ns("--from", args.begin), time_ns("--to", args.end), args.device)
    log = await open_existing_log(config, SystemClock())
    try:
        try:
            output = (
                nullcontext(sys.stdout)
                if args.output is None
                else args.output.open("w", encoding="utf-8", newline="")
            )
        except OSError as error:
            raise ConfigError(
                f"--output: expected a file that can be written, got {args.output}: "
                f"{error.strerror}"
            ) from error
        with output as target:
            write = _Writer(target, is_csv=args.format == "csv")
            async for rows in exported(config, log, args.topic, wanted):
                write.rows(rows)
    finally:
        await log.stop()
    return 0


class _Writer:
    def __init__(self, target: TextIO, *, is_csv: bool) -> None:
        self._target = target
        self._is_csv = is_csv
        self._csv: Any = None

    def rows(self, rows: Iterator[dict[str, Any]]) -> None:
        """Write rows; the names of the first are the columns."""
        import csv

        for row in rows:
            if not self._is_csv:
                self._target.write(json_line(row) + "\n")
                continue
            if self._csv is None:
                self._csv = csv.DictWriter(self._target, list(row))
                self._csv.writeheader()
            cells = {**row, "tags": json_line(row["tags"])}
            self._csv.writerow({name: csv_cell(value) for name, value in cells.items()})


def _as_json(reports: Sequence[TopicReport], file_problems: list[str]) -> dict[str, Any]:
    return {
        "whole": not file_problems and not any(report.damaged for report in reports),
        "file": file_problems,
        "topics": [
            {
                "topic": report.topic,
                "partitions": report.partitions,
                "records": report.records,
                "rows": report.rows,
                "bytes": report.size_bytes,
                "oldest_ms": report.oldest_ms,
                "newest_ms": report.newest_ms,
                "damaged": report.damaged,
            }
            for report in reports
        ],
    }


def _print(reports: Sequence[TopicReport], file_problems: list[str]) -> None:
    from datetime import UTC

    from rich.console import Console
    from rich.table import Table

    def time(ms: int | None) -> str:
        return "" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"

    table = Table(title="What the log holds", title_justify="left")
    for name in ("topic", "records", "rows", "bytes", "oldest", "newest", "damaged"):
        table.add_column(name, justify="left" if name in ("topic", "oldest", "newest") else "right")
    for report in reports:
        counts = (report.records, report.rows, report.size_bytes)
        table.add_row(
            report.topic,
            *(f"{count:,}" for count in counts),
            time(report.oldest_ms),
            time(report.newest_ms),
            str(len(report.damaged)),
        )
    console = Console(markup=False, highlight=False)
    console.print(table)
    damaged = [line for report in reports for line in report.damaged]
    for line in (*file_problems, *damaged[:_MOST_LINES]):
        console.print(printable(line))
    if len(damaged) > _MOST_LINES:
        console.print(f"… and {len(damaged) - _MOST_LINES} more; --json prints all")
    is_whole = not damaged and not file_problems
    console.print("whole" if is_whole else "DAMAGED: see above; readers put such records aside")
