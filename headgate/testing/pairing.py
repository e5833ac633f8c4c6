"""Which of what was found is meant by which line that leaves something out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.core.text import json_line

_Row = Mapping[str, Any]


def paired(wanted: Sequence[_Row], found: Sequence[_Row]) -> dict[int, int]:
    """By place among what was found, the place among what is wanted: as many pairs as there may be.

    Two are a pair where they agree in all that is wanted; each is in one pair at most.

    Args:
        wanted: What is wanted; names that don't matter are left out.
        found: What was found.
    """
    index = _Index(found)
    # Those that want the same have one list: looked through once, it is done with for all.
    texts = list(map(json_line, wanted))
    candidates = {
        text: index.candidates(row) for text, row in dict(zip(texts, wanted, strict=True)).items()
    }
    lists = [candidates[text] for text in texts]
    owner: dict[int, int] = {}
    row_of: dict[int, int] = {}
    hopeless: set[int] = set()
    # What says more fits less.
    for line in sorted(range(len(wanted)), key=lambda at: -len(wanted[at])):
        if id(lists[line]) not in hopeless and not _take_one(line, lists, owner, row_of):
            hopeless.add(id(lists[line]))
    return owner


class _Index:
    """What was found, by each text that it has.

    Args:
        found: What was found.
    """

    def __init__(self, found: Sequence[_Row]) -> None:
        self._found = found
        self._with_text: dict[tuple[str, str], list[int]] = {}
        for at, row in enumerate(found):
            for name, value in row.items():
                if isinstance(value, str):
                    self._with_text.setdefault((name, value), []).append(at)

    def candidates(self, wanted: _Row) -> list[int]:
        """The places of those that agree in all that is wanted."""
        texts = [
            self._with_text.get((name, value), [])
            for name, value in wanted.items()
            if isinstance(value, str)
        ]
        fewest = min(texts, key=len) if texts else range(len(self._found))
        return [
            at
            for at in fewest
            if all(
                name in self._found[at] and self._found[at][name] == value
                for name, value in wanted.items()
            )
        ]


def _take_one(
    line: int, lists: Sequence[list[int]], owner: dict[int, int], row_of: dict[int, int]
) -> bool:
    """Give a line one of its candidates, for which others may have to take another of theirs."""
    reached_by: dict[int, int] = {}
    seen = {id(lists[line])}
    waiting = [line]
    for each in waiting:
        free = next((row for row in lists[each] if row not in owner), None)
        if free is not None:
            _hand_on(free, each, reached_by, owner, row_of)
            return True
        for row in lists[each]:
            reached_by.setdefault(row, each)
            other = owner[row]
            if id(lists[other]) not in seen:
                seen.add(id(lists[other]))
                waiting.append(other)
    return False


def _hand_on(
    row: int,
    taker: int,
    reached_by: Mapping[int, int],
    owner: dict[int, int],
    row_of: dict[int, int],
) -> None:
    """Have a line take a row, and whoever it was reached through take the one that it gives up."""
    while True:
        given_up = row_of.get(taker)
        owner[row], row_of[taker] = taker, row
        if given_up is None:
            return
        row, taker = given_up, reached_by[given_up]
