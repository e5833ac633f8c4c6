"""Times on the command line."""

from __future__ import annotations

import argparse

from headgate.core.errors import ConfigError
from headgate.core.iso import parse_iso_ns

#: Units of times that are numbers, ns.
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the times of ``--data`` are.

    They are None where they aren't given, so that a command can tell whether they were.
    """
    parser.add_argument("--time", metavar="COLUMN", help="of --data (default: time)")
    parser.add_argument(
        "--time-unit", choices=tuple(UNITS), help="of times that are numbers (default: s)"
    )


def refuse_without_data(args: argparse.Namespace, found: str) -> None:
    """Refuse options that only files have a use for, where there are none.

    Args:
        args: The command's options.
        found: What was given in place of ``--data``, for people.

    Raises:
        ConfigError: Some were given; a line each.
    """
    problems = [
        f"{option}: expected --data, {what}, got {found}; leave it out, or give --data"
        for option, what in (
            ("--labels", "whose faults it tells"),
            ("--rows", "whose first rows it takes"),
            ("--time", "whose column it names"),
            ("--time-unit", "whose times are in it"),
        )
        if getattr(args, option.removeprefix("--").replace("-", "_"), None) is not None
    ]
    if problems:
        raise ConfigError(problems)


def time_ns(option: str, text: str | None) -> int | None:
    """A time in ISO 8601 as ns since 1970, UTC where it says nothing else; None stays None.

    Raises:
        ConfigError: It is none.
    """
    if text is None:
        return None
    try:
        return parse_iso_ns(text)
    except ValueError as error:
        raise ConfigError(
            f"{option}: expected a time such as 2026-05-01T12:00:00Z, got {text!r}"
        ) from error


def duration_ns(option: str, text: str | None) -> int | None:
    """A duration such as ``"10s"`` as ns; None stays None.

    Raises:
        ConfigError: It is none.
    """
    from headgate.core.units import parse_duration_ns

    try:
        return None if text is None else parse_duration_ns(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
