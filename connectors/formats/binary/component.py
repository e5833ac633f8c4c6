"""The component ``binary``."""
# ruff: noqa: PLC0415  (what reads is loaded when there is something to read)

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig, no_such_field
from headgate.config.payload_path import PayloadPath
from headgate.config.schema import IngestConfig
from headgate.config.table import Table
from headgate.config.values import Int, Name
from headgate.core.components import Component

#: Which byte of several comes first: the one that counts most, or least; or, of numbers in several
#: registers of two bytes, in which order these come: A is the byte that counts most.
Order: TypeAlias = Literal["big", "little", "ABCD", "DCBA", "CDAB", "BADC"]

#: Of these the bytes of a register lie beside each other.
WORD_ORDERS: Final = ("CDAB", "BADC")

#: Bytes of each type, by its name.
SIZES = {"u8": 1, "i8": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4} | {
    "u64": 8,
    "i64": 8,
    "f16": 2,
    "f32": 4,
    "f64": 8,
}

#: No frame is longer, bytes.
_LONGEST = 65_536


class FieldConfig(Table):
    """One value of a frame: where it stands, and what its bytes are."""

    at: Annotated[Int, Field(ge=0, lt=_LONGEST)]
    type: Literal[
        "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f16", "f32", "f64"
    ]
    order: Order | None = None
    #: Of a whole number, the lowest bit that counts (0 is the last), and how many do.
    bit: Annotated[Int, Field(ge=0, le=63)] | None = None
    bits: Annotated[Int, Field(ge=1, le=64)] = 1

    @property
    def has_signed_bits(self) -> bool:
        """Whether the bits that count are a number in two's complement; a single one is 0 or 1."""
        return self.type.startswith("i") and self.bits > 1

    @model_validator(mode="after")
    def _has_its_bits(self) -> Self:
        if self.bit is not None and self.type.startswith("f"):
            raise ValueError("bit is of whole numbers; leave it out, or give another type")
        if self.bit is None and "bits" in self.model_fields_set:
            raise ValueError("bits: how many from which on? Give bit as well")
        if self.bit is not None and self.bit + self.bits > 8 * SIZES[self.type]:
            raise ValueError(f"bit and bits: {self.type} has no more than {8 * SIZES[self.type]}")
        return self


class BinaryConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "binary"``."""

    #: By name, which the paths of channels, time and device mean.
    fields: Annotated[dict[Name, FieldConfig], Field(min_length=1)]
    order: Order = "big"
    #: Bytes of a record; a message of several holds one after the other. None: it is all of it.
    size: Annotated[Int, Field(ge=1, le=_LONGEST)] | None = None
    #: Bytes before the first record.
    skip: Annotated[Int, Field(ge=0, lt=_LONGEST)] = 0
    encoding: Literal["raw", "hex", "base64", "registers"] = "raw"
    #: Where the bytes stand, if messages are JSON objects that have them as text, or as an array.
    inside: PayloadPath | None = None

    @property
    def is_text(self) -> bool:
        """See ``FormatConfig``."""
        return self.encoding != "raw" or self.inside is not None

    @property
    def density(self) -> int:
        """See ``FormatConfig``: each byte may be a record of all fields."""
        return 16 * max(1, len(self.fields) // (self.size or self.least))

    @property
    def may_begin_anyhow(self) -> bool:
        """See ``FormatConfig``."""
        return self.encoding == "raw" and self.inside is None

    @property
    def is_flat(self) -> bool:
        """See ``FormatConfig``: but for what is around a frame."""
        return self.inside is None

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        if self.inside is not None:
            return ""  # what stands beside the bytes may be channels, too
        return no_such_field(feed, tuple(self.fields), "fields")

    @property
    def least(self) -> int:
        """Bytes that a record has at least: up to the end of its last field."""
        return max(each.at + SIZES[each.type] for each in self.fields.values())

    @model_validator(mode="after")
    def _holds_its_fields(self) -> Self:
        for name, field in self.fields.items():
            order = field.order or self.order
            if order in WORD_ORDERS and SIZES[field.type] % 2 and SIZES[field.type] > 1:
                raise ValueError(
                    f'fields.{name}: {field.type} fills no registers, as order = "{order}" means '
                    "them; give it an order of its own"
                )
        if self.size is not None and self.least > self.size:
            raise ValueError(f"size: expected at least {self.least}, where the last field ends")
        return self


def _make(table: BinaryConfig, feed: FeedConfig, limits: IngestConfig) -> Format:
    from connectors.formats.binary.enveloped import EnvelopedFormat
    from connectors.formats.binary.format import BinaryFormat

    if table.inside is not None or table.encoding == "registers":
        return EnvelopedFormat(table, feed, limits)
    return BinaryFormat(table, feed, limits)


_EXAMPLES = (
    FormatExample(
        feed={
            "topic": "modbus/{device}",
            "format": {
                "type": "binary",
                "fields": {
                    "flags": {"at": 0, "type": "u8", "bit": 1},
                    "temperature": {"at": 1, "type": "i16"},
                    "flow": {"at": 3, "type": "f32"},
                },
            },
            "channels": {"temperature": {"scale": 0.1}, "flow": {}, "open": {"path": "flags"}},
        },
        topic="modbus/press-3",
        payload=bytes.fromhex("02 ff38 41a40000"),
        readings=(
            ("press-3", "temperature", -20.0),
            ("press-3", "flow", 20.5),
            ("press-3", "open", 1.0),
        ),
    ),
    FormatExample(
        feed={
            "topic": "lora/{device}",
            "format": {
                "type": "binary",
                "encoding": "hex",
                "order": "little",
                "size": 6,
                "fields": {"t": {"at": 0, "type": "u32"}, "level": {"at": 4, "type": "u16"}},
            },
            "time": {"path": "t", "unit": "s"},
            "channels": {"level": {}},
        },
        topic="lora/silo-4",
        payload=b"00B955690A00 01B955690B00",
        readings=(("silo-4", "level", 10.0), ("silo-4", "level", 11.0)),
        times_ns=(1767225600 * 10**9, 1767225601 * 10**9),
    ),
    FormatExample(
        feed={
            "topic": "uplinks",
            "device": "dev.id",
            "format": {
                "type": "binary",
                "encoding": "base64",
                "inside": "up.data",
                "fields": {
                    "battery": {"at": 0, "type": "u8"},
                    "temperature": {"at": 1, "type": "i16"},
                },
            },
            "time": {"path": "at", "unit": "s"},
            "channels": {"temperature": {"scale": 0.1}, "rssi": {"path": "up.rssi"}},
        },
        topic="uplinks",
        payload=b'{"dev": {"id": "silo-4"}, "at": 1767225600, "up": {"data": "ZP84", "rssi": -97}}',
        readings=(("silo-4", "temperature", -20.0), ("silo-4", "rssi", -97.0)),
        times_ns=(1767225600 * 10**9,) * 2,
    ),
    FormatExample(
        feed={
            "topic": "scopes/{device}",
            "format": {
                "type": "binary",
                "encoding": "hex",
                "inside": "wave",
                "size": 2,
                "fields": {"vibration": {"at": 0, "type": "i16"}},
            },
            "arrays": {"rate": "hz"},
            "time": {"path": "t0"},
            "channels": {"vibration": {"scale": 0.5}},
        },
        topic="scopes/spindle",
        payload=b'{"t0": 1767225600000, "hz": 100, "wave": "0001 0002 FFFF"}',
        readings=(
            ("spindle", "vibration", 0.5),
            ("spindle", "vibration", 1.0),
            ("spindle", "vibration", -0.5),
        ),
        times_ns=(1767225600_000000000, 1767225600_010000000, 1767225600_020000000),
    ),
)

BINARY: Component[MakeFormat] = Component(
    "bytes at fixed places, bare or as hexadecimal or base64 text",
    BinaryConfig,
    _make,
    _EXAMPLES,
)
