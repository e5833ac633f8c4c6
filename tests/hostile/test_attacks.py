"""Whatever is sent, honest devices are served, memory is bounded, and no lane ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.attacks import GROUPS, OLD, Attack
from tests.hostile.scene import ROOM_BYTES, Scene
from tests.mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(400)]


@pytest.mark.parametrize("group", GROUPS)
def test_honest_devices_are_served_beside(group: str, broker: Mosquitto, tmp_path: Path) -> None:
    """During each attack, after it, and after a restart, which brings what is retained again."""
    version = "3.1.1" if group.endswith(OLD) else "5"
    with Scene(tmp_path, broker.port, mqtt=f'version = "{version}"') as scene:
        for attack in GROUPS[group]:
            _withstands(scene, attack)
        before = scene.restarts()
        scene.restart()
        scene.wait_for_honest()
        scene.gateway.wait_for("/readyz", 10)
        after = scene.restarts()

    assert not any(before.values())
    assert not any(after.values())


def _withstands(scene: Scene, attack: Attack) -> None:
    refused = scene.refused()
    with scene.watch() as memory:
        attack.send(scene.port, scene.now_ms)
        if attack.reasons:
            scene.until(
                lambda: any(scene.refused()[each] > refused[each] for each in attack.reasons),
                lambda: f"{attack.name}: {attack.reasons} in {scene.refused() - refused}",
            )
        scene.wait_for_honest()
    assert scene.over_usual(memory) < ROOM_BYTES, attack.name
    scene.gateway.wait_for("/readyz", 10)
    assert not any(scene.restarts().values()), attack.name
