"""``headgate alarms``: alarms of rules that are open, those that were, and what is said of them."""

from __future__ import annotations

import argparse
import asyncio
import getpass
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option
from headgate.core.errors import ConfigError
from headgate.core.text import json_line, printable

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.core.results import AlarmNote
    from headgate.inspect.alarms import KnownAlarm

#: Characters of a comment, and of who says it.
_MAX_COMMENT, _MAX_NAME = 1000, 100


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "alarms",
        help="list the alarms that are open, and answer them",
        description=(
            "List the alarms of rules, the worst first, from the gateway's log: whether it runs "
            "or not. Alarms that the log has deleted (log.retention) stand in the sinks. With "
            "--acknowledge or --comment, what is listed is answered: it is written down who has "
            "said so, and goes to the sinks."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--all", action="store_true", help="those, too, that are over")
    parser.add_argument(
        "--unacknowledged", action="store_true", help="those that nobody has acknowledged"
    )
    parser.add_argument("--rule", metavar="NAME", help="of this rule only")
    parser.add_argument("--device", metavar="NAME", help="of the devices of this name only")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="say that they have been seen to; with --rule or --device",
    )
    parser.add_argument("--comment", metavar="TEXT", help="say this of them; likewise")
    parser.add_argument("--by", metavar="NAME", help="who says it; not given: the user's name")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config

    _check(args)
    config = load_config(args.config, check_files=False)
    alarms = asyncio.run(_known(args, config))
    if args.json:
        for each in alarms:
            print(json_line(_as_json(each)))
    else:
        _print(alarms)
    return 0


def _check(args: argparse.Namespace) -> None:
    is_answer = args.acknowledge or args.comment is not None
    if is_answer and args.rule is None and args.device is None:
        raise ConfigError(
            "--acknowledge, --comment: expected --rule or --device with it, got none; say which "
            "alarms are meant"
        )
    if args.by is not None and not is_answer:
        raise ConfigError("--by: expected --acknowledge or --comment with it, got none")
    for option, text, most in (
        ("comment", args.comment, _MAX_COMMENT),
        ("by", args.by, _MAX_NAME),
    ):
        if text is not None and not 1 <= len(text.strip()) <= most:
            raise ConfigError(f"--{option}: expected a text of 1 to {most:,} characters")


async def _known(args: argparse.Namespace, config: Config) -> list[KnownAlarm]:
    """What is asked for, once it has been answered where that is asked for, too."""
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.core.results import severity_rank
    from headgate.inspect.alarms import known_alarms, say_of

    is_answer = args.acknowledge or args.comment is not None
    by = (args.by or _user()).strip() if is_answer else ""
    clock = SystemClock()
    log = await open_existing_log(config, clock)
    try:
        chosen = [each for each in await known_alarms(config, log) if _is_chosen(args, each)]
        if is_answer:
            meant = {each.identity for each in chosen if args.comment or not each.acknowledged}
            await say_of(
                config,
                log,
                [each.alarm for each in chosen if each.identity in meant],
                by=by,
                time_ns=clock.wall_ns(),
                acknowledges=args.acknowledge,
                comment=(args.comment or "").strip(),
            )
            chosen = [each for each in await known_alarms(config, log) if each.identity in meant]
    finally:
        await log.stop()
    # What is open comes first, the worst of it before all; of equals the newest.
    chosen.sort(key=lambda each: each.alarm.start_ns, reverse=True)
    chosen.sort(
        key=lambda each: (each.alarm.is_open, severity_rank(each.alarm.severity)), reverse=True
    )
    return chosen


def _user() -> str:
    """The name of the user who is logged in; a container may run without one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise ConfigError(
            "--by: expected the name of who says it, because this user has none; give it"
        ) from None


def _is_chosen(args: argparse.Namespace, known: KnownAlarm) -> bool:
    alarm = known.alarm
    return (
        (args.all or alarm.is_open)
        and not (args.unacknowledged and known.acknowledged)
        and args.rule in (None, alarm.rule)
        and args.device in (None, alarm.device)
    )


def _as_json(known: KnownAlarm) -> dict[str, Any]:
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    each = known.alarm
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
        "is_acknowledged": known.acknowledged is not None,
        "start": iso_text(each.start_ns),
        "opened": iso_text(each.opened_ns),
        "over": None if each.is_open else iso_text(each.time_ns),
        "duration_s": None if each.is_open else (each.time_ns - each.start_ns) / NS_PER_S,
        "notes": [
            {
                "time": iso_text(note.time_ns),
                "by": note.by,
                "acknowledges": note.acknowledges,
                "comment": note.comment,
            }
            for note in known.notes
        ],
    }


def _print(alarms: list[KnownAlarm]) -> None:
    from rich.console import Console
    from rich.table import Table

    from headgate.console.details import shown_s
    from headgate.core.channels import Device
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    table = Table()
    for name in ("severity", "rule", "device", "since (UTC)", "lasted"):
        table.add_column(name, no_wrap=name != "device")
    table.add_column("what")
    has_notes = any(each.notes for each in alarms)
    if has_notes:
        table.add_column("said")
    for known in alarms:
        each = known.alarm
        label = Device(each.feed, each.device, (*each.tags, *each.part)).label
        lasted_s = (each.time_ns - each.start_ns) / NS_PER_S
        table.add_row(
            each.severity,
            printable(each.rule),
            printable(" ".join([label, *([each.channel] if each.channel else [])])),
            iso_text(each.start_ns)[:19].replace("T", " "),
            "open" if each.is_open else shown_s(lasted_s),
            printable(each.text),
            *([printable("; ".join(map(_said, known.notes)))] if has_notes else []),
        )
    console = Console(markup=False, highlight=False)
    if table.rows:
        console.print(table)
    count = sum(each.alarm.is_open for each in alarms)
    over = len(alarms) - count
    console.print(f"alarms: {count:,} open" + (f", {over:,} over" if over else ""))


def _said(note: AlarmNote) -> str:
    """What somebody has said, in a few words."""
    words = "acknowledged" if note.acknowledges else ""
    return f"{note.by}: {', '.join(filter(None, (words, note.comment)))}"
