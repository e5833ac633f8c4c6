"""A package that is not of the tree: installed beside the gateway, its sink and source are used."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.core.clock import SystemClock
from headgate.testing import sinks, sources
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto

_PROJECT = Path(__file__).parents[1] / "outside"
_KEY = b"a key of theirs"
_FEED = """
[streams]
silent_after = "2s"
[feed.press]
topic = "hall/{device}"
time = { path = "t", unit = "ms" }
period = "100ms"
device_state = false
aggregates = [{ window = "1s" }]
channels = { force = {} }
"""
_SINK = '[sink.theirs]\ntype = "spool"\nfolder = "spool"\nkey_file = "spool.key"\n'


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which Python finds the package, installed as pip does it."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(_PROJECT, folder / "project")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", *options, "--no-build-isolation"),
            *("--target", str(folder / "site"), str(folder / "project")),
        ],
        check=True,
    )
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [before, str(folder / "site")]))}


def _check(folder: Path, text: str, environment: dict[str, str]) -> tuple[int, list[str]]:
    """The exit code of ``headgate check``, and what it says on stderr."""
    (folder / "plant.toml").write_text(text + _FEED)
    done = subprocess.run(
        [sys.executable, "-m", "headgate.cli", "check", "-c", "plant.toml"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def test_its_table_is_checked_as_any_other(tmp_path: Path, environment: dict[str, str]) -> None:
    """Keys, secrets and files; without the package its name is unknown."""
    (tmp_path / "spool.key").write_bytes(_KEY)
    assert _check(tmp_path, _SINK, environment) == (0, [])
    assert _check(tmp_path, _SINK.replace("folder", "foldr"), environment) == (
        2,
        [
            "plant.toml:1: sink.theirs.folder: missing; this key is required",
            'plant.toml:3: sink.theirs.foldr: unknown key; did you mean "folder"?',
        ],
    )
    (tmp_path / "spool.key").unlink()
    code, (problem,) = _check(tmp_path, _SINK, environment)
    assert code == 2
    assert "plant.toml:4: sink.theirs.key_file: " in problem
    code, (problem,) = _check(tmp_path, _SINK, {})
    assert code == 2
    assert "plant.toml:2: sink.theirs.type: expected one of " in problem


@pytest.mark.parametrize(
    ("script", "laws"), [("laws.py", sinks.LAWS), ("source_laws.py", sources.LAWS)]
)
def test_it_is_held_to_the_laws_of_its_kind(
    script: str, laws: Sequence[object], tmp_path: Path, environment: dict[str, str]
) -> None:
    """By a few lines of its own, with what ours are held to."""
    done = subprocess.run(
        [sys.executable, str(_PROJECT / script), str(tmp_path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == len(laws)


@pytest.mark.mosquitto
def test_a_gateway_writes_to_it(
    mosquitto: Mosquitto, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Beside a built-in one, each under its name, and each has everything."""
    tmp_path.joinpath("spool.key").write_bytes(_KEY)
    text = f'[mqtt]\nport = {mosquitto.port}\n{_SINK}[sink.here]\ntype = "file"\npath = "a.lp"\n'
    folder, lines = tmp_path / "data" / "spool", tmp_path / "data" / "a.lp"
    with Gateway(tmp_path, text + _FEED, environment) as gateway:
        gateway.start()
        with Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher:
            for step in range(60):
                payload = {"t": 1_750_000_000_000 + 100 * step, "force": step}
                publisher.publish("hall/p1", json.dumps(payload).encode())
            publisher.flush()
        deadline = time.perf_counter() + 40
        while True:
            spooled = sorted(folder.iterdir()) if folder.is_dir() else []
            written = lines.read_text().splitlines() if lines.is_file() else []
            if len(spooled) == len(written) == 6:
                break
            assert time.perf_counter() < deadline, (spooled, written)
            time.sleep(0.1)
        sinks = gateway.status()["sinks"]
        assert gateway.stop() == 0

    assert {"theirs", "here", "mqtt"} >= set(sinks) >= {"theirs", "here"}
    signed = [path.read_bytes().rstrip(b"\n").partition(b" ") for path in spooled]
    assert all(hmac.digest(_KEY, line, "sha256").hex() == sign.decode() for sign, _, line in signed)
    assert sorted(line.decode() for _, _, line in signed) == sorted(written)


def _drop(folder: Path, first: int, end: int) -> None:
    """Put messages into the folder, a file each, that are there when they have their names."""
    for number in range(first, end):
        payload = json.dumps({"t": 1_750_000_000_000 + 100 * number, "force": number})
        path = folder / f"{number:06d}"
        path.with_suffix(".new").write_text(f"hall/p1\n{payload}")
        path.with_suffix(".new").rename(path)


def test_a_gateway_reads_from_it(tmp_path: Path, environment: dict[str, str]) -> None:
    """Before it was started, while it runs and over a kill: each message counts once."""
    folder, written = tmp_path / "drop", tmp_path / "data" / "a.lp"
    folder.mkdir()
    text = f'[source.theirs]\ntype = "drop"\nfolder = "{folder}"\n'
    text += '[sink.here]\ntype = "file"\npath = "a.lp"\n'
    with Gateway(tmp_path, text + _FEED, environment) as gateway:
        _drop(folder, 0, 1000)
        gateway.start()
        _drop(folder, 1000, 2000)
        gateway.kill()
        _drop(folder, 2000, 3000)
        gateway.start()
        deadline = time.perf_counter() + 60
        while True:
            lines = written.read_text().splitlines() if written.is_file() else []
            counts = {line.split()[-1]: line for line in lines}
            if len(counts) == 300 and not list(folder.iterdir()):
                break
            assert time.perf_counter() < deadline, (len(counts), len(list(folder.iterdir())))
            time.sleep(0.1)
        assert gateway.stop() == 0

    assert all("force_n=10i" in line for line in counts.values())
