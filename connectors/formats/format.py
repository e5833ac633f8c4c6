"""The contract between a feed's decoder and the format of its messages.

A format knows bytes, and nothing of devices, times and channels: it says what a payload holds, in
the terms of JSON, and the decoder takes the readings out of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from headgate.config.feed import Feed
from headgate.config.schema import Ingest

#: Given a type, makes the function that reads a payload straight into it.
MakeTyped: TypeAlias = Callable[[Any], Callable[[bytes], Any]]


@dataclass(frozen=True, slots=True)
class FormatExample:
    """A message, and what comes of it; a format's component has some.

    Attributes:
        feed: The feed's table, as it stands in a file.
        topic: The message's topic.
        payload: The message.
        readings: (device, channel, value) of each reading; None where the reading is missing.
        times_ns: Their event times, where the message has them.
    """

    feed: Mapping[str, object]
    topic: str
    payload: bytes
    readings: tuple[tuple[str, str, float | None], ...]
    times_ns: tuple[int, ...] = ()


class Format(Protocol):
    """Reads the payloads of one feed. Nothing that a payload holds may raise but DataError."""

    @property
    def make_typed(self) -> MakeTyped | None:
        """For the fast way: makes what reads a payload into a type; None when there is none.

        The type is msgspec's, of a record or a list of records. What such a function can't read
        raises ``msgspec.MsgspecError``, and is read by ``read``.
        """
        ...

    @property
    def is_utf8(self) -> bool:
        """Whether payloads must be UTF-8 also where nobody looks at them."""
        ...

    @property
    def unseen_bytes(self) -> int:
        """Payloads of so many bytes need no ``check``: they can't be too dear."""
        ...

    def check(self, payload: bytes) -> bool:
        """Look at a longer payload before it is parsed.

        Returns:
            Whether it may go the fast way, which makes records before it knows their number.

        Raises:
            DataError: Too much would come of it, or it takes too long to read.
        """
        ...

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds: an object with texts as keys, or a list of them.

        A record of a list that can't be read is a DataError in its place.

        Raises:
            DataError: It can't be read; with the reason.
        """
        ...

    @property
    def pick(self) -> Callable[[bytes, dict[str, object]], dict[str, object]] | None:
        """Given topic and record, what of it are channels, by their keys; None: all of it.

        The record's time, device and quality are looked up in all of it whatever this says.
        """
        ...

    def check_count(self, records: int) -> None:
        """Refuse, with DataError, so many records in one message."""
        ...


#: Makes a format for a feed, from the component's own table.
MakeFormat: TypeAlias = Callable[[Any, Feed, Ingest], Format]
