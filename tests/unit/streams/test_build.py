"""What model packages and feeds must have in common before a pipeline is made of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from headgate.config.schema import Config
from streams.build import load_packages
from tests.unit.docs.test_docs import ROOT

_UNITS = {
    "load": "%",
    "flow": "m3/h",
    "pressure": "bar",
    "current": "A",
    "temperature": "C",
    "vibration": "mm/s",
}


def _problems(temperature: Mapping[str, object]) -> list[str]:
    """With a model of the zoo, trained in the units above."""
    channels: dict[str, object] = {name: {"unit": unit} for name, unit in _UNITS.items()}
    channels["temperature"] = temperature
    feed = {"topic": "plant/{device}", "models": ["pump"], "channels": channels}
    package = str(ROOT / "models" / "zoo" / "pump")
    raw = {"local_store": {}, "model": {"pump": {"package": package}}, "feed": {"pump": feed}}
    return load_packages(Config.model_validate(raw))[1]


@pytest.mark.parametrize("units", [{"unit": "C"}, {"unit": "degF", "to": "C"}])
def test_a_model_may_have_what_is_kept_in_its_unit(units: dict[str, str]) -> None:
    assert _problems(units) == []


@pytest.mark.parametrize(
    ("units", "got"),
    [({"unit": "degF"}, "degF"), ({"unit": "C", "to": "degF"}, "degF")],
)
def test_a_model_gets_no_values_in_another_unit(units: dict[str, str], got: str) -> None:
    """It was trained in what is kept; which unit the device sends says nothing of that."""
    (problem,) = _problems(units)
    assert problem == (
        "feed.pump.models: pump: channel 'temperature': expected the unit the model was trained "
        f"in, 'C', got '{got}'"
    )


def test_a_model_gets_no_counts() -> None:
    """They only rise: what they were in training they never are again."""
    (problem,) = _problems({"counter": True})
    assert problem == (
        "feed.pump.models: pump: expected a channel 'temperature' that says how something is, "
        "found a counter, whose values no model takes"
    )


def test_a_model_gets_no_texts() -> None:
    """That is said when the configuration is read."""
    (problem,) = _problems({"type": "text"})
    assert problem == (
        "feed.pump.models: pump: expected a channel 'temperature' of numbers, found one of "
        'type = "text", which no model takes'
    )
