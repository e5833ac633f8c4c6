"""What ``headgate check`` says of devices that seem to be split by their topics."""

from __future__ import annotations

import pytest

from headgate.config.apart import split_devices
from headgate.config.schema import Config


def _warnings(topic: str, **feed: object) -> list[str]:
    settings = {"topic": topic, "channels": {"x": {}, "y": {}}, "models": ["m"], **feed}
    return list(
        split_devices(
            Config.model_validate(
                {"local_store": {}, "feed": {"f": settings}, "model": {"m": {"package": "p"}}}
            )
        )
    )


@pytest.mark.parametrize(
    ("topic", "feed"),
    [
        ("{line}/{device}", {}),
        ("{device}/{kind}", {"models": []}),
        ("{device}/{kind}", {"channels": {"value": {}}}),
        ("{device}/{kind}", {"identity": []}),
        ("{device}/{kind}", {"identity": ["kind"]}),
        ("{device}/{kind}", {"device": "{device}/{kind}"}),
        ("{line}/+", {"device": "id"}),
    ],
)
def test_what_is_clear_is_no_warning(topic: str, feed: dict[str, object]) -> None:
    """A place above the device, a feed without models, or an identity that says what is meant."""
    assert _warnings(topic, **feed) == []


@pytest.mark.parametrize(
    ("topic", "feed"),
    [
        ("{line}/{device}/{kind}", {}),
        ("{line}/{device}/{kind}/up", {"device": "{line}-{device}"}),
    ],
)
def test_kinds_of_message_below_a_device_are_one(topic: str, feed: dict[str, object]) -> None:
    """A model would never have all of its channels."""
    (warning,) = _warnings(topic, **feed)

    assert warning.startswith("feed.f.topic: each value of {kind} below the device's name")
    assert 'give identity = ["line"], or identity = ["kind", "line"] if that is meant' in warning
