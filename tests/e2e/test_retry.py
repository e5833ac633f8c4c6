"""A gateway with the wrong place for the time; mended, it has what it had refused, once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points
from tests.mosquitto import Mosquitto
from tests.processes import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(240)]

_START_MS = 1_750_000_000_000
_STEPS, _PRESSES = 60, 3
_CONFIG = """
[streams]
silent_after = "2s"
snapshot_interval = "500ms"
[local_store]
[feed.press]
topic = "hall/+/{device}"
time = { path = "time", unit = "ms" }
period = "100ms"
grace = "2s"
aggregates = [{ window = "1s" }]
[feed.press.channels]
force = { unit = "kN" }
"""

#: Takes what is in quarantine, and is killed while the third part of it is on its way to the log.
_KILLED = """
import asyncio, os, signal, sys
from functools import partial
from connectors.logs.embedded.store import SqliteLog
from headgate.cli import main
from headgate.inspect import retry

retry.Retry = partial(retry.Retry, at_once=20)
append_many, calls = SqliteLog.append_many, 0

async def append(self, batches):
    global calls
    calls += 1
    if calls < 3:
        return await append_many(self, batches)
    appending = asyncio.create_task(append_many(self, batches))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)

SqliteLog.append_many = append
main(["quarantine", "-c", sys.argv[1], "--retry"])
"""


def _publish(broker: Mosquitto, messages: Iterable[tuple[str, object]]) -> None:
    with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
        for topic, payload in messages:
            publisher.publish(topic, json.dumps(payload).encode())
        publisher.flush()


def _messages(first: int, last: int) -> Iterable[tuple[str, object]]:
    for step in range(first, last):
        for press in range(_PRESSES):
            # Of one device, by two topics.
            topic = f"hall/{'ab'[step % 2]}/press-{press}"
            yield topic, {"t": _START_MS + 100 * step, "force": step + press}


def _aggregated(gateway: Gateway) -> dict[tuple[str, int], int]:
    """Readings by device and window, as the points of the local store have them."""
    found: Counter[tuple[str, int]] = Counter()
    for _, tags, time_ns, fields in _points(gateway):
        if "force_n" in (told := json.loads(fields)):
            found[json.loads(tags)["device"], time_ns] += told["force_n"] + told["force_flagged"]
    return dict(found)


def _told(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code of a command, and the objects that it prints."""
    capsys.readouterr()
    code = main([*command, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.thorough)])
def log_url(request: pytest.FixtureRequest) -> str:
    """Each log in turn."""
    if request.param == "sqlite":
        return "sqlite:///log.db"
    return f"kafka://{request.getfixturevalue('kafka')}"


@pytest.mark.kafka
def test_what_was_refused_is_there_once_the_configuration_is_mended(
    mosquitto: Mosquitto, log_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in the middle and begun anew; what would be late is left in quarantine, and told."""
    config = (
        f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n"
        f'[log]\nurl = "{log_url}"\npartitions = 2\ntopic_prefix = "{tmp_path.name}."\n{_CONFIG}'
    )
    gateway = Gateway(tmp_path / "gateway", config)
    file = str(gateway.config_file)
    command = ("quarantine", "-c", file, "--retry")
    count = _STEPS * _PRESSES
    with gateway:
        gateway.start()
        _publish(mosquitto, _messages(0, _STEPS))
        until(lambda: gateway.status()["quarantined"].get("bad_time") == count, "refusals", 60)
        assert main([*command]) == 1
        assert "expected that the gateway is stopped" in capsys.readouterr().err
        assert gateway.stop() == 0
        # What comes meanwhile waits at the broker.
        _publish(mosquitto, _messages(_STEPS, _STEPS + 10))
        text = gateway.config_file.read_text()
        gateway.config_file.write_text(text.replace('path = "time"', 'path = "t"'))

        at_most = count
        if log_url.startswith("sqlite"):
            killed = subprocess.run([sys.executable, "-c", _KILLED, file], check=False, timeout=60)
            assert killed.returncode == -signal.SIGKILL
            at_most -= 40
        code, (outcome,) = _told(capsys, *command)
        assert code == 0
        assert at_most - 20 <= outcome["taken"] == outcome["messages"] <= at_most
        assert _told(capsys, *command) == (0, [])

        gateway.start()
        expected = {
            (f"press-{press}", (_START_MS + 1000 * second) * 10**6): 10
            for press in range(_PRESSES)
            for second in range((_STEPS + 10) // 10)
        }
        until(lambda: _aggregated(gateway) == expected, "every reading in a point", 60)
        code, (account,) = _told(capsys, "audit", "-c", file)
        assert (code, account["balanced"]) == (0, True)
        assert (account["messages"], account["retried"]) == ({"bad_time": count},) * 2
        assert account["totals"]["received"] == account["totals"]["aggregated"] == count + 30
        assert _told(capsys, "quarantine", "-c", file) == (0, [])

        # Refused, while their devices have gone on.
        _publish(mosquitto, [("hall/a/press-0", {"time": _START_MS, "force": at}) for at in (1, 2)])
        _publish(mosquitto, [("hall/a/press-9", {"time": _START_MS, "force": 3})])
        until(lambda: gateway.status()["quarantined"].get("bad_time") == 3, "refusals", 60)
        assert gateway.stop() == 0
        gateway.config_file.write_text(text)
        code, (outcome,) = _told(capsys, *command)
        assert (outcome["taken"], outcome["left"]) == (1, {"late": 2})
        gateway.start()
        expected["press-9", _START_MS * 10**6] = 1
        until(lambda: _aggregated(gateway) == expected, "the one in a point", 60)
        code, (account,) = _told(capsys, "audit", "-c", file)
        assert (code, account["totals"]["rejected"]) == (0, {})
        assert account["retried"] == {"bad_time": count + 1}
        assert gateway.stop() == 0
