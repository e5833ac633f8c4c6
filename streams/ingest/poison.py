"""Finding the message that ends each process that decodes it.

Messages have no offsets. But a broker sends those again, and first, that were not acknowledged; so
of a process that died while it decoded so many, the successor decodes the first so many one by
one, each noted before with its digest. One on which processes died again and again while they had
it alone is poison: it goes to quarantine undecoded, and its neighbours go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

import structlog

from headgate.core.note import TRIES_ALONE, Note
from headgate.core.properties import NOTHING
from streams.ingest.refusals import Messages
from streams.ingest.slices import slices

_logger = structlog.get_logger()

#: Messages that are suspect at most. A broker may send others first, so each process that dies
#: without having found the one suspects twice as many.
_MOST_SUSPECTS: Final = 100_000

#: Poison messages that are remembered, in case one is sent again; and deaths on others.
_MOST_REMEMBERED: Final = 100


class MessagesInFlight:
    """The note of the ingest lane.

    Args:
        path: A file of its own.
        density: See ``slices``.
    """

    def __init__(self, path: Path, density: int = 1) -> None:
        self._note = Note(path)
        self._density = density
        self._held = 0
        self._alone = ""
        self._suspects = 0
        # By digest: processes that died on a message alone; and those that are poison, in order.
        self._deaths: dict[str, int] = {}
        self._poison: dict[str, None] = {}

    def open(self) -> None:
        """Take up what the last process left behind."""
        content = self._note.read()
        try:
            self._suspects = int(content.get("suspects", 0))
            self._deaths = {str(of): int(count) for of, count in content.get("deaths", {}).items()}
            self._poison = dict.fromkeys(map(str, content.get("poison", [])))
            held, alone = int(content.get("held", 0)), str(content.get("alone", ""))
        except (TypeError, ValueError, AttributeError):
            held, alone = 0, ""  # nothing that this program has written
        if alone:
            self._blame(alone)
        elif held:
            self._suspects = min(max(held, 2 * self._suspects), _MOST_SUSPECTS)
        if alone or held:
            _logger.warning(
                "The last process ended while it decoded messages; they are decoded one by one.",
                messages=self._suspects,
            )
        self._write()

    def pieces(self, messages: Messages) -> Iterator[tuple[int, int]]:
        """Where to cut messages: first and end of each part that may be decoded together."""
        at = min(self._suspects, len(messages))
        yield from ((each, each + 1) for each in range(at))
        for poison in [*self._poison_among(messages, at), len(messages)]:
            for first, end in slices(messages.payloads[at:poison], self._density):
                yield at + first, at + end
            if poison < len(messages):
                yield poison, poison + 1
            at = poison + 1

    def is_poison(self, part: Messages) -> bool:
        """Whether this part is one message that must not be decoded."""
        return bool(self._poison) and len(part) == 1 and _digest(part, 0) in self._poison

    def take(self, part: Messages, first: int, count: int) -> bool:
        """Note that a part is being decoded.

        Args:
            part: One of ``pieces``.
            first: Where it begins.
            count: How many messages there are in all.

        Returns:
            Whether it is a suspect, of which everything has to be done alone.
        """
        is_suspect = first < self._suspects
        alone, held = (_digest(part, 0), 0) if is_suspect else ("", count)
        if (alone, held) != (self._alone, self._held):
            self._alone, self._held = alone, held
            self._write()
        return is_suspect

    def put_down(self) -> None:
        """Note that nothing is being decoded any more."""
        self._alone, self._held = "", 0
        self._write()

    def finished(self, count: int) -> None:
        """Note that so many messages are in the log, and will not be sent again."""
        if self._suspects:
            self._suspects = max(0, self._suspects - count)
            if not self._suspects:
                self._deaths = {}
            self._write()

    def _blame(self, digest: str) -> None:
        deaths = self._deaths.pop(digest, 0) + 1
        if deaths >= TRIES_ALONE:
            self._poison[digest] = None
        else:
            self._deaths[digest] = deaths
        for notes in (self._deaths, self._poison):
            while len(notes) > _MOST_REMEMBERED:
                del notes[next(iter(notes))]

    def _poison_among(self, messages: Messages, first: int) -> list[int]:
        if not self._poison:
            return []
        # Most are told from it by their size alone.
        sizes = {digest.partition(":")[0] for digest in self._poison}
        payloads = messages.payloads
        return [
            at
            for at in range(first, len(messages))
            if str(len(payloads[at])) in sizes and _digest(messages, at) in self._poison
        ]

    def _write(self) -> None:
        self._note.write(
            {
                "held": self._held,
                "alone": self._alone,
                "suspects": self._suspects,
                "deaths": self._deaths,
                "poison": list(self._poison),
            }
        )


def _digest(messages: Messages, at: int) -> str:
    topic, payload = messages.topics[at], messages.payloads[at]
    digest = blake2b(len(topic).to_bytes(4, "big") + topic + payload, digest_size=16)
    said = messages.properties.get(at, NOTHING).content_type
    if said:
        # In another format the same bytes may do no harm.
        digest.update(b"\0" + said)
    return f"{len(payload)}:{digest.hexdigest()}"
