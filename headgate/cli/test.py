"""``headgate test``: does a configuration make of recorded messages what it is to make of them?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.output import note, say
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.testing.cases import Outcome

#: Exit codes: something differs; a mistake of the user's.
_DIFFERS, _MISTAKE = 1, 2


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "test",
        help="play recorded messages through a configuration, and compare what comes out",
        description=(
            "Play the messages of each FOLDER, its in.jsonl, through the gateway as its "
            "config.toml has it: with no broker, no log, no sink and no clock, and with the same "
            "ingest, stages and windows. Compare the points with its out.lp and what was refused "
            "with its quarantine.jsonl, and print how they differ; a file that is not there "
            "expects nothing. Exits with 0 when nothing differs, else with 1, and with 2 where a "
            "case can't be used. --write makes both files of what comes out."
        ),
    )
    parser.add_argument(
        "folder",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="a case, or a folder of cases",
    )
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: config.toml in each FOLDER)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write out.lp, quarantine.jsonl and commands.jsonl instead of comparing them",
    )
    parser.add_argument(
        "--tolerance",
        type=_part,
        metavar="PART",
        help="by which part of themselves numbers may differ (default: 1e-6)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.core.logging import configure_logging

    if args.write and args.tolerance is not None:
        raise ConfigError("--tolerance: expected no --write with it, which compares nothing")
    # What the lanes say by the way is not what is asked.
    configure_logging("error", "auto")
    code = 0
    told = []
    for folder, outcome in _outcomes(args):
        if isinstance(outcome, ConfigError):
            code = _MISTAKE
            problems = list(outcome.problems)
            told.append({"folder": str(folder), "good": False, "problems": problems})
            if not args.json:
                for problem in problems:
                    note(problem)
            continue
        code = max(code, _DIFFERS if outcome.problems else 0)
        told.append(_as_json(outcome))
        if not args.json:
            _print(outcome, is_written=args.write)
    if args.json:
        print(json.dumps({"good": code == 0, "cases": told}))
    elif len(told) > 1:
        good = sum(bool(each["good"]) for each in told)
        say(f"{good} of {len(told)} cases are good")
    return code


def _outcomes(args: argparse.Namespace) -> Iterator[tuple[Path, Outcome | ConfigError]]:
    """What came of each case; or why it, or a folder of which none was found, can't be used."""
    from headgate.testing.cases import cases_in

    for folder in args.folder:
        try:
            cases = cases_in(folder)
        except ConfigError as error:
            yield folder, error
            continue
        for case in cases:
            try:
                yield case, _outcome(case, args)
            except ConfigError as error:
                yield case, error


def _outcome(folder: Path, args: argparse.Namespace) -> Outcome:
    from headgate.testing.cases import TOLERANCE, play_case, try_case, write_case

    if not args.write:
        tolerance = TOLERANCE if args.tolerance is None else args.tolerance
        return try_case(folder, args.config, tolerance)
    outcome = play_case(folder, args.config)
    write_case(outcome)
    return outcome


def _print(outcome: Outcome, *, is_written: bool) -> None:
    counts = (
        f"{_count(outcome.messages, 'message')}, {_count(len(outcome.points), 'point')}, "
        f"{len(outcome.quarantined)} in quarantine"
    )
    if outcome.commands:
        counts += f", {_count(len(outcome.commands), 'command')}"
    if is_written:
        say(f"{outcome.folder}: written: {counts}")
    elif not outcome.problems:
        say(f"{outcome.folder}: good: {counts}")
    else:
        say(f"{outcome.folder}: differs: {counts}")
        for problem in outcome.problems:
            for line in problem.split("\n"):
                say(f"  {line}")


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "folder": str(outcome.folder),
        "good": not outcome.problems,
        "problems": outcome.problems,
        "messages": outcome.messages,
        "points": outcome.points,
        "quarantined": outcome.quarantined,
        "commands": outcome.commands,
    }


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = -1.0
    if not 0 <= part < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, got {text!r}")
    return part
