"""The formats that come with Headgate, by the name that a feed's ``format`` has."""

from __future__ import annotations

from collections.abc import Mapping

BUILT_IN: Mapping[str, str] = {
    "binary": "connectors.formats.binary.component:BINARY",
    "cbor": "connectors.formats.cbor.component:CBOR",
    "csv": "connectors.formats.csv.component:CSV",
    "json": "connectors.formats.json.component:JSON",
    "line_protocol": "connectors.formats.line_protocol.component:LINE_PROTOCOL",
    "msgpack": "connectors.formats.msgpack.component:MSGPACK",
    "protobuf": "connectors.formats.protobuf.component:PROTOBUF",
    "senml": "connectors.formats.senml.component:SENML",
    "sparkplug": "connectors.formats.sparkplug.component:SPARKPLUG",
    "value": "connectors.formats.value.component:VALUE",
}
