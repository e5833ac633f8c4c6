"""Feeds that tell devices apart by what is more likely a part of one device.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from headgate.config.feed import FeedConfig
from headgate.config.schema import Config


def split_devices(config: Config) -> Iterator[str]:
    """Feeds with models whose devices seem to be split into several, a line each."""
    for name, feed in config.feed.items():
        below = _below_the_device(feed)
        if feed.identity is None and feed.models and len(feed.channels) > 1 and below:
            rest = json.dumps([each for each in feed.tag_names if each not in below])
            named = ", ".join(f"{{{each}}}" for each in below)
            yield (
                f"feed.{name}.topic: each value of {named} below the device's name is a device of "
                "its own, and a model wants its channels of one device; give identity = "
                f"{rest}, or identity = {json.dumps(feed.tag_names)} if that is meant"
            )


def _below_the_device(feed: FeedConfig) -> list[str]:
    """Placeholders behind those that the name is made of, which are no part of it."""
    # In the topic's order, whatever else is in their levels.
    placeholders = feed.placeholders
    of_name = feed.device_name.placeholders
    last = max((placeholders.index(each) for each in of_name), default=len(placeholders))
    return [each for each in feed.tag_names if each in placeholders[last + 1 :]]
