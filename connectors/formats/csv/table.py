"""Lines of many messages at once: the fast way through those that have no quotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import TypeAlias

import numpy as np

from connectors.formats.csv.component import CsvConfig
from connectors.formats.format import Typed, Wanted
from connectors.formats.numbers import numbers_in
from connectors.formats.paths import ABSENT
from connectors.formats.tables import Gathered, are_too_many
from connectors.formats.typed import read_each
from headgate.config.payload_path import key_of

#: Of a longer line a value may be longer than the parser takes, characters.
_LONGEST = 128 << 10

#: Of a longer line of names and values the careful way makes less at a time, characters.
_LONGEST_LINE = 8 << 10

#: What may mean nothing around lines, and what ends or begins other things than a value.
_ODD = b'\0 \r"'

#: Of each text how many records it has, none where something is bad; and their values by name.
_Cells: TypeAlias = tuple[list[int], Mapping[str, Sequence[str]]]


class CsvTable:
    """Reads lines of values many at a time; a ``ReadTable``.

    Args:
        wanted: What is looked for; no channel with a default, and all of numbers.
        table: What values are, and what stands between them.
        around: What means nothing around all lines.
        check_count: Refuses, with DataError, so many records of one message.
    """

    def __init__(
        self,
        wanted: Wanted,
        table: CsvConfig,
        around: str,
        check_count: Callable[[int], None],
    ) -> None:
        self._wanted = wanted
        self._columns, self._delimiter = table.columns, table.delimiter
        self._assign = table.assign
        self._around = around
        self._check_count = check_count
        self._channels = [key_of(path) for path, _ in wanted.channels]
        self._time = [] if wanted.time is None else [key_of(wanted.time[0])]
        self._names = list(map(key_of, wanted.names))
        self._keys = {*self._channels, *self._time, *self._names}

    def __call__(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """What payloads hold."""
        del topics
        texts, failed = self._texts(payloads)
        owner = np.arange(len(payloads))
        if failed:
            owner = np.delete(owner, failed)
        counted, cells = self._by_place(texts) if self._columns else self._by_name(texts)
        counts = np.array(counted, np.intp)
        failed += owner[counts == 0].tolist()
        gathered = Gathered(
            self._wanted,
            np.repeat(owner, counts),
            failed,
            has_arrays=len(texts) > 0 and max(counted) > 1,
        )
        gathered.refuse(np.repeat(are_too_many(counts, self._check_count), counts))
        for place, key in enumerate(self._channels):
            gathered.add_numbers(place, *numbers_in(cells[key]))
        for key in self._time:
            gathered.add_time(_values(cells[key]))
        for key in self._names:
            gathered.add_names(_values(cells[key]))
        return gathered.typed()

    def _texts(self, payloads: Sequence[bytes]) -> tuple[list[str], list[int]]:
        """The lines of payloads, and the positions of those that are not so plain."""
        together = b"\n".join(payloads)
        # Most are a line with nothing around it.
        is_line_each = together.count(b"\n") == len(payloads) - 1
        is_plain = len(together.translate(None, _ODD)) == len(together) <= _LONGEST
        if is_line_each and is_plain and together.isascii():
            return together.decode().split("\n"), []
        return read_each(self._text, payloads, (ValueError,))

    def _text(self, payload: bytes) -> str:
        """The lines of a payload; ValueError where they are not so plain."""
        text = payload.decode().strip(self._around)
        if '"' in text or "\r" in text or len(text) > _LONGEST:
            text = text.replace("\r\n", "\n")
            is_long = len(text) > _LONGEST and max(map(len, text.split("\n"))) > _LONGEST
            if '"' in text or "\r" in text or is_long:
                raise ValueError("for the careful way")
        return text

    def _lines(self, text: str) -> list[str]:
        """The lines of a text that have values."""
        if "\n" not in text:
            return [text]
        return [each for each in text.split("\n") if each.replace(self._delimiter, "").strip()]

    def _trimmed(self, line: str, count: int) -> str:
        """A line of so many values without one delimiter more, where nothing is behind it."""
        if line.count(self._delimiter) != count:
            return line
        before, _, rest = line.rpartition(self._delimiter)
        return line if rest.strip() else before

    def _by_place(self, texts: Sequence[str]) -> _Cells:
        """What texts hold where the configuration says what values are."""
        parts = [self._lines(text) for text in texts]
        count, delimiter = len(self._columns), self._delimiter
        lines = list(chain.from_iterable(parts))
        counts = set(map(str.count, lines, repeat(delimiter)))
        if count in counts:
            parts = [[self._trimmed(line, count) for line in part] for part in parts]
            lines = list(chain.from_iterable(parts))
        if counts - {count - 1}:
            is_right = [all(line.count(delimiter) == count - 1 for line in part) for part in parts]
            parts = [part if right else [] for part, right in zip(parts, is_right, strict=True)]
            lines = list(chain.from_iterable(parts))
        cells = delimiter.join(lines).split(delimiter) if lines else []
        by_name = {name: cells[place::count] for place, name in enumerate(self._columns)}
        for key in {*self._time, *self._names} - by_name.keys():
            by_name[key] = [""] * len(lines)
        return list(map(len, parts)), by_name

    def _by_name(self, texts: Sequence[str]) -> _Cells:
        """The same where each line, or the first of each text, says what values are."""
        counts: list[int] = []
        columns: dict[str, list[str]] = {key: [] for key in self._keys}
        count = 0
        for text in texts:
            lines = self._lines(text)
            before = count
            try:
                for row in (
                    self._under_names(lines) if self._assign is None else self._assigned(lines)
                ):
                    count += 1
                    for key, column in columns.items():
                        column.append(row.get(key, ""))
            except ValueError:
                count = before
                for column in columns.values():
                    del column[before:]
            counts.append(count - before)
        return counts, columns

    def _under_names(self, lines: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """The records of lines of which the first has the names; ValueError for bad ones."""
        names = [name.strip() for name in lines[0].split(self._delimiter)] if lines else []
        named = [name for name in names if name]
        if len(set(named)) < len(named):
            raise ValueError("a name stands there twice")
        for line in lines[1:]:
            values = self._trimmed(line, len(names)).split(self._delimiter)
            yield dict(zip(names, values, strict=True))

    def _assigned(self, lines: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """The records of lines of names and values; ValueError for bad ones."""
        for line in lines:
            if len(line) > _LONGEST_LINE:
                raise ValueError("too many of them in it")
            pairs = [
                each.split(self._assign, 1) for each in line.split(self._delimiter) if each.strip()
            ]
            record = {name.strip(): text for name, text in pairs}
            if len(record) < len(pairs):
                raise ValueError("a name stands there twice")
            yield record


def _values(cells: Sequence[str]) -> Sequence[object]:
    """What stands in a column; a place that is empty has no value."""
    if all(map(str.strip, cells)):
        return cells
    return [text if text.strip() else ABSENT for text in cells]
