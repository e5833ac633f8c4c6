"""What went to quarantine, for people: by reason and feed how much, from where, and an example.

Counters say how much is refused, and quarantine holds all of it; this says what it looks like
without a look into either. Whatever is sent, it stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

#: Kinds that are told apart. There are as many as reasons and feeds allow; beyond that those that
#: come first are told, and the rest only counted.
_MAX_KINDS: Final = 200

#: Kinds that are told, the most frequent ones, and sources of each.
_TOLD_KINDS: Final = 20
MAX_SOURCES: Final = 5

#: So much is kept of a source, of an example and of its detail.
_SOURCE_BYTES: Final = 256
_EXAMPLE_BYTES: Final = 120
_DETAIL_CHARACTERS: Final = 200


@dataclass(slots=True)
class _Kind:
    """One kind: its number, its most frequent sources, and its newest example."""

    count: int = 0
    sources: dict[bytes, int] = field(default_factory=dict)
    example: bytes = b""
    detail: str = ""

    def add_source(self, source: bytes, count: int) -> None:
        """Count a source. A new one takes the place, and the number, of the least frequent."""
        sources = self.sources
        if source not in sources and len(sources) >= MAX_SOURCES:
            least = min(sources, key=lambda each: sources[each])
            count += sources.pop(least)
        sources[source] = sources.get(source, 0) + count


class RefusedKinds:
    """Takes note of refusals; may be read from another thread meanwhile."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def note(
        self,
        reason: str,
        feed: str,
        source: bytes,
        count: int = 1,
        *,
        example: bytes = b"",
        detail: str = "",
    ) -> None:
        """Take note of what was refused.

        Args:
            reason: Why, in the word that quarantine has for it.
            feed: Whose; empty for nobody's.
            source: Topic or device; empty where it is not told.
            count: How many.
            example: What it looked like, or the beginning of it.
            detail: What was found in it. Without either the last of them stay.
        """
        kind = self._kinds.get((reason, feed))
        if kind is None:
            if len(self._kinds) >= _MAX_KINDS:
                return
            kind = self._kinds[reason, feed] = _Kind()
        kind.count += count
        if source:
            kind.add_source(source[:_SOURCE_BYTES], count)
        if example or detail:
            kind.example = example[:_EXAMPLE_BYTES]
            kind.detail = detail[:_DETAIL_CHARACTERS]

    def as_json(self) -> list[dict[str, Any]]:
        """The most frequent kinds, as JSON can hold them."""
        kinds = sorted(self._kinds.items(), key=lambda item: -item[1].count)
        return [
            {
                "reason": reason,
                "feed": feed,
                "count": kind.count,
                "sources": [
                    [source.decode(errors="replace"), count]
                    for source, count in sorted(dict(kind.sources).items(), key=lambda it: -it[1])
                ],
                "example": kind.example.decode(errors="backslashreplace"),
                "detail": kind.detail,
            }
            for (reason, feed), kind in kinds[:_TOLD_KINDS]
        ]
