"""What the feeds that discover writes make of the traffic that they were written for."""

from __future__ import annotations

import tomllib

import numpy as np

from connectors.formats.decoder import FeedDecoder
from connectors.formats.topics import IgnoredTopics, TopicPatterns
from headgate.config.references import broken_references
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.discover.plan import Plan
from headgate.discover.traffic import Traffic
from headgate.discover.written import configuration

MQTT = {"host": "127.0.0.1", "port": 1883}


def config_of(found: Plan) -> Config:
    """The configuration as it is written and read back."""
    raw = tomllib.loads(configuration(found, MQTT, "a test"))
    assert not [*broken_references(raw)]
    return Config.model_validate(raw)


def decoded_by(config: Config, traffic: Traffic) -> tuple[int, int, set[tuple[str, str]]]:
    """Messages that are of a feed, those that are decoded, and (device, channel) of readings."""
    channels = ChannelTable()
    decoders = {
        name: FeedDecoder(name, feed, channels, config.ingest) for name, feed in config.feed.items()
    }
    names = list(config.feed)
    patterns = TopicPatterns(feed.topic for feed in config.feed.values())
    ignored = IgnoredTopics(config.sources["mqtt"].ignore)
    count = good = 0
    # In the order they came: what some mean depends on others.
    every = [
        (each.arrived_ns, topic.name, each.payload) for topic in traffic for each in topic.messages
    ]
    for arrived_ns, topic, payload in sorted(every, key=lambda each: each[0]):
        name = topic.encode()
        at = patterns.first(name)
        if at is None or name in ignored:
            continue
        decoded = decoders[names[at]].decode([name], [payload], np.array([arrived_ns]))
        count += 1
        good += bool(len(decoded.value)) and not decoded.refused
    return count, good, {(each.device, each.field) for each in channels.channels}
