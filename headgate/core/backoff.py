"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double up to a ceiling, each drawn from its upper half.

    What failed for many at once is not tried again by all of them at once.

    Args:
        first_s: The longest first pause, s.
        ceiling_s: The longest of all, s.
    """

    def __init__(self, first_s: float, ceiling_s: float) -> None:
        self._first_s = first_s
        self._ceiling_s = ceiling_s
        self._next_s = first_s

    def pause_s(self) -> float:
        """The next pause, s."""
        pause_s = random.uniform(0.5, 1) * self._next_s  # noqa: S311  (no secret)
        self._next_s = min(2 * self._next_s, self._ceiling_s)
        return pause_s

    def reset(self) -> None:
        """Begin with the first pause again: it went well."""
        self._next_s = self._first_s
