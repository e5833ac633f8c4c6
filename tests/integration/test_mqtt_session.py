"""The broker's session belongs to the gateway: its name is its own, and its loss is told."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.mqtt.session import BrokerSession, results_client_id
from headgate.config.schema import Config
from headgate.console.details import warnings
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.errors import ConfigError
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from tests.integration.mqtt_rig import make_config, publish, running, until
from tests.mosquitto import MakeMosquitto, Mosquitto, session_of, settings_of

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]

_RANDOM_ID = re.compile(r"headgate-g-[0-9a-f]{16}")


def _session(config: Config, telemetry: Telemetry | None = None) -> BrokerSession:
    clock = SystemClock()
    return session_of(config, clock, telemetry or Telemetry(clock))


def _lost(telemetry: Telemetry) -> float:
    return float(telemetry.sessions_lost.labels("mqtt")._value.get())


async def test_the_client_id_has_a_random_part_that_stays(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Another on each gateway, the same after a restart, and nobody else's to read."""
    config = make_config(mosquitto, tmp_path)
    async with running(config):
        pass
    await publish(mosquitto, 0, 10)
    async with running(config) as rig:
        await rig.has(10)
    file = tmp_path / "mqtt_session.json"
    names = {line.split("as ")[1].split(" ")[0] for line in _connects(mosquitto) if "-g-" in line}
    (tmp_path / "other").mkdir()

    assert names == {_session(config).client_id}
    assert _RANDOM_ID.fullmatch(names.pop())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _session(make_config(mosquitto, tmp_path / "other")).client_id not in names


def _connects(broker: Mosquitto) -> list[str]:
    return [line for line in broker.log().splitlines() if "New client connected" in line]


async def test_a_client_id_of_ones_own_wins(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Also over one that was made before; the results' client id follows it."""
    _session(make_config(mosquitto, tmp_path))
    config = make_config(mosquitto, tmp_path, client_id="mine")

    assert _session(config).client_id == "mine"
    assert results_client_id(settings_of(config), "g") == "mine-results"


async def test_the_results_have_another_name_each_time(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """It needs no session, and so no name that could be known."""
    config = make_config(mosquitto, tmp_path)

    assert results_client_id(settings_of(config), "g") != results_client_id(
        settings_of(config), "g"
    )


async def test_an_earlier_versions_session_is_kept(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """What the broker has queued under the old name arrives; that it can be guessed is said."""
    async with running(make_config(mosquitto, tmp_path, client_id="headgate-g")):
        pass
    (tmp_path / "mqtt_session.json").unlink()
    await publish(mosquitto, 0, 10)
    with capture_logs() as logs:
        async with running(make_config(mosquitto, tmp_path)) as rig:
            await rig.has(10)

            assert _lost(rig.telemetry) == 0
    warnings = [line for line in logs if line["log_level"] == "warning"]

    assert [line["client_id"] for line in warnings] == ["headgate-g"]
    assert "can guess" in warnings[0]["event"]


async def test_a_session_that_somebody_took_is_missed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """An error in the log, a counter, and a time that outlives restarts."""
    config = make_config(mosquitto, tmp_path)
    with capture_logs() as logs:
        async with running(config) as rig:
            assert _lost(rig.telemetry) == 0
        await publish(mosquitto, 0, 10)
        # A clean start, and so the end of what was queued.
        command = [
            "mosquitto_sub", "-p", str(mosquitto.port), "-i", _session(config).client_id,
            "-t", "nothing", "-E",
        ]  # fmt: skip
        await asyncio.to_thread(subprocess.run, command, check=True)
        async with running(config) as rig:
            await publish(mosquitto, 10, 11)
            await rig.has(1)

            assert _lost(rig.telemetry) == 1
            assert await rig.values() == [10]
    errors = [line for line in logs if line["log_level"] == "error"]
    after = Telemetry(SystemClock())
    _session(config, after)

    assert len(errors) == 1
    assert errors[0]["event"].startswith("The broker has lost the gateway's session")
    assert after.session_lost_seconds.labels("mqtt")._value.get() > 1_700_000_000
    assert "lost the gateway's session" in str(warnings([after.details]))
    assert _lost(after) == 0


async def test_a_broker_that_forgets_is_noticed_while_running(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """It comes back without its database: the session is gone, and said so each time."""
    async with running(make_config(mosquitto, tmp_path)) as rig:
        for count in (1, 2):
            mosquitto.stop()
            (mosquitto.folder / "mosquitto.db").unlink()
            mosquitto.start()
            await until(lambda count=count: _lost(rig.telemetry) == count)  # type: ignore[misc]


async def test_another_broker_has_lost_nothing(
    mosquitto: Mosquitto, tmp_path: Path, make_mosquitto: MakeMosquitto
) -> None:
    """A session that was never there is not missed."""
    async with running(make_config(mosquitto, tmp_path)):
        pass
    other = make_mosquitto()
    async with running(make_config(other, tmp_path)) as rig:
        assert _lost(rig.telemetry) == 0


@pytest.mark.parametrize("content", ["", "[]", '{"client": "x"}', "{"])
async def test_a_damaged_file_is_no_reason_for_another_name(
    mosquitto: Mosquitto, tmp_path: Path, content: str
) -> None:
    """A person decides; the message says what is at stake."""
    (tmp_path / "mqtt_session.json").write_text(content)

    with pytest.raises(ConfigError, match=r"mqtt_session\.json: expected what names"):
        _session(make_config(mosquitto, tmp_path))


async def test_the_file_says_what_is_known(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The name, and where it has a session, once it has one."""
    config = make_config(mosquitto, tmp_path)
    name = _session(config).client_id
    file = tmp_path / "mqtt_session.json"
    assert json.loads(file.read_text())["session"] == ""
    async with running(config):
        pass

    assert json.loads(file.read_text())["session"] == f"{name}@127.0.0.1:{mosquitto.port}"


def test_a_clock_that_is_not_set_yet_finds_no_loss(tmp_path: Path) -> None:
    """It is near 1970, which is how never is written."""
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "local_store": {},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )
    clock = ManualClock(wall_ns=60 * NS_PER_S)
    telemetry = Telemetry(clock)
    session_of(config, clock, telemetry)

    assert not warnings([telemetry.details])
