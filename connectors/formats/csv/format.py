"""Lines of values as one of the formats (RFC 4180, with other delimiters)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from connectors.formats.bounds import Bounds
from connectors.formats.numbers import number_text
from headgate.config.feed import Feed
from headgate.config.payload_path import key_of
from headgate.config.schema import Ingest
from headgate.core.errors import DataError

#: What Python makes of a value and of a line, bytes, places in their lists included.
_VALUE, _LINE = 72, 400

_BYTE_ORDER_MARK = "\ufeff"


class CsvFormat:
    """Reads lines of values; a ``Format``.

    Args:
        columns: What values are; none: the first line of each message says it.
        delimiter: What stands between them.
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    make_typed = None
    is_utf8 = True
    pick = None

    def __init__(self, columns: Sequence[str], delimiter: str, feed: Feed, limits: Ingest) -> None:
        self._columns = tuple(columns)
        self._delimiter = delimiter
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        self.check_count = self._bounds.check_count
        self.unseen_bytes = self._bounds.unseen_bytes
        # Of channels that say how their numbers are written, or what words mean, texts stay texts.
        self._texts = {
            key_of(each.path or name)
            for name, each in feed.channels.items()
            if each.decimal is not None or each.states
        }

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        lines = payload.count(b"\n") + payload.count(b"\r")
        self.check_count(max(0, lines - 2))
        values = payload.count(self._delimiter.encode()) + lines
        self._bounds.check_size(payload, _VALUE * values + _LINE * lines)
        return True

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        try:
            text = payload.decode().strip("\0").removeprefix(_BYTE_ORDER_MARK)
        except UnicodeDecodeError as error:
            raise DataError("not_utf8", f"byte {error.start}: {error.reason}") from None
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            rows = [row for row in lines if any(map(str.strip, row))]
        except csv.Error as error:
            raise DataError("not_csv", f"line {lines.line_num}: {error}"[:200]) from None
        columns = self._columns
        if rows and not columns:
            columns = tuple(name.strip() for name in rows.pop(0))
        if not rows:
            raise DataError("empty", "no line of values")
        return [self._record(columns, row) for row in rows]

    def _record(self, columns: Sequence[str], row: Sequence[str]) -> object:
        """A line as a record, or what is wrong with it."""
        if len(row) != len(columns):
            return DataError("not_csv", f"expected {len(columns)} values in a line, got {len(row)}")
        record: dict[str, object] = {}
        for name, text in zip(columns, row, strict=True):
            # A place that is empty has no value.
            if name and text.strip():
                number = None if name in self._texts else number_text(text)
                record[name] = text if number is None else float(number)
        return record
