"""Bytes at fixed places as one of the formats: frames of radio nodes, registers of PLCs."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.binary.component import SIZES, WORD_ORDERS, BinaryConfig
from connectors.formats.binary.parts import Parts
from connectors.formats.binary.values import ORDERS, getter, places
from connectors.formats.bounds import Bounds
from connectors.formats.format import ReadTable, Typed, Wanted
from connectors.formats.tables import Gathered, are_too_many
from connectors.formats.typed import read_each
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: Base64 that is made for addresses has two other signs.
_FOR_ADDRESSES = bytes.maketrans(b"-_", b"+/")

#: Bytes of numbers that no processor has.
_NO_SIZE = (3,)

#: What means nothing around hexadecimal digits, and what is none and means nothing between them.
_AROUND = b" \t\r\n\0,\"'"
_NO_DIGIT = re.compile(rb"[^0-9a-f]")
_NO_DIGIT_NOR_BETWEEN = re.compile(rb"[^0-9a-f \t\r\n\0,:-]")


class BinaryFormat:
    """Reads frames; a ``Format``.

    Args:
        table: Where which values stand.
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    make_typed = None
    is_utf8 = False
    pick = None

    def __init__(self, table: BinaryConfig, feed: FeedConfig, limits: IngestConfig) -> None:
        self._table = table
        self._getters = {
            name: getter(field, field.order or table.order) for name, field in table.fields.items()
        }
        self._parts = Parts(table) if table.parts else None
        bounds = Bounds(limits.max_records, max(len(feed.channels), len(table.fields)))
        self.check_count = bounds.check_count
        self.unseen_bytes = bounds.unseen_bytes

    def make_table(self, wanted: Wanted) -> ReadTable | None:
        """What reads many payloads; see ``Format``."""
        if self._parts is not None:
            return None
        channels = [key_of(path) for path, _ in wanted.channels]
        time = [] if wanted.time is None else [key_of(wanted.time[0])]
        names = list(map(key_of, wanted.names))
        if not self._table.fields.keys() >= {*channels, *time, *names}:
            return None

        def read(topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
            del topics
            rows, owner, failed = self._rows(payloads)
            gathered = Gathered(wanted, owner, failed, has_arrays=self._table.size is not None)
            for place, name in enumerate(channels):
                gathered.add_numbers(place, self._column(name, rows))
            for name in time:
                gathered.add_time(self._column(name, rows).tolist())
            for name in names:
                gathered.add_names(self._column(name, rows).tolist())
            return gathered.typed()

        return read

    def _rows(
        self, payloads: Sequence[bytes]
    ) -> tuple[NDArray[np.uint8], NDArray[np.intp], list[int]]:
        """The records of payloads, each so many bytes; whose each is, and who has none."""
        table = self._table
        frames, failed = list(payloads), list[int]()
        if table.encoding != "raw":
            frames, failed = read_each(self._decoded, payloads, (DataError,))
        owner = np.delete(np.arange(len(payloads)), failed) if failed else np.arange(len(payloads))
        if table.skip:
            frames = [frame[table.skip :] for frame in frames]
        lengths = np.fromiter(map(len, frames), np.intp, len(frames))
        width = table.size or table.least
        if table.size is None:
            counts = (lengths >= width).astype(np.intp)
            frames = [frame[:width] for frame in frames]
        else:
            counts = np.where(lengths % width, 0, lengths // width)
            counts[are_too_many(counts, self.check_count)] = 0
        if not counts.all():
            failed += owner[counts == 0].tolist()
            frames = list(compress(frames, counts.tolist()))
            owner, counts = owner[counts > 0], counts[counts > 0]
        rows = np.frombuffer(b"".join(frames), np.uint8).reshape(-1, width)
        return rows, np.repeat(owner, counts), failed

    def _column(self, name: str, rows: NDArray[np.uint8]) -> NDArray[Any]:
        """A field's values in records, each so many bytes."""
        field = self._table.fields[name]
        size, wanted = SIZES[field.type], field.order or self._table.order
        order = ORDERS.get(wanted, ">")
        cells = rows[:, field.at : field.at + size]
        if wanted in WORD_ORDERS:
            cells = cells[:, places(wanted, size)]
        is_signed = field.type.startswith("i") and field.bit is None
        kind = "f" if field.type.startswith("f") else "i" if is_signed else "u"
        column: NDArray[Any]
        if size in _NO_SIZE:
            # In the upper bytes of a number that has one more.
            wide = np.zeros((len(rows), size + 1), np.uint8)
            wide[:, slice(size) if order == ">" else slice(1, None)] = cells
            column = wide.view(f"{order}{kind}{size + 1}")[:, 0] >> 8
        else:
            column = np.ascontiguousarray(cells).view(f"{order}{kind}{size}")[:, 0]
        if field.bit is None:
            return column
        # The bits above fall out on the left; on the right the sign, if there is one, comes along.
        left = np.uint64(64 - field.bit - field.bits)
        highest = column.astype(np.uint64) << left
        if field.has_signed_bits:
            return highest.view(np.int64) >> np.int64(64 - field.bits)
        return highest >> np.uint64(64 - field.bits)

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is read; see ``Format.check``."""
        del payload  # ``read`` counts records before it makes any
        return True

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        if not payload:
            raise DataError("empty", "nothing in it; so are retained messages cleared")
        frame = self._decoded(payload)[self._table.skip :]
        if self._parts is not None:
            return self._in_parts(self._parts, frame)
        size = self._table.size or max(len(frame), 1)
        count, rest = divmod(len(frame), size)
        if rest or not count or size < self._table.least:
            wanted = f"{self._table.size or self._table.least} bytes"
            if self._table.size is not None:
                wanted = f"records of {wanted}"
            elif self._table.least > len(frame):
                wanted = f"at least {wanted}"
            raise DataError("not_binary", f"expected {wanted}, got {len(frame)}")
        self.check_count(count)
        records = [
            {name: get(frame, at) for name, get in self._getters.items()}
            for at in range(0, len(frame), size)
        ]
        return records if count > 1 else records[0]

    def _in_parts(self, parts: Parts, frame: bytes) -> object:
        found = parts.read(frame)
        if not found:
            raise DataError("not_binary", "expected a value at least, got none")
        if isinstance(found[0], DataError):
            raise found[0]
        return found if len(found) > 1 else found[0]

    def _decoded(self, payload: bytes) -> bytes:
        encoding = self._table.encoding
        if encoding in ("raw", "registers"):
            return payload
        text = payload.translate(None, b" \t\r\n\0,").strip(b"\"'")
        if encoding == "hex":
            digits = text.lower().replace(b"0x", b"").translate(None, b":-")
            try:
                return bytes.fromhex(digits.decode("ascii"))
            except ValueError:
                detail = f"no hex text: {_flaw(payload, digits)}"
                raise DataError("not_binary", detail) from None
        try:
            # Of both alphabets, and with or without the signs at its end.
            padded = text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4)
            return base64.b64decode(padded.translate(_FOR_ADDRESSES), validate=True)
        except (ValueError, binascii.Error) as error:
            raise DataError("not_binary", f"no {encoding} text: {error}"[:200]) from None


def _flaw(payload: bytes, digits: bytes) -> str:
    """Why a text is no bytes of which this is left without what may stand between digits."""
    if _NO_DIGIT.search(digits) is None:
        return f"an odd number of digits, {len(digits)}; each byte has two"
    # Counted as a person does: in the text as it came, of which nothing is left out.
    text = payload.lower().replace(b"0x", b"00")
    begin = len(text) - len(text.lstrip(_AROUND))
    found = _NO_DIGIT_NOR_BETWEEN.search(text, begin)
    at = begin if found is None else found.start()
    byte = payload[at : at + 1]
    shown = repr(byte.decode()) if byte.isascii() else f"byte 0x{byte.hex()}"
    return f"{shown} at place {at + 1} is no hexadecimal digit"
