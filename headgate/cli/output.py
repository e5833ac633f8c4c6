"""Printing for people: whatever is printed may hold names that somebody else has chosen."""

from __future__ import annotations

import sys

from headgate.core.text import printable


def say(line: str) -> None:
    """Print a line on stdout."""
    print(printable(line))


def note(line: str) -> None:
    """Print a line on stderr."""
    print(printable(line), file=sys.stderr)
