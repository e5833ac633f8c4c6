"""The plant that all benchmarks measure with: its devices, messages, configuration and model.

A message is one JSON object with an event time and one number for each channel, all of fixed
width, so that the messages of a thousand devices are one array of bytes and only digits change
from one moment to the next. A healthy device follows a common slow cycle with a phase of its own
and a little noise; a faulty one stands a little too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.data import TrainingData
from models.training.train import TrainSettings, train

#: Length of a device's cycle, in its own steps, and how far it swings and scatters around 50.
_CYCLE_STEPS = 120
_LEVEL, _SWING, _NOISE = 50.0, 8.0, 0.15

#: A faulty device stands so much too high: not enough for a spike, plenty for the model.
_FAULT = 3.0

#: What the model is trained on: so many devices, and so many steps of each past the first window.
_TRAINING_DEVICES, _TRAINING_STEPS = 20, 600

#: A value has this many decimals: 2 digits before the point and 3 behind it.
_SCALE = 1000

_TOPIC = "plant/line1/d{device:06d}/telemetry"


@dataclass(frozen=True, slots=True)
class Plant:
    """So many devices with so many channels each, one message every ``period_ms``.

    Attributes:
        devices: Number of devices.
        channels: Channels of each.
        period_ms: Event time between two messages of a device, ms.
    """

    devices: int = 1000
    channels: int = 3
    period_ms: int = 50

    @property
    def names(self) -> list[str]:
        """The channels' names."""
        return [f"c{number:02d}" for number in range(self.channels)]

    def values(self, steps: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
        """float64[devices, steps, channels]: what the devices measure at these steps."""
        rng = np.random.default_rng(seed)
        device = np.arange(self.devices)[:, None, None]
        channel = np.arange(self.channels)
        phase = 2 * np.pi * (steps[:, None] / _CYCLE_STEPS + device / 7.3 + channel / 16)
        noise = rng.normal(0, _NOISE, (self.devices, len(steps), self.channels))
        return _LEVEL + _SWING * np.sin(phase) + noise


class Packets:
    """MQTT PUBLISH packets of a plant, made a step at a time by changing digits.

    Args:
        plant: Whose messages.
        first: Row of the first device.
        count: How many devices from there.
        qos: 0 or 1.
    """

    def __init__(self, plant: Plant, first: int, count: int, *, qos: int = 0) -> None:
        self._qos = qos
        body = '{"t":0000000000000' + "".join(f',"{name}":00.000' for name in plant.names) + "}"
        packets = [
            _publish(_TOPIC.format(device=device), body.encode(), qos)
            for device in range(first, first + count)
        ]
        self._bytes = np.frombuffer(b"".join(packets), np.uint8).reshape(count, -1).copy()
        start = len(packets[0]) - len(body)
        self._time_at = start + len('{"t":')
        self._mid_at = start - 2
        pitch = len(f',"{plant.names[0]}":00.000')
        offset = start + len('{"t":0000000000000') + len(f',"{plant.names[0]}":')
        digits = np.array([0, 1, 3, 4, 5])
        self._digit_at = np.concatenate(
            [offset + pitch * number + digits for number in range(plant.channels)]
        )
        # One cycle, which is then repeated.
        steps = np.arange(_CYCLE_STEPS)
        whole = Plant(count, plant.channels, plant.period_ms)
        values = whole.values(steps, seed=first)
        # [step, device, digits of all channels]
        self._pool, self._faulty_pool = _digits(values), _digits(values + _FAULT)
        self._mid = 0

    @property
    def packet_bytes(self) -> int:
        """Length of one packet."""
        return int(self._bytes.shape[1])

    def at(self, step: int, time_ms: int, faulty: NDArray[np.intp] | None = None) -> bytes:
        """One message of every device.

        Args:
            step: Which values; rising by one a message.
            time_ms: Event time of all of them.
            faulty: Devices (of these) that are faulty.
        """
        packets = self._bytes
        text = np.frombuffer(f"{time_ms:013d}".encode(), np.uint8)
        packets[:, self._time_at : self._time_at + 13] = text
        packets[:, self._digit_at] = self._pool[step % len(self._pool)]
        if faulty is not None and len(faulty):
            digits = self._faulty_pool[step % len(self._pool)]
            packets[faulty[:, None], self._digit_at] = digits[faulty]
        if self._qos:
            count = len(packets)
            mids = (self._mid + np.arange(count)) % 65535 + 1
            self._mid = (self._mid + count) % 65535
            packets[:, self._mid_at] = mids >> 8
            packets[:, self._mid_at + 1] = mids & 0xFF
        return packets.tobytes()


def _digits(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8[steps, devices, 5 * channels]: the values' digits as text."""
    whole = np.round(values * _SCALE).astype(np.int64).transpose(1, 0, 2)
    powers = 10 ** np.arange(4, -1, -1)
    digits = (whole[..., None] // powers) % 10 + ord("0")
    return digits.reshape(*whole.shape[:2], -1).astype(np.uint8)


def _publish(topic: str, body: bytes, qos: int) -> bytes:
    """An MQTT 3.1.1 PUBLISH packet (section 3.3 of the standard), packet id 0 for QoS 1."""
    name = topic.encode()
    content = len(name).to_bytes(2, "big") + name + (b"\0\0" if qos else b"") + body
    length = len(content)
    header = bytearray([0x30 | qos << 1])
    while True:
        length, digit = divmod(length, 128)
        header.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(header) + content


def configuration(
    plant: Plant,
    *,
    mqtt_port: int,
    log_url: str,
    sink_url: str,
    token_file: Path,
    packages: list[Path],
    qos: int = 0,
    partitions: int = 4,
    extra: str = "",
    cleaning: str = "range = [0, 98], spike = { window = 11, threshold = 8.0, min_scale = 1.0 }",
) -> str:
    """Text of a gateway's configuration for this plant, less ``[gateway]`` and ``[console]``."""
    models = ", ".join(f'"m{number}"' for number in range(len(packages)))
    channels = "\n".join(f'{name} = {{ unit = "C", {cleaning} }}' for name in plant.names)
    sections = "\n".join(
        f'[model.m{number}]\npackage = "{package}"' for number, package in enumerate(packages)
    )
    return f"""
[mqtt]
host = "127.0.0.1"
port = {mqtt_port}
publish_anomalies = false
[feed.plant]
topic = "plant/{{line}}/{{device}}/telemetry"
qos = {qos}
period = "{plant.period_ms}ms"
grace = "1s"
models = [{models}]
aggregates = [{{ window = "10s" }}]
time = {{ path = "t", unit = "ms" }}
[feed.plant.channels]
{channels}
{sections}
[log]
url = "{log_url}"
partitions = {partitions}
[influxdb]
url = "{sink_url}"
org = "bench"
bucket = "bench"
token_file = "{token_file}"
{extra}
"""


def train_model(
    plant: Plant, folder: Path, *, window: int | None = 64, hop: int = 1, kind: str = "pca"
) -> Path:
    """Train a model of some kind on healthy values of this plant; the package's folder.

    With ``headgate model train``'s own defaults, so that a run costs what it costs a user.
    """
    few = Plant(min(plant.devices, _TRAINING_DEVICES), plant.channels, plant.period_ms)
    steps = np.arange((window or 0) + _TRAINING_STEPS, dtype=np.int64)
    values = few.values(steps, seed=1)
    data = TrainingData(
        names=tuple(plant.names),
        time_ns=np.tile(steps * plant.period_ms * 1_000_000, few.devices),
        device=np.repeat(np.arange(few.devices, dtype=np.int32), len(steps)),
        values=values.reshape(-1, plant.channels),
    )
    units = dict.fromkeys(plant.names, "C")
    settings = TrainSettings(kind=kind, window=window, hop=hop)
    train("bench", "plant", data, units, folder, settings)
    return folder
