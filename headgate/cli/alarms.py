"""``headgate alarms``: alarms of rules that are open, those that were, and what is said of them.

What is shelved is out of sight until then, but for how many it is.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
from dataclasses import dataclass
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

#: Options by which alarms are answered.
_ANSWERS = "--acknowledge, --shelve, --unshelve, --comment"

#: Nothing is shelved for longer, whatever the log keeps.
_MAX_SHELVED = "365d"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "alarms",
        help="list the alarms that are open, and answer them",
        description=(
            "List the alarms of rules, the worst first, from the gateway's log: whether it runs "
            "or not. Alarms that the log has deleted (log.retention) stand in the sinks. With "
            "--acknowledge or --comment, what is listed is answered: it is written down who has "
            "said so, and goes to the sinks. What is shelved is out of sight until then, also "
            "where it opens anew."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--all", action="store_true", help="those, too, that are over or shelved")
    parser.add_argument("--shelved", action="store_true", help="those that are shelved, only")
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
    parser.add_argument(
        "--shelve",
        metavar="SPAN",
        help="have them out of sight for so long, such as 8h, however often they open; likewise",
    )
    parser.add_argument(
        "--unshelve", action="store_true", help="have those that are shelved in sight; likewise"
    )
    parser.add_argument("--comment", metavar="TEXT", help="say this of them; likewise")
    parser.add_argument("--by", metavar="NAME", help="who says it; not given: the user's name")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.config.load import load_config

    _check(args)
    config = load_config(args.config, check_files=False)
    shelve_ns = 0 if args.shelve is None else _span(args.shelve, config)
    found = asyncio.run(_known(args, config, shelve_ns))
    if args.json:
        for each in found.listed:
            print(json_line(_as_json(each, found.now_ns)))
    else:
        _print(found)
    return 0


@dataclass(frozen=True, slots=True)
class _Found:
    """What is listed.

    Attributes:
        listed: In this order.
        now_ns: At which time, ns since 1970 UTC.
        out_of_sight: Alarms that are not, because they are shelved.
    """

    listed: list[KnownAlarm]
    now_ns: int
    out_of_sight: int


def _is_answer(args: argparse.Namespace) -> bool:
    return bool(
        args.acknowledge or args.unshelve or args.shelve is not None or args.comment is not None
    )


def _check(args: argparse.Namespace) -> None:
    is_answer = _is_answer(args)
    if is_answer and args.rule is None and args.device is None:
        raise ConfigError(
            f"{_ANSWERS}: expected --rule or --device with it, got none; say which alarms are meant"
        )
    if args.by is not None and not is_answer:
        raise ConfigError(f"--by: expected one of {_ANSWERS} with it, got none")
    if args.shelve is not None and args.unshelve:
        raise ConfigError("--shelve, --unshelve: expected one of them, got both")
    for option, text, most in (
        ("comment", args.comment, _MAX_COMMENT),
        ("by", args.by, _MAX_NAME),
    ):
        if text is not None and not 1 <= len(text.strip()) <= most:
            raise ConfigError(f"--{option}: expected a text of 1 to {most:,} characters")


def _span(text: str, config: Config) -> int:
    """For how long to shelve, ns."""
    from headgate.core.units import format_duration, parse_duration_ns

    try:
        span_ns = parse_duration_ns(text)
    except ValueError as error:
        raise ConfigError(f"--shelve: {error}") from None
    most_ns = min(config.log.retention, parse_duration_ns(_MAX_SHELVED))
    if not 0 < span_ns <= most_ns:
        raise ConfigError(
            f'--shelve: expected more than "0s" and at most "{format_duration(most_ns)}", for '
            f'which the log keeps it (log.retention), got "{text}"; for longer give the rule '
            "a schedule (except)"
        )
    return span_ns


async def _known(args: argparse.Namespace, config: Config, shelve_ns: int) -> _Found:
    """What is asked for, once it has been answered where that is asked for, too."""
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.core.results import severity_rank
    from headgate.inspect.alarms import known_alarms, say_of

    is_answer = _is_answer(args)
    by = (args.by or _user()).strip() if is_answer else ""
    clock = SystemClock()
    log = await open_existing_log(config, clock)
    try:
        every, now_ns = await known_alarms(config, log), clock.wall_ns()
        chosen = [each for each in every if _is_chosen(args, each, now_ns)]
        if is_answer:
            says_more = args.comment or shelve_ns or args.unshelve
            meant = {each.identity for each in chosen if says_more or not each.acknowledged}
            await say_of(
                config,
                log,
                [each.alarm for each in chosen if each.identity in meant],
                by=by,
                time_ns=now_ns,
                acknowledges=args.acknowledge,
                comment=(args.comment or "").strip(),
                until_ns=now_ns + shelve_ns if shelve_ns or args.unshelve else 0,
            )
            every = await known_alarms(config, log)
            chosen = [each for each in every if each.identity in meant]
    finally:
        await log.stop()
    # What is open comes first, the worst of it before all; of equals the newest.
    chosen.sort(key=lambda each: each.alarm.start_ns, reverse=True)
    chosen.sort(
        key=lambda each: (each.alarm.is_open, severity_rank(each.alarm.severity)), reverse=True
    )
    listed = {each.identity for each in chosen}
    out_of_sight = sum(
        _is_on_the_shelf(args, each, now_ns) and each.identity not in listed for each in every
    )
    return _Found(chosen, now_ns, out_of_sight)


def _user() -> str:
    """The name of the user who is logged in; a container may run without one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise ConfigError(
            "--by: expected the name of who says it, because this user has none; give it"
        ) from None


def _is_chosen(args: argparse.Namespace, known: KnownAlarm, now_ns: int) -> bool:
    if not _is_named(args, known) or (args.unacknowledged and known.acknowledged):
        return False
    if args.shelved or args.unshelve:
        # What is shelved is all of a place, and shown by the newest of it, open or over just now.
        return _is_on_the_shelf(args, known, now_ns)
    if not (args.all or known.alarm.is_open):
        return False
    if args.shelve is not None:
        return known.is_newest
    return args.all or not known.is_shelved(now_ns)


def _is_on_the_shelf(args: argparse.Namespace, known: KnownAlarm, now_ns: int) -> bool:
    return _is_named(args, known) and known.is_newest and known.is_shelved(now_ns)


def _is_named(args: argparse.Namespace, known: KnownAlarm) -> bool:
    return args.rule in (None, known.alarm.rule) and args.device in (None, known.alarm.device)


def _as_json(known: KnownAlarm, now_ns: int) -> dict[str, Any]:
    from headgate.core.clock import NS_PER_S
    from headgate.core.iso import iso_text

    each = known.alarm
    shelf = known.shelved_by if known.is_shelved(now_ns) else None
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
        "is_shelved": shelf is not None,
        "shelved_until": shelf and iso_text(shelf.until_ns),
        "shelved_by": shelf and shelf.by,
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
                "until": iso_text(note.until_ns) if note.until_ns else None,
            }
            for note in known.notes
        ],
    }


def _print(found: _Found) -> None:
    from rich.console import Console
    from rich.table import Table

    from headgate.console.details import shown_s
    from headgate.core.channels import Device
    from headgate.core.clock import NS_PER_S

    table = Table()
    for name in ("severity", "rule", "device", "since (UTC)", "lasted"):
        table.add_column(name, no_wrap=name != "device")
    table.add_column("what")
    alarms = found.listed
    shelved = [each for each in alarms if each.is_shelved(found.now_ns)]
    if shelved:
        table.add_column("shelved until (UTC)")
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
            _shown(each.start_ns),
            "open" if each.is_open else shown_s(lasted_s),
            printable(each.text),
            *([_shelf(known, found.now_ns)] if shelved else []),
            *([printable("; ".join(map(_said, known.notes)))] if has_notes else []),
        )
    console = Console(markup=False, highlight=False)
    if table.rows:
        console.print(table)
    others = [each for each in alarms if not each.is_shelved(found.now_ns)]
    count = sum(each.alarm.is_open for each in others)
    over, away = len(others) - count, found.out_of_sight
    console.print(
        f"alarms: {count:,} open"
        + (f", {over:,} over" if over else "")
        + (f", {len(shelved) + away:,} shelved" if shelved or away else "")
        + (f" ({away:,} out of sight; --shelved lists them)" if away else "")
    )


def _shown(time_ns: int) -> str:
    """A time for people, in UTC."""
    from headgate.core.iso import iso_text

    return iso_text(time_ns)[:19].replace("T", " ")


def _shelf(known: KnownAlarm, now_ns: int) -> str:
    """Until when it is shelved, and by whom; empty where it is not."""
    shelf = known.shelved_by
    if shelf is None or not known.is_shelved(now_ns):
        return ""
    return printable(f"{_shown(shelf.until_ns)} by {shelf.by}")


def _said(note: AlarmNote) -> str:
    """What somebody has said, in a few words."""
    words = (
        "acknowledged" if note.acknowledges else "",
        _said_of_shelf(note) if note.until_ns else "",
        note.comment,
    )
    return f"{note.by}: {', '.join(filter(None, words))}"


def _said_of_shelf(note: AlarmNote) -> str:
    if note.until_ns <= note.time_ns:
        return "unshelved"
    return f"shelved until {_shown(note.until_ns)}"
