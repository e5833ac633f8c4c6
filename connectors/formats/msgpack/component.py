"""The component ``msgpack``."""
# ruff: noqa: PLC0415  (the parser is loaded when there is something to read)

from __future__ import annotations

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.schema import IngestConfig
from headgate.core.components import Component


class MsgpackConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "msgpack"``: no keys."""


def _make(_table: MsgpackConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.msgpack.format import MsgpackFormat

    return MsgpackFormat(feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "plant/{device}",
            "format": "msgpack",
            "time": {"path": "t"},
            "channels": {"flow": {}, "pressure": {"path": "p.inlet"}},
        },
        topic="plant/pump-7",
        # An array of two maps: of t, flow (a float of eight bytes) and p, and of t and flow (nil).
        payload=bytes.fromhex(
            "92 83 a1 74 cf 00 00 01 9b 76 da a8 00 a4 66 6c 6f 77 cb 40 40 a0 00 00 00 00 00"
            "a1 70 81 a5 69 6e 6c 65 74 03"
            "82 a1 74 cf 00 00 01 9b 76 da ab e8 a4 66 6c 6f 77 c0"
        ),
        readings=(
            ("pump-7", "flow", 33.25),
            ("pump-7", "pressure", 3.0),
            ("pump-7", "flow", None),
        ),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9, 1767225601 * 10**9),
    ),
)

MSGPACK: Component[MakeFormat] = Component(
    "MessagePack maps, and arrays of them; read as JSON objects are",
    MsgpackConfig,
    _make,
    _EXAMPLES,
)
