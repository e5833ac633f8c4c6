"""Several brokers at once, against real ones: each by itself, and none by another's leave."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.logs.configured import topic
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.connection import Connection
from connectors.mqtt.session import tell_left_behind
from connectors.replay.publisher import Publisher
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.heartbeat import Heartbeat
from headgate.core.log import READINGS, TopicPartition
from headgate.core.records import decode_readings
from headgate.core.telemetry import Telemetry
from headgate.inspect.probe import probe
from streams.process.hearing import Hearing
from tests.integration.mqtt_rig import Rig, running, until
from tests.integration.mqtt_rig import make_config as _mqtt_config
from tests.mosquitto import MakeMosquitto, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]


def _config(
    folder: Path,
    hall: Mosquitto,
    yard: Mosquitto,
    feeds: dict[str, dict[str, object]] | None = None,
) -> Config:
    sources = {
        name: {"type": "mqtt", "port": broker.port}
        for name, broker in {"hall": hall, "yard": yard}.items()
    }
    given = feeds or {name: {"source": name} for name in sources}
    feed = {
        name: {"topic": "in/{device}", "time": {"path": "t"}, "channels": {"x": {}}, **keys}
        for name, keys in given.items()
    }
    return Config.model_validate(
        {
            "gateway": {"name": "g", "data_dir": str(folder)},
            "source": sources,
            "ingest": {"max_wait": "5ms"},
            "log": {"partitions": 1},
            "local_store": {},
            "feed": feed,
        }
    )


async def _publish(
    broker: Mosquitto, first: int, end: int, to: str = "in/d", payload: bytes | None = None
) -> None:
    def work() -> None:
        with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
            for number in range(first, end):
                numbered = b'{"x": %d, "t": %d}' % (number, 1_750_000_000_000 + number)
                publisher.publish(to, payload or numbered)
            publisher.flush()

    await asyncio.to_thread(work)


async def _readings(rig: Rig) -> dict[str, list[float]]:
    """By feed, all values in ``readings``, in order."""
    at, table = TopicPartition(topic(rig.config, READINGS), 0), ChannelTable()
    found: dict[str, list[float]] = {}
    for record in await rig.log.read(at, 0, max_bytes=1 << 26):
        batch = decode_readings(record.value, table)
        feed = table.devices[batch.device[0]].feed
        found.setdefault(feed, []).extend(batch.value.tolist())
    return found


def _rows(rig: Rig, feed: str) -> float:
    return float(rig.telemetry.rows.labels(feed)._value.get())


def _connected(rig: Rig) -> dict[str, float]:
    rig.lane.health()
    return {
        name: float(rig.telemetry.connected.labels(name)._value.get()) for name in rig.config.source
    }


async def test_a_broker_that_is_killed_holds_up_no_other(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """It is told by name; what it had and what comes later arrives once it is back, all of it."""
    hall, yard = make_mosquitto(), make_mosquitto()
    config = _config(tmp_path, hall, yard)
    async with running(config) as rig:
        await _publish(hall, 0, 500)
        await _publish(yard, 0, 500)
        await until(lambda: _rows(rig, "hall") == _rows(rig, "yard") == 500)
        # Mosquitto keeps what it has noted down, which is a matter of a second.
        await asyncio.sleep(1.5)
        hall.stop(signal.SIGKILL)
        await until(lambda: not rig.lane.health()[0])
        trouble = rig.lane.health()[1]
        away = _connected(rig)
        await _publish(yard, 500, 1000)
        await until(lambda: _rows(rig, "yard") == 1000)
        hall.start()
        await _publish(hall, 500, 1000)
        await until(lambda: _rows(rig, "hall") >= 1000, within_s=60)
        await until(lambda: rig.lane.health()[0], within_s=60)
        found, there = await _readings(rig), _connected(rig)

    assert trouble.startswith("hall: ")
    assert "yard" not in trouble
    assert (away, there) == ({"hall": 0, "yard": 1}, {"hall": 1, "yard": 1})
    assert {name: sorted(values) for name, values in found.items()} == {
        "hall": list(range(1000)),
        "yard": list(range(1000)),
    }


async def test_who_can_be_heard_is_told_source_by_source(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Devices of the broker that is away are waited for; those of the other are judged."""
    hall, yard = make_mosquitto(), make_mosquitto()
    feeds: dict[str, dict[str, object]] = {
        "hall": {"source": "hall"},
        "yard": {"source": "yard", "topic": "b/{device}"},
        "both": {"source": ["hall", "yard"], "topic": "c/{device}"},
    }
    config = _config(tmp_path, hall, yard, feeds)
    clock, hearing = SystemClock(), Hearing(config)
    async with running(config):
        await until(lambda: hearing.is_everything_heard(clock.monotonic_ns()))
        hall.stop()
        # Two beats: one that finds it gone, and no earlier one still counts as news.
        await until(lambda: Heartbeat(tmp_path, "ingest-hall.pulse").heard_ns(now := _now()) == now)
        now_ns = _now()
        heartbeats = {
            name: Heartbeat(tmp_path, f"ingest-{name}.pulse") for name in ("hall", "yard")
        }
        heard = {name: heartbeat.heard_ns(now_ns) for name, heartbeat in heartbeats.items()}
        assert not hearing.is_everything_heard(now_ns)

    assert heard["hall"] == now_ns
    assert heard["yard"] is not None
    assert heard["yard"] < now_ns


def _now() -> int:
    return SystemClock().monotonic_ns()


async def test_a_device_that_is_heard_through_two_brokers_is_one(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Of a feed that names both: whichever way its messages come."""
    hall, yard = make_mosquitto(), make_mosquitto()
    config = _config(tmp_path, hall, yard, {"f": {"source": ["hall", "yard"]}})
    async with running(config) as rig:
        await _publish(hall, 0, 10)
        await _publish(yard, 10, 20)
        await until(lambda: _rows(rig, "f") == 20)
        devices = rig.lane._translator._channels.devices
        found = await _readings(rig)

    assert sorted(found["f"]) == list(range(20))
    assert len(devices) == 1


async def test_the_same_topic_of_two_brokers_is_of_two_feeds(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """By its source; what is refused names it, too."""
    hall, yard = make_mosquitto(), make_mosquitto()
    config = _config(tmp_path, hall, yard)
    async with running(config) as rig:
        await _publish(hall, 0, 1)
        await _publish(yard, 1, 2)
        await until(lambda: _rows(rig, "hall") == _rows(rig, "yard") == 1)
        await _publish(yard, 0, 1, payload=b"{")
        async with asyncio.timeout(20):
            while not (refused := await rig.refused()):  # noqa: ASYNC110  (no event for it)
                await asyncio.sleep(0.05)
        found = await _readings(rig)

    assert found == {"hall": [0.0], "yard": [1.0]}
    assert [message.source for message in refused] == ["yard:in/d"]


async def test_each_has_a_session_of_its_own(make_mosquitto: MakeMosquitto, tmp_path: Path) -> None:
    """What comes while the gateway is down is there when it comes back, from both."""
    hall, yard = make_mosquitto(), make_mosquitto()
    config = _config(tmp_path, hall, yard)
    async with running(config):
        pass
    await _publish(hall, 0, 100)
    await _publish(yard, 0, 100)
    async with running(config) as rig:
        await until(lambda: _rows(rig, "hall") == _rows(rig, "yard") == 100)

    notes = [(tmp_path / f"mqtt_session-{name}.json").read_text() for name in ("hall", "yard")]
    assert notes[0] != notes[1]


async def test_a_flood_from_one_stops_that_one(
    make_mosquitto: MakeMosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its share of what may wait, and the other's messages are written in turn."""
    hall, yard = make_mosquitto(), make_mosquitto()
    config = _config(tmp_path, hall, yard)
    ingest = config.ingest.model_copy(update={"max_pending": 100_000, "max_rows": 50})
    config = config.model_copy(update={"ingest": ingest})
    async with running(config):
        pass
    await _publish(hall, 0, 800)
    rows: list[tuple[float, float]] = []
    async with running(config, is_ready=False) as rig:
        append, (of_hall, of_yard) = rig.log.append_many, rig.lane.intakes
        is_there = asyncio.Event()

        async def hold(batches: object) -> None:
            await is_there.wait()
            rows.append((_rows(rig, "hall"), _rows(rig, "yard")))
            await append(batches)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.log, "append_many", hold)
        await until(lambda: of_hall.size_bytes > 50_000 and of_hall.source.is_paused)
        await _publish(yard, 0, 10)
        await until(lambda: of_yard.waiting + _rows(rig, "yard") == 10)
        is_paused = of_yard.source.is_paused
        is_there.set()
        await until(lambda: _rows(rig, "yard") == 10)
        await until(lambda: _rows(rig, "hall") == 800, within_s=60)

    assert not is_paused
    # The yard's few were not written behind all of the hall's.
    assert next(hall_rows for hall_rows, yard_rows in rows if yard_rows == 10) < 400


async def test_check_connect_asks_each(make_mosquitto: MakeMosquitto, tmp_path: Path) -> None:
    """With the place in the configuration; one that is away hides nothing of the other."""
    hall, yard = make_mosquitto(), make_mosquitto()
    config = _config(tmp_path, hall, yard)
    await _publish(yard, 0, 1, "in/kept")
    hall.stop()
    found, _ = await asyncio.to_thread(probe, config, SystemClock(), 0.1)
    told = {each.about: (each.state, each.text) for each in found}

    assert told["source.hall"][0] == "away"
    assert told["source.yard"][0] == "good"
    assert "feed.hall" not in told
    assert "in/+ at source.yard" in told["feed.yard"][1]


async def test_a_session_whose_source_has_another_name_now_is_told(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """With what is queued in it; the new source fetches that once the file has its name."""
    before = _mqtt_config(mosquitto, tmp_path)
    now = _config(tmp_path, mosquitto, mosquitto, {"f": {"source": "hall"}})
    now = now.model_copy(update={"source": {"hall": now.source["hall"]}})
    async with running(before):
        pass
    await _publish(mosquitto, 0, 10)
    async with running(now) as rig:
        (told,) = rig.telemetry.details["warnings"].values()
        assert told.startswith("mqtt_session.json: no source has the session headgate-g-")
        assert _rows(rig, "f") == 0

    # The same session under another name is not left behind.
    file = tmp_path / "mqtt_session.json"
    session = json.loads(file.read_text())["session"]
    telemetry = Telemetry(SystemClock())
    tell_left_behind({tmp_path / "mqtt_session-hall.json": session}, telemetry)
    assert "warnings" not in telemetry.details

    file.rename(tmp_path / "mqtt_session-hall.json")
    async with running(now) as rig:
        await until(lambda: _rows(rig, "f") == 10)
        assert "warnings" not in rig.telemetry.details or not rig.telemetry.details["warnings"]


async def test_a_broker_that_never_answers_keeps_no_thread_from_others() -> None:
    """There are few of them on a small machine, and acknowledging waits for one."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        settings = MqttConfig(port=server.getsockname()[1], transport="websockets")
        connection = Connection(settings, "c", SystemClock())
        trying = asyncio.create_task(connection.run())
        accepted, _ = await loop.sock_accept(server)
        with accepted:
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 5) == 7
        connection.close()
        await trying
