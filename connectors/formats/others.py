"""Channels that no table of their feed names: whatever number a record has beside those that do.

A name is the path that a table in ``channels`` would have for it. What is no number when it is met
first is passed over, as fields are that nobody lists; once a name is known it is read as any other
channel is, so that a value that is missing is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import nan
from typing import Any, Final

from connectors.formats.columns import Rows
from connectors.formats.devices import Devices
from connectors.formats.format import Fields, Format
from connectors.formats.names import MAX_NAME, too_long
from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, getter, quoted
from connectors.formats.said import Globs, pattern_of
from connectors.formats.signals import Signal
from headgate.config.channel import OtherChannelsConfig, plain
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of, parts_of
from headgate.core.batch import Quality
from headgate.core.errors import DataError

#: Fields of one message that are looked at.
_MOST_FIELDS = 10_000

#: Objects in each other, and elements of an array: what has more is a list of something.
_DEEPEST = 8
_MOST_ELEMENTS = 16

#: Texts of one message that are remembered with what they are: some say one thing all the time.
_MOST_TEXTS = 100

#: What stands for all of them where counters and examples have a channel's name.
_LABEL = "other_channels"

_MISSING = int(Quality.MISSING)

#: Of values of these kinds the name says what becomes of them.
_PLAIN = frozenset({str, float, int})

#: Why no more of a device are taken.
_FULL = "too_many_channels"

#: What becomes of a field by its name: it is passed over, or must be looked at by itself.
PASSED: Final = -1
CAREFUL: Final = -2


class Others:
    """The channels of a feed that are not listed.

    Args:
        table: What holds for them.
        feed: The feed's configuration.
        form: The format that reads its messages.
        devices: Its devices.
    """

    def __init__(
        self, table: OtherChannelsConfig, feed: FeedConfig, form: Format, devices: Devices
    ) -> None:
        self._devices = devices
        value = table.model_copy(update={"path": "value"})
        self._unit = table.kept_unit
        self._signal = Signal.of("", value, is_strict=feed.strict)
        # Looked up once for each name that comes again: it is gone through all that units has.
        self._way_of = lru_cache(_MOST_FIELDS)(Globs([*table.units]).place_of)
        self._units = [units.kept_unit for units in table.units.values()]
        own = [
            Signal.of("", value, is_strict=feed.strict, units=units)
            for units in table.units.values()
        ]
        # Whether a name says how its values are converted.
        self._is_converted = bool(table.suffix) or any(
            each.to is not None for each in (table, *table.units.values())
        )
        self._words = {plain(word) for word in self._signal.states}
        self._takes_texts = feed.writes_texts or table.has_own_digits or bool(table.suffix)
        #: Numbers that say there is no reading.
        self.no_reading = self._signal.no_reading
        #: What values are, by ``way_of`` their names.
        self.signals = [self._signal, *own]
        #: Whether texts may be numbers.
        self.reads_texts = self._takes_texts or bool(self._words)
        self._below = () if table.below is None else parts_of(table.below)
        self._get = None if table.below is None else getter(table.below)
        self._fields: Fields | None = getattr(form, "fields", None)
        paths = [path for name, each in feed.channels.items() for path in each.paths(name)]
        powers = [path for each in feed.channels.values() for path in each.beside]
        # Where keys are names, nothing but channels is beside them.
        has_names = form.pick is not None or feed.pairs is not None
        beside = [
            *powers,
            *feed.skip,
            *feed.only,
            *feed.time.paths,
            *feed.time.or_path,
            *feed.device_name.paths,
            *feed.tag_paths.values(),
        ]
        beside += [] if feed.quality is None else [feed.quality.path]
        beside += [] if feed.other_tags is None or self._fields is not None else [feed.other_tags]
        beside = [] if has_names else beside
        self._is_flat = has_names or feed.writes_texts
        # As parts, and as a key that is the whole path, which is preferred.
        self._taken = {way for path in [*paths, *beside] for way in (parts_of(path), (path,))}
        # By the name of a field alone, it is taken whatever it is a field of.
        has_bare = self._fields is not None
        self._bare = {way for way in self._taken if has_bare and len(way) == 1}
        self._taken -= self._bare
        self._names = {*feed.channels, *feed.derived, *map(key_of, paths if self._is_flat else ())}
        self._skip = pattern_of(table.skip)
        self._left = _MOST_FIELDS
        # By key of a record itself, the name of the channel that it is.
        self._plain: dict[str, str] = {}
        # What texts were, of this message.
        self._read_texts: dict[str, tuple[float, int, str]] = {}

    def way_of(self, name: str) -> int:
        """What becomes of a field that stands in a record itself: which of ``signals`` it is.

        ``PASSED``: it is no channel. ``CAREFUL``: that must be found out by itself.
        """
        if (name,) in self._taken:
            return PASSED
        if not name or len(name) > MAX_NAME:
            return CAREFUL
        if not self._may_be_called(name):
            return PASSED
        way = self._way_of(name)
        return 0 if way is None else way + 1

    def begin(self) -> None:
        """A new message."""
        self._left = _MOST_FIELDS
        self._read_texts = {}

    @property
    def is_spent(self) -> bool:
        """Whether a record of this message was refused because it has too many fields; so are all
        that follow.
        """
        return self._left < 0

    def add(
        self, record: dict[str, Any], place: int, position: int, flags: int, rows: Rows
    ) -> DataError | None:
        """Add channel, value and quality of what a record has beside the listed channels.

        Args:
            record: The record.
            place: Its device's.
            position: Its message's.
            flags: Quality that its time gives.
            rows: Where they go.

        Returns:
            Why something of it could not be taken; None where all was.

        Raises:
            DataError: It refuses its record, of which something is there already.
        """
        content: object = record if self._fields is None else self._fields(record)
        if self._get is not None:
            content = self._get(content)
        known = self._devices.others_of(place)
        refusal: DataError | None = None
        is_full = False
        for name, value in self._leaves(content, self._below, "", 0):
            if type(value) is DataError:
                refusal = refusal or value
                continue
            row = known.get(name)
            # What is over is not looked at: a message may have many thousands of names.
            if row is None and (is_full or not self._begins(value)):
                continue
            number, more, word = self._read(name, value, is_known=row is not None)
            if row is None:
                if more & _MISSING:
                    continue
                try:
                    row = self._devices.other_row(place, name, self._unit_of(name))
                except DataError as error:
                    is_full = error.reason == _FULL
                    refusal = refusal or error.with_traceback(None)
                    continue
            if word:
                rows.note_bad(name, word, position, value, label=_LABEL)
            rows.channel.append(row)
            rows.value.append(number)
            rows.quality.append(flags | more)
        if self._left < 0:
            detail = f"more than {_MOST_FIELDS} fields, with other_channels"
            refusal = refusal or DataError("too_many_records", detail)
        return refusal

    def _read(self, name: str, value: object, *, is_known: bool) -> tuple[float, int, str]:
        """What a value is, as ``Signal.odd_value`` says it; of a new channel it refuses nothing."""
        if not self._is_converted and type(value) is str:
            known = self._read_texts.get(value)
            if known is not None:
                return known
        signal = self._signal
        if self._is_converted and (way := self._way_of(name)) is not None:
            signal = self.signals[way + 1]
        try:
            found = signal.odd_value(value)
        except DataError as error:
            if not is_known:
                return nan, _MISSING, ""
            raise DataError(error.reason, f"{name}{error.detail}") from None
        if type(value) is str and len(value) <= MAX_NAME and len(self._read_texts) < _MOST_TEXTS:
            self._read_texts[value] = found
        return found

    def _begins(self, value: object) -> bool:
        """Whether a value makes a channel known."""
        if type(value) is str:
            return self._takes_texts or plain(value[:MAX_NAME]) in self._words
        return type(value) in (int, float, bool)

    def _leaves(
        self, content: object, way: tuple[str, ...], name: str, depth: int
    ) -> Iterator[tuple[str, object]]:
        """Names and values of what stands there, but for what is taken otherwise.

        Where something can have no name, a DataError stands in the value's place.
        """
        # Of what stands in a record itself, names that nothing else has are remembered.
        known = {} if depth else self._plain
        for key, value in _members(content):
            self._left -= 1
            if self._left < 0:
                return
            if type(key) is not str:
                yield "", DataError("no_channels", f"a key that is no text: {shown(key)}")
            elif key in known and type(value) in _PLAIN:
                yield known[key], value
            else:
                yield from self._leaves_at(key, value, way, name, depth)

    def _leaves_at(
        self, key: str, value: object, way: tuple[str, ...], name: str, depth: int
    ) -> Iterator[tuple[str, object]]:
        """The same of one member of what stands there."""
        path = (*way, key)
        if path in self._taken or path[1:] in self._bare:
            return
        own = key if self._is_flat and not depth else quoted(key)
        full = f"{name}.{own}" if name else own
        is_branch = type(value) in (dict, list)
        if len(full) > MAX_NAME and (is_branch or self._begins(value)):
            # Nor is it looked below it: each name there would be as long.
            yield "", too_long("a channel's name", full)
        elif is_branch:
            if depth < _DEEPEST:
                yield from self._leaves(value, path, full, depth + 1)
        elif value is not ABSENT and self._may_be_called(full):
            if not depth and len(self._plain) < _MOST_FIELDS:
                self._plain[key] = full
            yield full, value

    def _may_be_called(self, name: str) -> bool:
        """Whether a name is none of those that are taken, or left out; a long one is none."""
        is_free = len(name) <= MAX_NAME and name not in self._names
        return is_free and not self._skip.fullmatch(name)

    def _unit_of(self, name: str) -> str:
        way = self._way_of(name)
        return self._unit if way is None else self._units[way]


def _members(content: object) -> Iterable[tuple[object, object]]:
    """What is in an object, or in an array of a few, with the keys."""
    if type(content) is dict:
        return content.items()
    if type(content) is list and len(content) <= _MOST_ELEMENTS:
        return ((str(at), each) for at, each in enumerate(content))
    return ()
