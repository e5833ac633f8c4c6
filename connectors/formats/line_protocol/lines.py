"""Many messages of one line each, read together by what is alike in them.

Lines of one shape (so many tags, so many fields, a time or none) are taken apart in one go, and
those with the same names become columns. What is not as plain as that (texts, escapes, comments,
more lines in a message, a number that is written in another way) is left to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import compress
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.formats.format import ReadTable, Typed, Wanted
from connectors.formats.paths import ABSENT
from connectors.formats.tables import Gathered, TableDecoder, merged
from headgate.config.payload_path import key_of, parts_of

#: Fewer lines of one kind are read one by one.
_LEAST = 8

#: What stands between a line's parts, and all else.
_MARKS: Final = b" ,=\n"
_NO_MARKS: Final = bytes(set(range(256)) - set(_MARKS))
_TO_BREAKS: Final = bytes.maketrans(_MARKS, b"\n" * len(_MARKS))

#: What a plain line is made of: no quotes, no escapes, and no comment.
_PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\#'))
_PLAIN_TEXT: Final = _PLAIN + b"\n"

#: The marks of a line: of its tags, its fields, and its time.
_SHAPE: Final = re.compile(rb"((?:,=)*) (=(?:,=)*)( ?)")

#: A number as nearly all are written.
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")

#: What they are made of, and so many of it at most; of whole numbers
#: with their letter, and times, those that surely fit.
_SIGNS: Final = str.maketrans("", "", "0123456789.-")
_DIGITS: Final = str.maketrans("", "", "0123456789-")
_LONGEST, _MOST = 40, 9 * 10**18
#: The parser takes no longer texts of digits for times than some more than these.
_LONGEST_TIME = 20
_TRUTHS: Final = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}

#: Parts of a record that are none of its fields.
_OWN: Final = frozenset({"measurement", "tags", "time"})

#: Reads many numbers at once that are written as JSON's are.
_FLOATS: Final = msgspec.json.Decoder(list[float])

#: What a line's beginning may not be: some take it for JSON.
_BRACKETS = ("{", "[")


#: Lines part by part: of each part what every line has.
_Columns: TypeAlias = Sequence[Sequence[str]]

#: What one field of lines is.
_Numbers: TypeAlias = NDArray[np.float64] | list[bool]


class _Shape(NamedTuple):
    """How many tags and fields lines have, and whether they have a time."""

    tags: int
    fields: int
    has_time: bool

    @property
    def width(self) -> int:
        """How many parts that are: the measurement, names and values, and the time."""
        return 1 + 2 * (self.tags + self.fields) + self.has_time

    @property
    def tags_at(self) -> range:
        """Where the names of tags are; behind each its value."""
        return range(1, 1 + 2 * self.tags, 2)

    @property
    def fields_at(self) -> range:
        """The same of fields."""
        return range(1 + 2 * self.tags, 1 + 2 * (self.tags + self.fields), 2)

    @property
    def names_at(self) -> list[int]:
        """The parts that are the same in lines of one kind."""
        return [0, *self.tags_at, *self.fields_at]


class LineTable:
    """Reads messages that are lines; a ``ReadTable``.

    Args:
        wanted: What is looked for: fields by their names alone, tags and the measurement.
        rest: Reads what is not as plain as most.
    """

    reads_texts = True
    #: A line's parts are short texts, which take less than what a parser makes of it.
    together_bytes = 128 << 10

    def __init__(self, wanted: Wanted, rest: ReadTable) -> None:
        self._wanted = wanted
        self._rest = TableDecoder(rest).decode
        self._places = [key_of(path) for path, _ in wanted.channels]
        # Of a tag its name, of the measurement none.
        self._names = [(parts_of(path)[1:] or ("",))[0] for path in wanted.names]
        # So nothing else may be called.
        self._kept = {*self._places, *wanted.names}
        self._own = {*_OWN, *wanted.names}

    @staticmethod
    def can_read(wanted: Wanted) -> bool:
        """Whether what is looked for can be found so."""
        channels = [parts_of(path) for path, _ in wanted.channels]
        names = list(map(parts_of, wanted.names))
        return (
            all(len(parts) == 1 and not _OWN & {*parts} for parts in channels)
            and all(default is None for _, default in wanted.channels)
            and all(parts == ("measurement",) or parts[:-1] == ("tags",) for parts in names)
            and (wanted.time is None or parts_of(wanted.time[0]) == ("time",))
        )

    def __call__(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """What payloads hold."""
        if len(payloads) < _LEAST:
            return self._rest(topics, payloads)
        parts: list[tuple[Sequence[int], Typed]] = []
        is_left = np.ones(len(payloads), np.bool_)
        for shape, columns, positions in _kinds(payloads):
            typed = self._typed(shape, columns)
            if typed is None:
                # Some may be odd, and all others as most are.
                columns, positions = _plain(shape, columns, positions)  # noqa: PLW2901
                typed = self._typed(shape, columns) if len(positions) >= _LEAST else None
            if typed is not None:
                parts.append((positions, typed))
                is_left[positions] = False
        left = np.flatnonzero(is_left).tolist()
        if left:
            rest = self._rest([topics[at] for at in left], [payloads[at] for at in left])
            parts.append((left, rest))
        return parts[0][1] if len(parts) == 1 else merged(parts)

    def _typed(self, shape: _Shape, columns: _Columns) -> Typed | None:
        """What lines of one kind hold, part by part; None where something is not plain."""
        measurement = columns[0][0]
        tags = {columns[at][0]: columns[at + 1] for at in shape.tags_at}
        fields = {columns[at][0]: columns[at + 1] for at in shape.fields_at}
        is_odd = (
            # Names that are there twice, or empty, or of two things.
            len(tags) + len(fields) < len(shape.tags_at) + len(shape.fields_at)
            or not all((measurement, *tags, *fields))
            or measurement.startswith(_BRACKETS)
            or measurement in self._kept
            or not self._own.isdisjoint(fields)
            or any("" in column for column in tags.values())
        )
        if is_odd:
            return None
        numbers = _all_numbers(fields)
        times = _times(columns[-1]) if shape.has_time else None
        if (shape.has_time and times is None) or any(each is None for each in numbers.values()):
            return None
        return self._gathered(columns[0], tags, numbers, times)

    def _gathered(
        self,
        measurements: Sequence[str],
        tags: Mapping[str, Sequence[str]],
        numbers: Mapping[str, _Numbers | None],
        times: NDArray[np.int64] | None,
    ) -> Typed:
        count = len(measurements)
        nothing = [ABSENT] * count
        gathered = Gathered(self._wanted, np.arange(count), (), has_arrays=False)
        for place, name in enumerate(self._places):
            values = numbers.get(name)
            if isinstance(values, np.ndarray):
                gathered.add_numbers(place, values)
            else:
                takes_truth = self._wanted.takes_truth[place]
                gathered.add_values(place, values or nothing, takes_truth=takes_truth)
        if self._wanted.time is not None:
            gathered.add_time(nothing if times is None else times)
        for name in self._names:
            gathered.add_names(tags.get(name, nothing) if name else measurements)
        return gathered.typed()


def _kinds(payloads: Sequence[bytes]) -> Iterator[tuple[_Shape, _Columns, Sequence[int]]]:
    """Lines of one shape and one set of names, part by part, with their positions."""
    for positions, lines in _by_marks(payloads):
        shape = _shape_of(lines[0])
        if shape is None:
            continue
        parts = b"\n".join(lines).translate(_TO_BREAKS).decode().split("\n")
        columns = [parts[at :: shape.width] for at in range(shape.width)]
        if all(columns[at].count(columns[at][0]) == len(lines) for at in shape.names_at):
            yield shape, columns, positions
            continue
        by_names: dict[tuple[str, ...], list[int]] = {}
        for at, names in enumerate(zip(*(columns[at] for at in shape.names_at), strict=True)):
            by_names.setdefault(names, []).append(at)
        for some in by_names.values():
            if len(some) >= _LEAST:
                some_columns = [[column[at] for at in some] for column in columns]
                yield shape, some_columns, [positions[at] for at in some]


def _by_marks(payloads: Sequence[bytes]) -> Iterator[tuple[Sequence[int], Sequence[bytes]]]:
    """Lines with the same marks in the same order, with their positions."""
    lines = payloads
    text = b"\n".join(lines)
    if text.count(b"\n") >= len(lines):
        lines = [line.strip(b"\n") for line in payloads]
        text = b"\n".join(lines)
    positions: Sequence[int] = range(len(lines))
    marks = lines[0].translate(None, _NO_MARKS)
    is_plain = not text.translate(None, _PLAIN_TEXT)
    if is_plain and text.translate(None, _NO_MARKS) + b"\n" == (marks + b"\n") * len(lines):
        yield positions, lines
        return
    by_marks: dict[bytes, list[int]] = {}
    for at, line in enumerate(lines):
        if not line.translate(None, _PLAIN):
            by_marks.setdefault(line.translate(None, _NO_MARKS), []).append(at)
    for some in by_marks.values():
        if len(some) >= _LEAST:
            yield some, [lines[at] for at in some]


def _shape_of(line: bytes) -> _Shape | None:
    """The shape of a line; None where it is none of a whole line."""
    found = _SHAPE.fullmatch(line.translate(None, _NO_MARKS))
    if found is None:
        return None
    tags, fields, time = found.groups()
    return _Shape(len(tags) // 2, len(fields) // 2 + 1, bool(time))


def _plain(
    shape: _Shape, columns: _Columns, positions: Sequence[int]
) -> tuple[_Columns, Sequence[int]]:
    """Of lines of one kind those whose fields are all plain numbers."""
    values = (columns[at + 1] for at in shape.fields_at)
    is_plain = [all(map(_NUMBER.fullmatch, each)) for each in zip(*values, strict=True)]
    return [list(compress(each, is_plain)) for each in columns], list(compress(positions, is_plain))


def _all_numbers(fields: Mapping[str, Sequence[str]]) -> dict[str, _Numbers | None]:
    """What the values of each field are, as ``_numbers`` has them."""
    # As nearly all are: those of all fields together, by a parser that makes numbers of digits.
    plain = [
        name
        for name, texts in fields.items()
        if texts[0][-1:].isdigit() and max(map(len, texts)) <= _LONGEST
    ]
    written = f"[{','.join([','.join(fields[name]) for name in plain])}]"
    found: dict[str, _Numbers | None] = {}
    if plain and "e" not in written and "E" not in written:
        with suppress(msgspec.MsgspecError):
            numbers = np.array(_FLOATS.decode(written)).reshape(len(plain), -1)
            found = dict(zip(plain, numbers, strict=True))
    for name, texts in fields.items():
        if name not in found:
            found[name] = _numbers(texts)
    return found


def _times(texts: Sequence[str]) -> NDArray[np.int64] | None:
    """The same of times."""
    whole = _whole_numbers(texts, "") if max(map(len, texts)) <= _LONGEST_TIME else None
    return None if whole is None else np.array(whole, np.int64)


def _numbers(texts: Sequence[str]) -> _Numbers | None:
    """What values are that are all plain numbers of one kind, or truths; None: they are not."""
    written = "".join(texts)
    signs = written.translate(_SIGNS)
    if signs and set(texts) <= _TRUTHS.keys():
        return [_TRUTHS[text] for text in texts]
    if signs == "i" * len(texts):
        whole = _whole_numbers(texts, "i")
        return None if whole is None else np.array(whole, np.float64)
    if signs or max(map(len, texts)) > _LONGEST:
        return None
    try:
        return np.array(list(map(float, texts)))
    except ValueError:
        return None


def _whole_numbers(texts: Sequence[str], letter: str) -> list[int] | None:
    """Whole numbers with this letter behind each; None: they are none."""
    digits = [text.removesuffix(letter) for text in texts] if letter else texts
    if "".join(digits).translate(_DIGITS) or max(map(len, digits)) > _LONGEST:
        return None
    try:
        numbers = list(map(int, digits))
    except ValueError:
        return None
    return numbers if min(numbers) > -_MOST and max(numbers) < _MOST else None
