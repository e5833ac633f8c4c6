"""Lanes that are forked from one process, which has loaded what they need."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto
from tests.processes import is_running, until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere lanes are not forked"),
]


def _config(broker: Mosquitto) -> str:
    return (
        f"[mqtt]\nport = {broker.port}\n[log]\npartitions = 2\n[local_store]\n"
        '[feed.press]\ntopic = "hall/{line}/{device}"\nchannels.force = {}\n'
    )


def _lanes(gateway: Gateway) -> dict[str, int]:
    """Process ids of the lanes that run."""
    lanes = gateway.status()["lanes"].items()
    return {name: lane["pid"] for name, lane in lanes if lane["pid"] is not None}


def _command(pid: int) -> list[str]:
    """What ``ps`` shows of a process; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:
        return []


def _fork_server(gateway: Gateway) -> int:
    """Process id of what the lanes are forked from; 0 when there is none."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    return next((int(pid) for pid in children if "fork-server" in _command(int(pid))), 0)


def _is_forked(pid: int) -> bool:
    return _command(pid)[:2] == ["headgate", "lane"]


def _shared_mb(pid: int) -> float:
    """Memory that a process has in common with others since one of them has filled it, MB."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("Shared_Dirty:")).split()[1]) / 1000


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _open_files(pid: int) -> list[str]:
    """What a process has open, but pipes, sockets and such of its own making."""
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sorted(str(link) for link in links if str(link).startswith("/"))


def _kill(gateway: Gateway, lane: str) -> int:
    """``kill -9`` of a lane; the process that takes its place, once it does its work."""
    before = _lanes(gateway)[lane]
    os.kill(before, signal.SIGKILL)
    until(lambda: _lanes(gateway).get(lane, before) != before, f"another {lane} lane", 30)
    gateway.wait_for("/readyz", 45)
    return _lanes(gateway)[lane]


def test_lanes_share_memory_and_nothing_else(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """They are the supervisor's, each in a session of its own, under their names."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        lanes = _lanes(gateway)
        server = _fork_server(gateway)

        assert server
        data = gateway.folder / "data"
        file = str(gateway.config_file)
        for name, pid in lanes.items():
            words = ["headgate", "lane", name, "-c", file, "--workers", "1"]
            command = _command(pid)
            # There is as much room as the supervisor's own command line takes.
            assert "\0".join(words).startswith("\0".join(command))
            assert command[:3] == words[:3]
            assert Path(f"/proc/{pid}/comm").read_text() == "headgate\n"
            assert _parent(pid) == gateway.pid
            assert os.getsid(pid) == os.getpgid(pid) == pid
            # A process that has loaded all by itself has some 5 MB in common with such.
            assert _shared_mb(pid) > 30
            locks = [each for each in _open_files(pid) if each.endswith(".lock")]
            assert locks == [str(data / f"{name}.lock")]
        assert [each for each in _open_files(server) if each.startswith(str(data))] == []
        assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1
        # Standard input, output and error, and the supervisor's.
        assert len(list(Path(f"/proc/{server}/fd").iterdir())) == 4
        assert stat.S_ISCHR(Path(f"/proc/{server}/fd/0").stat().st_mode)

        assert gateway.stop() == 0
        assert not any(map(is_running, [server, *lanes.values()]))
        assert "Traceback" not in gateway.output()


def test_what_it_takes_is_counted_as_the_docs_say(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """All five processes, and what they share once."""
    docs = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = docs.partition("## The gateway's processes\n")[2].partition("\n## ")[0]
    script = section.partition("```sh\n")[2].partition("```")[0]
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

    total_kb, _, count, _ = told.stdout.split()
    # Others may be running beside it.
    assert int(count) >= 5
    assert int(total_kb) > 50_000


def test_a_lane_that_dies_is_forked_anew_however_often(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Also one that dies before it has come far."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        server = _fork_server(gateway)

        new = _kill(gateway, "streams")
        assert _is_forked(new)
        assert _parent(new) == gateway.pid
        for _ in range(4):
            # Not waited for: the next dies as soon as it is there.
            until(lambda: "forward" in _lanes(gateway), "a forward lane", 30)
            before = _lanes(gateway)["forward"]
            os.kill(before, signal.SIGKILL)
            until(lambda: _lanes(gateway).get("forward", before) != before, "another", 30)  # noqa: B023
        until(
            lambda: gateway.status()["lanes"]["forward"]["reason"].startswith("works, but was"),
            "the forward lane at work",
            30,
        )

        assert all(map(_is_forked, _lanes(gateway).values()))
        assert _fork_server(gateway) == server
        states = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            for pid in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
        ]
        assert len(states) == 4
        assert "Z" not in states


def test_lanes_go_on_without_the_fork_server(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """And one that dies after it is started by itself, which is said."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        before = _lanes(gateway)
        os.kill(_fork_server(gateway), signal.SIGKILL)
        time.sleep(1)
        assert _lanes(gateway) == before
        assert gateway.get("/readyz")[0] == 200

        new = _kill(gateway, "ingest")

        assert not _is_forked(new)
        assert _fork_server(gateway) == 0
        assert {**before, "ingest": new} == _lanes(gateway)
        assert gateway.output().count("A lane can't be forked") == 1
        assert "its process has ended" in gateway.output()
        assert gateway.stop() == 0
        assert not any(map(is_running, [new, *before.values()]))


def test_a_fork_server_that_stands_still_is_done_without(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """What it would have forked after all is nobody's: it is ended."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        server = _fork_server(gateway)
        os.kill(server, signal.SIGSTOP)

        new = _kill(gateway, "forward")

        assert not _is_forked(new)
        assert not is_running(server)
        assert "A lane can't be forked" in gateway.output()


def test_nothing_outlives_a_killed_supervisor(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Nor a lane that was forked last, nor the process it was forked from."""
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        server = _fork_server(gateway)
        _kill(gateway, "streams")
        lanes = _lanes(gateway)

        os.kill(gateway.pid, signal.SIGKILL)
        gateway.wait()

        until(lambda: not any(map(is_running, [server, *lanes.values()])), "their end", 2)
        gateway.start()
        assert gateway.stop() == 0


def test_nothing_is_forked_beside_a_thread(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A library that keeps one would be half there in a forked process."""
    thread = {"JE_ARROW_MALLOC_CONF": "background_thread:true"}
    with Gateway(tmp_path / "gateway", _config(mosquitto), environment=thread) as gateway:
        gateway.start()

        assert _fork_server(gateway) == 0
        assert not any(map(_is_forked, _lanes(gateway).values()))
        assert gateway.output().count("Lanes are not forked") == 1
        assert gateway.stop() == 0
