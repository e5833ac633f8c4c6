"""The component ``protobuf``."""
# ruff: noqa: PLC0415  (the runtime is loaded when there is something to read)

from __future__ import annotations

from pathlib import Path
from typing import Literal

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.schema import IngestConfig
from headgate.config.values import FilePath
from headgate.core.components import Component


class ProtobufConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "protobuf"``."""

    #: A descriptor set, as ``protoc --descriptor_set_out`` writes it, or a ``.proto`` file.
    file: FilePath
    #: Full name of the message that is sent, such as "plant.Report".
    message: str
    #: What values of enumerations are.
    enums: Literal["numbers", "names"] = "numbers"

    @property
    def density(self) -> int:
        """See ``FormatConfig``: two bytes may be a message in a message."""
        return 16

    @property
    def may_begin_anyhow(self) -> bool:
        """See ``FormatConfig``."""
        return True

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        from connectors.formats.protobuf.schema import message_class, no_field

        try:
            kind = message_class(self.file, self.message)
        except ValueError as error:
            return f"format.{error}"
        if feed.records is not None or feed.pairs is not None:
            return ""
        paths = [
            (f"channels.{name}", path)
            for name, each in feed.channels.items()
            for path in (*each.paths(name), *each.beside)
        ]
        paths += [(f"tags.{name}", path) for name, path in feed.tag_paths.items()]
        paths += [("time.path", path) for path in (*feed.time.paths, *feed.time.or_path)]
        paths += [("device", path) for path in feed.device_name.paths]
        paths += [] if feed.other_tags is None else [("other_tags", feed.other_tags)]
        paths += [] if feed.quality is None else [("quality.path", feed.quality.path)]
        for key, path in paths:
            if problem := no_field(kind, path):
                return f"{key}: {problem}"
        return ""


def _make(table: ProtobufConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.protobuf.format import ProtobufFormat

    return ProtobufFormat(table, feed, limits)


_SCHEMA = {
    "type": "protobuf",
    "file": str(Path(__file__).with_name("example.binpb")),
    "message": "example.Report",
}

_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "reports",
            "device": "machine",
            "format": _SCHEMA,
            "time": {"path": "at"},
            "channels": {
                "temperature": {},
                "pressure": {},
                "state": {},
                "oil": {"path": "levels.oil"},
                "cycles": {},
            },
        },
        topic="reports",
        # machine "press", at 1767225600.5 s, temperature 21.5, state RUNNING, levels oil 0.5,
        # cycles 7; no pressure.
        payload=bytes.fromhex(
            "0a05 7072657373 120c 0880f2d6ca06 1080cab5ee01 19 0000000000803540 2801"
            "3a0e 0a03 6f696c 11 000000000000e03f 4007"
        ),
        readings=(
            ("press", "temperature", 21.5),
            ("press", "state", 1.0),
            ("press", "oil", 0.5),
            ("press", "cycles", 7.0),
        ),
        times_ns=(1767225600_500000000,) * 4,
    ),
    FormatExample(
        feed={
            "topic": "samples/{device}",
            "records": "samples",
            "format": _SCHEMA,
            "time": {"path": "t", "unit": "s"},
            "channels": {"value": {}},
        },
        topic="samples/press",
        payload=bytes.fromhex("3208 0880f2d6ca06 1009 3208 0881f2d6ca06 100a"),
        readings=(("press", "value", -5.0), ("press", "value", 5.0)),
        times_ns=(1767225600 * 10**9, 1767225601 * 10**9),
    ),
)

PROTOBUF: Component[MakeFormat] = Component(
    "Protocol Buffers, by a .proto file or descriptor set of your own",
    ProtobufConfig,
    _make,
    _EXAMPLES,
)
