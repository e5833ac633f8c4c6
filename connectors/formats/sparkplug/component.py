"""The component ``sparkplug``."""
# ruff: noqa: PLC0415  (what reads is loaded when there is something to read)

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.format import FormatConfig
from headgate.config.values import Flag
from headgate.core.components import Component

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig
    from headgate.config.schema import IngestConfig

_TOPIC = (
    'topic: expected all messages of the nodes, such as "spBv1.0/#", "spBv1.0/{group}/#" or '
    '"spBv1.0/Plant 1/+/{node}/#": data means nothing without the births before it'
)


#: Behind a slash, which no device's own name has, what readings are called that came later.
HISTORICAL: Final = "historical"


class SparkplugConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "sparkplug"``."""

    #: Metrics that a node sends later because it could not before: of a device of their own; of
    #: the same, where those that are older than its newest are late; or not taken.
    historical: Literal["apart", "live", "ignore"] = "apart"
    #: Whether to take metrics that say of themselves that they are not to be kept.
    transient: Flag = False

    @property
    def device(self) -> str:
        """The devices' names, where the feed does not say otherwise."""
        return "name"

    @property
    def time(self) -> Mapping[str, object]:
        """Where records have their time, in ms; a node that has no clock says 0, or none."""
        return {"path": "timestamp", "fallback": "arrival"}

    @property
    def retained(self) -> Literal["ignore"]:
        """No message of a node is retained; one that is all the same is of another time."""
        return "ignore"

    def has_presence(self, device: str) -> bool:
        """See ``FormatConfig``; what is sent after an outage comes once, and then never more."""
        return self.historical != "apart" or f"/{HISTORICAL}" not in device

    @property
    def needs_every_message(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def may_begin_anyhow(self) -> bool:
        """See ``FormatConfig``; Sparkplug has a way of its own to compress messages."""
        return True

    @property
    def is_flat(self) -> bool:
        """See ``FormatConfig``."""
        return True

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        if misfit := _topic_misfit(feed):
            return misfit
        for key in ("records", "pairs", "arrays", "quality", "availability"):
            if getattr(feed, key) is not None:
                what = (
                    "whether devices are there" if key == "availability" else "what messages hold"
                )
                return f"{key}: Sparkplug says itself {what}; leave it out"
        time = feed.time
        is_own = time.path in (None, self.time["path"])
        if not is_own or time.unit != "ms" or time.is_text or time.epoch is not None:
            return "time: Sparkplug has times of its own; leave path, unit, pattern and epoch out"
        if feed.retained not in (None, "ignore"):
            return "retained: a birth that is retained is of another time; leave it out"
        for name, channel in feed.channels.items():
            if channel.required or channel.default is not None:
                key = "required" if channel.required else "default"
                return f"channels.{name}.{key}: nodes send what has changed; leave it out"
        return ""


def _topic_misfit(feed: FeedConfig) -> str:
    """Why not all messages of a node come with a feed's topic, and in order."""
    if len(feed.source or ()) > 1:
        return "source: what nodes send is in order only from one source; give a feed to each"
    levels = feed.topic.split("/")
    has_all_kinds = levels[2:3] in ([], ["#"], ["+"])
    if levels[0] != "spBv1.0" or not has_all_kinds or levels[-1] != "#" or len(levels) > 5:
        return _TOPIC
    if "device" in feed.placeholders:
        return (
            "topic: {device} can't stand in it, for messages of nodes have no such level; "
            "devices are named GROUP/NODE/DEVICE, or as device says"
        )
    return ""


def _make(table: SparkplugConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.sparkplug.format import SparkplugFormat

    return SparkplugFormat(table, feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "spBv1.0/#",
            "format": "sparkplug",
            "channels": {"speed": {"path": "Motor/Speed"}, "temperature": {"path": "Motor/Temp"}},
        },
        topic="spBv1.0/Plant 1/DBIRTH/Press/Pump",
        # A device is born: Motor/Speed, alias 1, of 1176 (Int32), and Motor/Temp, alias 2, of 41.5
        # (Float), both at 1767225600000.
        payload=bytes.fromhex(
            "0880d0eab6b733"
            "121b0a0b4d6f746f722f537065656410011880d0eab6b7332003509809"
            "121c0a0a4d6f746f722f54656d7010021880d0eab6b733200965000026421801"
        ),
        readings=(
            ("Plant 1/Press/Pump", "speed", 1176.0),
            ("Plant 1/Press/Pump", "temperature", 41.5),
        ),
        times_ns=(1767225600 * 10**9,) * 2,
    ),
)

SPARKPLUG: Component[MakeFormat] = Component(
    "Sparkplug B: births, data and deaths of edge nodes, which are asked what they mean",
    SparkplugConfig,
    _make,
    _EXAMPLES,
)
