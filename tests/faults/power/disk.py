"""A recorder under SQLite, and what a disk may hold after the power was cut at any moment.

The library that Python's ``sqlite3`` uses is shared, so a file system of our own can be put below
it: all calls go to the real one, and writes, truncations, syncs and deletions are recorded on the
way, or made to fail.

After a cut there is what was synced before. Of what was written since, each 512-byte sector may be
there or not, in any combination, and a file whose folder was not synced may be missing.
"""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

_SECTOR = 512
_OK = 0

#: Words of ``sqlite3_io_methods`` (the first holds the version), and those that are replaced.
_METHODS, _WRITE, _TRUNCATE, _SYNC = 19, 3, 4, 5

_OPEN_CREATES = 0x4


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``, as far as it is touched; the rest is copied as it is."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("path_bytes", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
        ("rest", ctypes.c_void_p * 14),
    ]


_Open = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
_Write = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

Operation = Literal["create", "write", "truncate", "sync", "delete", "link", "sync folder"]


class Event(NamedTuple):
    """Something that was done to a file.

    Attributes:
        operation: What.
        path: To which file or folder.
        position: Offset of a write, or the length after a truncation.
        content: Bytes of a write, or the new name of a link.
    """

    operation: Operation
    path: str
    position: int = 0
    content: bytes = b""


#: Says which error code an operation gets instead of being done; 0 lets it be done.
Failing = Callable[[Operation], int]


class Recorder:
    """Records what SQLite does to files, from ``recording`` on.

    Attributes:
        events: All of it, in order.
        failing: Asked before each write, truncation and sync.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failing: Failing = lambda _operation: 0
        library = find_library("sqlite3")
        self._sqlite = ctypes.CDLL(library)
        self._sqlite.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._real = self._sqlite.sqlite3_vfs_find(None)
        self._names: dict[int, str] = {}
        # By address of the real methods, the ones in their place; and what must not be collected.
        self._methods: dict[int, Any] = {}
        self._kept: list[Any] = []
        self._vfs = _Vfs.from_buffer_copy(self._real.contents)
        self._vfs.name = b"recording"
        real_open = _Open(self._real.contents.open)
        real_delete = _Delete(self._real.contents.delete)

        def opened(_vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
            # The pointer itself is passed on: SQLite keeps parameters behind the name.
            path = os.fsdecode(ctypes.string_at(name)) if name else ""
            is_new = bool(path) and bool(flags & _OPEN_CREATES) and not Path(path).exists()
            real: int = ctypes.cast(self._real, ctypes.c_void_p).value or 0
            code = real_open(real, name, file, flags, out)
            if code == _OK and path:
                if is_new:
                    self.events.append(Event("create", path))
                self._names[file] = path
                self._replace_methods(file)
            return int(code)

        def deleted(_vfs: int, name: bytes, sync_folder: int) -> int:
            real: int = ctypes.cast(self._real, ctypes.c_void_p).value or 0
            code = real_delete(real, name, sync_folder)
            if code == _OK:
                self.events.append(Event("delete", os.fsdecode(name), sync_folder))
            return int(code)

        for hook, kind, place in ((opened, _Open, "open"), (deleted, _Delete, "delete")):
            function = kind(hook)
            self._kept.append(function)
            setattr(self._vfs, place, ctypes.cast(function, ctypes.c_void_p).value)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """All connections that are opened inside the block are recorded, and what makes links."""
        link, fsync = Path.hardlink_to, os.fsync

        def hardlink_to(path: Path, target: Any) -> None:  # noqa: ANN401
            link(path, target)
            self.events.append(Event("link", str(target), content=os.fsencode(path)))

        def synced(handle: int) -> None:
            fsync(handle)
            self.events.append(
                Event("sync folder", str(Path(f"/proc/self/fd/{handle}").readlink()))
            )

        self._sqlite.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        Path.hardlink_to, os.fsync = hardlink_to, synced  # type: ignore[assignment,method-assign]
        try:
            yield
        finally:
            Path.hardlink_to, os.fsync = link, fsync  # type: ignore[method-assign]
            # Out of SQLite's list: it would go on reading what is collected with the recorder.
            self._sqlite.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
            self._sqlite.sqlite3_vfs_register(self._real, 1)

    def _replace_methods(self, file: int) -> None:
        """Put our methods into an open ``sqlite3_file``; its first word points at them."""
        place = ctypes.c_void_p.from_address(file)
        address = place.value or 0
        if address not in self._methods:
            self._methods[address] = self._copied(address)
        place.value = ctypes.addressof(self._methods[address])

    def _copied(self, address: int) -> Any:  # noqa: ANN401
        real = (ctypes.c_void_p * _METHODS).from_address(address)
        copy = (ctypes.c_void_p * _METHODS)(*real)
        write, truncate = _Write(real[_WRITE] or 0), _Truncate(real[_TRUNCATE] or 0)
        sync = _Sync(real[_SYNC] or 0)

        def written(file: int, content: int, size: int, position: int) -> int:
            code = self.failing("write") or write(file, content, size, position)
            if code == _OK:
                data = ctypes.string_at(content, size)
                self.events.append(Event("write", self._names[file], position, data))
            return int(code)

        def truncated(file: int, size: int) -> int:
            code = self.failing("truncate") or truncate(file, size)
            if code == _OK:
                self.events.append(Event("truncate", self._names[file], size))
            return int(code)

        def synced(file: int, flags: int) -> int:
            code = self.failing("sync") or sync(file, flags)
            if code == _OK:
                self.events.append(Event("sync", self._names[file]))
            return int(code)

        for hook, kind, place in (
            (written, _Write, _WRITE),
            (truncated, _Truncate, _TRUNCATE),
            (synced, _Sync, _SYNC),
        ):
            function = kind(hook)
            self._kept += [function, write, truncate, sync]
            copy[place] = ctypes.cast(function, ctypes.c_void_p).value
        return copy


@dataclass
class _File:
    """A file's content.

    Attributes:
        kept: What is on the disk for certain.
        pending: Writes and truncations since.
        syncs_folder: SQLite syncs the folder together with a new journal's first sync.
    """

    kept: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)
    syncs_folder: bool = False


class Disk:
    """What a disk has been told, event by event."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._certain: dict[str, _File] = {}

    def apply(self, event: Event) -> None:
        """Take in what comes next."""
        path = event.path
        if event.operation == "sync folder":
            self._settle_folder(path)
            return
        if event.operation == "link":
            self._files[os.fsdecode(event.content)] = self._file(path)
            return
        if event.operation == "delete":
            self._files.pop(path, None)
            if event.position:
                self._settle_folder(str(Path(path).parent))
            return
        file = self._file(path)
        if event.operation == "create":
            file.syncs_folder = True
        elif event.operation == "sync":
            for each in file.pending:
                _put(file.kept, each)
            file.pending.clear()
            if file.syncs_folder:
                file.syncs_folder = False
                self._settle_folder(str(Path(path).parent))
        else:
            file.pending.append(event)

    def cut(self, draw: random.Random) -> dict[str, bytes]:
        """The files after a power cut at this moment, by path."""
        greed = draw.choice((0.0, 0.5, 1.0, draw.random()))
        names: dict[str, _File] = {}
        for path in self._files.keys() | self._certain.keys():
            known = [each.get(path) for each in (self._files, self._certain)]
            file = draw.choice(known) if known[0] is not known[1] else known[0]
            if file is not None:
                names[path] = file
        contents: dict[int, bytes] = {}
        for file in names.values():
            if id(file) not in contents:
                contents[id(file)] = _remains(file, draw, greed)
        return {path: contents[id(file)] for path, file in names.items()}

    def _file(self, path: str) -> _File:
        return self._files.setdefault(path, _File())

    def _settle_folder(self, folder: str) -> None:
        for names in (self._certain, self._files):
            for path in [each for each in names if str(Path(each).parent) == folder]:
                if path in self._files:
                    self._certain[path] = self._files[path]
                else:
                    self._certain.pop(path, None)


def _remains(file: _File, draw: random.Random, greed: float) -> bytes:
    content = bytearray(file.kept)
    for event in file.pending:
        if event.operation == "truncate":
            if draw.random() < greed:
                _put(content, event)
            continue
        position, data = event.position, event.content
        while data:
            size = min(len(data), _SECTOR - position % _SECTOR)
            if draw.random() < greed:
                _put(content, Event("write", "", position, data[:size]))
            position, data = position + size, data[size:]
    return bytes(content)


def _put(content: bytearray, event: Event) -> None:
    if event.operation == "truncate":
        del content[event.position :]
        content.extend(bytes(event.position - len(content)))
        return
    end = event.position + len(event.content)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[event.position : end] = event.content
