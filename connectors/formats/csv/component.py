"""The component ``csv``."""
# ruff: noqa: PLC0415  (the parser is loaded when there is something to read)

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig, no_such_field
from headgate.config.schema import IngestConfig
from headgate.config.values import Flag, Int
from headgate.core.components import Component


class CsvConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "csv"``."""

    #: What the values of a line are, in their order; ``""`` for what nobody wants.
    columns: tuple[str, ...] = ()
    #: Whether the first line of each message has the names instead.
    header: Flag = False
    #: Or what stands between the name and the value, where each has its own: ``temp=21.5``.
    assign: str | None = None
    delimiter: str = ","
    #: Lines before all that is read: what a logger says of itself.
    skip_lines: Annotated[Int, Field(ge=0, le=1000)] = 0
    #: Lines between the names and the first values: units, and how values were made.
    skip_below_header: Annotated[Int, Field(ge=0, le=1000)] = 0

    @property
    def is_text(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def density(self) -> int:
        """See ``FormatConfig``: a line may be two bytes."""
        return 16

    @property
    def writes_texts(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def is_flat(self) -> bool:
        """See ``FormatConfig``."""
        return True

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        return "" if not self.columns else no_such_field(feed, self.columns, "columns")

    @model_validator(mode="after")
    def _says_what_columns_are(self) -> Self:
        if [bool(self.columns), self.header, self.assign is not None].count(True) != 1:
            raise ValueError(
                "columns, header and assign: give one of them, which says what values are"
            )
        if self.skip_below_header and not self.header:
            raise ValueError("skip_below_header: below which? Give header = true, or skip_lines")
        if self.assign is not None and self.assign.strip() in ("", self.delimiter.strip(), '"'):
            raise ValueError('assign: expected a sign between name and value, such as "="')
        named = [name for name in self.columns if name]
        if len(set(named)) != len(named):
            raise ValueError("columns: a name stands there twice")
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
            raise ValueError('delimiter: expected one character, such as ";" or "\\t"')
        return self


def _make(table: CsvConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.csv.format import CsvFormat

    return CsvFormat(table, feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "logger/{device}",
            "format": {"type": "csv", "columns": ["t", "temperature", "", "level"]},
            "time": {"path": "t", "unit": "s"},
            "channels": {"temperature": {}, "level": {}},
        },
        topic="logger/tank-1",
        payload=b"1767225600,21.5,ok,3\n1767225601,,ok,3.5\n",
        readings=(
            ("tank-1", "temperature", 21.5),
            ("tank-1", "level", 3.0),
            ("tank-1", "level", 3.5),
        ),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9, 1767225601 * 10**9),
    ),
    FormatExample(
        feed={
            "topic": "logger",
            "device": "id",
            "format": {"type": "csv", "header": True, "delimiter": ";"},
            "channels": {"level": {"decimal": ","}},
        },
        topic="logger",
        payload=b'id;level\r\n"tank 1";3,5\r\ntank 2;1.000\r\n',
        readings=(("tank 1", "level", 3.5), ("tank 2", "level", 1000.0)),
    ),
    FormatExample(
        feed={
            "topic": "toa5/{device}",
            "format": {"type": "csv", "header": True, "skip_lines": 1, "skip_below_header": 2},
            "time": {"path": "TIMESTAMP", "unit": "iso8601"},
            "channels": {"AirTC_Avg": {"missing": "NAN"}},
        },
        topic="toa5/mast",
        payload=(
            b'"TOA5","mast","CR1000","E1234"\r\n"TIMESTAMP","RECORD","AirTC_Avg"\r\n'
            b'"TS","RN","Deg C"\r\n"","","Avg"\r\n"2026-01-01 00:00:00",7,21.5\r\n'
            b'"2026-01-01 00:01:00",8,"NAN"\r\n'
        ),
        readings=(("mast", "AirTC_Avg", 21.5), ("mast", "AirTC_Avg", None)),
        times_ns=(1767225600 * 10**9, 1767225660 * 10**9),
    ),
    FormatExample(
        feed={
            "topic": "node/{device}",
            "format": {"type": "csv", "assign": "=", "delimiter": ";"},
            "channels": {"temp": {}, "hum": {}},
        },
        topic="node/n1",
        payload=b"temp=21.5;bat=3.1; hum = 40",
        readings=(("n1", "temp", 21.5), ("n1", "hum", 40.0)),
    ),
)

CSV: Component[MakeFormat] = Component(
    "lines of values between commas or other signs", CsvConfig, _make, _EXAMPLES
)
