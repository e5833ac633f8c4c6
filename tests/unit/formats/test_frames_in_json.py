"""Frames of bytes that stand as text in JSON, and the ways in which bytes are written as text."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from tests.unit.formats.decoding import Decoding

_T = 1_799_999_990
_FRAME = struct.pack(">Bh", 90, -125)
_FIELDS = {"battery": {"at": 0, "type": "u8"}, "temp": {"at": 1, "type": "i16"}}


def _feed(**more: Any) -> dict[str, Any]:  # noqa: ANN401  (keys of a table)
    form = {"type": "binary", "encoding": "base64", "inside": "up.data", "fields": _FIELDS}
    feed = {
        "topic": "in/+",
        "device": "dev.eui",
        "time": {"path": "at", "unit": "s"},
        "channels": {"temp": {"scale": 0.1}, "snr": {"path": "up.snr"}},
        **more,
    }
    return {**feed, "format": {**form, **more.get("format", {})}}


def _uplink(data: object, name: str = "n1", **more: Any) -> dict[str, object]:  # noqa: ANN401
    return {"dev": {"eui": name}, "at": _T, "up": {"data": data, "snr": 7.5}, **more}


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("base64", base64.b64encode(_FRAME).decode()),
        ("base64", base64.b64encode(_FRAME).decode() + "\n"),
        ("hex", _FRAME.hex()),
        ("hex", _FRAME.hex(":").upper()),
        ("hex", _FRAME.hex("-")),
        ("hex", "0x" + _FRAME.hex()),
        ("raw", list(_FRAME)),
    ],
)
def test_a_frame_is_read_beside_its_object(encoding: str, data: object) -> None:
    """Device, time and further channels stand in that."""
    found = Decoding(_uplink(data), **_feed(format={"encoding": encoding}))
    assert found.readings == [("n1", "temp", -10.0, -12.5), ("n1", "snr", -10.0, 7.5)]


@pytest.mark.parametrize("text", ["_-A", "_-A=", "/+A", "/+A="])
def test_base64_may_be_that_for_addresses(text: str) -> None:
    """With the signs at its end or without."""
    form = {"fields": {"temp": {"at": 0, "type": "u16"}}}
    found = Decoding(_uplink(text), **_feed(format=form, channels={"temp": {}}))
    assert [each[3] for each in found.readings] == [0xFFE0]


def test_several_objects_have_a_frame_each() -> None:
    """A bad one takes none of its neighbours down."""
    good = base64.b64encode(_FRAME).decode()
    found = Decoding([_uplink(good), _uplink("$"), _uplink(good, "n2")], **_feed())
    assert [each[0] for each in found.readings] == ["n1", "n1", "n2", "n2"]
    assert len(found.refused) == 1
    assert found.refused[0].startswith("not_binary: 1 of 3 records; the first, number 2: no base64")


def test_a_frame_of_several_records_may_be_a_waveform() -> None:
    """With its own rate; without arrays each record has the time of all."""
    wave = base64.b64encode(struct.pack(">3h", 1, 2, -3)).decode()
    form = {"size": 2, "fields": {"x": {"at": 0, "type": "i16"}}}
    channels: dict[str, object] = {"x": {}}
    found = Decoding(
        _uplink(wave, hz=4), **_feed(format=form, channels=channels, arrays={"rate": "hz"})
    )
    assert [each[2:] for each in found.readings] == [(-10.0, 1.0), (-9.75, 2.0), (-9.5, -3.0)]
    found = Decoding(_uplink(wave), **_feed(format=form, channels=channels))
    assert [each[2:] for each in found.readings] == [(-10.0, 1.0), (-10.0, 2.0), (-10.0, -3.0)]


@pytest.mark.parametrize(
    ("content", "form", "refused"),
    [
        (_uplink(None), {}, 'missing_records: no bytes at "up.data"'),
        ({"dev": {"eui": "n1"}, "at": _T}, {}, 'missing_records: no bytes at "up.data"'),
        (_uplink("ab"), {}, "not_binary: expected at least 3 bytes, got 1"),
        (_uplink(5), {}, "not_binary: expected a text, got 5"),
        (_uplink("5a"), {"encoding": "raw"}, "not_binary: expected an array of bytes, got '5a'; "),
        (_uplink([1, 2, 256]), {"encoding": "raw"}, 'not_binary: not all that is at "up.data"'),
        (_uplink([1, True, 2]), {"encoding": "raw"}, 'not_binary: not all that is at "up.data"'),
        ("text", {}, "not_object: expected an object, got 'text'"),
        (_uplink(""), {}, "empty"),
        (
            _uplink(base64.b64encode(bytes(5)).decode()),
            {"size": 1, "fields": {"temp": {"at": 0, "type": "u8"}}},
            "too_many_records",
        ),
    ],
)
def test_what_has_no_frame_is_refused(
    content: object, form: dict[str, object], refused: str
) -> None:
    """With what is wrong."""
    found = Decoding(content, **_feed(format=form))
    assert not found.readings
    assert [each.startswith(refused) for each in found.refused] == [True], found.refused


def test_what_stands_around_many_records_is_bounded() -> None:
    """Each of them has all of it beside it."""
    form = {"size": 1, "fields": {"temp": {"at": 0, "type": "u8"}}}
    more: dict[str, Any] = {f"k{number}": 0 for number in range(100)}
    data = base64.b64encode(bytes(2500)).decode()
    found = Decoding(_uplink(data, **more), **_feed(format=form), max_records=10_000)
    assert found.refused[0].startswith("too_many_records")
    wide = _uplink(base64.b64encode(bytes(500)).decode(), **more)
    found = Decoding([wide] * 5, **_feed(format=form), max_records=10_000)
    assert found.refused[0].startswith("too_many_records: 2 of ")
    found = Decoding(_uplink(data), **_feed(format=form), max_records=10_000)
    assert len(found.readings) == 5000
