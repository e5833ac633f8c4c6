"""The demo's configuration is a valid one, and for the pumps that the simulator has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from connectors.simulator.fleet import CHANNELS
from connectors.simulator.payload import DEFAULT_TOPIC
from headgate.config.schema import Config
from headgate.demo.config import demo_config


@pytest.mark.parametrize("rate_hz", [4.0, 30.0, 50.0])
def test_the_configuration_is_valid_and_fits_the_simulator(rate_hz: float) -> None:
    """Also with a folder name that TOML would misread."""
    folder = Path('/tmp/a "b" \\ c')
    text = demo_config(
        folder, broker_port=1884, mqtt_version="3.1.1", console_port=8351, rate_hz=rate_hz
    )
    config = Config.model_validate(tomllib.loads(text))
    assert config.gateway.data_dir == folder / "data"
    feed = config.feed["pump"]
    assert feed.topic == DEFAULT_TOPIC
    assert {name: channel.unit for name, channel in feed.channels.items()} == CHANNELS
    assert feed.period == round(1e9 / rate_hz)
    assert list(config.sink) == ["local_store", "mqtt"]
    assert config.log.is_embedded
