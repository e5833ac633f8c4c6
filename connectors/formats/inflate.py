"""Payloads that are compressed, made whole within bounds."""

from __future__ import annotations

import zlib

from headgate.core.errors import DataError

#: What content begins with that is compressed: its name by its first bytes.
_KINDS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x04\x22\x4d\x18", "LZ4"),
)
_BEGINS = (b"\x78", *(begin for begin, _ in _KINDS))

#: What zlib calls the two that it reads: a header of gzip's, or its own.
_WINDOW_BITS = {"gzip": 31, "zlib": 15}


def compression_of(payload: bytes) -> str:
    """The name of what a payload seems to be compressed with; empty for nothing known."""
    if not payload.startswith(_BEGINS):
        return ""
    for begin, name in _KINDS:
        if payload.startswith(begin):
            return name
    # Method and window, and what makes a number of both that divides by 31 (RFC 1950).
    is_zlib = payload[:1] == b"\x78" and int.from_bytes(payload[:2], "big") % 31 == 0
    return "zlib" if is_zlib else ""


def inflated(payload: bytes, kind: str, most: int) -> bytes:
    """A payload as it was before it was compressed.

    Args:
        payload: One that ``compression_of`` knows.
        kind: What that said.
        most: No more bytes than these may come of it.

    Raises:
        DataError: It can't be had, or would be larger.
    """
    if kind not in _WINDOW_BITS:
        raise DataError("compressed", f"{kind} data; gzip and zlib are read")
    inflater = zlib.decompressobj(_WINDOW_BITS[kind])
    try:
        content = inflater.decompress(payload, most + 1)
    except zlib.error as error:
        raise DataError("compressed", f"{kind} data that is damaged: {error}"[:200]) from None
    if len(content) > most:
        raise DataError("too_large", f"{kind} data of more than {most} bytes")
    if not inflater.eof:
        raise DataError("compressed", f"{kind} data that is cut off")
    if inflater.unused_data:
        raise DataError("compressed", f"more behind the end of {kind} data")
    return content
