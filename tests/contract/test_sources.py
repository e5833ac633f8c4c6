"""Every source that is installed keeps the laws of sources, with its real other side."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.mqtt.connection import Connection
from connectors.sources.mqtt.source import MqttSource
from headgate.config.source import brings
from headgate.core.components import installed
from headgate.testing.sources import (
    LAWS,
    Law,
    brings_again_what_was_not_acknowledged,
    hold_source_to,
)

pytestmark = pytest.mark.timeout(180)


#: What the gateway measures of itself nobody keeps for it: see its tests.
_BRINGING = [name for name in installed("sources") if brings(name)]


def _marked(name: str) -> object:
    """The kind of source, with the mark of the service that its scene needs."""
    mark = getattr(import_module(f"tests.contract.sources.{name}"), "MARK", None)
    return pytest.param(name, marks=() if mark is None else mark)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", [_marked(name) for name in _BRINGING])
async def test_a_source_keeps_the_laws(kind: str, law: Law, tmp_path: Path) -> None:
    """Each is a test of its own; ``headgate.testing.sources`` says what it asks."""
    await hold_source_to(law, kind, import_module(f"tests.contract.sources.{kind}").Scene, tmp_path)


@pytest.mark.mosquitto
async def test_a_source_that_acknowledges_at_once_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody has said that the log has the messages."""
    take = MqttSource._take

    def take_and_acknowledge(self: MqttSource, received: Any) -> None:  # noqa: ANN401
        take(self, received)
        Connection.ack(self._connection, received)

    async def acknowledge(_self: MqttSource, _received: Sequence[object]) -> None:
        return

    monkeypatch.setattr("headgate.testing.sources._THERE_S", 5)
    monkeypatch.setattr(MqttSource, "_take", take_and_acknowledge)
    monkeypatch.setattr(MqttSource, "acknowledge", acknowledge)
    scene = import_module("tests.contract.sources.mqtt").Scene
    with pytest.raises(AssertionError, match="of 20 did not come"):
        await hold_source_to(brings_again_what_was_not_acknowledged, "mqtt", scene, tmp_path)
