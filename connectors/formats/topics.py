"""MQTT topic patterns with placeholders: ``plant/{line}/{device}/telemetry``."""

from __future__ import annotations

import re


class TopicPattern:
    """Matches topics of one feed and takes the placeholders' values out of them."""

    def __init__(self, pattern: str) -> None:
        levels = []
        for level in pattern.split("/"):
            if level.startswith("{"):
                levels.append(f"(?P<{level[1:-1]}>[^/]*)")
            elif level == "+":
                levels.append("[^/]*")
            elif level == "#":
                levels.append(".*")
            else:
                levels.append(re.escape(level))
        self._expression = re.compile("/".join(levels), re.DOTALL)

    def match(self, topic: str) -> dict[str, str] | None:
        """Values by placeholder; None when the topic is not of this pattern."""
        found = self._expression.fullmatch(topic)
        return None if found is None else found.groupdict()
