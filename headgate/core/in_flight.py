"""What the lane has in flight, noted where it outlives the process: how a poison record is found.

A record that crashes a library, hangs a model or makes a stage raise ends the process, which starts
anew and meets the record again. So the records that are being worked on are noted in a small file.
What a dead process had in flight is suspect, and its successors work on those records one by one. A
record on which processes died again and again while it was in flight alone is poison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from headgate.core.note import TRIES_ALONE, Note

_logger = structlog.get_logger()

Span = tuple[int, int]


class RecordsInFlight:
    """The note of one reader of records, such as a streams lane.

    Args:
        path: A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._note = Note(path)
        self._step = ""
        # By partition: offsets from the first to before the second.
        self._held: dict[int, Span] = {}
        self._suspects: dict[int, Span] = {}
        # By partition and offset: processes that died on it alone; and in which step, once poison.
        self._deaths: dict[tuple[int, int], int] = {}
        self._poison: dict[tuple[int, int], str] = {}

    def open(self) -> None:
        """Take up what the last process left behind."""
        content = self._note.read()
        try:
            suspects, held = (_spans(content.get(name, {})) for name in ("suspects", "held"))
            deaths = {_place(key): int(n) for key, n in content.get("deaths", {}).items()}
            poison = {_place(key): str(step) for key, step in content.get("poison", {}).items()}
        except (TypeError, ValueError, AttributeError):
            pass  # nothing that this program has written
        else:
            self._suspects, self._deaths, self._poison = suspects, deaths, poison
            if held:
                self._blame(held, str(content.get("step", "")))
        self._write()

    def is_poison(self, partition: int, offset: int) -> str | None:
        """In which step the record ended its processes; None when it is not poison."""
        return self._poison.get((partition, offset)) if self._poison else None

    def count_together(self, places: Iterable[tuple[int, int]]) -> int:
        """How many of these records, from the first on, may be worked on in one batch.

        Args:
            places: ``(partition, offset)`` of each; at least one.
        """
        if not self._suspects and not self._poison:
            return len(list(places))
        count = 0
        for partition, offset in places:
            first, end = self._suspects.get(partition, (0, 0))
            if first <= offset < end or (partition, offset) in self._poison:
                return max(count, 1)
            count += 1
        return count

    def take(self, spans: Mapping[int, Span], step: str) -> None:
        """Note what is being worked on from now, and in which step."""
        self._held, self._step = dict(spans), step
        self._write()

    def put_down(self) -> None:
        """Note that nothing is in flight any more."""
        self._held = {}
        self._write()

    def finished(self, partition: int, next_offset: int, first: int = 0) -> None:
        """Forget what is below an offset, from the first on: it will never be met again."""
        begin, end = self._suspects.get(partition, (0, 0))
        if first <= begin:
            begin = max(begin, min(next_offset, end))
        elif end <= next_offset:
            end = min(end, first)
        self._forget(partition, (begin, end), lambda offset: first <= offset < next_offset)

    def keep_within(self, partition: int, start: int, end: int) -> None:
        """Forget what is not there: what was, was deleted, or was of a topic since made anew."""
        first, last = self._suspects.get(partition, (0, 0))
        left = (max(first, start), min(last, end))
        self._forget(partition, left, lambda offset: not start <= offset < end)

    def _forget(self, partition: int, left: Span, is_gone: Callable[[int], bool]) -> None:
        if not self._suspects and not self._deaths and not self._poison:
            return
        self._suspects.pop(partition, None)
        if left[0] < left[1]:
            self._suspects[partition] = left
        for notes in (self._deaths, self._poison):
            for place in [at for at in notes if at[0] == partition and is_gone(at[1])]:
                del notes[place]
        self._write()

    def _blame(self, held: Mapping[int, Span], step: str) -> None:
        (partition, (first, end)), *others = held.items()
        if not others and end - first == 1:
            place = (partition, first)
            self._deaths[place] = self._deaths.get(place, 0) + 1
            if self._deaths[place] >= TRIES_ALONE:
                self._poison[place] = step
        for number, (first, end) in held.items():
            known = self._suspects.get(number, (first, end))
            self._suspects[number] = (min(first, known[0]), max(end, known[1]))
        _logger.warning(
            "The last process ended in the middle of its work; these records are worked on one by "
            "one.",
            step=step,
            partitions={number: f"{first}-{end - 1}" for number, (first, end) in held.items()},
        )

    def _write(self) -> None:
        self._note.write(
            {
                "held": self._held,
                "step": self._step,
                "suspects": self._suspects,
                "deaths": {f"{at[0]}@{at[1]}": count for at, count in self._deaths.items()},
                "poison": {f"{at[0]}@{at[1]}": step for at, step in self._poison.items()},
            }
        )


def _spans(noted: Mapping[str, Span]) -> dict[int, Span]:
    return {int(key): (int(first), int(end)) for key, (first, end) in noted.items()}


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition("@")
    return int(partition), int(offset)
