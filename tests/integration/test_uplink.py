"""The uplink: from the log to a real store, to other sinks, and to MQTT."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from connectors.logs.configured import consumer_group, topic
from connectors.mqtt.config import MqttConfig
from connectors.sinks.influxdb.sink import InfluxSink
from connectors.sinks.local_store.store import LocalStore
from connectors.sinks.mqtt.sink import MqttResults
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.config.chosen import Chosen
from headgate.core import records as kinds
from headgate.core.in_flight import RecordsInFlight
from headgate.core.ipc import to_ipc
from headgate.core.log import AGGREGATES, ANOMALIES, QUARANTINE, Record, TopicPartition
from headgate.core.records import (
    anomalies,
    anomalies_record,
    health_record,
    states_record,
)
from headgate.core.results import DeviceState, SensorHealth
from headgate.testing.sinks import ODD_NAMES
from streams.forward.timings import ForwardTimings
from tests.mosquitto import Mosquitto
from tests.uplink import (
    START_NS,
    Server,
    aggregates_of,
    answer,
    influxdb_of,
    make_anomaly,
    make_config,
    open_rig,
    until,
    until_done,
)
from tests.victoria import Victoria

pytestmark = pytest.mark.timeout(60)


@pytest.mark.store
async def test_points_reach_a_real_store(victoria: Victoria, tmp_path: Path) -> None:
    """With their tags as they were, however odd the device's name, and once each."""
    config = make_config(tmp_path, victoria.url)
    async with open_rig(config) as rig:
        await rig.put(AGGREGATES, aggregates_of(ODD_NAMES), aggregates_of(ODD_NAMES))
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("a b")]))
        async with rig.forwarding(InfluxSink(influxdb_of(config), rig.telemetry)):
            await until(lambda: rig.written("influxdb", "aggregates") >= 2 * len(ODD_NAMES))
        means = victoria.series("pump_10s_flow_mean")
        peaks = victoria.series("anomalies_peak_score")

        devices = {series["metric"]["device"] for series in means}
        # No backslash stands before a separator on the wire: stores disagree on what that means.
        changed = {"ends\\": "ends\\_", "a\\ x=1 ": "a\\_ x=1 ", "a\\,x=1": "a\\_,x=1"}
        assert devices == {changed.get(name, name) for name in ODD_NAMES}
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
        influxdb = InfluxSink(influxdb_of(rig.config), rig.telemetry)
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("p")]))
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        async with rig.forwarding(influxdb, store) as lane:
            await until(lambda: rig.written("local_store", "aggregates") == 1)
            await until(lambda: "influxdb" in lane.health()[1])
            assert rig.written("influxdb", "anomalies") == 0
        async with (
            server.running(),
            rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)),
        ):
            await until(lambda: len(server.lines) == 2)

        # Anomalies go first.
        assert server.lines[0].startswith("anomalies,")


async def test_a_store_that_is_absent_is_said_once(tmp_path: Path) -> None:
    """A warning at the first try, from the start on; not one for each of the tries after it."""
    async with open_rig(make_config(tmp_path, "http://127.0.0.1:1")) as rig:
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        retries = rig.telemetry.sink_retries.labels("influxdb")._value
        with capture_logs() as logs:
            async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
                await until(lambda: retries.get() >= 3)

    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) == 1
    assert warnings[0]["sink"] == "influxdb"
    assert "refused" in warnings[0]["cause"]


async def test_a_restart_goes_on_where_the_sink_had_acknowledged(tmp_path: Path) -> None:
    """Nothing is left out, and what was committed is not sent again."""
    server = Server()
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        for window in range(3):
            await rig.put(AGGREGATES, aggregates_of(["p"], float(window), window))
            async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
                await until_done(rig, at, window + 1)

    assert len(server.lines) == 3
    assert all(f"flow_mean={window}.0" in line for window, line in enumerate(server.lines))


async def test_a_backlog_does_not_wait_between_batches(tmp_path: Path) -> None:
    """``max_wait`` is for gathering; when there is more already, the next batch follows at once."""
    server = Server()
    async with (
        server.running(),
        open_rig(make_config(tmp_path, server.url, max_points=2, max_wait="1h")) as rig,
    ):
        for window in range(9):
            await rig.put(AGGREGATES, aggregates_of(["p"], window=window))
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
            await until(lambda: len(server.lines) == 9)


async def test_anomalies_without_end_do_not_starve_aggregates(tmp_path: Path) -> None:
    """Aggregates have a turn after each read, however many anomalies wait."""
    server = Server()
    timings = ForwardTimings(read_bytes=5000)
    async with (
        server.running(),
        open_rig(
            make_config(tmp_path, server.url, max_points=1, max_wait="0s"), timings=timings
        ) as rig,
    ):
        for device in range(60):
            await rig.put(ANOMALIES, anomalies_record([make_anomaly(f"p{device}")]))
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
            await until(lambda: len(server.lines) == 61)

    kinds = [line.partition(",")[0] for line in server.lines]
    assert kinds[0] == "anomalies"
    assert kinds.index("pump_10s") < 30


async def test_what_retention_deleted_unread_is_counted(tmp_path: Path) -> None:
    """A sink that was away too long goes on with the oldest record there is."""
    config = make_config(tmp_path, "http://127.0.0.1:1")
    async with open_rig(config) as rig:
        at = TopicPartition(topic(config, AGGREGATES), 0)
        group = consumer_group(config, "forward-local_store")
        for window in range(6):
            await rig.put(AGGREGATES, aggregates_of(["p"], window=window))
        await rig.log.commit(group, {at: 1})
        with sqlite3.connect(config.log_path) as database:
            database.execute(
                "DELETE FROM records WHERE id IN (SELECT id FROM records ORDER BY id LIMIT 4)"
            )
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        async with rig.forwarding(store):
            await until_done(rig, at, 6, "local_store")
        missed = rig.telemetry.missed_records.labels("local_store")._value.get()

    assert missed == 3
    assert rig.written("local_store", "aggregates") == 2


async def test_a_topic_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    """A committed offset beyond the end belongs to a topic that is gone."""
    config = make_config(tmp_path, "http://127.0.0.1:1")
    async with open_rig(config) as rig:
        at = TopicPartition(topic(config, AGGREGATES), 0)
        await rig.log.commit(consumer_group(config, "forward-local_store"), {at: 1000})
        await rig.put(AGGREGATES, aggregates_of(["p"]))
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        async with rig.forwarding(store):
            await until(lambda: rig.written("local_store", "aggregates") == 1)


async def test_the_backlog_and_its_age_are_measured(tmp_path: Path) -> None:
    """In records, and by the oldest of them; both are 0 once the sink has them all."""
    server = Server()
    server.script = [answer(503, **{"Retry-After": "1"})]
    async with server.running(), open_rig(make_config(tmp_path, server.url)) as rig:
        records = rig.telemetry.backlog_records.labels("influxdb")._value
        age = rig.telemetry.backlog_age.labels("influxdb")._value
        await rig.put(AGGREGATES, aggregates_of(["p"]), aggregates_of(["q"]))
        await asyncio.sleep(0.05)
        async with rig.forwarding(InfluxSink(influxdb_of(rig.config), rig.telemetry)):
            await until(lambda: records.get() == 2 and age.get() > 0)
            assert 0.03 < age.get() < 20
            await until(lambda: records.get() == 0)
            assert age.get() == 0


async def test_a_record_that_is_none_goes_to_quarantine(tmp_path: Path) -> None:
    """What can't be read does not hold up what comes after it."""
    async with open_rig(make_config(tmp_path, "http://127.0.0.1:1")) as rig:
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        at = TopicPartition(topic(rig.config, AGGREGATES), 0)
        await rig.put(AGGREGATES, Record(b"rubbish"), aggregates_of(["p"]))
        async with rig.forwarding(store):
            await until(lambda: rig.written("local_store", "aggregates") == 1)

        assert await rig.quarantined() == [("bad_record", "rubbish")]
        assert await rig.log.committed(consumer_group(rig.config, "forward-local_store"), at) == 2


async def test_a_record_with_the_right_columns_and_nothing_in_them_goes_to_quarantine(
    tmp_path: Path,
) -> None:
    """Somebody else may write to the topics; the lane outlives it."""
    table = pa.Table.from_pylist([{"device": "p"}], schema=anomalies._ANOMALIES)
    value = to_ipc(anomalies._ANOMALIES, [column.combine_chunks() for column in table.columns])
    async with open_rig(make_config(tmp_path, "http://127.0.0.1:1")) as rig:
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        await rig.put(ANOMALIES, Record(value), anomalies_record([make_anomaly("p")]))
        async with rig.forwarding(store):
            await until(lambda: rig.written("local_store", "anomalies") == 1)
        records = await rig.log.read(TopicPartition(topic(rig.config, QUARANTINE), 0), 0)

    (message,) = kinds.decode_messages(records[0].value)
    assert (message.reason, message.payload) == ("bad_record", value)


@pytest.mark.mosquitto
async def test_anomalies_go_back_to_mqtt_retained(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A screen that connects later still sees the last state of each device."""
    config = make_config(tmp_path, "http://127.0.0.1:1")
    config = config.model_copy(
        update={"source": {"mqtt": Chosen("mqtt", MqttConfig(port=mosquitto.port))}}
    )
    async with open_rig(config) as rig:
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("p/1 +#")]))
        await rig.put(
            ANOMALIES, anomalies_record([make_anomaly("p/1 +#", is_open=False, revision=1)])
        )
        health = SensorHealth("f", "p/1 +#", "t/1", 20, "stuck", 10, 4.5, math.nan)
        tags = (("kind", ""), ("model", "a/b"))
        in_place = [replace(health, tags=tags), replace(health, tags=(("line", "z"),))]
        await rig.put(ANOMALIES, health_record([health, *in_place]))
        await rig.put(ANOMALIES, anomalies_record([replace(make_anomaly("p/1 +#"), tags=tags)]))
        state = DeviceState("f", "p/1 +#", 31, "offline", "silence", 30)
        await rig.put(ANOMALIES, states_record([replace(state, state="online", time_ns=9), state]))
        other = replace(state, feed="g", state="online", cause="reading")
        await rig.put(ANOMALIES, states_record([other]))
        async with rig.forwarding(MqttResults(config, rig.clock, rig.telemetry)):
            await until(lambda: rig.written("mqtt", "anomalies") == 9)
    listening = await asyncio.create_subprocess_exec(
        "mosquitto_sub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-C", "7", "-v",
        "-t", "headgate/#", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(listening.communicate(), 10)
    said = {}
    for line in output.decode().splitlines():
        name, _, payload = line.partition(" {")
        said[name.removeprefix("headgate/gw-1/")] = json.loads("{" + payload)
    anomaly, sensor = said["anomalies/p%2F1 %2B%23"], said["sensor_health/p%2F1 %2B%23/t%2F1"]

    assert (anomaly["device"], anomaly["is_open"], anomaly["revision"]) == ("p/1 +#", False, 1)
    assert (sensor["channel"], sensor["state"], sensor["time_ns"]) == ("t/1", "stuck", 20)
    assert "tags" not in anomaly
    assert said["device_state/g/p%2F1 %2B%23"]["state"] == "online"
    assert said["device_state/f/p%2F1 %2B%23"] == {
        "device": "p/1 +#", "feed": "f", "gateway": "gw-1", "time_ns": 31, "seen_ns": 30,
        "state": "offline", "is_online": False, "cause": "silence",
    }  # fmt: skip
    assert said["anomalies/p%2F1 %2B%23//a%2Fb"]["tags"] == {"kind": "", "model": "a/b"}
    assert said["anomalies/p%2F1 %2B%23//a%2Fb"]["device_model"] == "a/b"
    assert said["sensor_health/p%2F1 %2B%23/t%2F1//a%2Fb"]["tags"] == dict(tags)
    assert said["sensor_health/p%2F1 %2B%23/t%2F1/z"]["line"] == "z"


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


async def test_a_record_that_ends_each_process_goes_to_quarantine_after_three(
    tmp_path: Path,
) -> None:
    """A native crash leaves a note of what was in hand; the records behind it go on."""
    async with open_rig(make_config(tmp_path, "http://127.0.0.1:1")) as rig:
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("bad")]))
        await rig.put(ANOMALIES, anomalies_record([make_anomaly("good")]))
        path = rig.config.gateway.data_dir / "forward-local_store.in-flight"
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):  # each dies with the first record of partition 0 in hand
            dying = RecordsInFlight(path)
            dying.open()
            dying.take({0: (0, 1)}, "points for anomalies")
        store = LocalStore(tmp_path / "p.db", 10**18, 10**9, rig.clock, rig.telemetry)
        async with rig.forwarding(store):
            await until(lambda: rig.written("local_store", "anomalies") == 1)
        records = await rig.log.read(TopicPartition(topic(rig.config, QUARANTINE), 0), 0)

    (message,) = kinds.decode_messages(records[0].value)
    assert (message.reason, message.detail) == (
        "poison",
        "ends the process in: points for anomalies",
    )
