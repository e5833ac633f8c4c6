"""Bytes at fixed places as one of the formats: frames of radio nodes, registers of PLCs."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable

from connectors.formats.binary.component import SIZES, BinaryConfig, FieldConfig, Order
from connectors.formats.bounds import Bounds
from headgate.config.feed import Feed
from headgate.config.schema import Ingest
from headgate.core.errors import DataError

#: What struct calls the two orders of bytes.
_ORDERS: dict[Order, str] = {"big": ">", "little": "<"}

#: Base64 that is made for addresses has two other signs.
_FOR_ADDRESSES = bytes.maketrans(b"-_", b"+/")

#: What struct calls floats of so many bytes.
_FLOATS = {2: "e", 4: "f", 8: "d"}


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

    def __init__(self, table: BinaryConfig, feed: Feed, limits: Ingest) -> None:
        self._table = table
        self._getters = {
            name: _getter(field, field.order or table.order) for name, field in table.fields.items()
        }
        bounds = Bounds(limits.max_records, max(len(feed.channels), len(table.fields)))
        self.check_count = bounds.check_count
        self.unseen_bytes = bounds.unseen_bytes

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

    def _decoded(self, payload: bytes) -> bytes:
        encoding = self._table.encoding
        if encoding == "raw":
            return payload
        text = payload.translate(None, b" \t\r\n\0,").strip(b"\"'")
        try:
            if encoding == "hex":
                digits = text.lower().replace(b"0x", b"").translate(None, b":-")
                return bytes.fromhex(digits.decode("ascii"))
            # Of both alphabets, and with or without the signs at its end.
            padded = text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4)
            return base64.b64decode(padded.translate(_FOR_ADDRESSES), validate=True)
        except (ValueError, binascii.Error) as error:
            raise DataError("not_binary", f"no {encoding} text: {error}"[:200]) from None


def _getter(field: FieldConfig, order: Order) -> Callable[[bytes, int], object]:
    """What takes a field's value out of a frame, given where its record begins."""
    size = SIZES[field.type]
    if field.type.startswith("f"):
        layout = struct.Struct(_ORDERS[order] + _FLOATS[size])
        return lambda frame, at: layout.unpack_from(frame, at + field.at)[0]
    is_signed = field.type.startswith("i")
    if field.bit is not None:
        shift, mask = field.bit, (1 << field.bits) - 1
        return lambda frame, at: (_whole(frame, at + field.at, size, order) >> shift) & mask
    return lambda frame, at: _whole(frame, at + field.at, size, order, is_signed=is_signed)


def _whole(frame: bytes, at: int, size: int, order: Order, *, is_signed: bool = False) -> int:
    return int.from_bytes(frame[at : at + size], order, signed=is_signed)
