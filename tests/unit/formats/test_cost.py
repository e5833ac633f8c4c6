"""What one message can cost at most, counted: calls, bytes, refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from connectors.formats.decoder import FeedDecoder
from headgate.config.schema import Feed
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9


def calls(work: Callable[[], object]) -> int:
    """How many functions, of Python or of C, are called in the course of it."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def decoder_of(max_devices: int, **feed: object) -> FeedDecoder:
    """A decoder of one feed, with a table of its own."""
    settings = {"topic": "in/{device}", "channels": {"x": {}}, **feed}
    return FeedDecoder("f", Feed.model_validate(settings), ChannelTable(), max_devices)


def _calls_of_one_device_too_many(known: int) -> int:
    decoder = decoder_of(known)
    topics = [b"in/%d" % number for number in range(known)]
    decoder.decode(topics, [b'{"x": 1}'] * known, np.full(known, _NOW_NS))
    return calls(lambda: decoder.decode([b"in/one"], [b'{"x": 1}'], np.array([_NOW_NS])))


def test_one_device_too_many_costs_the_same_among_few_and_many() -> None:
    """Nobody looks through all devices for it."""
    assert _calls_of_one_device_too_many(4000) == _calls_of_one_device_too_many(4)
