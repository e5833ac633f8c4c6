"""Any kind of model can be trained for the demo's pumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.simulator.fleet import CHANNELS
from headgate.config.load import load_config
from headgate.core.channels import ChannelTable
from headgate.core.errors import ConfigError
from headgate.demo.config import demo_config
from headgate.demo.model import train_pump_model
from models.training.kinds import BUILT_IN as KINDS
from streams.build import build_pipeline

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_model_of_each_kind_fits_the_demo(kind: str, tmp_path: Path) -> None:
    """The demo's gateway takes it: its channels, their units, the framing."""
    package = train_pump_model(kind, tmp_path / "model")
    file = tmp_path / "headgate.toml"
    file.write_text(
        demo_config(
            tmp_path,
            broker_port=1883,
            mqtt_version="5",
            console_port=0,
            rate_hz=50,
            package=package,
        )
    )
    config = load_config(file)
    pipeline = build_pipeline(config, ChannelTable())

    assert config.model["pump"].package == package
    assert "detect.pump" in pipeline.fingerprints
    assert set(config.feed["pump"].channels) == set(CHANNELS)


def test_an_unknown_kind_is_one_line(tmp_path: Path) -> None:
    """With the kinds there are."""
    with pytest.raises(ConfigError, match=r"--kind: expected one of auto, .*pca.*, got 'magic'"):
        train_pump_model("magic", tmp_path / "model")
