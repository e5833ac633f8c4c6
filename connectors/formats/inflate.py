"""Payloads that are compressed, made whole within bounds."""

from __future__ import annotations

import zlib

from headgate.core.errors import DataError

#: What content begins with that is compressed: its name by its first bytes.
_KINDS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "LZ4",
    # Method and window, and what makes a number of both that divides by 31 (RFC 1950).
    **{
        bytes((8 | window << 4, flags)): "zlib"
        for window in range(8)
        for flags in range(256)
        if ((8 | window << 4) << 8 | flags) % 31 == 0 and not flags & 0x20
    },
}
_BEGINS = tuple(_KINDS)

#: The first two bytes of those that are read.
HEADS = frozenset(begin for begin, name in _KINDS.items() if name in ("gzip", "zlib"))

#: What zlib calls the two that it reads: a header of gzip's, or its own.
_WINDOW_BITS = {"gzip": 31, "zlib": 15}

#: Parts of one gzip payload at most: each is looked for in all that is left.
_MAX_PARTS = 100

#: Behind compressed data these bytes mean nothing, as around other payloads.
_BLANKS = b"\0 \t\r\n"


def compression_of(payload: bytes) -> str:
    """The name of what a payload seems to be compressed with; empty for nothing known."""
    if not payload.startswith(_BEGINS) or _is_text(payload):
        return ""
    return next(name for begin, name in _KINDS.items() if payload.startswith(begin))


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
    content = b""
    for _ in range(_MAX_PARTS):
        inflater = zlib.decompressobj(_WINDOW_BITS[kind])
        try:
            content += inflater.decompress(payload, most + 1 - len(content))
        except zlib.error as error:
            raise DataError("compressed", f"{kind} data that is damaged: {error}"[:200]) from None
        if len(content) > most:
            raise DataError("too_large", f"{kind} data of more than {most} bytes")
        if not inflater.eof:
            raise DataError("compressed", f"{kind} data that is cut off")
        payload = inflater.unused_data.lstrip(_BLANKS)
        if not payload:
            return content
        # gzip's may be several, one after the other.
        if kind != "gzip" or not payload.startswith(b"\x1f\x8b"):
            break
    raise DataError("compressed", f"more behind the end of {kind} data")


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
