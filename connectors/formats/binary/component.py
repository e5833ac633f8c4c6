"""The component ``binary``."""
# ruff: noqa: PLC0415  (what reads is loaded when there is something to read)

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from connectors.formats.format import Format, FormatExample, MakeFormat
from headgate.config.feed import FeedConfig
from headgate.config.format import FormatConfig, no_such_field
from headgate.config.payload_path import PayloadPath, parts_of
from headgate.config.schema import IngestConfig
from headgate.config.table import Table
from headgate.config.values import Int, Name
from headgate.core.components import Component

#: Which byte of several comes first: the one that counts most, or least; or, of numbers in several
#: registers of two bytes, in which order these come: A is the byte that counts most.
Order: TypeAlias = Literal["big", "little", "ABCD", "DCBA", "CDAB", "BADC"]

#: Of these the bytes of a register lie beside each other.
WORD_ORDERS: Final = ("CDAB", "BADC")

#: What bytes are.
Type: TypeAlias = Literal[
    "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f16", "f32", "f64"
]

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
    type: Type
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


class PartConfig(Table):
    """What stands behind a type's number, in frames that say what comes next."""

    #: The type's number.
    code: Annotated[Int, Field(ge=0, le=255)]
    #: Of which channel's; None: of any, and then the channel's number stands behind the name.
    channel: Annotated[Int, Field(ge=0, le=255)] | None = None
    #: What the bytes are, where they are one value.
    type: Type | None = None
    order: Order | None = None
    bit: Annotated[Int, Field(ge=0, le=63)] | None = None
    bits: Annotated[Int, Field(ge=1, le=64)] = 1
    #: The values among the bytes, where they are several.
    fields: dict[Name, FieldConfig] = Field(default_factory=dict)
    #: How many bytes there are, where more than the values have. None: as many as these.
    size: Annotated[Int, Field(ge=0, lt=_LONGEST)] | None = None

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        given = [key for key in ("order", "bit", "bits") if key in self.model_fields_set]
        if (self.type is None) == (not self.fields) and not self._is_nothing:
            raise ValueError("expected type, for one value, or fields, for several; give one")
        if self.type is None and given:
            raise ValueError(f"{given[0]}: is of one value; give it in fields")
        if self.size is not None and self.size < self.least:
            raise ValueError(f"size: expected at least {self.least}, where the last field ends")
        return self

    @property
    def _is_nothing(self) -> bool:
        """Whether the bytes are passed over."""
        return self.type is None and not self.fields and self.size is not None

    @property
    def values(self) -> dict[str, FieldConfig]:
        """By name, or without one where it is the only one, what stands among the bytes."""
        if self.type is None:
            return dict(self.fields)
        keys = ("type", "order", "bit", "bits")
        own = {key: getattr(self, key) for key in keys if key in self.model_fields_set}
        return {"": FieldConfig.model_validate({"at": 0, **own})}

    @property
    def least(self) -> int:
        """Bytes up to the end of the last value."""
        return max((each.at + SIZES[each.type] for each in self.values.values()), default=0)


class BinaryConfig(FormatConfig):
    """``[feed.NAME.format]`` with ``type = "binary"``."""

    #: By name, which the paths of channels, time and device mean.
    fields: dict[Name, FieldConfig] = Field(default_factory=dict)
    #: By name, what may stand in frames in which each value has its type's number before it.
    parts: dict[Name, PartConfig] = Field(default_factory=dict)
    #: Which bytes, one each, stand before such a value.
    head: tuple[Literal["channel", "type", "length"], ...] = ("type",)
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
        return 16 * max(1, len(self.fields) // (self.size or self.least or 1))

    @property
    def may_begin_anyhow(self) -> bool:
        """See ``FormatConfig``."""
        return self.encoding == "raw" and self.inside is None

    @property
    def is_flat(self) -> bool:
        """See ``FormatConfig``: but for what is around a frame, and parts of several values."""
        return self.inside is None and not any(part.fields for part in self.parts.values())

    def misfit(self, feed: FeedConfig) -> str:
        """Why the rest of a feed does not go with this."""
        if self.inside is not None:
            return ""  # what stands beside the bytes may be channels, too
        if self.parts:
            return self._no_such_part(feed)
        return no_such_field(feed, tuple(self.fields), "fields")

    def _no_such_part(self, feed: FeedConfig) -> str:
        """What to say of a channel that is none of the parts."""
        named = [
            f"{name}_N" if part.channel is None and "channel" in self.head else name
            for name, part in self.parts.items()
        ]
        for name, channel in feed.channels.items():
            firsts = [parts_of(path)[0] for path in channel.paths(name)]
            known = [re.sub(r"_\d+$", "_N", first) for first in firsts]
            if not {*firsts, *known} & {*named}:
                told = ", ".join(named)
                return f"channels.{name}: expected one of format.parts: {told}; give its path"
        return ""

    @property
    def least(self) -> int:
        """Bytes that a record has at least: up to the end of its last field."""
        return max((each.at + SIZES[each.type] for each in self.fields.values()), default=0)

    @model_validator(mode="after")
    def _has_fields_or_parts(self) -> Self:
        if bool(self.fields) == bool(self.parts):
            raise ValueError(
                "expected fields, for values at fixed places, or parts, for such as have their "
                "type's number before them; give one of them"
            )
        if not self.parts:
            if "head" in self.model_fields_set:
                raise ValueError("head: is of parts; leave it out beside fields")
            return self
        if self.size is not None:
            raise ValueError("size: a frame of parts is as long as these; leave it out")
        if self.head.count("type") != 1 or len(set(self.head)) < len(self.head):
            raise ValueError('head: expected "type", and "channel" and "length" once at most')
        seen: dict[tuple[int | None, int], str] = {}
        for name, part in self.parts.items():
            if part.channel is not None and "channel" not in self.head:
                raise ValueError(f'parts.{name}.channel: head has none; give head = ["channel", …]')
            key = (part.channel, part.code)
            if key in seen:
                raise ValueError(f"parts.{name}: is the same as {seen[key]}: code {part.code}")
            seen[key] = name
        return self

    @model_validator(mode="after")
    def _holds_its_fields(self) -> Self:
        every = {f"fields.{name}": field for name, field in self.fields.items()}
        for name, part in self.parts.items():
            for key, field in part.values.items():
                every[f"parts.{name}.fields.{key}" if key else f"parts.{name}"] = field
        for where, field in every.items():
            order = field.order or self.order
            if order in WORD_ORDERS and SIZES[field.type] % 2 and SIZES[field.type] > 1:
                raise ValueError(
                    f'{where}: {field.type} fills no registers, as order = "{order}" means '
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
            "topic": "lpp/{device}",
            "format": {
                "type": "binary",
                "encoding": "hex",
                "head": ["channel", "type"],
                "parts": {
                    "temperature": {"code": 0x67, "type": "i16"},
                    "acceleration": {
                        "code": 0x71,
                        "fields": {
                            "x": {"at": 0, "type": "i16"},
                            "y": {"at": 2, "type": "i16"},
                            "z": {"at": 4, "type": "i16"},
                        },
                    },
                },
            },
            "channels": {
                "inside": {"path": "temperature_3", "scale": 0.1},
                "temperature_5": {"scale": 0.1},
                "y": {"path": "acceleration_6.y", "scale": 0.001},
            },
        },
        topic="lpp/node-1",
        payload=b"03 67 0110 05 67 00FF 06 71 04D2 FB2E 0000",
        readings=(
            ("node-1", "inside", 27.2),
            ("node-1", "temperature_5", 25.5),
            ("node-1", "y", -1.234),
        ),
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
