"""Feeds that get no message, because all of their topic is passed over.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.overlap import covers
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.config.topics import filter_levels, levels_of


def passed_over(config: Config) -> Iterator[str]:
    """What takes each message of a feed's topic away from it, a line each."""
    for name, feed in config.feed.items():
        wanted = levels_of(feed.topic)
        for each in feed.ignore:
            if covers(filter_levels(each), wanted):
                yield (
                    f'{shown_key(("feed", name, "ignore"))}: "{each}" has every topic of the feed, '
                    f'"{feed.topic}": all its messages are passed over; make the filter narrower, '
                    "or leave it out"
                )
        for source in config.sources_of(name):
            yield from _by_source(config, name, source)


def _by_source(config: Config, name: str, source: str) -> Iterator[str]:
    """The same of what comes before all feeds of a source."""
    topic = config.feed[name].topic
    key = (*(config.source[source].key or ("source", source)), "ignore")
    for each in config.sources[source].ignore:
        if covers(filter_levels(each), levels_of(topic)):
            yield (
                f'{shown_key(key)}: "{each}" has every topic of feed.{name}, "{topic}", which gets '
                f"no message of {source}; make the filter narrower, or leave the feed out"
            )
    for other, feed in config.feeds_of(source).items():
        for each in feed.availability_topics:
            if covers(levels_of(each), levels_of(topic)):
                yield (
                    f'{shown_key(("feed", other, "availability"))}: "{each}" has every topic of '
                    f'feed.{name}, "{topic}", whose messages say whether devices are there, and '
                    "none is a reading; give one of them another topic"
                )
