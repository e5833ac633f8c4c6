"""Reading ``headgate.toml``: every mistake at once, each with its line and what is allowed.

A problem reads ``FILE:LINE: key: what is wrong, what is allowed``. The line is the key's own, or
that of the table it is missing from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headgate.config.former import as_written
from headgate.config.lines import KeyPath, lines_of_keys
from headgate.config.problems import Problem, problem_of, shown_key
from headgate.config.references import (
    broken_references,
    crossed_sources,
    shared_targets,
    unknown_sources,
    unreadable,
    unusable,
)
from headgate.config.schema import Config
from headgate.core.errors import ConfigError
from headgate.core.text import printable

_SYNTAX_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load_config(path: Path, *, check_files: bool = True) -> Config:
    """Read and check a configuration file. Connects to nothing.

    Args:
        path: The file.
        check_files: Whether the secrets, certificates and model packages that it names must be
            readable. Commands that only look at a running gateway need none of them.

    Raises:
        ConfigError: With every problem of the file, one line each.
    """
    text = _read(path)
    raw = _parse(path, text)
    problems: list[Problem] = []
    config = None
    of_the_whole: list[Problem] = []
    try:
        config = Config.model_validate(raw, context={"folder": path.absolute().parent})
    except ValidationError as error:
        # Problems of the file as a whole are found below, in spite of other problems.
        found = [problem_of(details) for details in error.errors() if details["loc"]]
        problems.extend(each._replace(key=as_written(each.key, raw)) for each in found)
        of_the_whole = [problem_of(details) for details in error.errors() if not details["loc"]]
    problems.extend(broken_references(raw))
    # What nobody has found below is not to be refused without a word.
    problems = problems or of_the_whole
    if config is not None:
        problems.extend(unknown_sources(config))
        problems.extend(shared_targets(config))
        problems.extend(crossed_sources(config))
    if config is not None and check_files:
        problems.extend(unreadable(config))
        if not problems:
            problems.extend(unusable(config))
    if problems or config is None:
        raise ConfigError(_report(path, lines_of_keys(text), problems))
    return config


def located(path: Path, problems: Iterable[str]) -> list[str]:
    """Problems that were found after loading, with the lines of their keys before them.

    Args:
        path: The file that the configuration was loaded from.
        problems: Texts of the form ``key: what``. One whose key is not in the file stays as it is.
    """
    text = _read(path)
    _parse(path, text)
    lines = {shown_key(key): line for key, line in lines_of_keys(text).items()}
    found = []
    for problem in problems:
        key = problem.partition(": ")[0]
        while key and key not in lines:
            key = key.rpartition(".")[0]
        found.append(printable(f"{path}:{lines[key]}: {problem}" if key else problem))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a configuration file, found none") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: expected UTF-8 text, got the byte 0x{error.object[error.start]:02x}; "
            "save the file as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file: {error.strerror}") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX_POSITION.search(str(error))
        last = text.count("\n") + 1
        line = int(found[1]) if found and found[1] else last
        what = _SYNTAX_POSITION.sub("", str(error))
        raise ConfigError(f"{path}:{line}: expected TOML: {what}") from None
    except RecursionError:
        raise ConfigError(f"{path}: expected a configuration, got endless nesting") from None


def _report(path: Path, lines: dict[KeyPath, int], problems: list[Problem]) -> list[str]:
    """The problems as lines, in the order of the file, each once."""
    found = {}
    for key, what, pointer in problems:
        known = next(key[:length] for length in range(len(key), -1, -1) if key[:length] in lines)
        report = f"{path}:{lines[known]}: {shown_key(key)}: {what}"
        found["\n".join(map(printable, (report, *pointer)))] = lines[known]
    return sorted(found, key=lambda report: found[report])
