"""Folders are made so that a power cut does not take their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.core.folders import make_folder


def test_the_folder_above_each_new_one_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the top down, and none of those that were there."""
    synced: list[Path] = []

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())

    monkeypatch.setattr(os, "fsync", note)

    make_folder(tmp_path / "a/b")
    assert synced == [tmp_path, tmp_path / "a"]
    make_folder(tmp_path / "a/b")
    assert len(synced) == 2
    assert (tmp_path / "a/b").is_dir()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """As any other that keeps it from being made."""
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="Not a directory"):
        make_folder(tmp_path / "a/b")
