"""How training says how far it has come, without knowing who looks."""

from __future__ import annotations

from collections.abc import Callable

#: Called with what is being done, how much of it is, and out of how much (0: nobody knows).
Progress = Callable[[str, int, int], None]


def silent(_what: str, _done: int, _total: int) -> None:
    """Tells nobody."""
