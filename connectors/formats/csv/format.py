"""Lines of values as one of the formats (RFC 4180, with other delimiters)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from connectors.formats.bounds import Bounds
from connectors.formats.csv.component import CsvConfig
from connectors.formats.csv.table import CsvTable
from connectors.formats.format import ReadTable, Wanted
from connectors.formats.numbers import number_text
from connectors.formats.tables import RecordTable
from connectors.formats.wanted import wanted
from headgate.config.channel import plain
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: What Python makes of a value, of a name with one, and of a line, bytes, places in their lists
#: included.
_VALUE, _PAIR, _LINE = 100, 350, 400

#: Around all lines these mean nothing: C programs send the end of their strings along.
_AROUND = "\0 \ufeff\n\r"

#: With ``header``, where nothing comes of a message.
_FIRST_LINE = "the first line is taken for the names of columns"

#: Names of it that a person is told of, and how much of each.
_TOLD_NAMES = 8
_LONGEST_NAME = 24


class CsvFormat:
    """Reads lines of values; a ``Format``.

    Args:
        table: What values are, and what stands between them.
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    make_typed = None
    is_utf8 = True
    pick = None

    def __init__(self, table: CsvConfig, feed: FeedConfig, limits: IngestConfig) -> None:
        self._table = table
        self._columns = table.columns
        self._assign = table.assign
        # What is called so nobody asks for, where it is the name of a column.
        self._nameless = "" if table.assign is None else None
        self._delimiter = table.delimiter
        self._around = _AROUND.replace(table.delimiter, "")
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        self.check_count = self._bounds.check_count
        self.unseen_bytes = self._bounds.unseen_bytes
        channels = {
            key_of(path): each for name, each in feed.channels.items() for path in each.paths(name)
        }
        is_plain = {
            key: not each.has_own_digits and not each.states for key, each in channels.items()
        }
        # These are numbers here, and not only where texts may be some. Of channels that say how
        # their numbers are written, or what words mean, texts stay texts.
        self._numbers = {key for key, each in is_plain.items() if each}
        if feed.pairs is not None and all(is_plain.values()):
            self._numbers.update(map(key_of, feed.pairs.value))
        paths = [*channels, *map(key_of, feed.device_name.paths)]
        paths += map(
            key_of,
            [
                *feed.skip,
                *feed.only,
                *feed.time.paths,
                *feed.time.or_path,
                *feed.tag_paths.values(),
                *(path for each in feed.channels.values() for path in each.beside),
            ],
        )
        # A word for how good a line is may be a number or a truth value, unless that is a text.
        self._quality = None if feed.quality is None else key_of(feed.quality.path)
        good = () if feed.quality is None else feed.quality.good
        self._good_texts = {plain(each) for each in good if isinstance(each, str)}
        paths += [] if self._quality is None else [self._quality]
        if feed.pairs is not None:
            paths += map(key_of, (*feed.pairs.name, *feed.pairs.value))
        self._wanted = wanted(feed, paths)
        self._has_default = any(each.default is not None for each in feed.channels.values())

    def make_table(self, wanted: Wanted) -> ReadTable | None:
        """What reads many payloads; see ``Format``."""
        channels = {key_of(path) for path, _ in wanted.channels}
        others = {
            *map(key_of, wanted.names),
            *([] if wanted.time is None else [key_of(wanted.time[0])]),
        }
        has_default = any(default is not None for _, default in wanted.channels)
        if not channels <= self._numbers:
            return None  # of these the careful way alone knows what texts mean
        has_more = bool(self._table.skip_lines or self._table.skip_below_header)
        if has_more or has_default or channels & others:
            return RecordTable(
                wanted, lambda payload: self.read(b"", payload), (), self.check_count
            )
        return CsvTable(wanted, self._table, self._around, self.check_count)

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        lines = max(payload.count(b"\n"), payload.count(b"\r"))
        self.check_count(max(0, lines - 2))
        values = payload.count(self._delimiter.encode()) + lines
        each = _VALUE if self._assign is None else _PAIR
        self._bounds.check_size(payload, each * values + _LINE * lines)
        return True

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        try:
            text = payload.decode().strip(self._around)
        except UnicodeDecodeError as error:
            raise DataError("not_utf8", f"byte {error.start}: {error.reason}") from None
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        columns = self._columns
        records: list[object] = []
        left = self._table.skip_lines
        try:
            for row in lines:
                if not any(map(str.strip, row)):
                    continue
                if left:
                    left -= 1
                    continue
                if self._assign is not None:
                    records.append(self._assigned(row, self._assign))
                elif columns:
                    records.append(self._record(columns, row))
                else:
                    columns = self._named(row)
                    left = self._table.skip_below_header
        except csv.Error as error:
            raise DataError("not_csv", f"line {lines.line_num}: {error}"[:200]) from None
        if not records:
            behind = f"{_FIRST_LINE}, and there is none behind it"
            is_named = columns and not self._columns
            raise DataError("empty", behind if is_named else "no line of values")
        return records

    def _named(self, row: Sequence[str]) -> tuple[str, ...]:
        """The names in a first line; those that are empty are of columns that nobody asks for."""
        columns = tuple(name.strip() for name in row)
        named = [name for name in columns if name]
        if len(set(named)) < len(named):
            raise DataError("not_csv", "a name stands twice in the first line")
        # What is not there may have a default.
        if not self._has_default and not any(name in self._wanted for name in named):
            told = ", ".join(name[:_LONGEST_NAME] for name in named[:_TOLD_NAMES])
            more = ", ..." if len(named) > _TOLD_NAMES else ""
            detail = f"{_FIRST_LINE}, and none is one of the feed's: {told}{more}"
            raise DataError("no_channels", detail)
        return columns

    def _assigned(self, row: Sequence[str], assign: str) -> object:
        """A line of names and values as a record, or what is wrong with it."""
        names, values = set[str](), dict[str, str]()
        is_twice = False
        for pair in row:
            if not pair.strip():
                continue
            name, sign, value = pair.partition(assign)
            if not sign:
                return DataError("not_csv", f"expected a name{assign}value, got {name!r}"[:200])
            name = name.strip()
            is_twice |= name in names
            names.add(name)
            if name in self._wanted:
                values[name] = value
        if is_twice:
            return DataError("not_csv", "a name stands twice in a line")
        return self._record(tuple(values), tuple(values.values()))

    def _record(self, columns: Sequence[str], row: Sequence[str]) -> object:
        """A line as a record, or what is wrong with it."""
        if len(row) == len(columns) + 1 and not row[-1].strip():
            row = row[:-1]  # one delimiter more, with nothing behind it
        if len(row) != len(columns):
            return DataError("not_csv", f"expected {len(columns)} values in a line, got {len(row)}")
        record: dict[str, object] = {}
        for name, text in zip(columns, row, strict=True):
            # A place that is empty has no value.
            if name in self._wanted and name != self._nameless and text.strip():
                if name == self._quality and plain(text) not in self._good_texts:
                    record[name] = _word(text)
                    continue
                number = number_text(text) if name in self._numbers else None
                record[name] = text if number is None else float(number)
        return record


def _word(text: str) -> object:
    """A text as what else it may mean: true, false or a number."""
    truth = {"true": True, "false": False}.get(plain(text))
    number = number_text(text)
    if truth is not None:
        return truth
    return text if number is None else float(number)
