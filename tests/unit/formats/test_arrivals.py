"""What is told of readings by the time they arrived at."""

from __future__ import annotations

import json

import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from headgate.config.schema import Feed, Ingest
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S

_NOW_S = 1_800_000_000


def _feed(**feed: object) -> Feed:
    settings = {"topic": "{device}", "channels": {"x": {}, "y": {}}, "time": {"path": "t"}, **feed}
    return Feed.model_validate(settings)


@pytest.mark.parametrize("payload", [{}, {"z": [1]}], ids=["typed", "careful"])
@pytest.mark.parametrize(
    ("grace", "ahead_s"),
    [("2s", 1.0), ("10s", 5.0), ("0s", 0.0)],
)
def test_a_reading_that_is_ahead_of_its_arrival_is_marked(
    payload: dict[str, object], grace: str, ahead_s: float
) -> None:
    """By more than half of the grace; each by its own message's arrival."""
    feed = _feed(grace=grace)
    decoder = FeedDecoder("f", feed, ChannelTable(), Ingest())
    offsets_s = [0, ahead_s, ahead_s + 0.001, -86_400, 3600]
    times = [round(1000 * (_NOW_S + offset_s)) for offset_s in offsets_s]
    payloads = [json.dumps({"t": time, "x": 1, "y": 2, **payload}).encode() for time in times]
    arrival_ns = np.full(5, _NOW_S * NS_PER_S)
    arrival_ns[4] += 3600 * NS_PER_S
    decoded = decoder.decode([b"d"] * 5, payloads, arrival_ns)

    settled = Arrivals(feed).settle(decoded, arrival_ns)

    assert not decoded.refused
    is_ahead = (settled.quality & int(Quality.AHEAD)) != 0
    assert is_ahead.reshape(5, 2).tolist() == [[offset == 2] * 2 for offset in range(5)]
    assert settled.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_what_is_not_ahead_is_left_as_it_is() -> None:
    """Without a copy of anything: that is nearly all."""
    feed = _feed()
    decoder = FeedDecoder("f", feed, ChannelTable(), Ingest())
    arrival_ns = np.array([_NOW_S * NS_PER_S])
    decoded = decoder.decode([b"d"], [b'{"t": %d, "x": 1}' % (_NOW_S * 1000)], arrival_ns)

    assert Arrivals(feed).settle(decoded, arrival_ns) is decoded
