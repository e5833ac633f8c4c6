"""The component ``senml``."""
# ruff: noqa: PLC0415  (the parsers are loaded when there is something to read)

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import field_validator

from connectors.formats.format import Format, FormatExample, MakeFormat
from connectors.formats.senml.names import NamePattern
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.schema import IngestConfig
from headgate.core.components import Component


class SenmlConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "senml"``."""

    #: What whole names are made of, such as "urn:dev:ow:{serial}:{channel}"; None: the feed's
    #: channels have whole names, or what stands behind the base name.
    name: str | None = None

    @property
    def density(self) -> int:
        """See ``FormatConfig``: each record of a few bytes has all that stands before them all."""
        return 16

    @property
    def time(self) -> Mapping[str, object]:
        """See ``FormatConfig``: records have times, or are of now."""
        return {"path": "t", "unit": "s"}

    @property
    def retained(self) -> Literal["once"]:
        """See ``FormatConfig``: a record may be of now, and would be whenever it came again."""
        return "once"

    @property
    def is_flat(self) -> bool:
        """See ``FormatConfig``."""
        return True

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        for key in ("records", "pairs", "arrays", "quality"):
            if getattr(feed, key) is not None:
                return f"{key}: SenML says itself what a pack holds; leave it out"
        if feed.time.is_from_arrival:
            epoch = feed.time.epoch
            return f'time.epoch: SenML says itself what "{epoch}" would; leave it out'
        for name, channel in feed.channels.items():
            if channel.required or channel.default is not None:
                key = "required" if channel.required else "default"
                return f"channels.{name}.{key}: a record has one channel; leave it out"
        return ""

    @field_validator("name")
    @classmethod
    def _is_a_pattern(cls, name: str | None) -> str | None:
        if name is not None:
            NamePattern(name)
        return name


def _make(table: SenmlConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.senml.format import SenmlFormat

    return SenmlFormat(table.name, feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "senml",
            "device": "serial",
            "format": {"type": "senml", "name": "urn:dev:ow:{serial}:{channel}"},
            "channels": {"voltage": {"unit": "V"}, "current": {"unit": "A"}},
        },
        topic="senml",
        # From RFC 8428, 5.1.3, shortened.
        payload=b'[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,'
        b'"n":"voltage","u":"V","v":120.1},{"n":"current","t":-5,"v":1.2},'
        b'{"n":"current","v":1.7}]',
        readings=(
            ("10e2073a0108006", "voltage", 120.1),
            ("10e2073a0108006", "current", 1.2),
            ("10e2073a0108006", "current", 1.7),
        ),
        times_ns=(1276020076_001000000, 1276020071_001000000, 1276020076_001000000),
    ),
    FormatExample(
        feed={
            "topic": "plant/{device}",
            "format": "senml",
            "channels": {"energy": {}, "total": {"path": "energy.s"}, "open": {}},
        },
        topic="plant/meter-2",
        # The same things in CBOR: base time and value, a value with its sum, a boolean.
        payload=bytes.fromhex(
            "82 a5 22 1a6955b900 24 18 64 00 66656e65726779 02 fb3ff8000000000000 05 1903e8"
            "a3 00 646f70656e 06 01 04 f5"
        ),
        readings=(
            ("meter-2", "energy", 101.5),
            ("meter-2", "total", 1000.0),
            ("meter-2", "open", 1.0),
        ),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9, 1767225601 * 10**9),
    ),
)

SENML: Component[MakeFormat] = Component(
    "SenML packs of RFC 8428, in JSON or CBOR", SenmlConfig, _make, _EXAMPLES
)
