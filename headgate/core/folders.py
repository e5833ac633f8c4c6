"""Folders and small files that outlast a power cut.

A name is on the disk once the folder that it stands in is.
"""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are not there.

    Raises:
        OSError: It can't be made.
    """
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """See the names that stand in a folder on the disk.

    Raises:
        OSError: They are not, or not for certain.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file for its owner only, whole or not at all, and see it on the disk. Blocks.

    Raises:
        OSError: It is not there, or not for certain; what was there before is.
    """
    new = path.with_name(path.name + ".new")
    make_folder(path.parent)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123  (of a handle)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def append_synced(path: Path, content: bytes) -> None:
    """Append to a file that is there, and see it on the disk. Blocks.

    Raises:
        OSError: It is not there, or not for certain; a part of it may be.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    with open(handle, "ab", buffering=0) as file:  # noqa: PTH123  (of a handle)
        left = memoryview(content)
        while left:
            left = left[file.write(left) or 0 :]
        os.fsync(file.fileno())
