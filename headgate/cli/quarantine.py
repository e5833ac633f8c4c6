"""``headgate quarantine``: what could not be used, why, and what would take it."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option
from headgate.cli.output import say
from headgate.cli.quarantine_retry import add_retry_options, is_retry, run_retry

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.inspect.quarantine import Kind

#: Characters of an example that are shown.
_SHOWN = 160


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "quarantine",
        help="list what could not be used, why, and the line of configuration that would take it",
        description=(
            "List what stands in quarantine by reason and feed: how much, from where, an example, "
            "and the nearest change of the configuration that takes it. Each change was tried on "
            "the example by the gateway's own decoder. Reads the log beside a running gateway. "
            "With --retry, messages that the configuration reads by now are taken; the gateway "
            "must be stopped for that."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    add_retry_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config
    from headgate.core.logging import configure_logging

    if is_retry(args):
        return run_retry(args)
    config = load_config(args.config, check_files=False)
    configure_logging("error", config.logging.format)
    listed = asyncio.run(_kinds(config))
    if args.json:
        for number, kind in enumerate(listed, 1):
            say(json.dumps(_as_json(number, kind), ensure_ascii=False))
        return 0
    if not listed:
        say("quarantine is empty")
    for number, kind in enumerate(listed, 1):
        _print(number, kind)
    return 0


async def _kinds(config: Config) -> list[Kind]:
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.quarantine import kinds

    log = await open_existing_log(config, SystemClock())
    try:
        return await kinds(config, log)
    finally:
        await log.stop()


def _as_json(number: int, kind: Kind) -> dict[str, Any]:
    from headgate.core.iso import iso_text

    example = kind.example
    return {
        "number": number,
        "reason": kind.reason,
        "feed": kind.feed,
        "count": kind.count,
        "sources": dict(kind.most_from),
        "newest": iso_text(kind.newest_ns),
        "detail": "" if example is None else example.told,
        "source": "" if example is None else example.source,
        "payload": None if example is None else example.payload.decode(errors="backslashreplace"),
        "remedies": [
            {"lines": [list(line) for line in each.lines], "gives": each.gives}
            for each in kind.remedies
        ],
    }


def _print(number: int, kind: Kind) -> None:
    from headgate.inspect.quarantine import is_whole

    of = f" of feed {kind.feed}" if kind.feed else ""
    say(f"{number}. {kind.reason}: {kind.count:,}{of}")
    sources = ", ".join(f"{source[:_SHOWN]} ({count:,})" for source, count in kind.most_from)
    say(f"   from     {sources}")
    example = kind.example
    if example is None:
        return
    payload = example.payload[:_SHOWN].decode(errors="backslashreplace")
    cut = "" if len(example.payload) <= _SHOWN else "…"
    say(f"   example  {example.source.removeprefix('mqtt:')[:_SHOWN]} {payload}{cut}")
    say(f"   because  {example.told}")
    for remedy in kind.remedies:
        for at, (table, line) in enumerate(remedy.lines):
            say(f"   {'' if at else 'remedy':<8} in {table}: {line}")
        say(f"            gives {remedy.gives}")
    if not kind.remedies and not is_whole(example):
        say("            only part of it was kept, so that nothing can be tried on it")
