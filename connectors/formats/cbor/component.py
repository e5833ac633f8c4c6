"""The component ``cbor``."""
# ruff: noqa: PLC0415  (the parser is loaded when there is something to read)

from __future__ import annotations

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.schema import IngestConfig
from headgate.core.components import Component


class CborConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "cbor"``: no keys."""


def _make(_table: CborConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.cbor.format import CborFormat

    return CborFormat(feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "plant/{device}",
            "format": "cbor",
            "time": {"path": "t"},
            "channels": {"flow": {}, "pressure": {"path": "p.inlet"}},
        },
        topic="plant/pump-7",
        # An array of two maps: of t, flow (a float of eight bytes) and p, and of t and flow (null).
        payload=bytes.fromhex(
            "82 a3 6174 1b 0000019b76daa800 64666c6f77 fb 4040a00000000000"
            "6170 a1 65696e6c6574 03"
            "a2 6174 1b 0000019b76daabe8 64666c6f77 f6"
        ),
        readings=(
            ("pump-7", "flow", 33.25),
            ("pump-7", "pressure", 3.0),
            ("pump-7", "flow", None),
        ),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9, 1767225601 * 10**9),
    ),
    FormatExample(
        feed={
            "topic": "node/{device}",
            "format": "cbor",
            "time": {"path": "0"},
            "channels": {"level": {"path": "1"}, "total": {"path": "2"}},
        },
        topic="node/silo-4",
        # A map without an end of its own: 0 is a time (tag 1), 1 a decimal fraction (tag 4), 2 a
        # number of nine bytes (tag 2).
        payload=bytes.fromhex(
            "bf 00 c1 1a 6955b900 01 c4 82 20 18d7 02 c2 49 010000000000000000 ff"
        ),
        readings=(("silo-4", "level", 21.5), ("silo-4", "total", float(2**64))),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9),
    ),
)

CBOR: Component[MakeFormat] = Component(
    "CBOR maps, and arrays of them; read as JSON objects are", CborConfig, _make, _EXAMPLES
)
