"""Records that are not one object with all channels in it: name and value, or arrays of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.signals import Signal
from headgate.config.feed import Arrays, Feed, Pairs, SourceQuality, plain
from headgate.config.payload_path import key_of
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError

#: Elements of one array are no farther apart, first and last.
_LONGEST_NS = 366 * 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a record, with one time.

    Attributes:
        record: What its channels are looked up in.
        timed: What its time is looked up in.
        later_ns: How much later it is than that.
        is_good: Whether the sender believes in it.
    """

    record: dict[str, object]
    timed: object
    later_ns: int = 0
    is_good: bool = True


class Shape:
    """How records are made of parts.

    Args:
        feed: The feed's configuration.
        signals: Its channels.
        check_count: Refuses, with DataError, so many parts.
    """

    def __init__(
        self, feed: Feed, signals: Sequence[Signal], check_count: Callable[[int], None]
    ) -> None:
        self._split: Callable[[dict[str, object], object], Iterator[Part]] = _whole
        if feed.pairs is not None:
            self._split = NamedValues(feed.pairs, signals).parts
        elif feed.arrays is not None and feed.time.path is not None:
            self._split = ValueArrays(feed.arrays, feed.time.path, signals, check_count).parts
        self._quality = None if feed.quality is None else SenderQuality(feed.quality)
        self._check_count = check_count
        self._parts = 0

    def begin(self) -> None:
        """A new message: its parts are counted together, of whichever records they are."""
        self._parts = 0

    def parts(self, record: dict[str, object], envelope: object) -> Iterator[Part]:
        """The parts of a record; none where nothing in it is one of the feed's channels.

        Raises:
            DataError: It is not of this shape.
        """
        for part in self._split(record, envelope):
            self._parts += 1
            self._check_count(self._parts)
            if self._quality is None or self._quality.is_good(record, envelope):
                yield part
            else:
                yield replace(part, is_good=False)


def _whole(record: dict[str, object], _envelope: object) -> Iterator[Part]:
    yield Part(record, record)


class NamedValues:
    """Records of a name and a value each: the name says which channel it is."""

    def __init__(self, pairs: Pairs, signals: Sequence[Signal]) -> None:
        self._path = pairs.name
        self._name = getter(pairs.name)
        self._value = getter(pairs.value)
        self._wanted = {key_of(signal.path) for signal in signals}

    def parts(self, record: dict[str, object], _envelope: object) -> Iterator[Part]:
        """The record, if its name is one of the feed's channels."""
        name = self._name(record)
        if type(name) is not str:
            raise DataError("no_channels", f'no name at "{self._path}": {shown(name)}')
        if name in self._wanted:
            yield Part({name: self._value(record)}, record)


class ValueArrays:
    """Records whose channels are arrays, an element a time."""

    def __init__(
        self,
        arrays: Arrays,
        time_path: str,
        signals: Sequence[Signal],
        check_count: Callable[[int], None],
    ) -> None:
        self._channels = {key_of(signal.path): signal.get for signal in signals}
        self._time_key = key_of(time_path)
        self._time = getter(time_path)
        self._step_ns = arrays.step
        self._rate_path = arrays.rate
        self._rate = None if arrays.rate is None else getter(arrays.rate)
        self._check_count = check_count

    def parts(self, record: dict[str, object], envelope: object) -> Iterator[Part]:
        """A part for each element."""
        found = {key: get(record) for key, get in self._channels.items()}
        columns: dict[str, list[object]] = {
            key: value for key, value in found.items() if isinstance(value, list)
        }
        times = self._time(record)
        has_times = isinstance(times, list)
        if isinstance(times, list):
            columns[self._time_key] = times
        if not columns:
            yield Part(record, record)
            return
        lengths = {key: len(value) for key, value in columns.items()}
        count = min(lengths.values())
        self._check_count(max(lengths.values()))
        if set(lengths.values()) != {count}:
            told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise DataError("uneven_arrays", f"expected arrays of one length; {told}"[:300])
        step_ns = 0.0
        if not has_times and count > 1:
            step_ns = self._step(record, envelope)
            if step_ns * count > _LONGEST_NS:
                raise DataError("bad_time", f"{count} elements would be longer than a year")
        # What is no array is said once, of the first element.
        more = {key: value for key, value in found.items() if type(value) is not list}
        for position in range(count):
            part = {key: value[position] for key, value in columns.items()}
            if position == 0:
                part |= {key: value for key, value in more.items() if value is not ABSENT}
            yield Part(part, part if has_times else record, round(position * step_ns))

    def _step(self, record: object, envelope: object) -> float:
        """How far elements are apart, ns."""
        if self._rate is not None:
            rate = first(self._rate, record, envelope)
            if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < 1e12:
                return NS_PER_S / rate
            raise DataError(
                "bad_time", f"{self._rate_path}: expected elements a second, got {shown(rate)}"
            )
        if self._step_ns is None:
            raise DataError(
                "bad_time", "one time for several elements; give arrays.step or arrays.rate"
            )
        return self._step_ns


class SenderQuality:
    """What the sender itself says of how good a record is."""

    def __init__(self, quality: SourceQuality) -> None:
        self._get = getter(quality.path)
        self._good = {_comparable(each) for each in quality.good}

    def is_good(self, record: object, envelope: object) -> bool:
        """Whether a record may be believed; one of which nothing is said may."""
        value = first(self._get, record, envelope)
        return value is ABSENT or _comparable(value) in self._good


def _comparable(value: object) -> tuple[str, object]:
    """A value so that 1, true and "1" are three things, and words are compared as they mean."""
    if isinstance(value, str):
        return ("text", plain(value))
    if isinstance(value, bool):
        return ("truth", value)
    return ("number", value) if isinstance(value, int | float) else ("other", None)


def shape_of(
    feed: Feed, signals: Sequence[Signal], check_count: Callable[[int], None]
) -> Shape | None:
    """What a feed says of its records' shape; None: each is one object with all channels."""
    if feed.pairs is None and feed.arrays is None and feed.quality is None:
        return None
    return Shape(feed, signals, check_count)
