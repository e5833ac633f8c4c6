"""A disk that is full: nothing is acknowledged that is not kept, and space is all it takes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import MakeRig
from tests.processes import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.store, pytest.mark.timeout(180)]


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, in memory."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("Mounting a small file system is not permitted here.")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _fill(ballast: Path) -> None:
    """Leave no byte free."""
    with ballast.open("wb") as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(size))


def test_a_full_disk_under_log_and_store_costs_nothing(make_rig: MakeRig, tmp_path: Path) -> None:
    """The gateway says so, lives, and goes on by itself when there is room again."""
    data = tmp_path / "rig" / "gateway" / "data"
    with _small_disk(data, "64m"):
        rig = make_rig("sqlite:///log.db")
        rig.start()
        rig.plant.start()
        time.sleep(2)
        ballast = data / "ballast"
        _fill(ballast)
        until(lambda: b"disk is full" in rig.gateway.get("/readyz")[1], "said in /readyz")
        time.sleep(3)
        lanes = rig.gateway.status()["lanes"]
        assert rig.gateway.get("/readyz")[0] == 503
        # Faust can't commit and gives up once; what is there waits.
        assert sum(lane["restarts"] for lane in lanes.values()) <= 1, lanes

        ballast.unlink()
        rig.recover()
        account = rig.settle()
        assert rig.gateway.stop() == 0

    assert account.is_settled, str(account)
