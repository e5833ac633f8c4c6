"""Whatever is sent, honest devices are served, memory is bounded, and no lane ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.rig import SITE
from tests.hostile.attacks import GROUPS, INGEST, OLD, POISON, Attack, take_over
from tests.hostile.scene import LONGEST_S, ROOM_BYTES, Scene
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(400)]

#: A lane that dies is started anew so soon, s; the machine may be busy.
_ANEW_S = 30.0


#: In `make test` too; the others take as long again.
_ALWAYS = ("messages", "huge", "channels", "times")


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(group, marks=() if group in _ALWAYS else pytest.mark.thorough)
        for group in GROUPS
    ],
)
def test_honest_devices_are_served_beside(group: str, broker: Mosquitto, tmp_path: Path) -> None:
    """During each attack, after it, and after a restart, which brings what is retained again."""
    version = "3.1.1" if group.endswith(OLD) else "5"
    ingest = INGEST.get(group, "")
    with Scene(tmp_path, broker.port, mqtt=f'version = "{version}"', ingest=ingest) as scene:
        for attack in GROUPS[group]:
            _withstands(scene, attack)
        _restarts(scene)


def test_honest_devices_are_served_beside_a_message_that_ends_its_process(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """It is put aside after four deaths; sent again, also after a restart, at once."""
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "poison-message").write_text("crash")
    environment = {"HEADGATE_TEST_FAULTS": str(faults), "PYTHONPATH": SITE}
    with Scene(tmp_path, broker.port, environment=environment) as scene:
        _withstands(scene, POISON)
        _withstands(scene, replace(POISON, ends=0))
        scene.restart()
        _withstands(scene, replace(POISON, ends=0))


@pytest.mark.thorough
def test_a_session_that_was_taken_is_told_and_costs_nothing_that_comes_after(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """By a client of exactly the gateway's name, with a clean start, while nothing is queued."""
    with Scene(tmp_path, broker.port) as scene:
        session = scene.gateway.folder / "data" / "mqtt_session.json"
        client_id = json.loads(session.read_text())["client_id"]
        for taken in (1, 2):
            scene.pause()
            take_over(scene.port, client_id)
            scene.until(
                lambda taken=taken: _sessions_lost(scene) >= taken,  # type: ignore[misc]
                lambda: f"{_sessions_lost(scene)} told",
            )
            scene.honest.resume()
            scene.wait_for_honest()
        assert "The broker has lost the gateway's session" in scene.gateway.output()
        assert b"had lost the gateway's session" in scene.gateway.get("/readyz")[1]
        _restarts(scene)
        assert b"had lost the gateway's session" in scene.gateway.get("/readyz")[1]


def _withstands(scene: Scene, attack: Attack) -> None:
    refused, restarts = scene.refused(), scene.restarts()
    within_s = LONGEST_S + attack.ends * _ANEW_S
    with scene.watch() as memory:
        attack.send(scene.port, scene.now_ms)
        if attack.reasons:
            scene.until(
                lambda: any(scene.refused()[each] > refused[each] for each in attack.reasons),
                lambda: f"{attack.name}: {attack.reasons} in {scene.refused() - refused}",
                within_s,
            )
        scene.wait_for_honest(within_s)
    assert scene.over_usual(memory) < ROOM_BYTES, attack.name
    after = {**restarts, "ingest": restarts["ingest"] + attack.ends}
    # Of a lane that has died it is told for a minute.
    scene.gateway.wait_for("/healthz" if any(after.values()) else "/readyz", 10)
    assert scene.restarts() == after, attack.name


def _restarts(scene: Scene) -> None:
    """End and start the gateway; honest devices are served as before."""
    scene.restart()
    scene.wait_for_honest()
    scene.gateway.wait_for("/readyz", 10)
    assert not any(scene.restarts().values())


def _sessions_lost(scene: Scene) -> int:
    lost: int = scene.gateway.status()["session"]["lost"]
    return lost
