"""What reading each format costs beside JSON: the same readings, a thousand messages at a time."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import numpy as np

from connectors.formats.decoder import FeedDecoder
from connectors.formats.protobuf.component import PROTOBUF
from connectors.formats.protobuf.schema import message_class
from connectors.formats.sparkplug.schema import Payload
from headgate.config.feed import FeedConfig
from headgate.config.preset import with_preset
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9
_DEVICES, _MESSAGES = 100, 1000
_CHANNELS = ("flow", "pressure", "temperature")

#: Those that are to be no slower than so many times JSON.
LEAST = {
    **dict.fromkeys(("msgpack", "cbor", "line_protocol", "value"), 0.6),
    **dict.fromkeys(("sparkplug", "sparkplug_preset"), 0.4),
}

#: Formats that say themselves where their times are.
_OWN_TIMES = ("line_protocol", "senml", "senml_cbor")

#: Of Sparkplug, the numbers of data types.
_DOUBLE, _INT64 = 10, 4

#: And of sequence numbers, how many there are.
_NUMBERS = 256

#: A message: its time in ms, and a value a channel.
_Make = Callable[[int, Mapping[str, float]], bytes]


def _object(time_ms: int, values: Mapping[str, float]) -> dict[str, object]:
    return {"t": time_ms, **values}


def _line(time_ms: int, values: Mapping[str, float]) -> bytes:
    fields = ",".join(f"{name}={value!r}" for name, value in values.items())
    return f"pump,line=a {fields} {time_ms}000000".encode()


def _pack(time_ms: int, values: Mapping[str, float]) -> list[dict[str, object]]:
    """A pack of SenML: what is the same of all records stands in the first."""
    first, *others = [{"n": name, "v": value} for name, value in values.items()]
    return [{"bn": "urn:dev:ow:10e2073a01080063:", "bt": time_ms / 1000, **first}, *others]


def _cbor_pack(time_ms: int, values: Mapping[str, float]) -> bytes:
    """The same in CBOR, where keys are numbers."""
    labels = {"bn": -2, "bt": -3, "n": 0, "v": 2}
    pack = _pack(time_ms, values)
    return cbor2.dumps([{labels[key]: value for key, value in each.items()} for each in pack])


def _csv(time_ms: int, values: Mapping[str, float]) -> bytes:
    return ",".join(map(repr, (time_ms, *values.values()))).encode()


_BY_FORMAT: dict[str, tuple[object, _Make]] = {
    "json": ("json", lambda *of: json.dumps(_object(*of)).encode()),
    "msgpack": ("msgpack", lambda *of: msgspec.msgpack.encode(_object(*of))),
    "cbor": ("cbor", lambda *of: cbor2.dumps(_object(*of))),
    "line_protocol": ("line_protocol", _line),
    "senml": ("senml", lambda *of: json.dumps(_pack(*of)).encode()),
    "senml_cbor": ("senml", _cbor_pack),
    "csv": ({"type": "csv", "columns": ["t", *_CHANNELS]}, _csv),
    "binary": (
        {
            "type": "binary",
            "fields": {
                "t": {"at": 0, "type": "u64"},
                **{name: {"at": 8 + 8 * n, "type": "f64"} for n, name in enumerate(_CHANNELS)},
            },
        },
        lambda t, values: struct.pack(">Q3d", t, *values.values()),
    ),
}


class _Reading:
    """A decoder, and messages for it."""

    def __init__(
        self, feed: Mapping[str, object], topics: Sequence[bytes], payloads: Sequence[bytes]
    ) -> None:
        config = FeedConfig.model_validate(dict(feed))
        self._decoder = FeedDecoder("feed", config, ChannelTable(), IngestConfig())
        self._topics, self._payloads = topics, payloads
        self._arrival_ns = np.full(len(payloads), _NOW_NS)

    def hear(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> None:
        """Decode what comes once, before all runs."""
        self._decoder.decode(topics, payloads, np.full(len(payloads), _NOW_NS))

    def run(self) -> tuple[float, int]:
        """CPU time that it took, s, and how many readings there were."""
        started = time.process_time()
        decoded = self._decoder.decode(self._topics, self._payloads, self._arrival_ns)
        spent = time.process_time() - started
        if decoded.refused:
            raise RuntimeError(f"a good message was refused: {decoded.refused[0][1]}")
        return spent, len(decoded.value)


def _readings() -> dict[str, _Reading]:
    chance = np.random.default_rng(1)
    values = chance.normal(20, 5, (_MESSAGES, len(_CHANNELS))).round(3).tolist()
    messages: list[tuple[int, dict[str, Any]]] = [
        (1_790_000_000_000 + n, dict(zip(_CHANNELS, row, strict=True)))
        for n, row in enumerate(values)
    ]
    devices = [b"plant/d%d" % (n % _DEVICES) for n in range(_MESSAGES)]
    channels: dict[str, object] = {name: {} for name in _CHANNELS}
    found = {}
    for name, (form, make) in _BY_FORMAT.items():
        feed: dict[str, object] = {"topic": "plant/{device}", "format": form, "channels": channels}
        if name not in _OWN_TIMES:
            feed["time"] = {"path": "t"}
        found[name] = _Reading(feed, devices, [make(*message) for message in messages])
    found["value"] = _Reading(
        {"topic": "plant/{device}/{channel}", "format": "value", "channels": channels},
        [b"%s/%s" % (at, _CHANNELS[n % 3].encode()) for n, at in enumerate(devices)],
        [b"%r" % row[0] for row in values],
    )
    found["sparkplug"] = _sparkplug(messages, _sparkplug_feed(channels))
    found["sparkplug_data"] = _sparkplug_data(messages, _sparkplug_feed(channels))
    preset = with_preset({"preset": "sparkplug"})
    found["sparkplug_preset"] = _sparkplug(messages, preset)
    found["sparkplug_preset_data"] = _sparkplug_data(messages, preset)
    found["protobuf"] = _protobuf(messages, devices)
    return found


def _protobuf(
    messages: Sequence[tuple[int, Mapping[str, float]]], topics: Sequence[bytes]
) -> _Reading:
    """The schema that the format's own example has."""
    (example, *_) = PROTOBUF.examples
    schema: dict[str, Any] = {**example.feed}["format"]
    report = message_class(Path(schema["file"]), schema["message"])
    payloads = []
    for time_ms, values in messages:
        flow, pressure, temperature = values.values()
        made = report(temperature=temperature, pressure=pressure, levels={"oil": flow})
        made.at.FromMilliseconds(time_ms)
        payloads.append(made.SerializeToString())
    channels = {"temperature": {}, "pressure": {}, "flow": {"path": "levels.oil"}}
    feed = {"topic": "plant/{device}", "format": schema, "channels": channels}
    return _Reading({**feed, "time": {"path": "at"}}, topics, payloads)


def _sparkplug(
    messages: Sequence[tuple[int, Mapping[str, float]]], feed: Mapping[str, object]
) -> _Reading:
    """Births of as many nodes, and then data with aliases; each run begins anew."""
    topics = [b"spBv1.0/plant/NBIRTH/d%d" % node for node in range(_DEVICES)]
    payloads = [_birth(*messages[0])] * _DEVICES
    for number, message in enumerate(messages):
        topics.append(b"spBv1.0/plant/NDATA/d%d" % (number % _DEVICES))
        payloads.append(_data((1 + number // _DEVICES) % _NUMBERS, *message))
    return _Reading(feed, topics, payloads)


def _sparkplug_data(
    messages: Sequence[tuple[int, Mapping[str, float]]], feed: Mapping[str, object]
) -> _Reading:
    """Data alone, of some nodes with a whole round of numbers each: so one run follows another."""
    nodes = range(len(messages) // _NUMBERS + 1)
    topics, payloads = [], []
    for number in range(_NUMBERS * len(nodes)):
        topics.append(b"spBv1.0/plant/NDATA/d%d" % (number % len(nodes)))
        message = messages[number % len(messages)]
        payloads.append(_data((1 + number // len(nodes)) % _NUMBERS, *message))
    births = [b"spBv1.0/plant/NBIRTH/d%d" % node for node in nodes]
    reading = _Reading(feed, topics, payloads)
    reading.hear(births, [_birth(*messages[0])] * len(births))
    return reading


def _birth(first_ms: int, first: Mapping[str, float]) -> bytes:
    """The birth of a node with these values."""
    birth = Payload(timestamp=first_ms, seq=0)
    birth.metrics.add(name="bdSeq", datatype=_INT64, long_value=0, timestamp=first_ms)
    for alias, (name, value) in enumerate(first.items()):
        birth.metrics.add(
            name=name, alias=alias, datatype=_DOUBLE, double_value=value, timestamp=first_ms - 1
        )
    content: bytes = birth.SerializeToString()
    return content


def _data(seq: int, time_ms: int, values: Mapping[str, float]) -> bytes:
    """Values of a node by their aliases."""
    data = Payload(timestamp=time_ms, seq=seq)
    for alias, value in enumerate(values.values()):
        data.metrics.add(alias=alias, double_value=value, timestamp=time_ms)
    content: bytes = data.SerializeToString()
    return content


def _sparkplug_feed(channels: Mapping[str, object]) -> dict[str, object]:
    return {"topic": "spBv1.0/#", "format": "sparkplug", "channels": channels}


def rates(*, seconds: float) -> dict[str, dict[str, float]]:
    """By format, readings a second of CPU time, and how many times JSON's that is.

    They take turns, so that whatever else the machine does is the same for all.

    Args:
        seconds: How long all are measured together.
    """
    readings = _readings()
    spent: dict[str, list[float]] = {name: [] for name in readings}
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(spent["json"]) < 5:
        for name, reading in readings.items():
            # What another has left in the caches costs the first run.
            reading.run()
            took, count = reading.run()
            spent[name].append(took / count)
    median = {name: float(np.median(each)) for name, each in spent.items()}
    return {
        name: {"readings_per_s": 1 / each, "x_json": median["json"] / each}
        for name, each in median.items()
    }
