"""Which channels of a feed a model is trained on, if nobody says."""

from __future__ import annotations

from argparse import Namespace

import pytest

from headgate.cli.training_data import _names
from headgate.config.schema import Config
from headgate.core.errors import ConfigError

_CONFIG = Config.model_validate(
    {
        "local_store": {},
        "feed": {
            "f": {
                "topic": "{device}",
                "channels": {
                    "flow": {},
                    "mode": {"type": "text"},
                    "energy": {"counter": True},
                },
            }
        },
    }
)


def test_counters_and_texts_are_passed_over() -> None:
    """They say nothing of how something is."""
    assert _names(Namespace(feed="f", channels=None), _CONFIG) == ["flow"]


@pytest.mark.parametrize("name", ["energy", "mode"])
def test_one_that_is_asked_for_is_refused(name: str) -> None:
    """In one line."""
    with pytest.raises(ConfigError) as raised:
        _names(Namespace(feed="f", channels=f"flow,{name}"), _CONFIG)
    assert raised.value.problems == (
        f"--channels: expected some of flow, got ['{name}']; no model takes texts or counters",
    )
