"""A feed as it might be, tried on a message by the gateway's own decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from connectors.formats.columns import BadField, Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.topics import TopicPattern
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from headgate.core.errors import ConfigError, DataError
from headgate.core.text import shortest

#: What is told of times that are read so.
ZONELESS = (
    'without a zone and taken for UTC; if it is local, set time.zone, such as "Europe/Berlin"'
)

#: Readings of a message that are told to a person.
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a feed makes of messages.

    Attributes:
        decoded: Readings and refusals.
        channels: The table that the readings point into.
        refusal: The first refusal; None when nothing is refused.
        bad_fields: By channel, the first field that held no number.
        is_zoneless: Whether there are times without a zone, which are taken for UTC.
    """

    decoded: Decoded
    channels: ChannelTable
    refusal: DataError | None
    bad_fields: Mapping[str, BadField]
    is_zoneless: bool = False

    @property
    def readings(self) -> int:
        """How many readings there are, those that are missing included."""
        return len(self.decoded.value)

    @property
    def has_value(self) -> bool:
        """Whether one of the readings is not missing."""
        return bool(np.isfinite(self.decoded.value).any())

    def shown(self) -> str:
        """The first readings, for a person."""
        rows, values = self.decoded.channel.tolist(), self.decoded.value.tolist()
        words = [
            f"{self.channels.channels[row].field} {_shown(self.channels.said(row, value))}"
            for row, value in zip(rows[:_SHOWN], values[:_SHOWN], strict=True)
        ]
        note = f"; {ZONELESS}" if self.is_zoneless else ""
        return ", ".join(words) + (", …" if len(rows) > _SHOWN else "") + note


def _shown(said: float | str | None) -> str:
    if isinstance(said, str):
        return repr(said)
    return "missing" if said is None or not np.isfinite(said) else shortest(said)


def as_table(feed: FeedConfig) -> dict[str, Any]:
    """A feed as it stands in the file, with what its preset stands for."""
    return feed.model_dump(mode="json", exclude_unset=True, exclude={"preset"})


def feed_of(table: Mapping[str, object]) -> FeedConfig | None:
    """The feed of a table; None where that is none."""
    try:
        return FeedConfig.model_validate(table)
    except (ValidationError, ConfigError, ValueError, RecursionError):
        return None


def tried(
    feed: FeedConfig,
    limits: IngestConfig,
    topics: Sequence[bytes],
    payloads: Sequence[bytes],
    arrival_ns: Sequence[int],
) -> Outcome | None:
    """What a feed makes of these messages; None where a topic is none of its own."""
    pattern = TopicPattern(feed.topic)
    if any(pattern.match(topic.decode(errors="replace")) is None for topic in topics):
        return None
    channels = ChannelTable()
    try:
        decoder = FeedDecoder("feed", feed, channels, limits)
        decoded = decoder.decode(topics, payloads, np.array(arrival_ns, np.int64))
    except (ConfigError, ValueError):
        return None
    bad: dict[str, BadField] = {}
    for (channel, _), each in decoded.bad_fields.items():
        bad.setdefault(channel, each)
    refusal = decoded.refused[0][1] if decoded.refused else None
    return Outcome(decoded, channels, refusal, bad, bool(decoder.zoneless))


def reader(feed: FeedConfig, limits: IngestConfig) -> FeedDecoder | None:
    """What reads a feed's messages; None where its format can't be made."""
    try:
        return FeedDecoder("feed", feed, ChannelTable(), limits)
    except (ConfigError, ValueError):
        return None


def content_by(
    decoder: FeedDecoder, topic: bytes, payload: bytes
) -> tuple[object, Sequence[object]] | None:
    """What a feed's format reads in a message, and its records; None where it can't."""
    try:
        found = decoder.content(topic, payload)
        return found.payload, [record for record, _ in found]
    except (DataError, ValueError):
        return None


def content(
    feed: FeedConfig, limits: IngestConfig, topic: bytes, payload: bytes
) -> tuple[object, Sequence[object]] | None:
    """The same of one message."""
    decoder = reader(feed, limits)
    return None if decoder is None else content_by(decoder, topic, payload)
