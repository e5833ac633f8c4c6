"""Which sources the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from connectors.formats.topics import patterns_by_source
from connectors.sources.source import Source, SourceComponent, SourceContext
from headgate.config.chosen import Chosen
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.core.components import component
from headgate.core.errors import ConfigError

#: Topics whose source is remembered.
_MOST_TOPICS = 1 << 14


def source_component(chosen: Chosen) -> SourceComponent:
    """The component of a source.

    Raises:
        ConfigError: What is installed under its name is no source.
    """
    found = component("sources", chosen.name)
    if not isinstance(found, SourceComponent):
        raise ConfigError(
            f"headgate.sources: {chosen.name}: expected a SourceComponent, got {found!r}"
        )
    return found


def make_source(chosen: Chosen, context: SourceContext) -> Source:
    """A configured source, not running yet."""
    return source_component(chosen).make(chosen.table, context)


def source_by_topic(config: Config) -> Callable[[bytes], str]:
    """Says of a topic the first source that has a feed for it; the first of all if none has."""
    every = patterns_by_source(config)

    @lru_cache(_MOST_TOPICS)
    def find(topic: bytes) -> str:
        for source, patterns in every.items():
            if patterns.said_of(topic) or patterns.whose(topic).feed is not None:
                return source
        return next(iter(config.source))

    return find


def source_key(config: Config, name: str) -> str:
    """Where the configuration has the table of a source."""
    return shown_key(config.source[name].key or ("source", name))
