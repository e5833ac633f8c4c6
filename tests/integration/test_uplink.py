"""The uplink: from the log to a real store, to other sinks, and to MQTT."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.influxdb.sink import InfluxSink
from connectors.local_store.store import LocalStore
from connectors.mqtt.results import MqttResults
from connectors.points import Kind, Point
from connectors.sink import Refused
from headgate.core.log import AGGREGATES, ANOMALIES, Record
from headgate.core.wire import (
    anomalies_record,
)
from tests.mosquitto import Mosquitto
from tests.uplink import (
    ODD_NAMES,
    START_NS,
    Server,
    aggregates_of,
    make_anomaly,
    make_config,
    open_rig,
    until,
)
from tests.victoria import Victoria

pytestmark = pytest.mark.timeout(60)


@pytest.mark.store
async def test_points_reach_a_real_store(victoria: Victoria, tmp_path: Path) -> None:
    """With their tags as they were, however odd the device's name, and once each."""
    config = make_config(tmp_path, victoria.url)
    assert config.influxdb is not None
    async with open_rig(config) as rig:
        await rig.put(AGGREGATES, aggregates_of(ODD_NAMES), aggregates_of(ODD_NAMES))
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("a b")]))
        async with rig.forwarding(InfluxSink(config.influxdb, rig.telemetry)):
            await until(lambda: rig.written("influxdb", "aggregates") >= 2 * len(ODD_NAMES))
        means = victoria.series("pump_10s_flow_mean")
        peaks = victoria.series("anomalies_peak_score")

        devices = {series["metric"]["device"] for series in means}
        # A name can't end in a backslash on the wire: there it would escape what follows.
        assert devices == {*(name for name in ODD_NAMES if name != "ends\\"), "ends\\_"}
        assert all(series["metric"]["gateway"] == "gw-1" for series in means)
        assert all(series["metric"]["line"] == "l 1" for series in means)
        assert {tuple(series["values"]) for series in means} == {(1.5,)}
        assert {tuple(series["timestamps"]) for series in means} == {(START_NS // 10**6,)}
        assert [series["metric"]["device"] for series in peaks] == ["a b"]
        assert await rig.quarantined() == []


async def test_a_store_that_is_absent_or_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    """The local store goes on, the lane stops in time, and the uplink follows when it is back."""
    server = Server()
    async with server.running():
        pass  # its address, with nobody there
    async with open_rig(make_config(tmp_path, server.url)) as rig:
        assert rig.config.influxdb is not None
        influxdb = InfluxSink(rig.config.influxdb, rig.telemetry)
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("p")]))
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        async with rig.forwarding(influxdb, store) as lane:
            await until(lambda: rig.written("local_store", "aggregates") == 1)
            await until(lambda: "influxdb" in lane.health()[1])
            assert rig.written("influxdb", "anomalies") == 0
        async with (
            server.running(),
            rig.forwarding(InfluxSink(rig.config.influxdb, rig.telemetry)),
        ):
            await until(lambda: len(server.lines) == 2)

        # Anomalies go first.
        assert server.lines[0].startswith("anomalies,")


async def test_a_record_that_is_none_goes_to_quarantine(tmp_path: Path) -> None:
    """What can't be read does not hold up what comes after it."""
    async with open_rig(make_config(tmp_path, "http://127.0.0.1:1")) as rig:
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        await rig.put(AGGREGATES, Record(b"rubbish"), aggregates_of(["p"]))
        async with rig.forwarding(store):
            await until(lambda: rig.written("local_store", "aggregates") == 1)

        assert await rig.quarantined() == [("bad_record", "rubbish")]


@pytest.mark.mosquitto
async def test_anomalies_go_back_to_mqtt_retained(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A screen that connects later still sees the last state of each device."""
    config = make_config(tmp_path, "http://127.0.0.1:1")
    config = config.model_copy(
        update={"mqtt": config.mqtt.model_copy(update={"port": mosquitto.port})}
    )
    async with open_rig(config) as rig:
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("p/1 +#")]))
        await rig.put(
            ANOMALIES, anomalies_record([make_anomaly("p/1 +#", is_open=False, revision=1)])
        )
        async with rig.forwarding(MqttResults(config, rig.clock, rig.telemetry)):
            await until(lambda: rig.written("mqtt", "anomalies") == 2)
    listening = await asyncio.create_subprocess_exec(
        "mosquitto_sub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-C", "1", "-v",
        "-t", "headgate/#", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(listening.communicate(), 10)
    name, _, payload = output.decode().partition(" {")
    content = json.loads("{" + payload)

    assert name == "headgate/gw-1/anomalies/p%2F1 %2B%23"
    assert (content["device"], content["is_open"], content["revision"]) == ("p/1 +#", False, 1)


class _Slow:
    """A sink that never answers."""

    name = "slow"
    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")
    max_points = 10
    max_wait_s = 0.0

    async def start(self) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        """Hang."""
        await asyncio.Event().wait()
        return []


async def test_a_sink_that_never_answers_slows_no_other(tmp_path: Path) -> None:
    """Each sink has its own way through the log."""
    async with open_rig(make_config(tmp_path, "http://127.0.0.1:1")) as rig:
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        async with rig.forwarding(_Slow(), store):
            for window in range(5):
                await rig.put(AGGREGATES, aggregates_of(["p"], window=window))
            await until(lambda: rig.written("local_store", "aggregates") == 5)
