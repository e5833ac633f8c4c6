"""Readings of one message, in the order of their times."""

from __future__ import annotations

import json

import numpy as np
import pytest

from connectors.formats.columns import Decoded, in_time
from headgate.config.schema import Config
from headgate.inspect.sample import Explainer
from headgate.testing import ManualClock

_NOW_S = 1_795_900_000


def _fates(feed: dict[str, object], *messages: object) -> list[tuple[str, str, str]]:
    """Channel, seconds and fate of each reading."""
    config = Config.model_validate({"local_store": {}, "feed": {"f": {"topic": "t/+", **feed}}})
    explainer = Explainer(config, ManualClock())
    return [
        (reading.channel, reading.time[17:19], reading.fate)
        for each in messages
        for reading in explainer.explain(b"t/a", json.dumps(each).encode(), _NOW_S * 10**9).readings
    ]


@pytest.mark.parametrize(
    "feed",
    [
        {"records": "{channel}", "channels": {"x": {}, "y": {}}},
        {"records": "{channel}", "other_channels": {}},
    ],
)
def test_channels_with_their_own_times_make_each_other_not_late(feed: dict[str, object]) -> None:
    """However far the second list begins before the end of the first."""
    lists = {
        name: [{"ts": (_NOW_S - 60 + at) * 1000, "value": at} for at in (10, 20, 30)]
        for name in ("x", "y")
    }
    feed = {"device": {"value": "d"}, "time": {"path": "ts", "unit": "ms"}, **feed}

    assert _fates(feed, lists) == [
        (name, second, "kept") for second in ("50", "00", "10") for name in ("x", "y")
    ]


def test_a_message_of_newest_first_is_as_good_as_any() -> None:
    """What comes in a later message is late as ever."""
    feed = {
        "device": {"value": "d"},
        "time": {"path": "t", "unit": "s"},
        "channels": {"x": {}},
    }
    newest_first = [{"t": _NOW_S - at, "x": at} for at in (10, 20, 30)]

    found = _fates(feed, newest_first, {"t": _NOW_S - 25, "x": 1})

    assert [fate for _, _, fate in found] == ["kept", "kept", "kept", "rejected: late"]


def test_nothing_else_is_moved() -> None:
    """Messages, devices that stand one after the other, and readings of one time stay in order."""
    device_of = np.array([0, 0, 1], np.int32)
    owner = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], np.intp)
    channel = np.array([0, 0, 2, 2, 0, 1, 0, 1, 0, 0], np.int32)
    time_ns = np.array([5, 6, 1, 2, 9, 9, 3, 1, 1, 2], np.int64)
    value = np.arange(10.0)
    decoded = Decoded(owner, time_ns, channel, value, np.arange(10, dtype=np.uint16), [], {})

    found = in_time(decoded, device_of)

    assert found.value.tolist() == [0, 1, 2, 3, 6, 4, 5, 7, 8, 9]
    assert found.time_ns.tolist() == [5, 6, 1, 2, 3, 9, 9, 1, 1, 2]
    assert found.quality.tolist() == [0, 1, 2, 3, 6, 4, 5, 7, 8, 9]
    assert found.owner.tolist() == owner.tolist()
    assert in_time(found, device_of) is found
