"""``headgate quarantine --retry``: what the configuration reads by now is taken after all."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from headgate.cli.output import say
from headgate.core.errors import ConfigError, HeadgateError

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.inspect.retry import Outcome, Retry, Wanted

#: Options that say of which messages ``--retry`` is.
_CHOOSING = ("feed", "reason", "since")


def add_retry_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``headgate quarantine``."""
    parser.add_argument(
        "--retry",
        action="store_true",
        help="decode the messages anew, and take those that are readings now",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="with --retry: only show what would be taken; also beside a running gateway",
    )
    parser.add_argument("--feed", metavar="NAME", help="with --retry: of this feed only")
    parser.add_argument("--reason", metavar="WORD", help="with --retry: refused for this only")
    parser.add_argument(
        "--since",
        metavar="DURATION",
        help="with --retry: only what arrived so long ago or later, such as 1d",
    )


def is_retry(args: argparse.Namespace) -> bool:
    """Whether this is what is asked for; raises ConfigError for its options without it."""
    given = ["dry-run"] if args.dry_run else []
    given += [name for name in _CHOOSING if getattr(args, name) is not None]
    if given and not args.retry:
        raise ConfigError(f"--{given[0]}: expected --retry with it, got none; give both")
    retry: bool = args.retry
    return retry


def run_retry(args: argparse.Namespace) -> int:
    """Take what can be read now, or show it; its exit code."""
    from headgate.config.load import load_config
    from headgate.core.clock import SystemClock
    from headgate.core.logging import configure_logging
    from headgate.gateway.lock import without_gateway

    config = load_config(args.config, check_files=False)
    # What the decoder says by the way is in the table.
    configure_logging("error", config.logging.format)
    wanted = _wanted(args, config, SystemClock().wall_ns())
    folder = config.gateway.data_dir
    with nullcontext() if args.dry_run else without_gateway(folder):
        asyncio.run(_retry(args, config, wanted))
    return 0


def _wanted(args: argparse.Namespace, config: Config, now_ns: int) -> Wanted:
    from headgate.core.units import parse_duration_ns
    from headgate.inspect.retry import Wanted

    if args.feed is not None and args.feed not in config.feed:
        raise ConfigError(f"--feed: expected one of {', '.join(config.feed)}, got {args.feed!r}")
    if args.since is None:
        return Wanted(args.feed, args.reason)
    try:
        age_ns = parse_duration_ns(args.since)
    except ValueError as error:
        raise ConfigError(f"--since: {error}") from error
    return Wanted(args.feed, args.reason, now_ns - age_ns)


async def _retry(args: argparse.Namespace, config: Config, wanted: Wanted) -> None:
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.retry import Retry

    clock, takes = SystemClock(), not args.dry_run
    log = await open_existing_log(config, clock, writes=takes)
    try:
        retry = Retry(config, log, clock, wanted, takes=takes)
        try:
            await retry.run()
        except HeadgateError:
            # What was taken stays so, whatever has ended it.
            if any(each.taken for each in retry.outcomes):
                _tell(args, retry, is_whole=False)
            raise
    finally:
        await log.stop()
    if wanted.reason is not None and retry.reasons and wanted.reason not in retry.reasons:
        there = ", ".join(sorted(retry.reasons))
        raise ConfigError(
            f"--reason: expected one that messages in quarantine have ({there}), got "
            f"{wanted.reason!r}"
        )
    _tell(args, retry)


def _tell(args: argparse.Namespace, retry: Retry, *, is_whole: bool = True) -> None:
    """Say what has become of the messages that were tried; of all of them, or so far."""
    if args.json:
        for outcome in retry.outcomes:
            print(json.dumps(_as_json(outcome)))
    elif retry.outcomes:
        _print(retry.outcomes, is_dry=args.dry_run, is_whole=is_whole)
    elif retry.others:
        say(f"no message of those asked for waits in quarantine; {retry.others} others do")
    else:
        say("no message in quarantine waits to be tried")


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "feed": outcome.feed,
        "reason": outcome.reason,
        "messages": outcome.messages,
        "taken": outcome.taken,
        "readings": outcome.readings,
        "refused": dict(outcome.refused),
        "left": dict(outcome.left),
    }


def _print(outcomes: Sequence[Outcome], *, is_dry: bool, is_whole: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from headgate.core.text import printable
    from headgate.inspect.retry import WHY_LEFT

    table = Table(title="Messages in quarantine, decoded anew", title_justify="left")
    table.add_column("feed")
    table.add_column("refused as")
    for name in ("messages", "would be taken" if is_dry else "taken", "readings"):
        table.add_column(name, justify="right")
    table.add_column("still refused")
    table.add_column("left")
    for each in outcomes:
        table.add_row(
            printable(each.feed) or "-",
            printable(each.reason),
            str(each.messages),
            str(each.taken),
            str(each.readings),
            _counts(each.refused),
            _counts(each.left),
        )
    console = Console(markup=False, highlight=False)
    console.print(table)
    for word in sorted({word for each in outcomes for word in each.left}):
        say(f"left ({word}): {WHY_LEFT[word]}")
    messages, readings = (sum(each.taken for each in outcomes), sum(e.readings for e in outcomes))
    if is_dry:
        say(f"{readings} readings of {messages} messages would be taken, and nothing was changed")
    elif not is_whole:
        say(f"took {readings} readings of {messages} messages so far; call this again")
    else:
        say(f"took {readings} readings of {messages} messages: start the gateway again")


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counted.most_common()) or "0"
