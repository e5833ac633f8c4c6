"""Feeds that ask for what stands beside messages, where nothing does by what their sources are.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.problems import shown_key
from headgate.config.schema import Config


def unsaid(config: Config) -> Iterator[str]:
    """What no message of a feed can have, whichever of its sources it comes from, a line each."""
    tables = config.sources
    for name, feed in config.feed.items():
        sources = config.sources_of(name)
        mends = [tables[source].lacks_properties_without for source in sources]
        if not all(mends):
            continue
        whose, its_key = " and ".join(sources), config.source[sources[0]].key
        mend = f"{shown_key(its_key or ('source', sources[0]))}.{mends[0]}"
        if feed.by_content_type:
            key = shown_key(("feed", name, "content_types"))
            yield (
                f"{key}: has no effect: no message of {whose} has a content type, and all are "
                f"read as {feed.format.name}; set {mend}, or leave content_types out"
            )
        for tag in feed.property_tags:
            key = shown_key(("feed", name, "tags", tag))
            yield (
                f"{key}: has no effect: no message of {whose} has user properties; set {mend}, or "
                "leave the tag out"
            )
