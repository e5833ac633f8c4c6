"""Where the records of a message stand: in arrays, in arrays below those, under keys.

The path to them goes along keys. Where an array stands it goes on in each of the elements; a
placeholder such as ``{device}`` is each key of an object, and ``*`` each key or element. A record
is told by what is around it, too: by the keys that placeholders stand for, and by the elements and
members it stands in, from inside out, the payload last.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from connectors.formats.format import NOTHING, Stated
from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, array_below, quoted
from connectors.formats.signals import Signal
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import Step, parts_of, steps_of
from headgate.core.errors import DataError

#: What is around a record, from inside out.
Around: TypeAlias = tuple[object, ...]

#: What a value under a key is called that is no object.
_VALUE = "value"

_NO_RECORDS = "no records: the array or object they stand in is empty"

#: Keys of an object in which a record is looked for.
_LOOKED_AT = 20

#: Keys of an object that a person is told of, and how much of each.
_TOLD_KEYS = 8
_LONGEST_KEY = 24


#: What stands where the path ends, the elements of an array or what stands there itself, and what
#: is around each.
_End: TypeAlias = tuple[Sequence[object], Around]


class Found:
    """The records of a message, with what is around each.

    Args:
        payload: All that the message holds.
        count: How many there are.
        ends: Where they stand.
        record_of: Makes a record of what stands there, ``ABSENT`` of what is none; None: it is one.
        is_passed: Says of a record and what is around it whether it is passed over; None: never.
    """

    def __init__(
        self,
        payload: object,
        count: int,
        ends: Sequence[_End],
        record_of: Callable[[object], object] | None,
        is_passed: Callable[[object, Around], bool] | None = None,
    ) -> None:
        self.payload = payload
        self.count = count
        self._ends = ends
        self._record_of = record_of
        self._is_passed = is_passed
        #: How many of them were passed over when they were gone through last.
        self.passed = 0

    @property
    def stated(self) -> int:
        """How many of them say whether devices are there, and are no records."""
        contents = self.payload if type(self.payload) is list else ()
        return list(map(type, contents)).count(Stated)

    @property
    def plain(self) -> Sequence[object] | None:
        """All records, where they are as they stand in one place; None where that is not so."""
        is_plain = self._record_of is None and self._is_passed is None and len(self._ends) == 1
        return self._ends[0][0] if is_plain else None

    @property
    def around(self) -> Around:
        """What is around each of these."""
        return self._ends[0][1]

    def refusal(self, first: DataError, count: int, number: int) -> DataError:
        """The refusal of all of it for so many of its records, of which this is the first.

        Args:
            first: Why that one is refused.
            count: How many are.
            number: Its place among all, from 1.
        """
        # Of one there is no other that could be stated.
        records = 1 if self.count == 1 else self.count - self.stated
        if records == 1:
            return first
        detail = f"{count} of {records} records; the first, number {number}: {first.detail}"
        return DataError(first.reason, detail)

    def __iter__(self) -> Iterator[tuple[object, Around]]:
        """Each record but those under keys that hold nothing of the feed's."""
        self.passed = 0
        for contents, around in self._ends:
            for each in contents:
                record = each if self._record_of is None else self._record_of(each)
                if record is ABSENT:
                    continue
                if self._is_passed is None or not self._is_passed(record, around):
                    yield record, around
                else:
                    self.passed += 1


class Records:
    """Finds the records of a feed's messages.

    Args:
        feed: The feed's configuration.
        signals: Its channels.
        check_count: Refuses, with DataError, so many records.
        is_passed: See ``Found``.
    """

    def __init__(
        self,
        feed: FeedConfig,
        signals: Sequence[Signal],
        check_count: Callable[[int], None],
        is_passed: Callable[[object, Around], bool] | None = None,
    ) -> None:
        self._is_passed = is_passed
        self.path = feed.records
        self._steps = () if feed.records is None else steps_of(feed.records)
        self._check_count = check_count
        self._is_named_by_topic = "device" in feed.placeholders
        #: Whether records stand under keys of any name; then some may be none of the feed's.
        self.is_keyed = any(step.name is not None for step in self._steps)
        values = feed.pairs.value if feed.pairs is not None else [each.path for each in signals]
        paths = [
            *values,
            *feed.time.paths,
            *feed.time.or_path,
            *feed.device_name.paths,
            *feed.tag_paths.values(),
            *feed.skip,
            *feed.only,
        ]
        # Of a name and a value, the name says whether it is one of the feed's.
        self._finds = [signal.find for signal in signals]
        has_names = feed.pairs is not None or feed.other_channels is not None
        self._wanted = [] if has_names else self._finds
        asked = [*paths, *(path for each in feed.channels.values() for path in each.beside)]
        places = [part for path in asked if (part := parts_of(path)[0]).isdecimal()]
        # How many values of a row anybody asks for; 0 where no record is one.
        self._row_length = max(map(int, places), default=-1) + 1
        # With arrays, rows lie one below the other: what stands at one place in each is an array.
        self._columns = sorted({*map(int, places)}) if feed.arrays is not None else []
        # Most are one record, or a list of some.
        self._is_plain = not self._steps and not self._row_length
        self._takes_values = self.is_keyed and _VALUE in values
        # What stands beside the members of an object and is asked for by itself is none of them.
        beside = [*paths[len(values) :], *([] if feed.quality is None else [feed.quality.path])]
        self._beside = frozenset(parts_of(path)[0] for path in beside)

    def found(self, payload: object) -> Found:
        """The records in a payload.

        Raises:
            DataError: There are too many or none, or the path leads nowhere.
        """
        if payload is NOTHING:
            return Found(payload, 0, (), None)
        if self._is_plain:
            contents = payload if type(payload) is list else (payload,)
            count = len(contents)
            self._check_count(count)
            if not count:
                raise DataError("no_channels", _NO_RECORDS)
            return Found(payload, count, ((contents, (payload,)),), None, self._is_passed)
        content, steps = payload, self._steps
        if self.path is not None and type(payload) is dict and self.path in payload:
            # A key that holds the whole path is preferred, as with all paths.
            content, steps = payload[self.path], ()
        search = _Search(
            self._check_count,
            self._beside,
            has_rows=bool(self._row_length),
            has_columns=bool(self._columns),
            takes_null=self._takes_values,
        )
        search.follow(content, steps, (payload,), {})
        if not search.ends and self._steps:
            raise DataError("missing_records", self._nothing_there(payload))
        if not search.records:
            raise DataError("no_channels", _NO_RECORDS)
        record_of = self._record if self.is_keyed or self._row_length else None
        ends = search.ends
        if self._columns:
            ends = [(_as_columns(contents, self._columns), around) for contents, around in ends]
        return Found(payload, search.records, ends, record_of, self._is_passed)

    def hint(self, record: object) -> str:
        """Which path may lead to what a record has not; empty where nothing can be guessed."""
        above = f"{self.path}." if self.path else ""
        if below := array_below(record):
            path = f"{above}{below}"
            return f'there is an array of objects at "{below}"; records = "{path}" reads it'
        if type(record) is not dict:
            return ""
        keys = [
            str(key)
            for key, each in islice(record.items(), _LOOKED_AT)
            if type(each) is dict and any(find(each) is not ABSENT for find in self._finds)
        ]
        if not keys:
            return ""
        there = f'there is such a record under "{keys[0][:_LONGEST_KEY]}"'
        if keys[0][:4].isdecimal():
            return f'{there}; records = "{above}{{time}}" reads those under all keys'
        if self._is_named_by_topic and len(keys) == 1 and len(keys[0]) <= _LONGEST_KEY:
            return f'{there}; records = "{above}{quoted(keys[0])}" reads it'
        text = f'{there}; records = "{above}{{device}}" reads those under all keys'
        return f"{text}, with + for {{device}} in topic" if self._is_named_by_topic else text

    def _record(self, content: object) -> object:
        """A record; ``ABSENT`` for what is none of the feed's."""
        if type(content) is list and self._row_length:
            values = islice(content, self._row_length)
            return {str(place): value for place, value in enumerate(values)}
        if not self.is_keyed:
            return content
        if type(content) is dict:
            is_wanted = not self._wanted or any(
                find(content) is not ABSENT for find in self._wanted
            )
            return content if is_wanted else ABSENT
        is_value = self._takes_values and type(content) is not list
        return {_VALUE: content} if is_value else ABSENT

    def _nothing_there(self, payload: object) -> str:
        what = "object" if self._steps[-1].name is not None else "array"
        text = f'no {what} at "{self.path}"'
        content, way = payload, "the payload"
        for step in self._steps:
            while type(content) is list and content and not _picks(step):
                content = content[0]
            members = _members(content, step)
            if not members:
                told = _keys(content) if type(content) is dict else shown(content)
                text = f"{text}; {way} has {told}" if told else text
                break
            content, way = members[0][1], f'"{step.key}"'
        below = array_below(payload)
        is_hint = what == "array" and below not in ("", self.path)
        return f'{text}; there is one at "{below}"' if is_hint else text


class _Search:
    """Follows a path through one payload, with a bound on what it goes through."""

    def __init__(
        self,
        check_count: Callable[[int], None],
        beside: Container[str],
        *,
        has_rows: bool,
        has_columns: bool,
        takes_null: bool,
    ) -> None:
        self._check_count = check_count
        self._beside = beside
        self._has_rows = has_rows
        # Of rows one below the other, null is one that is missing.
        self._has_columns = has_columns
        # Where values stand under keys, null is one that is missing.
        self._takes_null = takes_null
        self.records = self._branches = 0
        self.ends: list[_End] = []

    def follow(
        self, content: object, steps: Sequence[Step], levels: Around, keys: Mapping[str, str]
    ) -> None:
        """Add what stands where these steps lead from there.

        Args:
            content: Where they begin.
            steps: The steps that are left.
            levels: What is around it.
            keys: The keys that placeholders stood for on the way, by their name in braces.
        """
        if not steps:
            self._end(content, (keys, *levels) if keys else levels)
            return
        step, rest = steps[0], steps[1:]
        if type(content) is list and not _picks(step):
            self._count(branches=len(content))
            for each in content:
                if type(each) is dict:
                    self.follow(each, steps, (each, *levels), keys)
            return
        if step.name is not None and isinstance(content, dict | list):
            self._count(branches=len(content))
            if not content:
                self.ends.append(((), levels))
        for key, each in _members(content, step, has_null=self._takes_null and not rest):
            if step.name is not None and key in self._beside and not isinstance(each, dict | list):
                continue
            is_level = rest and (step.name is not None or isinstance(content, list))
            inside = (each, *levels) if is_level else levels
            named = {**keys, step.key: key} if step.name not in (None, "*") else keys
            self.follow(each, rest, inside, named)

    def _end(self, content: object, around: Around) -> None:
        contents: Sequence[object] = content if isinstance(content, list) else (content,)
        if (
            self._has_rows
            and contents is content
            and not _has_parts(contents, skips_null=self._has_columns)
        ):
            contents = (content,)
        self._count(records=len(contents))
        self.ends.append((contents, around))

    def _count(self, records: int = 0, branches: int = 0) -> None:
        self.records += records
        self._branches += branches
        self._check_count(max(self.records, self._branches))


def _picks(step: Step) -> bool:
    """Whether a step goes to elements of an array itself, and not on in each of them."""
    return step.name == "*" or (step.name is None and step.key.isdecimal())


def _members(content: object, step: Step, *, has_null: bool = False) -> list[tuple[str, object]]:
    """Where a step leads, with the keys; nothing where it leads nowhere, or to null.

    Args:
        content: Where it begins.
        step: The step.
        has_null: Whether null is something.
    """
    if type(content) is dict:
        if step.name is not None:
            return [(key, each) for key, each in content.items() if has_null or each is not None]
        is_there = step.key in content and (has_null or content[step.key] is not None)
        return [(step.key, content[step.key])] if is_there else []
    if type(content) is list and _picks(step):
        if step.name is not None:
            return [("", each) for each in content if has_null or each is not None]
        at = int(step.key)
        return [(step.key, content[at])] if at < len(content) else []
    return []


def _as_columns(rows: Sequence[object], places: Sequence[int]) -> Sequence[object]:
    """One record of arrays of what stands at these places in rows; without rows it is as it is.

    Where one is no row, its values are missing, or bad: the others keep their places.
    """
    if not any(type(row) is list for row in rows):
        return rows
    columns = {str(place): [_at(row, place) for row in rows] for place in places}
    return (columns, *(row for row in rows if isinstance(row, DataError)))


def _at(row: object, place: int) -> object:
    """What stands at a place in a row; what is none is a value that is none."""
    if isinstance(row, list):
        return row[place] if place < len(row) else None
    return None if row is None else [row]


def _has_parts(content: Sequence[object], *, skips_null: bool) -> bool:
    """Whether an array is one of records, and no row itself; the first in it says so."""
    each = (one for one in content if not skips_null or one is not None)
    return not content or type(next(each, None)) in (dict, list)


def _keys(content: Mapping[object, object]) -> str:
    told = [str(key)[:_LONGEST_KEY] for key in islice(content, _TOLD_KEYS)]
    return ", ".join(told) + ("…" if len(content) > len(told) else "")
