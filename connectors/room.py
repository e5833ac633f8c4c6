"""Whether a file can be written, and may grow: for those who ask before they write."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from connectors.finding import Finding
from headgate.core.units import format_size

#: How long a look at a disk may take, s: one that is mounted over the network may hang.
DISK_LIMIT_S: Final = 10.0

#: What is written to see that there is room at all, bytes.
_TRIAL_BYTES: Final = 4096


def file_with_room(about: str, path: Path, most_bytes: int, key: str) -> Finding:
    """What is found of a file that may grow to a size.

    Args:
        about: What the file is for.
        path: The file.
        most_bytes: How large it may become.
        key: What in the configuration says so.
    """
    problem = writing_problem(path)
    if problem:
        return Finding(about, "wrong", f"{path}: {problem}")
    # The room is taken by whoever writes first, on the same disk or not.
    wanted = most_bytes - (path.stat().st_size if path.exists() else 0)
    free = shutil.disk_usage(_nearest_folder(path)).free
    text = f"{path}: can be written, {format_size(free)} free"
    if free < wanted:
        text += f", less than it may grow by ({format_size(wanted)}); lower {key}, or make room"
        return Finding(about, "warning", text)
    return Finding(about, "good", text)


def writing_problem(path: Path) -> str:
    """Why a file can't be written, or made; empty when it can."""
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        return "expected a file that this user can read and write; check its owner and mode"
    folder = _nearest_folder(path)
    try:
        # Without a name: it is gone when it is closed, whatever happens.
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(_TRIAL_BYTES))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        return f"expected a folder that this user can write to, got {folder}: {error.strerror}"
    return ""


def _nearest_folder(path: Path) -> Path:
    """The folder of a file, or the nearest above it that is there: the gateway makes the rest."""
    return next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
