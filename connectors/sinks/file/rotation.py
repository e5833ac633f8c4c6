"""A file of whole lines that survives crashes, and is put aside for a new one.

What is put aside is called as the file is, with a number behind: ``points.lp.000001``, the highest
is the newest. Blocking; one thread at a time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from headgate.core.folders import make_folder, sync_folder

#: Read at once while the end of the last whole line is looked for, bytes.
_BLOCK = 64 << 10

#: Beside the file, holds since when it is written, ns since 1970 UTC.
_BEGUN = ".begun"


class LineFile:
    """One file that lines are appended to.

    Args:
        path: The file. It and its folder are made when they are not there.
        now_ns: The time, ns since 1970 UTC.

    Raises:
        OSError: It can't be opened, or what a crash left of it can't be mended.
    """

    def __init__(self, path: Path, now_ns: int) -> None:
        self._path = path
        self._begun = path.with_name(path.name + _BEGUN)
        make_folder(path.parent)
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            #: Bytes of whole lines.
            self.size = self._mend()
            if is_new or not self.size:
                self._note_begin(now_ns)
            sync_folder(path.parent)
        except OSError:
            self.close()
            raise
        #: Since when it is written, ns since 1970 UTC.
        self.begun_ns = self._noted_begin(now_ns)

    @property
    def is_there(self) -> bool:
        """Whether the file is still the one of that name: somebody may have moved it away."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(self._file)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def append(self, lines: bytes) -> None:
        """Write whole lines and see them on the disk.

        Raises:
            OSError: They are not, or not for certain; nothing of them stays in the file, as far as
                it can still be written to, and the file must be opened anew.
        """
        try:
            done = 0
            while done < len(lines):
                done += os.pwrite(self._file, lines[done:], self.size + done)
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(lines)

    def put_aside(self) -> None:
        """Give the file the next number, and close it.

        Raises:
            OSError: It stays where it is, or is moved and may be so again.
        """
        number = max(put_aside(self._path), default=0) + 1
        self.close()
        self._path.rename(self._path.with_name(f"{self._path.name}.{number:06}"))
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Close it; what was appended is on the disk already."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _mend(self) -> int:
        """Cut off the half of a line that a crash may have left; where the whole ones end."""
        size = end = os.fstat(self._file).st_size
        while end:
            begin = max(0, end - _BLOCK)
            at = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if at >= 0:
                end = begin + at + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        return end

    def _note_begin(self, now_ns: int) -> None:
        self._begun.write_text(f"{now_ns}\n")

    def _noted_begin(self, now_ns: int) -> int:
        try:
            begun_ns = int(self._begun.read_text())
        except (OSError, ValueError):
            self._note_begin(now_ns)
            return now_ns
        return min(begun_ns, now_ns)  # the clock may have been set back


def put_aside(path: Path) -> dict[int, Path]:
    """By number, the files that were put aside for this one."""
    ours = re.compile(re.escape(path.name) + r"\.(\d{6,})")
    found = {}
    if path.parent.is_dir():
        for each in path.parent.iterdir():
            match = ours.fullmatch(each.name)
            if match is not None:
                found[int(match[1])] = each
    return found


def delete_old(path: Path, keep: int) -> Iterator[tuple[Path, int]]:
    """Delete all that was put aside but for the newest; each that was, and how many lines it had.

    Raises:
        OSError: One can't be deleted.
    """
    found = put_aside(path)
    for number in sorted(found)[:-keep]:
        lines = _lines_of(found[number])
        found[number].unlink(missing_ok=True)
        yield found[number], lines


def _lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
