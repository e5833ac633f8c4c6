"""Frames in which each value has its type's number before it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headgate.config.schema import Config, IngestConfig
from headgate.core.errors import ConfigError
from tests.unit.formats.test_cost import calls
from tests.unit.formats.test_lines_and_frames import Decoding
from tests.unit.formats.texts import decoder_of

_LPP = {
    "temperature": {"code": 0x67, "type": "i16"},
    "humidity": {"code": 0x68, "type": "u8"},
    "battery": {"code": 0x75, "channel": 1, "type": "u8"},
    "gps": {
        "code": 0x88,
        "fields": {"lat": {"at": 0, "type": "i24"}, "lon": {"at": 3, "type": "i24"}},
        "size": 9,
    },
    "history": {"code": 0xCE, "size": 3},
}
_CHANNELS = {
    "battery": {},
    "t3": {"path": "temperature_3"},
    "t5": {"path": "temperature_5"},
    "lat": {"path": "gps_2.lat"},
    "lon": {"path": "gps_2.lon"},
}


def _read(frame: str, head: tuple[str, ...] = ("channel", "type"), **form: object) -> Decoding:
    table = {"type": "binary", "head": list(head), "parts": _LPP, **form}
    return Decoding(bytes.fromhex(frame), is_typed=True, format=table, channels=_CHANNELS)


def test_parts_come_in_any_order() -> None:
    """Of any channel, of one alone, of several values, and such as are passed over."""
    found = _read("03 67 0110 01 75 5c 20 ce 010203 02 88 06765f 000001 0003e8 05 67 ffff")

    assert found.readings == [
        ("battery", 92),
        ("t3", 272),
        ("t5", -1),
        ("lat", 0x06765F),
        ("lon", 1),
    ]
    assert not found.refused


@pytest.mark.parametrize(
    ("frame", "told", "readings"),
    [
        ("0367 0110 0799 05", "byte 4: type 0x99 of channel 7 is none of format.parts", ["t3"]),
        ("0275 5c", "byte 0: type 0x75 of channel 2 is none of format.parts", []),
        ("0367 0110 0567 00", "byte 6: expected 2 bytes of temperature, got 1", ["t3"]),
        ("0367 0110 05", "byte 4: expected 2 bytes before a value, got 1", ["t3"]),
        ("0367 0110 0367 0111", "temperature_3 comes twice", ["t3"]),
    ],
)
def test_what_is_not_known_is_told_and_what_stood_before_is_kept(
    frame: str, told: str, readings: list[str]
) -> None:
    """Nothing behind it is guessed."""
    found = _read(frame)

    assert [name for name, _ in found.readings] == readings
    assert len(found.refused) == 1
    assert told in found.refused[0]


def test_with_a_length_what_is_not_known_is_passed_over() -> None:
    """And told all the same; a length beyond what is listed is that of a newer version."""
    parts = {name: _LPP[name] for name in ("temperature", "humidity")}
    form = {"type": "binary", "head": ["type", "length"], "parts": parts}
    channels: dict[str, object] = {"temperature": {}, "humidity": {}}

    def read(frame: str) -> Decoding:
        return Decoding(bytes.fromhex(frame), is_typed=True, format=form, channels=channels)

    odd = read("67 02 0001 99 03 010203 68 01 05")
    assert odd.readings == [("temperature", 1), ("humidity", 5)]
    assert len(odd.refused) == 1
    assert odd.refused[0].endswith("byte 4: type 0x99 is none of format.parts")
    assert read("67 04 0001ffff 68 01 07").readings == [("temperature", 1), ("humidity", 7)]
    short = read("67 01 00")
    assert short.refused == ["not_binary: byte 2: expected 2 bytes of temperature, got 1"]


def test_frames_in_json_keep_what_stands_beside_them() -> None:
    """Also where a part is not known."""
    payload = json.dumps({"data": "03670110079905", "rssi": -97}).encode()
    form = {
        "type": "binary",
        "encoding": "hex",
        "inside": "data",
        "head": ["channel", "type"],
        "parts": _LPP,
    }
    channels = {"t3": {"path": "temperature_3"}, "rssi": {}}
    found = Decoding(payload, is_typed=True, format=form, channels=channels)

    assert found.readings == [("t3", 272), ("rssi", -97)]
    assert len(found.refused) == 1
    assert found.refused[0].endswith("type 0x99 of channel 7 is none of format.parts")


@pytest.mark.parametrize(
    ("form", "channels", "told"),
    [
        ({}, {"x": {}}, "expected fields, for values at fixed places, or parts"),
        ({"head": ["type"], "fields": {"x": {"at": 0, "type": "u8"}}}, {"x": {}}, "head: is of"),
        ({"parts": {"x": {"code": 1, "type": "u8"}}, "size": 3}, {"x": {}}, "size: a frame of"),
        ({"parts": {"x": {"code": 1, "type": "u8"}}, "head": ["channel"]}, {"x": {}}, "head: exp"),
        ({"parts": {"x": {"code": 1, "channel": 2, "type": "u8"}}}, {"x": {}}, "head has none"),
        (
            {"parts": {"x": {"code": 1, "type": "u8"}, "y": {"code": 1, "type": "i8"}}},
            {"x": {}},
            "parts.y: is the same as x: code 1",
        ),
        ({"parts": {"x": {"code": 1}}}, {"x": {}}, "expected type, for one value, or fields"),
        ({"parts": {"x": {"code": 1, "bit": 3, "size": 2}}}, {"x": {}}, "bit: is of one value"),
        ({"parts": {"x": {"code": 1, "type": "u16", "size": 1}}}, {"x": {}}, "size: expected at"),
        ({"parts": {"x": {"code": 1, "type": "u8", "bit": 8}}}, {"x": {}}, "bit and bits: u8 has"),
        (
            {"parts": {"x": {"code": 1, "type": "u24"}}, "order": "CDAB"},
            {"x": {}},
            "parts.x: u24 fills no registers",
        ),
        (
            {"parts": {"x": {"code": 1, "type": "u8"}}, "head": ["channel", "type"]},
            {"x": {}},
            "channels.x: expected one of format.parts: x_N; give its path",
        ),
    ],
)
def test_what_does_not_go_together_is_told(
    form: dict[str, object], channels: dict[str, object], told: str
) -> None:
    feed = {"topic": "{device}", "format": {"type": "binary", **form}, "channels": channels}
    with pytest.raises((ConfigError, ValueError)) as raised:
        Config.model_validate({"local_store": {}, "feed": {"f": feed}})
    assert told in str(raised.value)


def test_a_frame_full_of_unknown_parts_is_told_of_once() -> None:
    """A reason is made of the first, and the others are looked up and passed over."""
    parts = {name: _LPP[name] for name in ("temperature", "humidity")}
    form = {"type": "binary", "head": ["type", "length"], "parts": parts}
    decoder = decoder_of(IngestConfig(), format=form, channels={"temperature": {}})
    frame = bytes.fromhex("99 00") * 5000

    def work() -> None:
        found = decoder.decode([b"in/a"], [frame], np.zeros(1, np.int64))
        assert len(found.refused) == 1

    assert calls(work) < 6 * 5000
