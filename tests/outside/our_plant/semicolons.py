"""The format ``semicolons``: a line of values whose names the configuration says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.schema import IngestConfig
from headgate.config.values import Name
from headgate.core.components import Component
from headgate.core.errors import DataError


class SemicolonsConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "semicolons"``."""

    keys: Annotated[tuple[Name, ...], Field(min_length=1)]


class SemicolonsFormat:
    """Reads a line of values."""

    make_typed = None
    pick = None
    is_utf8 = True
    unseen_bytes = 4096

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = keys

    def check(self, payload: bytes) -> bool:
        """Refuse what is longer than any line."""
        raise DataError("not_semicolons", f"{len(payload)} bytes in a line")

    def read(self, topic: bytes, payload: bytes) -> object:
        """A record with the keys that were configured."""
        del topic
        try:
            values = payload.decode().split(";")
        except UnicodeDecodeError as error:
            # What is compressed is looked at again, unpacked.
            raise DataError("not_semicolons", "no text") from error
        if len(values) != len(self._keys):
            raise DataError("not_semicolons", f"{len(values)} values; expected {len(self._keys)}")
        return dict(zip(self._keys, values, strict=True))

    def check_count(self, records: int) -> None:
        """There is one."""


def _make(table: SemicolonsConfig, _feed: FeedConfig, _limits: IngestConfig) -> Format:
    return SemicolonsFormat(table.keys)


_EXAMPLE = FormatExample(
    feed={
        "topic": "plant/{device}",
        "format": {"type": "semicolons", "keys": ["flow", "pressure"]},
        "channels": {"flow": {}, "pressure": {}},
    },
    topic="plant/pump-7",
    payload=b"33.1;3.3",
    readings=(("pump-7", "flow", 33.1), ("pump-7", "pressure", 3.3)),
)

SEMICOLONS: Component[MakeFormat] = Component(
    "values between semicolons", SemicolonsConfig, _make, (_EXAMPLE,)
)
