"""The component ``json``."""
# ruff: noqa: PLC0415  (the parser is loaded when there is something to read)

from __future__ import annotations

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig
from headgate.config.payload_path import PayloadPath
from headgate.config.schema import IngestConfig
from headgate.config.values import Flag
from headgate.core.components import Component


class JsonConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "json"``."""

    #: Whether a message may be several objects, a line each.
    lines: Flag = False
    #: Where the message itself stands, if there is an envelope around it: a text that is JSON, bare
    #: or in base64, or what is meant itself. Only skip and only are looked for around it.
    inside: PayloadPath | None = None
    #: Where in it texts stand that are JSON themselves, and are read as what they hold. Paths go
    #: through the elements of arrays.
    embedded: tuple[PayloadPath, ...] = ()

    @property
    def is_text(self) -> bool:
        """See ``FormatConfig``."""
        return True

    @property
    def density(self) -> int:
        """See ``FormatConfig``: of lines, each two bytes may be a refusal."""
        return 16 if self.lines else 1


def _make(table: JsonConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.json.format import JsonFormat

    return JsonFormat(
        feed, limits, has_lines=table.lines, inside=table.inside, embedded=table.embedded
    )


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "plant/{device}",
            "time": {"path": "t"},
            "channels": {"flow": {}, "pressure": {"path": "p.inlet"}},
        },
        topic="plant/pump-7",
        payload=b'[{"t": 1767225600000, "flow": 33.1, "p": {"inlet": 3.3}},'
        b' {"t": 1767225601000, "flow": null}]',
        readings=(
            ("pump-7", "flow", 33.1),
            ("pump-7", "pressure", 3.3),
            ("pump-7", "flow", None),
        ),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9, 1767225601 * 10**9),
    ),
    FormatExample(
        feed={
            "topic": "plant/{device}",
            "format": {"type": "json", "lines": True},
            "channels": {"flow": {}},
        },
        topic="plant/pump-7",
        payload=b'{"flow": 33.1}\n{"flow": 33.2}\n',
        readings=(("pump-7", "flow", 33.1), ("pump-7", "flow", 33.2)),
    ),
    FormatExample(
        feed={
            "topic": "plant/{device}",
            "format": {"type": "json", "inside": "payload"},
            "channels": {"flow": {}},
        },
        topic="plant/pump-7",
        payload=b'{"contentType": "application/json", "payload": "eyJmbG93IjogMzMuMX0="}',
        readings=(("pump-7", "flow", 33.1),),
    ),
    FormatExample(
        feed={
            "topic": "uplinks",
            "device": "name",
            "time": {"path": "t"},
            "format": {"type": "json", "embedded": ["object"]},
            "channels": {"level": {"path": "object.level"}, "rssi": {}},
        },
        topic="uplinks",
        payload=b'[{"name": "silo-1", "t": 1767225600000, "rssi": -97,'
        b' "object": "{\\"level\\": 4.5}"}]',
        readings=(("silo-1", "level", 4.5), ("silo-1", "rssi", -97)),
        times_ns=(1767225600 * 10**9, 1767225600 * 10**9),
    ),
)

JSON: Component[MakeFormat] = Component(
    "JSON objects, and arrays of them", JsonConfig, _make, _EXAMPLES
)
