"""The broker that attacks are sent to."""

from __future__ import annotations

import pytest

from tests.mosquitto import MakeMosquitto, Mosquitto


@pytest.fixture
def broker(make_mosquitto: MakeMosquitto) -> Mosquitto:
    """One that writes its queues down once a second: at each message it would be the slowest."""
    return make_mosquitto(lines="autosave_on_changes false")
