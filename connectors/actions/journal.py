"""A small file of what is known, and behind it what has changed since, a line each.

The file is written whole and put in the place of the one before; a change is appended. Either is on
the disk before anybody goes on. Once the changes are longer than what they change, the file is
written whole again. So little is written at a step, however much is known.

A change has a checksum. Where power or the process has failed while one was appended, a part of it
stands at the end: nobody has gone on by it, and it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from headgate.core.folders import append_synced, write_whole

#: The changes may be at least so long, bytes.
_LEAST: Final = 64 << 10

#: Digits of a checksum, and a blank.
_HEAD: Final = 9


class Journal:
    """The file.

    Args:
        path: It.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # How long the file may become; 0: it is to be written whole.
        self._most = 0
        self._size = 0

    @property
    def takes_changes(self) -> bool:
        """Whether a change may be appended; else all of it is to be written."""
        return self._size < self._most

    def read(self) -> tuple[Any, list[Any]]:
        """What was known, and the changes since, in their order.

        Raises:
            OSError: It can't be read.
            ValueError: It holds something else.
        """
        first, *others = self.path.read_bytes().split(b"\n")
        return orjson.loads(first), list(_changes(others))

    def write(self, known: bytes) -> None:
        """Write all of it, JSON on one line. Blocks.

        Raises:
            OSError: It is not on the disk; what was there before is.
        """
        self._most = 0
        content = known + b"\n"
        write_whole(self.path, content)
        self._size = len(content)
        self._most = self._size + max(self._size, _LEAST)

    def append(self, change: bytes) -> None:
        """Append a change, JSON on one line. Blocks.

        Raises:
            OSError: It is not on the disk, or not for certain; next all of it is to be written.
        """
        most, self._most = self._most, 0
        line = b"%08x %s\n" % (crc32(change), change)
        append_synced(self.path, line)
        self._size += len(line)
        self._most = most


def _changes(lines: list[bytes]) -> Iterator[Any]:
    good = [each[:_HEAD] == b"%08x " % crc32(each[_HEAD:]) for each in lines]
    for line, is_good in zip(lines, good, strict=True):
        if not is_good:
            break
        yield orjson.loads(line[_HEAD:])
    if any(good[good.index(False) :] if False in good else ()):
        raise ValueError("a change in it is broken, and others stand behind it")
