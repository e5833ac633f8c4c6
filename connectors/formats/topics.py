"""MQTT topic patterns with placeholders: ``plant/{line}/{device}/telemetry``."""

from __future__ import annotations

import re
from collections.abc import Iterable


class TopicPattern:
    """Matches topics of one feed and takes the placeholders' values out of them."""

    def __init__(self, pattern: str) -> None:
        self._expression = re.compile(_expression(pattern, r"(?P<{}>[^/]*)"), re.DOTALL)

    def match(self, topic: str) -> dict[str, str] | None:
        """Values by placeholder; None when the topic is not of this pattern."""
        found = self._expression.fullmatch(topic)
        return None if found is None else found.groupdict()


class TopicPatterns:
    """Finds which of several patterns a topic is of, in one look whatever their number."""

    def __init__(self, patterns: Iterable[str]) -> None:
        every = "|".join(f"({_expression(pattern, '[^/]*')})" for pattern in patterns)
        # On bytes: no part of a longer character is a slash, so nothing has to be decoded.
        self._expression = re.compile(every.encode(), re.DOTALL)

    def first(self, topic: bytes) -> int | None:
        """The place of the first pattern that matches; None when none does."""
        found = self._expression.fullmatch(topic)
        return None if found is None or found.lastindex is None else found.lastindex - 1


def _expression(pattern: str, placeholder: str) -> str:
    levels = []
    for level in pattern.split("/"):
        if level.endswith("...}"):
            # The levels that are left, of which there is one at least.
            levels.append(placeholder.format(level[1:-4]).replace("[^/]*", ".+"))
        elif level.startswith("{"):
            levels.append(placeholder.format(level[1:-1]))
        elif level == "+":
            levels.append("[^/]*")
        elif level == "#":
            levels.append(".*")
        else:
            levels.append(re.escape(level))
    return "/".join(levels)
