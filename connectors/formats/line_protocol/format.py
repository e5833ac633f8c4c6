"""InfluxDB's line protocol as one of the formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from line_protocol_parser import LineFormatError, parse_line

from connectors.formats.bounds import Bounds
from connectors.formats.format import ReadTable, Wanted
from connectors.formats.line_protocol.lines import LineTable
from connectors.formats.paths import ABSENT, getter
from connectors.formats.tables import RecordTable
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of, parts_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: What the parser makes of a field or tag and of a line, bytes, with the record made of it.
_PAIR, _LINE = 330, 1300

#: Keys of a record that are none of its fields.
_OWN = ("measurement", "tags", "time")

#: What a record has beside its line's fields.
_BESIDE = {"measurement", "tags"}

#: Around all lines these mean nothing.
_AROUND = "\0 \ufeff\n\r\t"


class LineProtocolFormat:
    """Reads line protocol; a ``Format``.

    Args:
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    is_utf8 = False
    make_typed = None
    pick = None

    def __init__(self, feed: FeedConfig, limits: IngestConfig) -> None:
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        self.check_count = self._bounds.check_count
        self.unseen_bytes = self._bounds.unseen_bytes
        # Of a name and a value, the name says whether it is one of the feed's.
        paths = (
            []
            if feed.pairs is not None
            else [path for n, each in feed.channels.items() for path in each.paths(n)]
        )
        self._wanted = [] if feed.other_channels else [getter(path) for path in paths]
        self._below = [(path, parts) for path in paths if len(parts := parts_of(path)) == 2]

    def make_table(self, wanted: Wanted) -> ReadTable:
        """What reads many payloads; see ``Format``."""
        paths = [*(path for path, _ in wanted.channels), *wanted.names]
        paths += [] if wanted.time is None else [wanted.time[0]]
        keys = {key_of(path) for path in paths}
        is_flat = all(len(parts_of(path)) == 1 for path in paths) and not keys & _BESIDE
        if not is_flat:
            rest = RecordTable(wanted, self._records, (), self.check_count)
            return LineTable(wanted, rest) if LineTable.can_read(wanted) else rest

        def fields_of(payload: bytes) -> object:
            """The fields of a payload's only line, and its time: all that is looked for."""
            text = payload.decode().strip(_AROUND)
            if "\n" in text or '"' in text or text.startswith("{"):
                return self._records(payload)
            parsed = parse_line(text)
            if parsed is None or parsed["measurement"] in keys:
                return self._records(payload)
            fields: dict[str, object] = parsed["fields"]
            fields.pop("time", None)
            if parsed["time"] is not None:
                fields["time"] = parsed["time"]
            return fields

        unreadable = (LineFormatError, ValueError)
        rest = RecordTable(wanted, fields_of, unreadable, self.check_count)
        return LineTable(wanted, rest) if LineTable.can_read(wanted) else rest

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        lines = payload.count(b"\n")
        self.check_count(max(0, lines - 2))
        self._bounds.check_size(payload, _PAIR * payload.count(b"=") + _LINE * lines)
        return True

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        return self._records(payload)

    @staticmethod
    def fields(record: dict[str, Any]) -> dict[str, Any]:
        """Of a record, each field once, below its measurement; see ``Format``."""
        measurement = record["measurement"]
        fields = record.get(measurement)
        if type(fields) is not dict:
            # One of them has the measurement's name.
            fields = {key: value for key, value in record.items() if key not in _OWN}
        return {measurement: fields}

    def _records(self, payload: bytes) -> list[object]:
        """The lines that have something of the feed's, or all if none has; and bad ones."""
        try:
            text = payload.decode().strip(_AROUND)
        except UnicodeDecodeError as error:
            raise DataError("not_utf8", f"byte {error.start}: {error.reason}") from None
        below = self._below
        if '"' not in text:
            lines = text.split("\n")
            records = [found for each in lines if (found := _record(each, below)) is not None]
        else:
            records = []
            for lines in _with_breaks(text.split("\n")):
                record = _record("\n".join(lines), below)
                if isinstance(record, DataError) and len(lines) > 1:
                    records += [
                        each for line in lines if (each := _record(line, below)) is not None
                    ]
                elif record is not None:
                    records.append(record)
        if not records:
            raise DataError("empty", "no line")
        if len(records) == 1:
            return records
        wanted = [record for record in records if self._is_wanted(record)]
        return wanted or records

    def _is_wanted(self, record: object) -> bool:
        if isinstance(record, DataError) or not self._wanted:
            return True
        return any(get(record) is not ABSENT for get in self._wanted)


def _record(line: str, below: Sequence[tuple[str, tuple[str, ...]]]) -> object:
    """A line as a record, or what is wrong with it; None for a comment or nothing.

    Args:
        line: The line.
        below: Paths, with their parts, of fields of one measurement only.
    """
    try:
        parsed = parse_line(line)
    except (LineFormatError, ValueError) as error:
        if not line.strip():
            return None
        detail = str(error).strip().rstrip(".")
        if line.lstrip()[:1] in ("{", "["):
            detail += '; it looks like JSON, which format = "json" reads'
        return DataError("not_line_protocol", f"{detail}: {line[:100]!r}"[:300])
    if parsed is None:
        return None
    fields, measurement, time = parsed["fields"], parsed["measurement"], parsed["time"]
    record = {measurement: fields, **fields, "measurement": measurement, "tags": parsed["tags"]}
    if record[measurement] is not fields:
        # A field has the measurement's name, as in ``temp temp=21.5``: whole paths lead to them.
        for path, (first, name) in below:
            if first == measurement and name in fields:
                record[path] = fields[name]
    if time is not None:
        record["time"] = time
    else:
        record.pop("time", None)
    return record


def _with_breaks(lines: list[str]) -> list[list[str]]:
    """Lines, together with those that go on in a text of theirs."""
    found: list[list[str]] = []
    open_: list[str] = []
    for line in lines:
        is_odd = bool(line.replace("\\\\", "").replace('\\"', "").count('"') & 1)
        if open_ or is_odd:
            open_.append(line)
        if not open_:
            found.append([line])
        elif is_odd and len(open_) > 1:
            found.append(open_)
            open_ = []
    return found + [[line] for line in open_]
