"""Readings of the gateway itself in an ingest lane, whatever becomes of brokers and clocks."""

from __future__ import annotations

import json
from pathlib import Path

from connectors.logs.configured import topic
from connectors.sources.gateway.file import GaugesFile, Seen
from headgate.config.schema import Config
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import READINGS, TopicPartition
from headgate.core.records import decode_readings
from headgate.demo.processes import free_port
from tests.integration.mqtt_rig import Rig, running, until

_YEAR_S = 365 * 86_400


class _Wrong(SystemClock):
    """A clock that was never set."""

    behind_s = 10 * _YEAR_S

    def wall_ns(self) -> int:
        return super().wall_ns() - self.behind_s * NS_PER_S


async def test_its_readings_are_in_the_log_though_no_broker_is_there(tmp_path: Path) -> None:
    """With the time at which they came, by a clock that is right."""
    clock = SystemClock()
    async with running(_config(tmp_path), is_ready=False, clock=clock) as rig:
        before_ns = clock.wall_ns()
        await _see(rig, clock, disk_free=12.5, clock_set=1)
        (found,) = await _readings(rig, Quality.ARRIVAL_TIME)

        assert not rig.lane.health()[0], "the broker is away"
        assert rig.telemetry.told()["clock"] == {"is_set": True}
    assert found["disk_free"] == 12.5
    assert before_ns <= found["time"] <= clock.wall_ns()


async def test_while_no_clock_is_set_their_times_are_estimates(tmp_path: Path) -> None:
    """As those of other readings without a time are; and that is seen."""
    clock = _Wrong()
    async with running(_config(tmp_path), is_ready=False, clock=clock) as rig:
        await _see(rig, clock, clock_set=0)
        (found,) = await _readings(rig, Quality.ARRIVAL_TIME | Quality.ESTIMATED_TIME)

        assert rig.telemetry.told()["clock"] == {"is_set": False}
    assert found["time"] > clock.wall_ns() + _YEAR_S * NS_PER_S


def _config(folder: Path) -> Config:
    return Config.model_validate(
        {
            "gateway": {"name": "g", "data_dir": str(folder)},
            "mqtt": {"port": free_port()},
            "log": {"partitions": 1},
            "local_store": {},
            "source": {"gateway": {"type": "gateway"}},
            "feed": {
                "f": {"preset": "gateway", "source": "gateway"},
                "pump": {"topic": "in/{device}", "channels": {"x": {}}},
            },
        }
    )


async def _see(rig: Rig, clock: SystemClock, **channels: float) -> None:
    """Have the gateway looked at, once the source is there, and wait for what comes of it."""
    gateway = next(each for each in rig.lane.intakes if each.name == "gateway")
    await until(lambda: not gateway.trouble)
    payload = json.dumps({"gateway": "g", **channels}).encode()
    GaugesFile(rig.config.gateway.data_dir).write(Seen(clock.monotonic_ns(), payload))
    await rig.has(len(channels))


async def _readings(rig: Rig, quality: Quality) -> list[dict[str, float]]:
    """Each record's channels and time, which all have this quality."""
    at = TopicPartition(topic(rig.config, READINGS), 0)
    found = []
    for record in await rig.log.read(at, 0, max_bytes=1 << 20):
        channels = ChannelTable()
        batch = decode_readings(record.value, channels)
        assert {*batch.quality.tolist()} == {int(quality)}
        names = [channels.channels[row].field for row in batch.channel.tolist()]
        found.append(
            {**dict(zip(names, batch.value.tolist(), strict=True)), "time": int(batch.time_ns[0])}
        )
    return found
