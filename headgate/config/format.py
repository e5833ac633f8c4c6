"""What the tables of all formats have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.config.table import Table

if TYPE_CHECKING:
    from headgate.config.feed import Feed


class FormatConfig(Table):
    """Base of a format's own table, ``[feed.NAME.format]`` without ``type``."""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Placeholders of the feed's topic that the format itself reads; they are no tags."""
        return ()

    def misfit(self, feed: Feed) -> str:
        """Why the rest of a feed does not go with this; empty when it does."""
        del feed
        return ""
