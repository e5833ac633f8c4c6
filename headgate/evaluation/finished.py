"""One recording after the other; what has been done stays when one of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from headgate.core.errors import ConfigError

_T = TypeVar("_T")


def finished(
    names: Iterable[str], evaluate: Callable[[str], _T], say: Callable[[str], None]
) -> tuple[list[_T], tuple[str, ...]]:
    """What comes of each name, and a line for each that failed.

    Args:
        names: Of the recordings, in order.
        evaluate: Works on one; its ConfigError is that recording's failure.
        say: Takes a line about what is being done.

    Raises:
        ConfigError: All of them failed, or there was none.
    """
    done: list[_T] = []
    failed: list[str] = []
    every = list(names)
    for number, name in enumerate(every, 1):
        say(f"{name} ({number} of {len(every)})")
        try:
            done.append(evaluate(name))
        except ConfigError as error:
            failed.extend(f"{name}: {problem}" for problem in error.problems)
    if not done:
        raise ConfigError(failed or "expected recordings, found none")
    return done, tuple(failed)
