"""``headgate run``: the supervisor and its lanes as real processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.core.clock import SystemClock
from headgate.gateway.lane_process import LaneProcess
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto
from tests.processes import is_running, until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]

_LANES = {"ingest", "streams", "forward"}

#: A lane that says nothing for so long is killed; on a busy machine it needs seconds to start, s.
_SILENCE_S = 10


def _config(broker: Mosquitto, *, partitions: int = 2) -> str:
    return (
        f"[mqtt]\nport = {broker.port}\n[log]\npartitions = {partitions}\n[local_store]\n"
        '[feed.press]\ntopic = "hall/{line}/{device}"\nchannels.force = {}\n'
    )


def _lanes(gateway: Gateway) -> dict[str, int]:
    """Process ids of the lanes."""
    return {name: lane["pid"] for name, lane in gateway.status()["lanes"].items()}


def _run(gateway: Gateway) -> subprocess.CompletedProcess[str]:
    """``headgate run`` where it is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "headgate.cli", "run", "-c", str(gateway.config_file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_called_otherwise_now_is_said_at_the_start(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Once, however many lanes there are."""
    with Gateway(tmp_path, _config(mosquitto)) as gateway:
        gateway.start()
        assert gateway.stop() == 0
        said = gateway.output()

    assert said.count("is called [sink.local_store] now") == 1


async def _start_lane(name: str, gateway: Gateway) -> tuple[LaneProcess, asyncio.Task[int]]:
    """One lane of a gateway, working, without a supervisor."""
    (gateway.folder / "data").mkdir()
    ready = asyncio.Event()

    def note() -> None:
        if lane.health[0]:
            ready.set()

    lane = LaneProcess(name, gateway.config_file, SystemClock(), note, silence_limit_s=_SILENCE_S)
    running = asyncio.create_task(lane.run(asyncio.Event()))
    await asyncio.wait_for(ready.wait(), 60)
    return lane, running


def test_it_runs_three_lanes_and_replaces_one_that_dies(
    mosquitto: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others go on; the console tells; a stop leaves no process behind."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        before = _lanes(gateway)
        assert set(before) == _LANES
        assert stat.S_IMODE((gateway.folder / "data").stat().st_mode) == 0o700

        os.kill(before["streams"], signal.SIGKILL)
        until(lambda: gateway.get("/healthz")[0] == 503, "the loss being seen", 20)
        gateway.wait_for("/readyz", 30)

        after = _lanes(gateway)
        restarts = {name: lane["restarts"] for name, lane in gateway.status()["lanes"].items()}
        assert restarts == {"ingest": 0, "streams": 1, "forward": 0}
        assert after["streams"] != before["streams"]
        assert after["ingest"] == before["ingest"]
        text = gateway.get("/metrics")[1].decode()
        assert all(f'headgate_lane_resident_bytes{{lane="{name}"}}' in text for name in _LANES)

        assert main(["status", "-c", str(gateway.config_file), "--json"]) == 0
        assert set(json.loads(capsys.readouterr().out)["lanes"]) == _LANES
        assert main(["status", "-c", str(gateway.config_file)]) == 0
        screen = capsys.readouterr().out
        assert all(name in screen for name in _LANES)
        assert "local_store" in screen

        start = time.perf_counter()
        assert gateway.stop() == 0
        assert time.perf_counter() - start < 5
        assert not any(is_running(pid) for pid in after.values())
        assert gateway.output().count("The gateway is ready.") == 1
        assert "Traceback" not in gateway.output()


def test_it_is_not_ready_while_a_lane_dies_again_and_again(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Neither between two deaths, when the lane works, nor soon after the last."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        for count in range(1, 5):
            os.kill(_lanes(gateway)["forward"], signal.SIGKILL)
            until(
                lambda: gateway.status()["lanes"]["forward"]["restarts"] == count,  # noqa: B023
                "a restart",
                20,
            )
            until(lambda: _lanes(gateway)["forward"] is not None, "a new process", 20)
        until(
            lambda: gateway.status()["lanes"]["forward"]["reason"].startswith("works, but was"),
            "the lane working again",
            20,
        )

        assert gateway.get("/readyz")[0] == 503
        assert gateway.get("/healthz")[0] == 200
        reason = gateway.status()["lanes"]["forward"]["reason"]
        assert "started anew 4 times within 10 minutes, at last after: killed" in reason


async def test_a_lane_that_is_asked_twice_still_ends_in_order(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """A service manager may send SIGTERM to each process, and the supervisor sends it again."""
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto))
    lane, running = await _start_lane("streams", gateway)

    for _ in range(3):
        lane.send(signal.SIGTERM)
        await asyncio.sleep(0.005)

    assert await asyncio.wait_for(running, 10) == 0


def test_a_lane_that_does_not_end_is_killed_in_time(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Five seconds, not for ever; a second signal does not wait even that long."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        stopped = _lanes(gateway)["forward"]
        os.kill(stopped, signal.SIGSTOP)
        start = time.perf_counter()
        assert gateway.stop() == 0
        assert 4 < time.perf_counter() - start < 8
        assert not is_running(stopped)

        gateway.start()
        lanes = _lanes(gateway)
        for pid in lanes.values():
            os.kill(pid, signal.SIGSTOP)
        os.kill(gateway.pid, signal.SIGINT)
        time.sleep(0.5)
        os.kill(gateway.pid, signal.SIGINT)
        start = time.perf_counter()
        assert gateway.wait() == 130
        assert time.perf_counter() - start < 2
        until(lambda: not any(map(is_running, lanes.values())), "the lanes' end", 2)


def test_lanes_do_not_outlive_a_killed_supervisor(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Its successor can start at once: nobody else works on the data."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        lanes = _lanes(gateway)
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.wait()

        until(lambda: not any(map(is_running, lanes.values())), "the lanes' end", 2)
        gateway.start()
        assert gateway.stop() == 0


def test_data_has_one_gateway(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A second one is told who the first is, and changes nothing."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        lanes = _lanes(gateway)

        second = _run(gateway)

        assert second.returncode == 1
        (line,) = second.stderr.splitlines()
        assert f"found process {gateway.pid}; stop it" in line
        assert _lanes(gateway) == lanes


def test_a_mistake_that_only_the_log_knows_of_ends_it_with_2(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The number of partitions is fixed once the log exists; starting anew would not mend it."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        assert gateway.stop() == 0
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto, partitions=3))

    result = _run(gateway)

    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if ": log.url: " in line]
    assert lines
    assert re.match(rf"{gateway.config_file}:\d+: log\.url: .*partitions", lines[0])
    assert "Traceback" not in result.stderr


def test_what_stands_in_the_way_at_the_start_is_one_line(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """A port that is taken, and a data directory that can't be one."""
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto))
    text = gateway.config_file.read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway.config_file.write_text(re.sub(r"(?<=\[console\]\nport = )\d+", str(port), text))

        result = _run(gateway)

    assert result.returncode == 2
    assert f"console: expected an address to listen on, got 127.0.0.1:{port}" in result.stderr

    (gateway.folder / "file").touch()
    gateway.config_file.write_text(text.replace("/data", "/file"))

    result = _run(gateway)

    assert result.returncode == 2
    assert result.stderr.startswith("gateway.data_dir: expected a directory that can be written to")


async def test_a_lane_that_has_fallen_silent_is_killed(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """It hangs: starting it anew is the way out, and its process id says that it is new."""
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto))
    lane, running = await _start_lane("forward", gateway)
    assert lane.is_alive
    assert lane.pid is not None

    os.kill(lane.pid, signal.SIGSTOP)

    assert await asyncio.wait_for(running, 3 * _SILENCE_S) == -signal.SIGKILL
    assert lane.health == (False, "not running; will be started anew")
    assert not lane.is_alive
