"""Names of SenML, taken apart."""

from __future__ import annotations

import re

#: What stands for the channel's part of a name.
CHANNEL = "channel"

#: What a record has under names of its own, which no part of a name can be called.
OWN = ("bn", "n", "name", "t", "value", "sum", "keys")

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class NamePattern:
    """What names are made of: texts, and placeholders between them.

    Args:
        pattern: Such as ``urn:dev:ow:{serial}:{channel}``.

    Raises:
        ValueError: It is none.
    """

    def __init__(self, pattern: str) -> None:
        self._names = _PLACEHOLDER.findall(pattern)
        if CHANNEL not in self._names or len(set(self._names)) < len(self._names):
            raise ValueError(
                "expected a name with {channel} and no placeholder twice, such as "
                '"urn:dev:ow:{serial}:{channel}"'
            )
        if "}{" in pattern:
            raise ValueError("expected some text between placeholders, which tells them apart")
        if taken := set(self._names).intersection(OWN):
            raise ValueError(f"{{{min(taken)}}} is a reserved name; choose another")
        self._head, *self._texts = _PLACEHOLDER.split(pattern)[::2]

    def parts(self, name: str) -> dict[str, str] | None:
        """By placeholder, what stands in its place, each as short as can be; None for none."""
        if not name.startswith(self._head) or not name.endswith(self._texts[-1]):
            return None
        end, at = len(name) - len(self._texts[-1]), len(self._head)
        found = {}
        for part, text in zip(self._names[:-1], self._texts[:-1], strict=True):
            to = name.find(text, at + 1, end)
            if to < 0:
                return None
            found[part] = name[at:to]
            at = to + len(text)
        if at >= end:
            return None
        return {**found, self._names[-1]: name[at:end]}
