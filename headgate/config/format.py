"""What the tables of all formats have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from headgate.config.payload_path import key_of
from headgate.config.table import Table

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig


class FormatConfig(Table):
    """Base of a format's own table, ``[feed.NAME.format]`` without ``type``."""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Placeholders of the feed's topic that the format itself reads; they are no tags."""
        return ()

    @property
    def density(self) -> int:
        """How many times more of a message may come of a byte than of one of JSON objects.

        So many times smaller are the parts in which messages are decoded.
        """
        return 1

    @property
    def is_text(self) -> bool:
        """Whether messages are text all over, which may be in another charset than UTF-8."""
        return False

    @property
    def device(self) -> str | None:
        """The ``device`` of feeds that do not say any, for formats that name devices themselves."""
        return None

    @property
    def time(self) -> Mapping[str, object]:
        """Keys of the feeds' ``time``, for formats that have times of their own."""
        return {}

    @property
    def retained(self) -> Literal["once", "ignore", "reading"] | None:
        """The ``retained`` of feeds that do not say any."""
        return None

    def has_presence(self, device: str) -> bool:
        """Whether a device of this name is there or away, and is not only a part of another."""
        del device
        return True

    @property
    def needs_every_message(self) -> bool:
        """Whether one message means nothing without those before it."""
        return False

    @property
    def may_begin_anyhow(self) -> bool:
        """Whether a message may begin with any bytes, also with those of compressed ones."""
        return False

    @property
    def has_no_time(self) -> bool:
        """Whether no time can stand in its messages."""
        return False

    @property
    def writes_texts(self) -> bool:
        """Whether the values of messages are texts, numbers among them."""
        return False

    @property
    def is_flat(self) -> bool:
        """Whether its records have nothing but values, so that no channel is below another."""
        return False

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this; empty when it does."""
        del feed
        return ""


def no_such_field(feed: FeedConfig, known: Sequence[str], what: str) -> str:
    """What to say of a channel that is none of a format's fields; empty where all are."""
    if feed.pairs is not None:
        return ""
    for name, channel in feed.channels.items():
        if not any(key_of(path) in known for path in channel.paths(name)):
            told = ", ".join(each for each in known if each)
            return f"channels.{name}: expected one of format.{what}: {told}; give its path"
    return ""
