"""A feed with a preset, and what it reads of messages, for tests of presets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from connectors.formats.availability import AvailabilityTopics
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config, IngestConfig
from headgate.core.channels import ChannelTable
from streams.ingest.topics import AVAILABILITY, NO_FEED, FeedTopics

#: When the messages arrive, ns since 1970 UTC.
NOW_NS = 1_795_900_000 * 10**9


def preset_config(name: str, **keys: Any) -> Config:  # noqa: ANN401  (of a file)
    return Config.model_validate({"local_store": {}, "feed": {"f": {"preset": name, **keys}}})


def read_by(config: Config, messages: list[tuple[str, bytes]]) -> list[str]:
    """The readings of messages, those left out that the feed passes over; nothing is refused."""
    feed = config.feed["f"]
    topics = FeedTopics(config.feed, (), 100)
    feeds = [topics.feed_of(topic.encode()) for topic, _ in messages]
    assert {*feeds} <= {"f", NO_FEED, AVAILABILITY}
    heard = [each for each, of in zip(messages, feeds, strict=True) if of == "f"]
    told = [each for each, of in zip(messages, feeds, strict=True) if of == AVAILABILITY]
    channels = ChannelTable()
    found = FeedDecoder("f", feed, channels, config.ingest).decode(
        [topic.encode() for topic, _ in heard],
        [payload for _, payload in heard],
        np.full(len(heard), NOW_NS),
    )
    assert not found.refused
    readings = []
    for row, value in zip(found.channel.tolist(), found.value.tolist(), strict=True):
        channel = channels.channels[row]
        shown = "-" if math.isnan(value) else f"{value:.10g}"
        readings.append(f"→ {channel.device} {channel.field} {shown} {channel.unit}".rstrip())
    return readings + _states(feed, told)


def _states(feed: FeedConfig, messages: list[tuple[str, bytes]]) -> list[str]:
    """Which devices are said to be there or not; of all that are connected through something *."""
    if feed.availability is None:
        assert not messages
        return []
    topics = AvailabilityTopics("f", feed, feed.availability, IngestConfig())
    return [
        f"→ {said.device or '*'} is {said.state}"
        for topic, payload in messages
        for said in topics.read(topic.encode(), payload, NOW_NS, 0)
    ]
