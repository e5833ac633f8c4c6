"""Many payloads at a time to columns: the fast way of formats that are read into objects first.

A parser gives Python's objects, payload by payload, or a format texts and numbers of its own; what
is wanted of them is taken out channel by channel. Whatever is not just as the feed says (another
type, text where a number should be) fails here with its whole payload and is left to the decoder's
careful way, which knows a reason for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from itertools import chain, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.bounds import no_garbage_collection, pieces_of
from connectors.formats.format import (
    Format,
    MakeOrdered,
    MakeTable,
    OrderedDecoder,
    ReadTable,
    Typed,
    Wanted,
)
from connectors.formats.paths import ABSENT, getter, with_default
from connectors.formats.signals import Signal
from connectors.formats.texts import TextSignal
from connectors.formats.typed import TypedDecoder, read_each
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.core.errors import DataError

#: Payloads that are read together have so many bytes at most, or are one: what is made of them is
#: held until all of it is columns, and may be many times as large.
_TOGETHER_BYTES = 64 << 10

#: Types of numbers, of names, of texts, and of times that are numbers or texts of such.
_NUMBERS, _WITH_TRUTH = frozenset({float, int}), frozenset({float, int, bool})
_NAMES, _TEXT, _TIMES = frozenset({str, int}), frozenset({str}), frozenset({float, int, str})

#: Whole numbers of this size and more may not fit into a float.
_LARGE = 2**1000


class TableDecoder:
    """Decodes payloads of a format that reads many at a time.

    Args:
        read: The format's function.
        together_bytes: So many bytes it reads together at most, or one payload.
    """

    def __init__(self, read: ReadTable, together_bytes: int = _TOGETHER_BYTES) -> None:
        self._read = read
        self._together_bytes = together_bytes

    def decode(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """Decode payloads; never raises for what they hold."""
        with no_garbage_collection():
            if sum(map(len, payloads)) <= self._together_bytes:
                return self._read(topics, payloads)
            parts = [
                (range(first, end), self._read(topics[first:end], payloads[first:end]))
                for first, end in pieces_of(payloads, self._together_bytes)
            ]
            return _in_a_row(parts)


def fast_decoder(
    feed: FeedConfig, form: Format, signals: Sequence[Signal], texts: Sequence[TextSignal]
) -> TypedDecoder | TableDecoder | OrderedDecoder | None:
    """The feed's fast way; None when its format or paths need the careful one throughout."""
    given = (feed.records, feed.pairs, feed.arrays, feed.quality, feed.other_tags)
    if any(each is not None for each in given) or len(feed.time.paths) > 1:
        return None
    # Nor is it known what a value is, or whether it counts, that hangs on another.
    if feed.skip or feed.only or any(each.beside is not None for each in signals):
        return None
    make_ordered: MakeOrdered | None = getattr(form, "make_ordered", None)
    if make_ordered is not None:
        return make_ordered(_wanted_in_order(feed, signals, texts))
    if feed.other_channels is not None:
        return None
    return _unordered(
        form, _wanted(feed, signals, [each.path for each in texts]), has_texts=bool(texts)
    )


def _wanted_in_order(
    feed: FeedConfig, signals: Sequence[Signal], texts: Sequence[TextSignal]
) -> Wanted:
    others = feed.other_channels
    return replace(
        _wanted(feed, signals, ()),
        texts=tuple((each.path, each.text_of) for each in texts),
        others_take_truth=None if others is None else not others.missing,
    )


def _wanted(feed: FeedConfig, signals: Sequence[Signal], texts: Sequence[str]) -> Wanted:
    numbers = [signal for signal in signals if not feed.channels[signal.name].is_text]
    return Wanted(
        # What may stand elsewhere has no default yet.
        tuple((each.path, None if each.others else each.default) for each in numbers),
        tuple(not signal.no_reading for signal in numbers),
        (feed.time.paths[0], feed.time.is_text) if feed.time.paths else None,
        # Of tags as of names: what is neither text nor whole number goes the careful way.
        (*feed.device_name.paths, *feed.tag_paths.values(), *texts),
    )


def _unordered(
    form: Format, wanted: Wanted, *, has_texts: bool
) -> TypedDecoder | TableDecoder | None:
    """The fast way of a format that remembers nothing."""
    make_table: MakeTable | None = getattr(form, "make_table", None)
    read = None if make_table is None else make_table(wanted)
    if read is not None:
        # Others know which values are numbers.
        is_for_numbers = has_texts and not getattr(read, "reads_texts", False)
        together_bytes = getattr(read, "together_bytes", _TOGETHER_BYTES)
        return None if is_for_numbers else TableDecoder(read, together_bytes)
    if form.make_typed is None or form.pick is not None:
        return None
    try:
        return TypedDecoder(wanted, form.make_typed, is_utf8=form.is_utf8)
    except ValueError:
        return None


def in_pieces(read: ReadTable, topics: Sequence[bytes], contents: Iterable[bytes | None]) -> Typed:
    """What ``read`` says of all together, given to it in pieces of a bounded size.

    Args:
        read: The format's function.
        topics: The topic of each payload.
        contents: The payloads; None for those that are not to be read, which fail.
    """
    pieces: list[Typed] = []
    failed: list[int] = []
    taken: list[int] = []
    piece: list[bytes] = []
    size = 0

    def finish() -> None:
        if piece or not pieces:
            typed = read([topics[at] for at in taken], piece)
            places = np.array(taken, np.intp)
            failed.extend(places[typed.failed].tolist())
            pieces.append(replace(typed, owner=places[typed.owner]))

    for position, content in enumerate(contents):
        if content is None:
            failed.append(position)
            continue
        if piece and size + len(content) > _TOGETHER_BYTES:
            finish()
            taken, piece, size = [], [], 0
        taken.append(position)
        piece.append(content)
        size += len(content)
    finish()
    return _joined(pieces, failed)


def _in_a_row(parts: Sequence[tuple[Sequence[int], Typed]]) -> Typed:
    """The same with records in the order of the parts."""
    failed: list[int] = []
    moved = []
    for positions, typed in parts:
        places = np.array(positions, np.intp)
        failed += places[typed.failed].tolist()
        moved.append(replace(typed, owner=places[typed.owner]))
    return _joined(moved, sorted(failed))


def merged(parts: Sequence[tuple[Sequence[int], Typed]]) -> Typed:
    """What parts of some payloads hold, with their positions, as what all of them hold."""
    every = _in_a_row(parts)
    order = np.argsort(every.owner, kind="stable")
    places = order.tolist()
    return replace(
        every,
        owner=every.owner[order],
        time=_times_at(every.time, order),
        device=None if every.device is None else [every.device[at] for at in places],
        value=every.value[order],
        is_absent=every.is_absent[order],
        which=None if every.which is None else every.which[order],
    )


def _joined(pieces: Sequence[Typed], failed: list[int]) -> Typed:
    first = pieces[0]
    has_arrays = any(each.has_arrays for each in pieces)
    which = None
    if first.which is not None:
        which = np.concatenate([each.which for each in pieces if each.which is not None])
    return Typed(
        np.concatenate([each.owner for each in pieces]),
        _joined_times([each.time for each in pieces if each.time is not None]),
        None if first.device is None else [name for each in pieces for name in each.device or ()],
        np.concatenate([each.value for each in pieces]),
        np.concatenate([each.is_absent for each in pieces]),
        failed,
        has_arrays,
        not has_arrays and not failed,
        which,
    )


def _times_at(
    times: list[Any] | NDArray[np.int64] | None, rows: NDArray[np.intp]
) -> list[Any] | NDArray[np.int64] | None:
    if times is None or isinstance(times, np.ndarray):
        return None if times is None else times[rows]
    return [times[row] for row in rows.tolist()]


def _joined_times(
    parts: Sequence[list[Any] | NDArray[np.int64]],
) -> list[Any] | NDArray[np.int64] | None:
    if not parts:
        return None
    arrays = [each for each in parts if isinstance(each, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    lists = (each.tolist() if isinstance(each, np.ndarray) else each for each in parts)
    return list(chain.from_iterable(lists))


class Gathered:
    """What a run of payloads held, on its way to ``Typed``.

    Args:
        wanted: What is looked for.
        owner: intp[r], the payload that each record came from, rising.
        failed: Positions of payloads without records here.
        has_arrays: Whether there may be several records of one payload.
        which: The channel of each record, see ``Typed``; below 0 one for the careful way.
    """

    def __init__(
        self,
        wanted: Wanted,
        owner: NDArray[np.intp],
        failed: Sequence[int],
        *,
        has_arrays: bool,
        which: NDArray[np.intp] | None = None,
    ) -> None:
        self._wanted = wanted
        self._owner, self._which = owner, which
        self._failed = list(failed)
        self._has_arrays = has_arrays
        width = len(wanted.channels) if which is None else 1
        self._value = np.empty((len(owner), width))
        self._is_absent = np.zeros((len(owner), width), np.bool_)
        # Records of a channel that nobody looks for here are bad at once.
        self._is_bad = np.zeros(len(owner), np.bool_) if which is None else which < 0
        self._time: list[Any] | NDArray[np.int64] | None = None
        self._names: list[list[Any]] = []

    def refuse(self, is_bad: NDArray[np.bool_]) -> None:
        """Leave these records, bool[r], to the careful way."""
        self._is_bad |= is_bad

    def add_numbers(
        self, place: int, numbers: NDArray[Any], is_absent: NDArray[np.bool_] | None = None
    ) -> None:
        """What the records have of a channel, as numbers; those that are none are bad.

        Args:
            place: The channel's, among those that ``value`` has.
            numbers: [r].
            is_absent: bool[r], where there is none.
        """
        with np.errstate(invalid="ignore"):  # bytes that are told from other NaNs
            self._value[:, place] = numbers
        is_bad = ~np.isfinite(self._value[:, place])
        if is_absent is not None:
            self._is_absent[:, place] = is_absent
            is_bad &= ~is_absent
        self._is_bad |= is_bad

    def add_values(self, place: int, values: Sequence[Any], *, takes_truth: bool) -> None:
        """The same as values of any kind, one a record, ``ABSENT`` where there is none.

        Args:
            place: The channel's, among those that ``value`` has.
            values: One a record; None is a reading that is missing.
            takes_truth: Whether true and false are numbers.
        """
        kinds = _WITH_TRUTH if takes_truth else _NUMBERS
        if set(map(type, values)) <= kinds:
            try:
                self.add_numbers(place, np.array(values, np.float64))
            except OverflowError:
                pass
            else:
                return
        numbers = np.full(len(values), np.nan)
        is_empty = np.zeros(len(values), np.bool_)
        for at, value in enumerate(values):
            kind = type(value)
            if kind in kinds and (kind is not int or -_LARGE < value < _LARGE):
                numbers[at] = value
            else:
                is_empty[at] = value is None or value is ABSENT
                self._is_absent[at, place] = value is ABSENT
        self._value[:, place] = numbers
        self._is_bad |= ~np.isfinite(numbers) & ~is_empty

    def add_time(self, values: Sequence[object] | NDArray[np.int64]) -> None:
        """What the records have of their time, one entry each."""
        if isinstance(values, np.ndarray):
            self._time = values
            return
        is_text = self._wanted.time is not None and self._wanted.time[1]
        self._time = self._of_kinds(values, _TEXT if is_text else _TIMES)

    def add_names(self, values: Sequence[object]) -> None:
        """What the records have of a part of the device's name, or of a tag; in their order."""
        self._names.append(self._of_kinds(values, _NAMES))

    def _of_kinds(self, values: Sequence[object], kinds: Container[type]) -> list[Any]:
        found: list[Any] = list(values)
        for kind in set(map(type, values)):
            if kind not in kinds:
                break
        else:
            return found
        for at, value in enumerate(found):
            if type(value) not in kinds:
                found[at] = None
                self._is_bad[at] |= value is not None and value is not ABSENT
        return found

    def typed(self) -> Typed:
        """All of it, but for payloads of which something is for the careful way."""
        names: list[Any] | None = self._names[0] if self._names else None
        if len(self._names) > 1:
            names = list(zip(*self._names, strict=True))
        typed = Typed(
            self._owner,
            self._time,
            names,
            self._value,
            self._is_absent,
            self._failed,
            self._has_arrays,
            not self._has_arrays and not self._failed,
            self._which,
        )
        return without(typed, np.unique(self._owner[self._is_bad])) if self._is_bad.any() else typed


def without(typed: Typed, bad: NDArray[np.intp]) -> Typed:
    """The same without these payloads, which fail."""
    is_good = ~np.isin(typed.owner, bad)
    kept = is_good.tolist()
    return Typed(
        typed.owner[is_good],
        _times_at(typed.time, np.flatnonzero(is_good)),
        None if typed.device is None else list(compress(typed.device, kept)),
        typed.value[is_good],
        typed.is_absent[is_good],
        [*typed.failed, *bad.tolist()],
        typed.has_arrays,
        is_one_each=False,
        which=None if typed.which is None else typed.which[is_good],
        texts=typed.texts,
    )


def are_too_many(counts: NDArray[np.intp], check_count: Callable[[int], None]) -> NDArray[np.bool_]:
    """Of which payloads there would be too many records.

    Args:
        counts: How many there are of each.
        check_count: Refuses, with DataError, so many.
    """
    found = np.zeros(len(counts), np.bool_)
    for count in np.unique(counts)[::-1].tolist():
        try:
            check_count(count)
        except DataError:
            found |= counts == count
        else:
            break
    return found


class RecordTable:
    """Reads payloads that a parser makes objects of, or lists of them; a ``ReadTable``.

    Args:
        wanted: What is looked for.
        parse: The parser.
        unreadable: What it raises for what it can't read, beside DataError.
        check_count: Refuses, with DataError, so many records of one message.
        parse_all: Makes of many payloads at once what the parser makes of each, or None.
    """

    #: Whether parts of names may as well be texts of channels.
    reads_texts = True

    def __init__(
        self,
        wanted: Wanted,
        parse: Callable[[bytes], object],
        unreadable: tuple[type[Exception], ...],
        check_count: Callable[[int], None],
        parse_all: Callable[[Sequence[bytes]], list[Any] | None] = lambda _payloads: None,
    ) -> None:
        self._wanted = wanted
        self._parse = parse
        self._parse_all = parse_all
        self._unreadable: tuple[type[Exception], ...] = (DataError, *unreadable)
        self._check_count = check_count
        self._channels = [values_at(path, default) for path, default in wanted.channels]
        self._time = None if wanted.time is None else values_at(wanted.time[0])
        self._names = [values_at(path) for path in wanted.names]

    def __call__(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """What payloads hold."""
        del topics
        gathered, records = self.records(payloads)
        for place, (values_of, takes_truth) in enumerate(
            zip(self._channels, self._wanted.takes_truth, strict=True)
        ):
            gathered.add_values(place, values_of(records), takes_truth=takes_truth)
        return gathered.typed()

    def records(
        self, payloads: Sequence[bytes], which: NDArray[np.intp] | None = None
    ) -> tuple[Gathered, Sequence[Any]]:
        """The records of payloads, all of them objects; what is beside their channels is gathered.

        Args:
            payloads: The payloads.
            which: The channel that each payload is of; see ``Typed``.
        """
        found, failed = self._parse_all(payloads), list[int]()
        if found is None:
            found, failed = read_each(self._parse, payloads, self._unreadable)
        contents = found
        owner = np.arange(len(payloads))
        if failed:
            owner = np.delete(owner, failed)
        has_arrays = not set(map(type, contents)) <= {dict}
        records = contents
        if has_arrays:
            parts = [self._parts(content) for content in contents]
            failed += [at for at, part in zip(owner.tolist(), parts, strict=True) if not part]
            owner = np.repeat(owner, [len(part) for part in parts])
            records = list(chain.from_iterable(parts))
        which = None if which is None else which[owner]
        gathered = Gathered(self._wanted, owner, failed, has_arrays=has_arrays, which=which)
        if self._time is not None:
            gathered.add_time(self._time(records))
        for values_of in self._names:
            gathered.add_names(values_of(records))
        return gathered, records

    def _parts(self, content: object) -> Sequence[object]:
        """The records of a payload; none where it is not of records, and of not too many."""
        if type(content) is dict:
            return (content,)
        if type(content) is not list or not set(map(type, content)) <= {dict}:
            return ()
        try:
            self._check_count(len(content))
        except DataError:
            return ()
        return content


def values_at(
    path: str, default: float | None = None
) -> Callable[[Sequence[Any]], Sequence[object]]:
    """What takes what a path leads to out of each of some records."""
    parts = parts_of(path)
    if len(parts) > 1:
        get = getter(path) if default is None else with_default(path, default)
        return lambda records: list(map(get, records))
    (key,) = parts
    otherwise = ABSENT if default is None else default
    return lambda records: [record.get(key, otherwise) for record in records]
