"""A connector's sample is valid, shows the defaults that are, and stands in its README."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import connectors
from headgate.config.schema import Config

#: Keys that have no default: what the sample shows is an example.
_EXAMPLES = {"username", "password_env", "password_file", "shared_group", "token_env", "ca_file"}
_ROOT = Path(connectors.__file__).parent


def _load(table: str, values: dict[str, Any]) -> Any:  # noqa: ANN401  (any of the tables)
    raw = {
        "local_store": {},
        "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        table: values,
    }
    return getattr(Config.model_validate(raw), table)


@pytest.mark.parametrize("folder", ["mqtt", "sinks/influxdb", "sinks/local_store"])
def test_the_sample_is_true(folder: str) -> None:
    """Loaded as it is, and with each default that it shows, it is the same configuration."""
    name = Path(folder).name
    sample = (_ROOT / folder / "sample.toml").read_text()
    table, _, _ = sample.partition("# [mqtt.tls]")
    given = tomllib.loads(table)[name]
    shown = tomllib.loads(
        "\n".join(line[2:] for line in table.splitlines() if line.startswith("# "))
    )
    defaults = {key: value for key, value in shown.items() if key not in _EXAMPLES}
    if name == "mqtt":
        # Made from the gateway's name and a random part when it is not given.
        assert defaults.pop("client_id").startswith("headgate-gateway-")

    assert sample.rstrip() in (_ROOT / folder / "README.md").read_text()
    assert defaults
    assert _load(name, {**given, **defaults}) == _load(name, given)
