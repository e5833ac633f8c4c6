"""Payloads that are compressed, made whole within bounds."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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

#: The first two bytes of those: a look at them costs next to nothing.
STARTS = frozenset(begin[:2] for begin in _KINDS)

#: What zstd keeps of what it has read, as a power of two of bytes: so much any reader should have
#: (RFC 8878). A payload asks for it in its first bytes, and it is taken at once.
_ZSTD_WINDOW = 23


class _Inflater(Protocol):
    """What makes one part of a payload whole."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _zstd() -> _Inflater:
    options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW}
    return zstd.ZstdDecompressor(options=options)


#: Those that are read. zlib reads two: with a header of gzip's, or its own.
_INFLATERS: Mapping[str, Callable[[], _Inflater]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "zlib": lambda: zlib.decompressobj(15),
    "zstd": _zstd,
}

#: The first two bytes of those.
HEADS = frozenset(begin[:2] for begin, name in _KINDS.items() if name in _INFLATERS)

#: Those of which several parts may stand one after the other.
_OF_PARTS = ("gzip", "zstd")

#: Parts of one payload at most: each is looked for in all that is left.
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
        payload: What was sent.
        kind: How it is compressed, as ``compression_of`` says it.
        most: No more bytes than these may come of it.

    Raises:
        DataError: It can't be had, or would be larger.
    """
    if kind not in _INFLATERS:
        raise DataError("compressed", f"{kind} data; gzip, zlib and zstd are read")
    content = b""
    for _ in range(_MAX_PARTS):
        inflater = _INFLATERS[kind]()
        try:
            content += inflater.decompress(payload, most + 1 - len(content))
        except (zlib.error, zstd.ZstdError) as error:
            raise DataError("compressed", f"{kind} data that is damaged: {error}"[:200]) from None
        if len(content) > most:
            raise DataError("too_large", f"{kind} data of more than {most} bytes")
        if not inflater.eof:
            raise DataError("compressed", f"{kind} data that is cut off")
        payload = inflater.unused_data.lstrip(_BLANKS)
        if not payload:
            return content
        if kind not in _OF_PARTS or compression_of(payload) != kind:
            break
    raise DataError("compressed", f"more behind the end of {kind} data")


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
