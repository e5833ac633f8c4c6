"""A model of the demo's pumps of any kind, trained while one waits."""

from __future__ import annotations

import tempfile
from pathlib import Path

from connectors.simulator.fleet import CHANNELS, Fleet
from connectors.simulator.recording import write_csv
from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from headgate.demo.config import MIN_RATE_HZ
from headgate.installed.extras import with_extra

#: Healthy pumps, and how long they are watched, s. Their seed is not the demo's.
_PUMPS, _SECONDS, _SEED = 20, 60, 1007

#: Any moment will do.
_START_NS = 1_735_689_600 * NS_PER_S


def train_pump_model(kind: str, package: Path) -> Path:
    """Train a model; its package.

    Raises:
        ConfigError: There is no such kind, or what training needs is not installed.
    """
    try:
        from models.training.data import read_csv  # noqa: PLC0415  (the extra ``train``)
        from models.training.train import TrainSettings, train  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--model: expected the package {error.name!r}; install it with: {with_extra('train')}"
        ) from error
    fleet = Fleet(_PUMPS, MIN_RATE_HZ, _SEED, start_ns=_START_NS)
    with tempfile.TemporaryDirectory(prefix="headgate-demo-") as folder:
        file = Path(folder) / "healthy.csv"
        write_csv(fleet, file, _SECONDS * MIN_RATE_HZ)
        data = read_csv([file], time_column="time")
    train("pump", "pump", data, CHANNELS, package, TrainSettings(kind=kind))
    return package
