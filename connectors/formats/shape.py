"""Records that are not one object with all channels in it: name and value, or arrays of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from connectors.formats.beside import BEYOND, said_at
from connectors.formats.format import Format
from connectors.formats.numbers import number_in, shown
from connectors.formats.paths import ABSENT, first, getter, getter_of
from connectors.formats.records import Around
from connectors.formats.said import Words
from connectors.formats.signals import Signal
from connectors.formats.unit_times import NS_PER_UNIT
from connectors.formats.wanted import wanted
from headgate.config.event_time import TimeConfig
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of
from headgate.config.record import ArraysConfig, PairsConfig
from headgate.config.said import SourceQualityConfig
from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError

#: Elements of one array are no farther apart, first and last.
_LONGEST_NS = 366 * 86_400 * NS_PER_S

#: Names that are numbers are no longer than this.
_LONGEST_NAME_BITS = 200


class Part(NamedTuple):
    """A part of a record, with one time.

    Attributes:
        record: What its channels are looked up in.
        timed: What its time is looked up in.
        later_ns: How much later it is than that.
        is_good: Whether the sender believes in it.
        said: Where else it is looked up what stands beside its values; None: nowhere.
    """

    record: dict[str, object]
    timed: object
    later_ns: int = 0
    is_good: bool = True
    said: object = None


class Shape:
    """How records are made of parts.

    Args:
        feed: The feed's configuration.
        signals: Its channels.
        form: The format that reads them.
    """

    def __init__(self, feed: FeedConfig, signals: Sequence[Signal], form: Format) -> None:
        self._check_count = form.check_count
        self._pick = form.pick
        self._pairs = None if feed.pairs is None else NamedValues(feed, feed.pairs, signals)
        self._arrays = None
        if feed.arrays is not None:
            self._arrays = ValueArrays(feed.arrays, feed.time, signals)
        self._quality = None
        if feed.quality is not None:
            self._quality = SenderQuality(feed.quality, may_be_array=self._arrays is not None)
        self._topic = b""

    def begin(self, topic: bytes, records: Iterable[tuple[object, Around]]) -> int:
        """A new message; how many parts its records have because they hold arrays.

        Args:
            topic: Its topic.
            records: Its records, with what is around each.

        Raises:
            DataError: They have too many parts, all together.
        """
        self._topic = topic
        if self._arrays is None:
            return 0
        count = self._arrays.count
        parts = sum(count(record, around) for record, around in records)
        self._check_count(parts)
        return parts

    @property
    def single(self) -> Callable[[dict[str, object], Around], Sequence[Part]] | None:
        """``parts`` of records that are names and values and nothing else; None for others."""
        is_single = self._pick is None and self._quality is None
        return self._pairs.parts if is_single and self._pairs is not None else None

    def parts(self, record: dict[str, object], around: Around) -> Iterator[Part]:
        """The parts of a record; none where nothing in it is one of the feed's channels.

        Raises:
            DataError: It is not of this shape.
        """
        parts = self._parts(record, around)
        if self._quality is None:
            yield from parts
            return
        verdict = self._quality.of(record, around)
        for position, part in enumerate(parts):
            if isinstance(verdict, list):
                is_good = position < len(verdict) and verdict[position]
            else:
                is_good = verdict
            yield part if is_good else part._replace(is_good=False)

    def _parts(self, record: dict[str, object], around: Around) -> Iterable[Part]:
        if self._pick is not None:
            return (Part(self._pick(self._topic, record), record, said=record),)
        if self._pairs is not None:
            return self._pairs.parts(record, around)
        if self._arrays is not None:
            return self._arrays.parts(record, around)
        return (Part(record, record),)


class NamedValues:
    """Records of a name and a value each: the name says which channel it is."""

    def __init__(self, feed: FeedConfig, pairs: PairsConfig, signals: Sequence[Signal]) -> None:
        self._names = [(path, getter(path)) for path in pairs.name]
        self._name = self._names[0][1] if len(self._names) == 1 else None
        self._values = [getter(path) for path in pairs.value]
        paths = (path for signal in signals for path in (signal.path, *signal.others))
        self._wanted = wanted(feed, map(key_of, paths))

    def parts(self, record: dict[str, object], around: Around) -> Sequence[Part]:
        """The record, if its name is one of the feed's channels."""
        if self._name is not None and type(name := self._name(record)) is str:
            pass  # as mostly: one text, and in the record itself
        else:
            name = "/".join([_text_at(path, get, record, around) for path, get in self._names])
        return (
            (Part({name: self._value(record)}, record, said=record),)
            if name in self._wanted
            else ()
        )

    def _value(self, record: dict[str, object]) -> object:
        """The first that is there, and null only where no other is."""
        if len(self._values) == 1:
            return self._values[0](record)
        found = [value for get in self._values if (value := get(record)) is not ABSENT]
        return next((value for value in found if value is not None), None if found else ABSENT)


def _text_at(
    path: str, get: Callable[[object], object], record: dict[str, object], around: Around
) -> str:
    """A name, or a part of one."""
    text = first(get, record, around)
    if type(text) is int and text.bit_length() < _LONGEST_NAME_BITS:
        text = str(text)
    if type(text) is not str:
        raise DataError("no_channels", f'no name at "{path}": {shown(text)}')
    return text


class ValueArrays:
    """Records whose channels are arrays, an element a time."""

    def __init__(self, arrays: ArraysConfig, time: TimeConfig, signals: Sequence[Signal]) -> None:
        self._channels = {key_of(signal.path): signal.get for signal in signals}
        self._beside = {
            key_of(path): getter(path)
            for signal in signals
            if signal.beside is not None
            for path in signal.beside.paths
        }
        self._time_key, self._step_ns = "", arrays.step
        self._time: Callable[[object], object] = _nothing
        if isinstance(time.path, str):
            self._time_key = key_of(time.path)
            self._time = getter_of((time.path, *time.or_path))
        else:
            # Elements without a time are dated by their arrival, one after the other.
            self._step_ns = 0
        self._ns_per_unit = NS_PER_UNIT[arrays.unit]
        self._pace_path = arrays.rate or arrays.interval
        self._is_rate = arrays.rate is not None
        self._pace = None if self._pace_path is None else getter(self._pace_path)

    def count(self, record: object, around: Around) -> int:
        """How many parts there are in a record, at most."""
        found = [get(record) for get in self._channels.values()]
        times = first(self._time, record, around)
        return max((len(each) for each in (times, *found) if isinstance(each, list)), default=1)

    def parts(self, record: dict[str, object], around: Around) -> Iterator[Part]:
        """A part for each element."""
        found = {key: get(record) for key, get in self._channels.items()}
        columns: dict[str, list[object]] = {
            key: value for key, value in found.items() if isinstance(value, list)
        }
        # What is no array is said once, of the first element.
        more = {
            key: value
            for key, value in found.items()
            if not isinstance(value, list) and value is not ABSENT
        }
        times = first(self._time, record, around)
        has_times = isinstance(times, list)
        if not columns:
            # With an array of times it is of the first of them.
            timed = {self._time_key: times[0]} if isinstance(times, list) and times else record
            yield Part(more, timed, said=record)
            return
        if isinstance(times, list):
            columns[self._time_key] = times
        lengths = {key: len(value) for key, value in columns.items()}
        count = min(lengths.values())
        if set(lengths.values()) != {count}:
            told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise DataError("uneven_arrays", f"expected arrays of one length; {told}"[:300])
        if not count:
            if has_times or not more:
                raise DataError("no_channels", "its arrays are empty")
            yield Part(more, record, said=record)
            return
        beside = self._beside_in(record)
        step_ns = 0.0 if has_times or count < 2 else self._step(record, around)
        if step_ns * count > _LONGEST_NS:
            raise DataError("bad_time", f"{count} elements would be longer than a year")
        for position in range(count):
            part = {key: value[position] for key, value in columns.items()}
            if position == 0:
                part |= more
            timed = part if has_times else record
            said = beside if beside is None else _element(beside, position)
            yield Part(part, timed, round(position * step_ns), said=said)

    def _beside_in(self, record: dict[str, object]) -> dict[str, object] | None:
        """What stands beside the arrays of a record and says what their values mean, by its key
        in a flat record.
        """
        if not self._beside:
            return None
        return {key: get(record) for key, get in self._beside.items()}

    def _step(self, record: object, around: Around) -> float:
        """How far elements are apart, ns."""
        if self._pace is not None:
            pace = first(self._pace, record, around)
            number = number_in(pace)
            # More than one in a nanosecond have no times of their own.
            if number is not None and self._is_rate and 0 < number <= NS_PER_S:
                return NS_PER_S / number
            if number is not None and not self._is_rate and 0 < number < _LONGEST_NS:
                return number * self._ns_per_unit
            what = "elements a second" if self._is_rate else "how far elements are apart"
            raise DataError("bad_time", f"{self._pace_path}: expected {what}, got {shown(pace)}")
        if self._step_ns is None:
            raise DataError(
                "bad_time", "one time for several elements; give arrays.step, rate or interval"
            )
        return self._step_ns


def _element(beside: dict[str, object], position: int) -> dict[str, object]:
    """What is said of one element: of an array the one there, of what is none it itself."""
    return {
        key: _at(said, position) if isinstance(said, list) else said
        for key, said in beside.items()
        if said is not ABSENT
    }


def _at(values: list[object], position: int) -> object:
    return values[position] if position < len(values) else BEYOND


def _nothing(_record: object) -> object:
    """Looks up a time that is nowhere."""
    return ABSENT


class SenderQuality:
    """What the sender itself says of how good a record is."""

    def __init__(self, quality: SourceQualityConfig, *, may_be_array: bool) -> None:
        self._get = said_at(quality.path)
        self._good = Words(quality.good, quality.mask).holds
        self._may_be_array = may_be_array

    def of(self, record: object, around: Around) -> bool | list[bool]:
        """Whether a record may be believed, or each of its elements where it says so of each."""
        value = first(self._get, record, around)
        if value is ABSENT:
            return True
        if isinstance(value, list):
            return self._may_be_array and [each is None or self._good(each) for each in value]
        return self._good(value)


def shape_of(feed: FeedConfig, signals: Sequence[Signal], form: Format) -> Shape | None:
    """What a feed says of its records' shape; None: each is one object with all channels."""
    given = (feed.pairs, feed.arrays, feed.quality, form.pick)
    return Shape(feed, signals, form) if any(each is not None for each in given) else None
