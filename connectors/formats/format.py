"""The contract between a feed's decoder and the format of its messages.

A format knows bytes, and nothing of devices, times and channels: it says what a payload holds, in
the terms of JSON, and the decoder takes the readings out of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig

#: What ``read`` gives for a message that has no readings, and need have none.
NOTHING: Final = object()


class Enveloped(NamedTuple):
    """What ``read`` gives for a message that stands in another one, where that is asked for.

    Attributes:
        content: What the message holds, as ``read`` says it.
        envelope: What is around it: whether it is passed over is looked for there first, and
            nothing else.
    """

    content: object
    envelope: object


#: Given a type, makes the function that reads a payload straight into it.
MakeTyped: TypeAlias = Callable[[Any], Callable[[bytes], Any]]


#: Of a record, what of it are fields, each once, below the name of what it is a field of; a path
#: may leave that name out. A format whose records hold more than that, or hold a field twice, has
#: such a function as its attribute ``fields``, for channels that nobody lists.
Fields: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What records have that is of no listed channel, one field each; see ``Typed``.

    Attributes:
        names: The fields' names: of a record whose ``which`` is the number of listed channels the
            first one, and so on.
        is_text: bool[r], whether the field is a text; its value is NaN.
        is_doubted: bool[r], whether payloads that have failed may have other fields of the same
            device, so that it is not known here which of its channels there are.
    """

    names: Sequence[str]
    is_text: NDArray[np.bool_]
    is_doubted: NDArray[np.bool_]


#: Says what a value is as a text, empty where it is none, and a word for what is wrong with it;
#: raises DataError where it refuses its record.
TextOf: TypeAlias = Callable[[object], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Typed:
    """What a run of payloads held that are just as their feed says.

    Attributes:
        owner: intp[r], the payload that each record came from, rising.
        time: One entry a record, or int64[r]; None when the feed has no event time.
        device: One entry a record, what the payload has of the device's name and tags, of several
            parts a tuple; None when the feed's topics say it all.
        value: float64[r, channel], NaN for null.
        is_absent: bool[r, channel], True where the record has no such field.
        failed: Positions of the payloads that are not as the feed says.
        has_arrays: True when there may be several records of one payload.
        is_one_each: True when every payload is one record, so that ``owner`` counts from 0.
        which: intp[r], the channel that each record has, by its place, where it is never more than
            one; ``value`` and ``is_absent`` are of that alone. None: they are of all.
        texts: The texts whose codes ``value`` has of text channels, by code.
        is_named_once: True when ``device`` has one entry a payload with records, not a record: all
            records of a payload are of one device.
        stated: What payloads with records say of whether devices are there, by position, rising.
        read: What the payload at a position holds, as ``Format.read`` says it, where that must not
            be asked for what was read already.
        unlisted: What there is of channels that no table lists; with ``which`` only.
    """

    owner: NDArray[np.intp]
    time: list[Any] | NDArray[np.int64] | None
    device: list[Any] | None
    value: NDArray[np.float64]
    is_absent: NDArray[np.bool_]
    failed: list[int]
    has_arrays: bool
    is_one_each: bool
    which: NDArray[np.intp] | None = None
    texts: Mapping[float, str] = field(default_factory=dict)
    is_named_once: bool = False
    stated: Sequence[tuple[int, Stated]] = ()
    read: Callable[[int], object] | None = None
    unlisted: Unlisted | None = None

    def readings(self, rows: NDArray[np.bool_]) -> Typed:
        """The same of these records, bool[r], without what is looked up once: time and device."""
        return Typed(
            self.owner[rows],
            None,
            None,
            self.value[rows],
            self.is_absent[rows],
            self.failed,
            self.has_arrays,
            is_one_each=False,
            which=None if self.which is None else self.which[rows],
            texts=self.texts,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a feed looks for in the records of its messages.

    Attributes:
        channels: Path of each, and what it is where it is absent while what it would stand in is
            there; None: absent.
        takes_truth: By channel, whether true and false are 1 and 0 whatever else is configured.
        time: Path of the event time, if there is one, and whether it is a text.
        names: Paths of the parts of the device's name that are in the payload, and of tags.
        texts: Path of each channel that is a text, and what makes it one. Their places are behind
            those of all others. Only formats that remember look for them; of others they are names.
        others_take_truth: Whether true and false are 1 and 0 of what no table lists; None: nothing
            is looked for but what is listed.
    """

    channels: tuple[tuple[str, float | None], ...]
    takes_truth: tuple[bool, ...]
    time: tuple[str, bool] | None
    names: tuple[str, ...]
    texts: tuple[tuple[str, TextOf], ...] = ()
    others_take_truth: bool | None = None


#: Reads payloads, with their topics, many at a time; never raises for what they hold.
ReadTable: TypeAlias = Callable[[Sequence[bytes], Sequence[bytes]], Typed]

#: Given what is wanted, makes the function that reads it; None where it can't be read so.
MakeTable: TypeAlias = Callable[[Wanted], ReadTable | None]


class OrderedDecoder(Protocol):
    """Reads payloads of a format that remembers, in their order, many at a time."""

    def decode(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """Decode payloads, each once; never raises for what they hold."""
        ...


#: Given what is wanted, makes what reads it; None where it can't be read so.
MakeOrdered: TypeAlias = Callable[[Wanted], OrderedDecoder | None]


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


@dataclass(frozen=True, slots=True)
class Stated:
    """Among the records of a message: a device is there from now on, or is not.

    Attributes:
        state: ``"online"`` or ``"offline"``.
        cause: What tells, as in ``Availability``.
        names: What the device's name is made of, as it stands around the device's records.
        but: The same of another device. Where both come to one name, nothing is said.
    """

    state: str
    cause: str
    names: Mapping[str, object]
    but: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """What a format has to say to devices, with QoS 0.

    Attributes:
        topic: Where.
        payload: What.
    """

    topic: str
    payload: bytes


class Conversation(Protocol):
    """What a format remembers from one message to the next, and has to say to devices.

    A format that does either has one as its attribute ``conversation``; others need no such
    attribute. Messages come to it in the order in which the broker sent them.
    """

    @property
    def events(self) -> Counter[str]:
        """How often what has happened, by a word of the format's: few words, for a metric."""
        ...

    def skip(self, topic: bytes) -> None:
        """A message came that will not be read, because it is too large or is poison."""
        ...

    def interrupted(self) -> None:
        """Messages may have been missed before the next one."""
        ...

    def to_publish(self, now_ns: int, wall_ns: int) -> Sequence[Publication]:
        """What is to be published now; it is called often, and only while it can be.

        Args:
            now_ns: Monotonic time.
            wall_ns: Since 1970 UTC.
        """
        ...

    def note(self) -> object:
        """What the next process should know, in the terms of JSON, whenever it is started.

        It may be some seconds old, and the last messages may come again or never.
        """
        ...

    def recall(self, note: object) -> None:
        """Take up what ``note`` gave to an earlier process, or whatever else that may be."""
        ...


class Format(Protocol):
    """Reads the payloads of one feed. Nothing that a payload holds may raise but DataError.

    A format that reads many payloads at a time faster than each by itself has a ``MakeTable`` as
    its attribute ``make_table``, which is preferred to ``make_typed``; others need no such
    attribute. What such a function does not take, or is not sure of, is read by ``read``.

    One that remembers has a ``MakeOrdered`` in its place, as its attribute ``make_ordered``: what
    is read there is not read by ``read`` again, but by what ``Typed.read`` says.
    """

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
        """What a payload holds: an object with texts as keys, or a list of them; or ``NOTHING``.

        With what is around that, if anything is: ``Enveloped``.

        A record of a list that can't be read is a DataError in its place. What is said of whether
        a device is there is a ``Stated`` among them, behind what was so before.

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
MakeFormat: TypeAlias = Callable[[Any, FeedConfig, IngestConfig], Format]
