"""The component ``line_protocol``."""
# ruff: noqa: PLC0415  (the parser is loaded when there is something to read)

from __future__ import annotations

from collections.abc import Mapping

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.schema import IngestConfig
from headgate.core.components import Component


class LineProtocolConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "line_protocol"``: no keys."""

    @property
    def is_text(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def density(self) -> int:
        """See ``FormatConfig``: each two bytes may be a refusal."""
        return 16

    @property
    def time(self) -> Mapping[str, object]:
        """See ``FormatConfig``: a line may end with its time; without one it is of now."""
        return {"path": "time", "unit": "ns", "fallback": "arrival"}


def _make(_table: LineProtocolConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.line_protocol.format import LineProtocolFormat

    return LineProtocolFormat(feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "telegraf/{device}/cpu",
            "format": "line_protocol",
            "channels": {"usage_idle": {}, "threads": {}, "is_hot": {}},
        },
        topic="telegraf/gw-7/cpu",
        payload=b"cpu,cpu=cpu-total,host=gw-7 usage_idle=98.1,threads=12i 1767225600000000000\n"
        b"cpu,cpu=cpu-total,host=gw-7 usage_idle=97.9,is_hot=true 1767225610000000000\n",
        readings=(
            ("gw-7", "usage_idle", 98.1),
            ("gw-7", "threads", 12.0),
            ("gw-7", "usage_idle", 97.9),
            ("gw-7", "is_hot", 1.0),
        ),
        times_ns=(1767225600 * 10**9,) * 2 + (1767225610 * 10**9,) * 2,
    ),
    FormatExample(
        feed={
            "topic": "telegraf",
            "device": "tags.host",
            "format": "line_protocol",
            "time": {"path": "time", "unit": "s"},
            "channels": {"memory": {"path": "mem.used_percent"}, "boiler": {"path": "boiler temp"}},
        },
        topic="telegraf",
        payload=b'# by hand\nmem,host=gw\\ 7 used_percent=41.5,note="a, b" 1767225600\n'
        b"disk,host=gw\\ 7 used_percent=17 1767225600\n"
        b"heat,host=gw\\ 7 boiler\\ temp=61u 1767225600",
        readings=(("gw 7", "memory", 41.5), ("gw 7", "boiler", 61.0)),
        times_ns=(1767225600 * 10**9,) * 2,
    ),
)

LINE_PROTOCOL: Component[MakeFormat] = Component(
    "InfluxDB's line protocol, as Telegraf publishes it", LineProtocolConfig, _make, _EXAMPLES
)
