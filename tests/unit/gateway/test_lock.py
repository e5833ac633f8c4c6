"""One owner for a gateway's data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.core.errors import PermanentError
from headgate.gateway.lock import FileLock

_HOLD = """
import sys, time
from pathlib import Path
from headgate.gateway.lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_only_one_has_it(tmp_path: Path) -> None:
    """The second is told who the first is."""
    path = tmp_path / "gateway.lock"

    with FileLock(path):
        with pytest.raises(PermanentError, match=rf"found process {os.getpid()}; stop it"):
            FileLock(path).__enter__()
        assert not FileLock(path).try_take()

    with FileLock(path):
        pass


def test_a_killed_owner_holds_it_no_longer(tmp_path: Path) -> None:
    """Nobody has to delete a file after a crash."""
    path = tmp_path / "gateway.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert not FileLock(path).try_take()
        assert FileLock(path).owner() == str(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    assert FileLock(path).try_take()


def test_others_can_not_read_it(tmp_path: Path) -> None:
    """As all files of the data directory."""
    with FileLock(tmp_path / "gateway.lock"):
        assert (tmp_path / "gateway.lock").stat().st_mode & 0o077 == 0
