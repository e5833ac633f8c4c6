"""Frames of bytes that stand as text in JSON: what LoRaWAN servers and gateways pass on."""

from __future__ import annotations

import re
from typing import Any, Never

from connectors.formats.binary.component import BinaryConfig
from connectors.formats.binary.format import BinaryFormat
from connectors.formats.json.format import JsonFormat
from connectors.formats.numbers import number_in, shown
from connectors.formats.passing import Passing
from connectors.formats.paths import ABSENT, getter
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: A byte is below, and so is what two of them hold.
_BYTES = 256
_WORDS = 65_536

#: No text of registers is longer.
_LONGEST_TEXT = 65_536

#: A register with its base before it, and characters of one at most.
_HEXADECIMAL = re.compile(r"0[xX]([0-9a-fA-F]{1,4})")
_LONGEST_REGISTER = 16

#: Each record has what stands in the object of its frame beside it; so many members in all.
_MAX_CELLS = 200_000


class EnvelopedFormat:
    """Reads frames in JSON objects; a ``Format``.

    What a frame holds is put beside what its object has, so that device, time and tags are found in
    that. With ``arrays`` a field of several records is the list of its values.

    Args:
        table: Where which values stand, and where in an object the frame is.
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    make_typed = None
    is_utf8 = True
    pick = None

    def __init__(self, table: BinaryConfig, feed: FeedConfig, limits: IngestConfig) -> None:
        self._path = table.inside or ""
        self._get = None if table.inside is None else getter(table.inside)
        self._is_registers = table.encoding == "registers"
        self._takes_text = table.encoding in ("hex", "base64")
        self._frames = BinaryFormat(table, feed, limits)
        self._objects = JsonFormat(feed, limits)
        self._passing = Passing.of(feed)
        self._has_columns = feed.arrays is not None
        self._width = len(table.fields)
        self.check_count = self._frames.check_count
        self.unseen_bytes = self._objects.unseen_bytes

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is read; see ``Format.check``."""
        return self._objects.check(payload)

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        content = self._objects.read(topic, payload)
        if self._get is None:
            return self._frames.read(topic, self._frame(content))
        if type(content) is not list:
            records, _ = self._records(topic, content)
            return records if len(records) > 1 else records[0]
        self.check_count(len(content))
        every: list[object] = []
        cells = 0
        for each in content:
            try:
                records, cells = self._records(topic, each, cells)
                every += records
            except DataError as error:
                # A bad frame among good ones is one bad record.
                every.append(error.with_traceback(None))
            self.check_count(len(every))
        return every

    def _records(
        self, topic: bytes, content: object, before: int = 0
    ) -> tuple[list[dict[str, object] | DataError], int]:
        """The records of an object's frame, and how many members those of the message have."""
        if type(content) is not dict:
            raise DataError("not_object", f"expected an object, got {shown(content)}")
        value = content if self._get is None else self._get(content)
        try:
            found = self._frames.read(topic, self._frame(value))
        except DataError:
            if self._passing is None or not self._passing.is_message(content):
                raise
            return [content], before  # it says itself that it is passed over
        records: list[Any] = found if isinstance(found, list) else [found]
        bad = [each for each in records if isinstance(each, DataError)]
        records = [each for each in records if not isinstance(each, DataError)]
        if bad and not records:
            raise bad[0]
        if self._has_columns and not bad:
            columns = {name: [each[name] for each in records] for name in records[0]}
            return [{**content, **columns}], before
        # Each has all of the object beside it.
        cells = before + len(records) * (len(content) + self._width)
        if cells > _MAX_CELLS:
            raise DataError(
                "too_many_records",
                f"{len(records)} records, each with all {len(content)} members of its object",
            )
        return [*({**content, **each} for each in records), *bad], cells

    def _frame(self, value: object) -> bytes:
        """The bytes of a frame, as text if that is how they are written."""
        if value is ABSENT or value is None:
            raise DataError("missing_records", f'no bytes at "{self._path}"')
        if type(value) is str and self._takes_text:
            return value.encode()
        if type(value) is dict and value.get("type") == "Buffer" and not self._takes_text:
            value = value.get("data")  # as Node-RED writes bytes
        if self._is_registers:
            return _registers(value)
        if type(value) is list and not self._takes_text:
            if all(type(each) is int and 0 <= each < _BYTES for each in value):
                return bytes(value)
            raise DataError("not_binary", f'not all that is at "{self._path}" are bytes')
        return self._no_frame(value)

    def _no_frame(self, value: object) -> Never:
        wanted = "a text" if self._takes_text else "an array of bytes"
        hint = "" if self._takes_text else '; texts need encoding = "base64" or "hex"'
        raise DataError("not_binary", f"expected {wanted}, got {shown(value)}{hint}")


def _registers(value: object) -> bytes:
    """The bytes of registers, each of two of them, the upper one first.

    Those of a list may have signs; a text may hold such a list.
    """
    found = value
    if type(found) is str and len(found) <= _LONGEST_TEXT:
        found = [each.strip().strip("\"'") for each in found.strip().strip("[]").split(",")]
    if type(found) is list:
        found = [_in_text(each) if type(each) is str else each for each in found]
    numbers = [int(each) for each in found if _is_register(each)] if type(found) is list else []
    if type(found) is not list or len(numbers) < len(found) or not found:
        raise DataError(
            "not_binary",
            "expected registers, a list of whole numbers from 0 to 65535, in texts also as "
            f'"0x999A", got {shown(value)}; bytes in a row as one text need encoding = "hex"',
        )
    return b"".join((number % _WORDS).to_bytes(2, "big") for number in numbers)


def _in_text(text: str) -> float | None:
    """The number that a register is in a text: decimal, or hexadecimal with 0x before it."""
    digits = _HEXADECIMAL.fullmatch(text.strip()[:_LONGEST_REGISTER])
    return number_in(text) if digits is None else int(digits[1], 16)


def _is_register(each: object) -> bool:
    is_whole = isinstance(each, int | float) and not isinstance(each, bool) and each == each // 1
    return is_whole and -_WORDS // 2 <= each < _WORDS  # type: ignore[operator]
