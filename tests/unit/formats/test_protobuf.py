"""The format ``protobuf``: messages of a user's schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connectors.formats.protobuf
from connectors.formats.decoder import FeedDecoder
from connectors.formats.protobuf import schema
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.unit.formats.test_cost import peak_bytes

_NOW_NS = 1_800_000_000 * 10**9
_FOLDER = Path(connectors.formats.protobuf.__file__).parent
_SET, _PROTO = _FOLDER / "example.binpb", _FOLDER / "example.proto"
_FORMAT = {"type": "protobuf", "file": str(_SET), "message": "example.Report"}
_Report = schema.message_class(_SET, "example.Report")


def _feed(**feed: object) -> FeedConfig:
    given: dict[str, Any] = {"topic": "in/{device}", "format": _FORMAT, **feed}
    return FeedConfig.model_validate(given)


class Decoding:
    """What comes of one message."""

    def __init__(self, payload: bytes, **feed: object) -> None:
        table = ChannelTable()
        decoder = FeedDecoder("f", _feed(**feed), table, IngestConfig())
        found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
        self.values = [
            (table.channels[row].field, None if math.isnan(value) else value)
            for row, value in zip(found.channel.tolist(), found.value.tolist(), strict=True)
        ]
        self.times_ns = found.time_ns.tolist()
        self.refused = [str(error) for _, error in found.refused]


def test_a_schema_may_be_a_proto_file() -> None:
    """It says what its descriptor set says."""
    pytest.importorskip("grpc_tools", reason="the extra proto is not installed")
    kind = schema.message_class(_PROTO, "example.Report")
    assert kind.DESCRIPTOR.fields_by_name.keys() == _Report.DESCRIPTOR.fields_by_name.keys()
    channels: dict[str, Any] = {"temperature": {}}
    form = {**_FORMAT, "file": str(_PROTO)}
    found = Decoding(_Report(temperature=5).SerializeToString(), format=form, channels=channels)
    assert found.values == [("temperature", 5.0)]


def test_without_a_compiler_a_proto_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install, or what to give instead."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    schema._message_class.cache_clear()
    with pytest.raises(ValueError, match=r"install headgate\[proto\], or give what protoc"):
        schema.message_class(_PROTO, "example.Report")


def test_a_scalar_that_is_absent_is_zero_unless_it_is_optional() -> None:
    """As proto3 has it: 0 is not sent. Of a oneof only what was set is there."""
    channels: dict[str, Any] = {
        name: {} for name in ("temperature", "pressure", "state", "cycles", "is_idle")
    }
    found = Decoding(_Report(is_idle=True).SerializeToString(), channels=channels)
    assert found.values == [("temperature", 0.0), ("state", 0.0), ("is_idle", 1.0)]
    found = Decoding(_Report(pressure=0, cycles=-(2**63)).SerializeToString(), channels=channels)
    assert found.values[1:] == [("pressure", 0.0), ("state", 0.0), ("cycles", -(2.0**63))]


def test_enumerations_are_numbers_or_names() -> None:
    """Numbers that have no name stay numbers."""
    payload = _Report(state=1).SerializeToString()
    channels = {"state": {"states": {"RUNNING": 7}}}
    assert Decoding(payload, channels=channels).values == [("state", 1.0)]
    named = {**_FORMAT, "enums": "names"}
    assert Decoding(payload, format=named, channels=channels).values == [("state", 7.0)]
    assert Decoding(b"\x28\x05", format=named, channels=channels).values == [("state", 5.0)]


def test_maps_are_objects_and_repeated_fields_arrays() -> None:
    """With records in them."""
    report = _Report(levels={"oil": 0.5, "water": 1})
    report.samples.add(t=1_767_225_600, value=-3)
    report.samples.add(t=1_767_225_601, value=4)
    payload = report.SerializeToString()
    channels: dict[str, object] = {
        "oil": {"path": "levels.oil"},
        "second": {"path": "samples.1.value"},
    }
    assert Decoding(payload, channels=channels).values == [("oil", 0.5), ("second", 4.0)]
    found = Decoding(
        payload, records="samples", time={"path": "t", "unit": "s"}, channels={"value": {}}
    )
    assert found.values == [("value", -3.0), ("value", 4.0)]
    assert found.times_ns == [1_767_225_600 * 10**9, 1_767_225_601 * 10**9]


def test_a_timestamp_is_an_event_time() -> None:
    """Whatever the unit; one that no year has is none."""
    report = _Report(temperature=1)
    report.at.seconds, report.at.nanos = 1_767_225_600, 250_000_000
    feed: dict[str, Any] = {"time": {"path": "at"}, "channels": {"temperature": {}}}
    assert Decoding(report.SerializeToString(), **feed).times_ns == [1_767_225_600_250_000_000]
    report.at.seconds = 2**62
    assert Decoding(report.SerializeToString(), **feed).refused[0].startswith("bad_time")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\x19\x00", "not_protobuf"),
        (b"\x0a\x01\xff", "not_protobuf"),
        (b'{"temperature": 21.5}', "not_protobuf"),
        (b"\xa2\x06\x01x", "not_protobuf: none of the fields of example.Report is in it"),
        (b"\x32\x00" * 300_000, "too_many_records"),
        (b"\x08" + b"\xff" * 9000, "not_protobuf"),
    ],
)
def test_what_can_not_be_read_is_refused(payload: bytes, reason: str) -> None:
    """With its reason; within little memory."""
    found = Decoding(payload, channels={"temperature": {}})
    assert not found.values
    assert found.refused[0].startswith(reason), found.refused
    taken = peak_bytes(lambda: Decoding(payload, channels={"temperature": {}}))
    assert taken < max(16 * len(payload), 9 << 20)


@pytest.mark.parametrize(
    ("form", "channel", "told"),
    [
        ({"file": "nowhere.binpb"}, "temperature", r"format\.file: expected a schema at"),
        ({"file": str(_FOLDER)}, "temperature", r"format\.file: .* can't be read: Is a directory"),
        ({"file": __file__}, "temperature", r"format\.file: expected a \.proto file, or what"),
        (
            {"message": "example.Raport"},
            "temperature",
            r"format\.message: no message example\.Raport in .*; there is example\.Report",
        ),
        ({}, "heat", r"channels\.heat: no field heat in example\.Report; it has machine, at"),
    ],
)
def test_a_mistake_in_the_configuration_is_told(
    form: dict[str, object], channel: str, told: str
) -> None:
    """Where it stands, and what there is."""
    with pytest.raises(ValueError, match=told):
        _feed(format={**_FORMAT, **form}, channels={channel: {}})


@pytest.mark.parametrize(
    ("feed", "told"),
    [
        ({"channels": {"x": {"path": "machine.speed"}}}, r"channels\.x: machine .* has no fields"),
        ({"channels": {"x": {"path": "samples.value"}}}, r'x: samples .*, or records = "samples"'),
        ({"channels": {"x": {"path": "samples.0.v"}}}, r"x: no field v in example\.Report\.Sample"),
        ({"tags": {"site": {}}}, r"tags\.site: no field site in example\.Report"),
        ({"time": {"path": "ts"}}, r"time\.path: no field ts in"),
        ({"device": "serial"}, r"device: no field serial in"),
        ({"quality": {"path": "q"}}, r"quality\.path: no field q in"),
        ({"channels": {"x": {"path": "samples.0.value"}, "y": {"path": "levels.a"}}}, ""),
        ({"arrays": {}, "time": {"path": "at"}, "channels": {"samples": {}}}, ""),
        ({"records": "samples", "tags": {"machine": {}}, "channels": {"value": {}}}, ""),
    ],
)
def test_a_path_that_no_message_has_is_told(feed: dict[str, object], told: str) -> None:
    """A channel or tag of it would never be there, and nobody would be told why."""
    given: dict[str, object] = {"channels": {"temperature": {}}, **feed}
    if not told:
        _feed(**given)
        return
    with pytest.raises(ValueError, match=told):
        _feed(**given)


def test_a_proto_file_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    """As the compiler says it."""
    pytest.importorskip("grpc_tools", reason="the extra proto is not installed")
    file = tmp_path / "bad.proto"
    file.write_text('syntax = "proto3";\nmessage A { sting x = 1; }\n')
    form = {**_FORMAT, "file": str(file), "message": "A"}
    with pytest.raises(ValueError, match=r"can't be compiled: .*bad\.proto:2:.*sting"):
        _feed(format=form, channels={"x": {}})
