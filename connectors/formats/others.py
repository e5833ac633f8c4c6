"""Channels that no table of their feed names: whatever number a record has beside those that do.

A name is the path that a table in ``channels`` would have for it. What is no number when it is met
first is passed over, as fields are that nobody lists; once a name is known it is read as any other
channel is, so that a value that is missing is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from connectors.formats.columns import Rows
from connectors.formats.devices import MAX_NAME, Devices
from connectors.formats.format import Fields, Format
from connectors.formats.paths import ABSENT, getter, quoted
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

#: What stands for all of them where counters and examples have a channel's name.
_LABEL = "other_channels"

_MISSING = int(Quality.MISSING)

#: Why no more of a device are taken.
_FULL = "too_many_channels"


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
        self._unit = table.unit
        self._units = [(_pattern([name]), unit) for name, unit in table.units.items()]
        self._signal = Signal.of("", table.model_copy(update={"path": "value"}), is_strict=False)
        self._words = {plain(word) for word in self._signal.states}
        self._takes_texts = feed.writes_texts or table.has_own_digits or bool(table.suffix)
        self._below = () if table.below is None else parts_of(table.below)
        self._get = None if table.below is None else getter(table.below)
        self._fields: Fields | None = getattr(form, "fields", None)
        paths = [each.path or name for name, each in feed.channels.items()]
        # Where keys are names, nothing but channels is beside them.
        has_names = form.pick is not None or feed.pairs is not None
        beside = [*feed.time.paths, *feed.device_name.paths, *feed.tag_paths.values()]
        beside += [] if feed.quality is None else [feed.quality.path]
        beside = [] if has_names else beside
        self._is_flat = has_names or feed.writes_texts
        # As parts, and as a key that is the whole path, which is preferred.
        self._taken = {way for path in [*paths, *beside] for way in (parts_of(path), (path,))}
        self._names = {*feed.channels, *map(key_of, paths if self._is_flat else ())}
        self._skip = _pattern(table.skip)
        self._left = _MOST_FIELDS

    def begin(self) -> None:
        """A new message."""
        self._left = _MOST_FIELDS

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
        """
        content: object = record if self._fields is None else self._fields(record)
        if self._get is not None:
            content = self._get(content)
        known = self._devices.others_of(place)
        refusal: DataError | None = None
        try:
            for name, value in self._leaves(content, self._below, "", 0):
                row = known.get(name)
                if row is None and not self._begins(value):
                    continue
                number, more, word = self._signal.odd_value(value)
                if row is None:
                    is_full = refusal is not None and refusal.reason == _FULL
                    if is_full or more & _MISSING:
                        continue
                    try:
                        row = self._devices.other_row(place, name, self._unit_of(name))
                    except DataError as error:
                        refusal = refusal or error.with_traceback(None)
                        continue
                if word:
                    rows.note_bad(name, word, position, value, label=_LABEL)
                rows.channel.append(row)
                rows.value.append(number)
                rows.quality.append(flags | more)
        except DataError as error:
            refusal = error.with_traceback(None)
        return refusal

    def _begins(self, value: object) -> bool:
        """Whether a value makes a channel known."""
        if type(value) is str:
            return self._takes_texts or plain(value[:MAX_NAME]) in self._words
        return type(value) in (int, float, bool)

    def _leaves(
        self, content: object, way: tuple[str, ...], name: str, depth: int
    ) -> Iterator[tuple[str, object]]:
        """Names and values of what stands there, but for what is taken otherwise."""
        members: Iterable[tuple[Any, object]]
        if type(content) is dict:
            members = content.items()
        elif type(content) is list and len(content) <= _MOST_ELEMENTS:
            members = enumerate(content)
        else:
            return
        for key, value in members:
            self._left -= 1
            if self._left < 0:
                raise DataError(
                    "too_many_records", f"more than {_MOST_FIELDS} fields, with other_channels"
                )
            part = str(key)
            path = (*way, part)
            if path in self._taken:
                continue
            own = part if self._is_flat and not depth else quoted(part)
            full = f"{name}.{own}" if name else own
            if type(value) in (dict, list):
                if depth < _DEEPEST:
                    yield from self._leaves(value, path, full, depth + 1)
            elif value is not ABSENT and full not in self._names and not self._skip.fullmatch(full):
                yield full, value

    def _unit_of(self, name: str) -> str:
        return next((unit for names, unit in self._units if names.fullmatch(name)), self._unit)


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    """What matches one of some names, in which ``*`` stands for any letters; of none nothing."""
    every = [".*".join(map(re.escape, name.split("*"))) for name in names]
    return re.compile("|".join(every) or r"(?!)", re.DOTALL)
