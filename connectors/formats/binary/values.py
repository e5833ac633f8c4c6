"""Taking single values out of frames."""

from __future__ import annotations

import struct
from collections.abc import Callable

from connectors.formats.binary.component import SIZES, WORD_ORDERS, FieldConfig, Order

#: What struct calls the two orders of bytes.
ORDERS: dict[Order, str] = {"big": ">", "little": "<", "ABCD": ">", "DCBA": "<"}

#: What struct calls floats of so many bytes.
_FLOATS = {2: "e", 4: "f", 8: "d"}


def places(order: Order, size: int) -> list[int]:
    """Where a number's bytes lie in one of ``WORD_ORDERS``, the one that counts most first."""
    every = list(range(size))
    if size == 1:
        return every
    words = [every[at : at + 2] for at in range(0, size, 2)]
    ordered = words[::-1] if order == "CDAB" else [word[::-1] for word in words]
    return [place for word in ordered for place in word]


def getter(field: FieldConfig, order: Order) -> Callable[[bytes, int], object]:
    """What takes a field's value out of a frame, given where its record begins."""
    size = SIZES[field.type]
    if order in WORD_ORDERS:
        own = [field.at + place for place in places(order, size)]
        get = getter(field, "big")
        # Its bytes alone, in the order that they count in.
        return lambda frame, at: get(bytes([frame[at + each] for each in own]), -field.at)
    if field.type.startswith("f"):
        layout = struct.Struct(ORDERS[order] + _FLOATS[size])
        return lambda frame, at: layout.unpack_from(frame, at + field.at)[0]
    is_signed = field.type.startswith("i")
    if field.bit is not None:
        shift, mask = field.bit, (1 << field.bits) - 1
        sign = 1 << (field.bits - 1) if field.has_signed_bits else 0
        return lambda frame, at: (
            (((_whole(frame, at + field.at, size, order) >> shift) & mask) ^ sign) - sign
        )
    return lambda frame, at: _whole(frame, at + field.at, size, order, is_signed=is_signed)


def _whole(frame: bytes, at: int, size: int, order: Order, *, is_signed: bool = False) -> int:
    is_little = ORDERS[order] == "<"
    return int.from_bytes(frame[at : at + size], "little" if is_little else "big", signed=is_signed)
