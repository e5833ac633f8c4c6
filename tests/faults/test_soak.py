"""The soak itself: a short one on each log, and that it ends with its code whatever breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.accounts import NoteAccount, Tally
from tests.kafka.jars import CannotFetchError, fetch
from tests.processes import end
from tests.services import require

pytestmark = [pytest.mark.mosquitto, pytest.mark.store, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]

#: Programs that a soak on the embedded log starts: broker, store, supervisor.
_PARTS = 3


def _soak(output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with output.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.soak", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=_ROOT,
        )


def _when_it_breaks(soak: subprocess.Popen[bytes], output: Path) -> list[psutil.Process]:
    """Wait until faults come; all that it has started."""
    deadline = time.perf_counter() + 120
    while True:
        below = psutil.Process(soak.pid).children(recursive=True)
        if len(below) >= _PARTS and "gateway is ready" in _said_by_gateway(below):
            return below
        assert soak.poll() is None, output.read_text()
        assert time.perf_counter() < deadline, output.read_text()
        time.sleep(0.2)


def _said_by_gateway(processes: list[psutil.Process]) -> str:
    for process in processes:
        try:
            folder = Path(process.cwd())
        except psutil.NoSuchProcess:
            continue
        if (folder / "gateway.out").exists():
            return (folder / "gateway.out").read_text()
    return ""


@pytest.mark.parametrize(
    ("log", "minutes"),
    [
        ("sqlite", 1.0),
        pytest.param("kafka", 1.0, marks=[pytest.mark.kafka, pytest.mark.thorough]),
    ],
)
def test_a_soak_settles_its_account(
    log: str, minutes: float, tmp_path: Path, note_account: NoteAccount
) -> None:
    """Every kind of fault at least once, restarts of Kafka among them; nothing lost or doubled."""
    if log == "kafka":
        try:
            fetch()
        except CannotFetchError as error:
            require("Apache Kafka", False, str(error))
    output = tmp_path / "soak.out"
    soak = _soak(output, "--minutes", str(minutes), "--log", log, "--seed", "7", "--longest", "4")
    try:
        code = soak.wait(560)
    finally:
        end(soak, within_s=60)
    said = output.read_text()
    tally = Tally.parse(said.splitlines()[-1])
    note_account(tally)

    assert code == 0, said
    assert tally.kills > 0
    assert tally.messages > 0
    assert (tally.lost, tally.duplicated) == (0, 0)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 130, marks=pytest.mark.thorough),
    ],
)
def test_an_interrupted_soak_ends_with_its_code_and_leaves_nothing(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """As at Ctrl-C, in the middle of a fault."""
    output = tmp_path / "soak.out"
    soak = _soak(output, "--minutes", "10", "--seed", "1")
    try:
        below = _when_it_breaks(soak, output)
        soak.send_signal(number)

        assert soak.wait(120) == code, output.read_text()
    finally:
        end(soak, within_s=60)
    assert not [each for each in below if _runs(each)]


def test_a_soak_whose_parts_hang_ends_with_its_code_and_leaves_nothing(tmp_path: Path) -> None:
    """Everything that it has started stands still for good."""
    output = tmp_path / "soak.out"
    soak = _soak(output, "--minutes", "10", "--only", "kill", "--patience", "10")
    try:
        below = _when_it_breaks(soak, output)
        for each in below:
            if _runs(each):
                os.kill(each.pid, signal.SIGSTOP)

        assert soak.wait(240) == 1, output.read_text()
    finally:
        end(soak, within_s=60)
    assert not [each for each in below if _runs(each)]


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
