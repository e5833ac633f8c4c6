"""The benchmark's messages are what a gateway with the benchmark's configuration understands."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks import in_process
from benchmarks.end_to_end import delays_ms
from benchmarks.load import shares
from benchmarks.plant import Packets, Plant, configuration
from connectors.formats.decoder import FeedDecoder
from connectors.mqtt.packets import Publishes, take_publishes
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.errors import PermanentError

_NOW_NS = 1_800_000_000 * 10**9
_TIME_MS = 1_700_000_000_123


def _config(plant: Plant) -> Config:
    text = configuration(
        plant,
        mqtt_port=1,
        log_url="sqlite:///log.db",
        sink_url="http://127.0.0.1:1",
        token_file=Path("token"),
        packages=[],
    )
    return Config.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("qos", [0, 1])
def test_packets_hold_what_the_devices_measure(qos: int) -> None:
    """Every device's channels, at the time that was asked for, in range, and a packet id each."""
    plant = Plant(devices=7, channels=2)
    packets = Packets(plant, 0, 7, qos=qos)
    data = b"".join(packets.at(step, _TIME_MS) for step in range(2))
    found = Publishes()

    assert take_publishes(data, 0, found, is_v5=False) == len(data)
    assert found.packet_ids == ([*range(1, 15)] if qos else [])
    table = ChannelTable()
    config = _config(plant)
    decoder = FeedDecoder("plant", config.feed["plant"], table, config.ingest)
    decoded = decoder.decode(found.topics, found.payloads, np.full(14, _NOW_NS))
    assert not decoded.refused
    assert set(decoded.time_ns.tolist()) == {_TIME_MS * 10**6}
    assert len(decoded.value) == 28
    assert decoded.value.min() > 40
    assert decoded.value.max() < 60
    assert len(set(decoded.value.tolist())) > 20


def test_a_faulty_device_stands_higher() -> None:
    """Only the devices that are said to be faulty."""
    plant = Plant(devices=4, channels=1)
    packets = Packets(plant, 0, 4)
    healthy, faulty = (packets.at(5, _TIME_MS, np.array(rows)) for rows in ([], [2]))
    values = []
    for data in (healthy, faulty):
        found = Publishes()
        take_publishes(data, 0, found, is_v5=False)
        values.append([float(payload[-7:-1]) for payload in found.payloads])

    assert values[1][2] == pytest.approx(values[0][2] + 3, abs=0.002)
    assert values[0][:2] + values[0][3:] == values[1][:2] + values[1][3:]


def test_delays_count_from_the_message_that_opened_the_anomaly(tmp_path: Path) -> None:
    """By the device's connection and the anomaly's step; none at all is an error."""
    plant = Plant(devices=4, channels=1, period_ms=10)
    times = tmp_path / "times.npz"
    np.savez(times, published_ms=[[1000.0, 1010.0], [1005.0, 1015.0]], first_step=100)

    assert shares(4, 2) == [(0, 2), (2, 2)]
    found = delays_ms([(1, 1_010_000_000, 1_030_000_000)], times, plant)
    assert found["p50"] == 20
    assert delays_ms([(3, 1_000_000_000, 1_008_000_000)], times, plant)["max"] == 3
    with pytest.raises(PermanentError, match="no anomaly"):
        delays_ms([], times, plant)


def test_the_way_in_one_process_passes_every_stage(tmp_path: Path) -> None:
    """Each of them takes its time, and windows are scored."""
    plant = Plant(devices=5, channels=2)
    way = in_process.Way(plant, in_process.config_of(plant, tmp_path, window=8), None, None)

    async def work() -> list[dict[str, float]]:
        return [await way.run(4) for _ in range(4)]

    spent = asyncio.run(work())[-1]
    assert {"split", "decode", "encode", "decode record", "clean", "frame", "infer"} <= set(spent)
    assert all(seconds > 0 for seconds in spent.values())
