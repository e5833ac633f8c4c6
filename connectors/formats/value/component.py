"""The component ``value``."""
# ruff: noqa: PLC0415  (what reads is loaded when there is something to read)

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.format import FormatConfig
from headgate.config.payload_path import PayloadPath
from headgate.config.values import Name
from headgate.core.components import Component

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig
    from headgate.config.schema import IngestConfig

#: The topic's level that names the channel, where the configuration does not.
_PLACEHOLDER = "channel"


class ValueConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "value"``."""

    #: The channel that the messages are of; without it ``{channel}`` in the topic names it.
    channel: Name | None = None
    #: Where the value stands, in messages that are JSON objects; without it they are the value.
    path: PayloadPath | None = None

    @property
    def is_text(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def placeholders(self) -> tuple[str, ...]:
        """``{channel}``, where it names the channel."""
        return () if self.channel is not None else (_PLACEHOLDER,)

    @property
    def has_no_time(self) -> bool:
        """See ``FormatConfig``."""
        return self.path is None

    @property
    def writes_texts(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def is_flat(self) -> bool:
        """See ``FormatConfig``."""
        return True

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        if self.channel is None and _PLACEHOLDER not in feed.placeholders:
            return (
                "format: which channel is it? Put {channel} into topic, or give "
                '[feed.NAME.format] with type = "value" and channel = "…"'
            )
        is_listed = self.channel in feed.channels or feed.other_channels is not None
        if self.channel is not None and not is_listed:
            known = ", ".join(feed.channels)
            return f"format.channel: no channel {self.channel}; those there are: {known}"
        for name, channel in feed.channels.items():
            if channel.required or channel.default is not None:
                key = "required" if channel.required else "default"
                return f"channels.{name}.{key}: a message has one channel; leave it out"
        for key in ("records", "pairs", "arrays"):
            if getattr(feed, key) is not None:
                return f"{key}: a message of one value has no records; leave it out"
        return "" if self.path is not None else _beside(feed)


def _beside(feed: FeedConfig) -> str:
    """What a feed wants from beside a value that nothing stands beside."""
    if feed.time.path is not None:
        return "time.path: a message that is one value has no time beside it; leave it out"
    if feed.quality is not None:
        return "quality: a message that is one value says nothing of it; leave it out"
    if feed.tag_paths:
        return "tags: a message that is one value has no tag beside it; give fixed ones only"
    if feed.device_name.paths:
        return (
            "device: a message that is one value names no device; put {device} into topic, or "
            'give device = { value = "NAME" }'
        )
    return ""


def _make(table: ValueConfig, feed: FeedConfig, _limits: IngestConfig) -> Format:
    from connectors.formats.value.format import ValueFormat

    return ValueFormat(table.channel, table.path, feed)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "hall/{device}/{channel}",
            "format": "value",
            "channels": {"temperature": {"unit": "°C"}, "door": {}},
        },
        topic="hall/north/temperature",
        payload=b"21.5",
        readings=(("north", "temperature", 21.5),),
    ),
    FormatExample(
        feed={
            "topic": "hall/{device}/state",
            "format": {"type": "value", "channel": "door"},
            "channels": {"door": {}},
        },
        topic="hall/north/state",
        payload=b"true",
        readings=(("north", "door", 1.0),),
    ),
    FormatExample(
        feed={
            "topic": "boilers/{device}/{channel}",
            "format": {"type": "value", "path": "value"},
            "time": {"path": "at", "unit": "s"},
            "channels": {"temperature": {}, "pressure": {}},
        },
        topic="boilers/7/pressure",
        payload=b'{"value": 1.8, "at": 1767225600}',
        readings=(("7", "pressure", 1.8),),
        times_ns=(1767225600 * 10**9,),
    ),
)

VALUE: Component[MakeFormat] = Component(
    "one value a message, whose channel the topic or the configuration names",
    ValueConfig,
    _make,
    _EXAMPLES,
)
