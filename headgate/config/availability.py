"""``[feed.NAME.availability]``: topics by which it is said whether devices are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from headgate.config.channel import plain
from headgate.config.payload_path import PayloadPath
from headgate.config.table import Table
from headgate.config.topics import checked_topic, names_of
from headgate.config.values import Flag, Number

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig


def _topics(given: object) -> object:
    """One topic, or a list of some, none of them twice."""
    every = given if isinstance(given, list | tuple) else [given]
    topics = [each for each in every if isinstance(each, str)]
    if not topics or len(topics) < len(every):
        raise ValueError("expected an MQTT topic, or a list of some")
    if len({*topics}) < len(topics):
        raise ValueError("the same topic stands twice; leave one out")
    return tuple(checked_topic(each, ends_with_levels=False) for each in topics)


#: A whole number of this size is no word.
_LARGE = 2**63

#: What a device says of itself, or somebody else of it, as it stands in the file.
_Words = Annotated[tuple[Flag | Number | str, ...], Field(min_length=1)]


class AvailabilityConfig(Table):
    """What devices, or others for them, publish of whether they are there."""

    #: With ``{device}``, of one device; without, of all that are connected through the same thing.
    topic: Annotated[tuple[str, ...], BeforeValidator(_topics)]
    online: _Words = ("online",)
    offline: _Words = ("offline",)
    #: Where the word stands in a payload that is a JSON object.
    path: PayloadPath | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        for word in sorted(words_of(self.online) & words_of(self.offline)):
            raise ValueError(f"online and offline: {word!r} is in both; leave it out of one")
        return self


def word_of(value: object) -> str | None:
    """A word as it is compared, from a text, a number or a boolean; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGE):
        return str(value)
    return plain(value) if isinstance(value, str) else None


def words_of(values: tuple[bool | float | str, ...]) -> frozenset[str]:
    """Words of the file as they are compared."""
    return frozenset(word for each in values if (word := word_of(each)) is not None)


def availability_problem(feed: FeedConfig) -> str:
    """Why a feed's availability does not go with the rest of it; empty where it does."""
    if feed.availability is None:
        return ""
    if not feed.device_state:
        return (
            "availability: with device_state = false nothing is said of it; leave one of them out"
        )
    if feed.other_tags is not None:
        return (
            "availability: with other_tags a topic does not say which device it is of; leave one "
            "of them out"
        )
    known = {"device", *feed.tag_names, *feed.device_name.placeholders}
    for topic in feed.availability.topic:
        for name in names_of(topic):
            if name not in known:
                told = ", ".join(f"{{{each}}}" for each in sorted(known))
                return (
                    f"availability.topic: {{{name}}} tells nothing of a device of this feed; "
                    f"write + in its place; those that do are {told}"
                )
    return ""


def is_of_one(feed: FeedConfig, topic: str) -> bool:
    """Whether what a topic says is of one device of the feed; else of what several hang on.

    Args:
        feed: The feed.
        topic: One of its ``availability``, with placeholders.
    """
    named, name = {*names_of(topic)}, feed.device_name
    return "device" in named or (not name.paths and named.issuperset(name.placeholders))
