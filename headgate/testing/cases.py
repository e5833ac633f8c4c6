"""Golden cases: a folder with messages, and what a gateway is to make of them.

::

    config.toml         a configuration, as headgate.toml
    in.jsonl            messages, in the order of their arrival
    out.lp              the points that the sinks are to have, in line protocol
    quarantine.jsonl    what is to be in quarantine
    commands.jsonl      the commands that actions are to give

``headgate test FOLDER`` plays it; a test of one's own does so with two lines::

    def test_my_plant() -> None:
        assert try_case(Path("cases/my-plant")).problems == []
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from headgate.config.load import load_config, located
from headgate.config.schema import Config
from headgate.core.errors import ConfigError
from headgate.core.records.messages import QUARANTINE_COLUMNS
from headgate.core.text import json_line
from headgate.testing.commands import COMMAND_COLUMNS
from headgate.testing.line_protocol import are_equal, parse_line
from headgate.testing.pairing import paired
from headgate.testing.playing import Message, play
from headgate.testing.recording import dated, read_recording

CONFIG: Final = "config.toml"
MESSAGES: Final = "in.jsonl"
POINTS: Final = "out.lp"
QUARANTINED: Final = "quarantine.jsonl"
COMMANDED: Final = "commands.jsonl"

#: Values of fields that are floats may differ by this part of themselves: a model's last digits are
#: the machine's own.
TOLERANCE: Final = 1e-6

#: Differences that are told of a file.
_MOST: Final = 20


@dataclass(slots=True)
class Outcome:
    """What came of a case.

    Attributes:
        folder: Its folder.
        messages: How many messages were played.
        points: The points, a line each.
        quarantined: What is in quarantine, an object each.
        commands: What actions command, or pass over, an object each.
        problems: How that differs from what is expected, for people; empty where it does not.
    """

    folder: Path
    messages: int = 0
    points: list[str] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Prepared(NamedTuple):
    """A case that can be played.

    Attributes:
        folder: Its folder.
        file: The configuration's file.
        config: The configuration.
        messages: The messages.
    """

    folder: Path
    file: Path
    config: Config
    messages: list[Message]


def cases_in(folder: Path) -> list[Path]:
    """The cases of a folder: itself, or else the folders in it that are any.

    Raises:
        ConfigError: There is none.
    """
    if (folder / MESSAGES).is_file():
        return [folder]
    found = sorted(each.parent for each in folder.glob(f"*/{MESSAGES}"))
    if not found:
        what = "no such folder" if not folder.is_dir() else "found none, nor folders that have one"
        raise ConfigError(f"{folder}: expected a folder with {MESSAGES}, {what}")
    return found


def play_case(folder: Path, config_file: Path | None = None) -> Outcome:
    """Play a case, and compare nothing.

    Args:
        folder: Its folder.
        config_file: The configuration; None for the folder's own.

    Raises:
        ConfigError: Its configuration or its messages can't be used; one line a problem.
    """
    return _played(_prepared(folder, config_file))


def _prepared(folder: Path, config_file: Path | None) -> _Prepared:
    file = config_file or folder / CONFIG
    if config_file is None and not file.is_file():
        raise ConfigError(f"{folder}: expected {CONFIG}, found none; or give a configuration by -c")
    # Nothing is connected to, so no secret is needed.
    config = load_config(file, check_files=False)
    return _Prepared(folder, file, config, dated(config, read_recording(folder / MESSAGES)))


def _played(case: _Prepared) -> Outcome:
    try:
        played = play(case.config, case.messages)
    except ConfigError as error:
        raise ConfigError(located(case.file, error.problems)) from None
    lines = [point.line() for point in played.points]
    return Outcome(case.folder, len(case.messages), lines, played.quarantined, played.commands)


def try_case(
    folder: Path, config_file: Path | None = None, tolerance: float = TOLERANCE
) -> Outcome:
    """Play a case, and see whether what comes out is what is expected.

    Args:
        folder: Its folder.
        config_file: The configuration; None for the folder's own.
        tolerance: By which part of themselves numbers with a fraction may differ.

    Raises:
        ConfigError: Something of the case can't be used; one line a problem.
    """
    # What is wrong is told from the first file to the last, and before anything takes time.
    case = _prepared(folder, config_file)
    expected = _expected(folder)
    outcome = _played(case)
    outcome.problems = _problems(expected, outcome, tolerance)
    return outcome


def compare_case(outcome: Outcome, folder: Path, tolerance: float = TOLERANCE) -> list[str]:
    """How what came of a case differs from what a folder expects, for people.

    Args:
        outcome: What came.
        folder: The case's, or another one.
        tolerance: By which part of themselves numbers with a fraction may differ.

    Raises:
        ConfigError: What is expected can't be read; one line a problem.
    """
    return _problems(_expected(folder), outcome, tolerance)


def write_case(outcome: Outcome) -> None:
    """Make what came out what is expected; a file for nothing is removed.

    Raises:
        ConfigError: A file can't be written.
    """
    rows = [json_line(row) for row in outcome.quarantined]
    commands = [json_line(row) for row in outcome.commands]
    files = ((POINTS, outcome.points), (QUARANTINED, rows), (COMMANDED, commands))
    for name, lines in files:
        file = outcome.folder / name
        try:
            if lines or name == POINTS:
                file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            else:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{file}: expected a file to write: {error.strerror}") from None


class _Expected(NamedTuple):
    """What a case expects.

    Attributes:
        points: By identity, the place of each point and its fields.
        rows: By place, what is to be in quarantine.
        commands: By place, what is to be commanded, or passed over.
    """

    points: dict[str, tuple[str, Mapping[str, str]]]
    rows: dict[str, dict[str, Any]]
    commands: dict[str, dict[str, Any]]


def _expected(folder: Path) -> _Expected:
    if not any((folder / name).is_file() for name in (POINTS, QUARANTINED, COMMANDED)):
        raise ConfigError(
            f"{folder}: expected {POINTS}, {QUARANTINED} or {COMMANDED}, found none; --write makes "
            "them of what comes out"
        )
    commands = _expected_rows(folder, COMMANDED, COMMAND_COLUMNS)
    return _Expected(
        _expected_points(folder),
        _expected_rows(folder, QUARANTINED, QUARANTINE_COLUMNS),
        # What is not said to be passed over is to be sent.
        {place: {"reason": "", **row} for place, row in commands.items()},
    )


def _problems(expected: _Expected, outcome: Outcome, tolerance: float) -> list[str]:
    return [
        *_point_problems(expected.points, outcome.points, tolerance),
        *_row_problems(QUARANTINED, expected.rows, outcome.quarantined),
        *_row_problems(COMMANDED, expected.commands, outcome.commands),
    ]


def _lines_of(file: Path) -> dict[str, str]:
    """By place, the lines of a file that hold something; none where there is no file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: expected UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file}: expected a readable file: {error.strerror}") from None
    return {
        f"{file.name}:{number}": line
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith("#")
    }


def _expected_points(folder: Path) -> dict[str, tuple[str, Mapping[str, str]]]:
    """By identity, the place and the fields of the points that are expected."""
    points: dict[str, tuple[str, Mapping[str, str]]] = {}
    problems = []
    for place, text in _lines_of(folder / POINTS).items():
        try:
            identity, fields = parse_line(text)
        except ValueError as error:
            problems.append(f"{folder / place}: {error}")
            continue
        if identity in points:
            problems.append(f"{folder / place}: the same point as {points[identity][0]}")
        points[identity] = place, fields
    if problems:
        raise ConfigError(problems)
    return points


def _expected_rows(folder: Path, name: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By place, the objects of a file, which may have some of these names."""
    rows, problems = {}, []
    for place, text in _lines_of(folder / name).items():
        try:
            row = json.loads(text)
        except ValueError as error:
            problems.append(f"{folder / place}: expected a JSON object: {error}")
            continue
        if not isinstance(row, dict) or not row:
            problems.append(f"{folder / place}: expected a JSON object, such as {{…}}, got {text}")
            continue
        unknown = [each for each in row if each not in columns]
        if unknown:
            problems.append(
                f"{folder / place}: expected names out of {', '.join(columns)}, got "
                f"{', '.join(unknown)}"
            )
            continue
        rows[place] = row
    if problems:
        raise ConfigError(problems)
    return rows


def _point_problems(
    expected: Mapping[str, tuple[str, Mapping[str, str]]], found: Sequence[str], tolerance: float
) -> list[str]:
    problems = []
    left = dict(expected)
    for text in found:
        identity, fields = parse_line(text)
        if identity not in left:
            problems.append(f"{POINTS}: not expected: {text}")
            continue
        place, wanted = left.pop(identity)
        names = [*wanted, *(name for name in fields if name not in wanted)]
        differ = [
            f"  {name}: expected {wanted.get(name, 'none')}, got {fields.get(name, 'none')}"
            for name in names
            if not are_equal(wanted.get(name, ""), fields.get(name, ""), tolerance)
        ]
        if differ:
            problems.append("\n".join([f"{place}: differs: {identity}", *differ]))
    for identity, (place, _) in left.items():
        problems.append(f"{place}: did not come: {identity}")
    return _some(problems)


def _row_problems(
    file: str, expected: Mapping[str, Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Each line must have one of what was found that agrees in all that the line names."""
    owner = paired([*expected.values()], found)
    came = {*owner.values()}
    problems = [
        f"{place}: did not come: {json_line(wanted)}"
        for at, (place, wanted) in enumerate(expected.items())
        if at not in came
    ]
    left = [row for at, row in enumerate(found) if at not in owner]
    problems += [f"{file}: not expected: {json_line(row)}" for row in left]
    return _some(problems)


def _some(problems: list[str]) -> list[str]:
    more = len(problems) - _MOST
    return problems if more <= 0 else [*problems[:_MOST], f"and {more} more differences"]
