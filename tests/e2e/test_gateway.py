"""The running gateway: killed, started before its peers, fed with rubbish, and stopped."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from headgate.demo.processes import free_port
from tests.e2e.gateway import Gateway
from tests.kafka.server import KafkaServer
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.processes import until

_START_MS = 1_750_000_000_000
_FEED = """
[streams]
silent_after = "2s"
snapshot_interval = "500ms"
[local_store]
[feed.press]
topic = "hall/{line}/{device}"
time = { path = "t", unit = "ms" }
period = "100ms"
grace = "2s"
aggregates = [{ window = "1s" }]
[feed.press.channels]
force = { unit = "kN", range = [0, 100] }
stroke = { unit = "mm" }
"""


def _config(broker: Mosquitto, log_url: str, prefix: str) -> str:
    return (
        f"[mqtt]\nport = {broker.port}\npublish_anomalies = false\n"
        f'[log]\nurl = "{log_url}"\npartitions = 2\ntopic_prefix = "{prefix}."\n{_FEED}'
    )


def _messages(first: int, last: int, devices: int = 5) -> Iterable[tuple[str, bytes]]:
    """Steps ``first`` to ``last - 1`` of some presses; values follow from device and step."""
    for step in range(first, last):
        for device in range(devices):
            payload = {
                "t": _START_MS + 100 * step,
                "force": (7 * step + 3 * device) % 50,
                "stroke": device + step / 7,
            }
            yield f"hall/a/press-{device}", json.dumps(payload).encode()


def _publish(broker: Mosquitto, messages: Iterable[tuple[str, bytes]]) -> None:
    with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
        for topic, payload in messages:
            publisher.publish(topic, payload)
        publisher.flush()


def _points(gateway: Gateway) -> list[tuple[str, str, int, str]]:
    """What the local store holds: measurement, tags, time and fields of every point."""
    path = gateway.folder / "data" / "points.db"
    if not path.exists():
        return []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        # The file is there a moment before its tables.
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'points'").fetchall():
            return []
        rows: list[tuple[str, str, int, str]] = database.execute(
            "SELECT measurement, tags, time_ns, fields FROM points ORDER BY 1, 2, 3"
        ).fetchall()
        return rows


def _readings(points: Iterable[tuple[str, str, int, str]]) -> int:
    """Readings that the points stand for."""
    return sum(
        value
        for *_, fields in points
        for name, value in json.loads(fields).items()
        if name.endswith(("_n", "_flagged"))
    )


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.thorough)])
def log_url(request: pytest.FixtureRequest) -> str:
    """Each log in turn."""
    if request.param == "sqlite":
        return "sqlite:///log.db"
    return f"kafka://{request.getfixturevalue('kafka')}"


@pytest.mark.mosquitto
@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_kill_9_loses_and_doubles_nothing(
    mosquitto: Mosquitto, log_url: str, tmp_path: Path
) -> None:
    """Killed twice with data in flight, it aggregates every reading once."""
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto, log_url, tmp_path.name))
    with gateway:
        gateway.start()
        for turn in range(3):
            _publish(mosquitto, _messages(200 * turn, 200 * (turn + 1)))
            if turn < 2:
                gateway.kill()
                gateway.start()
        expected = 3 * 200 * 5 * 2
        until(lambda: _readings(_points(gateway)) >= expected, "every reading in a point")

        assert _readings(_points(gateway)) == expected
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
        assert gateway.stop() == 0


@pytest.mark.mosquitto
@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_several_workers_share_the_work(mosquitto: Mosquitto, log_url: str, tmp_path: Path) -> None:
    """Every reading is aggregated once, by two workers, then by one, then by two again."""
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto, log_url, tmp_path.name))
    with gateway:
        for turn, workers in enumerate(("2", "1", "2")):
            gateway.start("--workers", workers)
            _publish(mosquitto, _messages(200 * turn, 200 * (turn + 1)))
            expected = (turn + 1) * 200 * 5 * 2
            if turn < 2:
                # In the middle of things, so that state has to move from worker to worker.
                assert gateway.stop() == 0
        until(lambda: _readings(_points(gateway)) >= expected, "every reading in a point")

        assert _readings(_points(gateway)) == expected
        lanes = gateway.status()["lanes"]
        assert set(lanes) == {"forward", "streams-1", "streams-2", "ingest"}
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
        assert gateway.stop() == 0


@pytest.mark.thorough
@pytest.mark.mosquitto
@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_an_absent_kafka_loses_and_doubles_nothing(
    mosquitto: Mosquitto, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    """Kafka hangs until the group has been dissolved; what it delivers again is not done again."""
    config = _config(mosquitto, f"kafka://{kafka_server.address}", tmp_path.name)
    gateway = Gateway(tmp_path / "gateway", config)
    with gateway:
        gateway.start()
        _publish(mosquitto, _messages(0, 200))
        kafka_server.pause()
        try:
            _publish(mosquitto, _messages(200, 300))
            time.sleep(10)  # longer than the session timeout of 6 s
        finally:
            kafka_server.resume()
        _publish(mosquitto, _messages(300, 400))
        until(lambda: _readings(_points(gateway)) >= 4000, "every reading in a point", 60)

        assert _readings(_points(gateway)) == 4000
        assert main(["audit", "-c", str(gateway.config_file)]) == 0


@pytest.mark.mosquitto
@pytest.mark.timeout(180)
def test_a_backlog_gives_the_same_points_as_live_data(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """What queued at the broker while the gateway was down comes out byte for byte as live."""
    results = []
    for name, is_backlog in (("live", False), ("backlog", True)):
        broker = make_mosquitto()
        gateway = Gateway(tmp_path / name, _config(broker, "sqlite:///log.db", name))
        with gateway:
            gateway.start()
            if is_backlog:
                assert gateway.stop() == 0
                _publish(broker, _messages(0, 100))
                gateway.start()
            else:
                for step in range(0, 100, 5):
                    _publish(broker, _messages(step, step + 5))
            until(lambda g=gateway: _readings(_points(g)) >= 1000, "every reading in a point")  # type: ignore[misc]
        # When a device is silent is a matter of the clock.
        points = [point for point in _points(gateway) if point[0] != "device_state"]
        results.append(points)

    assert results[0] == results[1]
    assert len(results[0]) == 50


_RUBBISH = {
    "not_json": b'{"t": 1750000000000, "force": ',
    "not_utf8": b'{"t": 1750000000000, "force": "\xff\xfe"}',
    "too_deep": b"[" * 10_000,
    "not_object": b"[1, 2]",
    "bad_time": b'{"t": 0, "force": 1}',
    "no_channels": b'{"t": 1750000000000, "other": 1}',
    "too_large": b'{"t": 1750000000000, "force": 1, "pad": "' + b"x" * 5_000_000 + b'"}',
}

#: The field is missing then; of a time of its own, so that it collides with nothing.
_BAD_FIELD = b'{"t": 1749999999900, "force": "strong"}'


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
def test_rubbish_goes_to_quarantine_and_stops_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Every kind of bad payload is counted by its reason; the good ones beside it go through."""
    config = _config(mosquitto, "sqlite:///log.db", "rubbish")
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start()
        names = ["a b", "a,b=c", 'quo"te', "back\\slash\\", "ünïcode-äöü", "d" * 256]
        for name in names:
            _publish(
                mosquitto,
                [
                    *((f"hall/a/{name}", payload) for payload in _RUBBISH.values()),
                    (f"hall/a/{name}", _BAD_FIELD),
                    *((f"hall/a/{name}", payload) for _, payload in _messages(0, 20, 1)),
                ],
            )
        _publish(mosquitto, [(f"hall/a/{'d' * 300}", b'{"t": 1750000000000, "force": 1}')])
        until(
            lambda: _readings(_points(gateway)) >= (20 * 2 + 1) * len(names),
            "the good ones, and those that are missing, in points",
        )
        status = gateway.status()
        quarantined = {reason: int(count) for reason, count in status["quarantined"].items()}
        devices = {json.loads(tags)["device"] for _, tags, *_ in _points(gateway)}

        # Of fields without a number there is an example a minute.
        assert quarantined == {
            **dict.fromkeys(_RUBBISH, len(names)),
            "bad_field": 1,
            "name_too_long": 1,
        }
        assert devices == set(names)
        assert all(lane["restarts"] == 0 for lane in status["lanes"].values())
        assert main(["audit", "-c", str(gateway.config_file)]) == 0


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
def test_it_starts_before_its_peers_and_waits_for_them(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Without a broker it is alive, not ready, and says why; then it goes to work."""
    broker = make_mosquitto()
    broker.stop()
    gateway = Gateway(tmp_path / "gateway", _config(broker, "sqlite:///log.db", "early"))
    with gateway:
        gateway.start_without_waiting()
        gateway.wait_for("/healthz", 30)
        until(lambda: "can't connect" in gateway.status()["lanes"]["ingest"]["reason"], "a reason")
        code, _ = gateway.get("/readyz")
        assert code == 503

        broker.start()
        gateway.wait_for("/readyz", 30)
        _publish(broker, _messages(0, 20))
        until(lambda: _readings(_points(gateway)) == 200, "every reading in a point")
        assert gateway.stop() == 0


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
def test_without_kafka_it_is_alive_and_says_so(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A log that can't be reached is a reason in /readyz, no crash; and it still stops at once."""
    config = _config(mosquitto, f"kafka://127.0.0.1:{free_port()}", "nolog")
    gateway = Gateway(tmp_path / "gateway", config)
    with gateway:
        gateway.start_without_waiting()
        gateway.wait_for("/healthz", 30)
        until(
            lambda: "log can't be reached" in gateway.status()["lanes"]["streams"]["reason"],
            "a reason",
        )
        lanes = gateway.status()["lanes"]

        assert gateway.get("/readyz")[0] == 503
        assert all(lane["restarts"] == 0 for lane in lanes.values())
        assert gateway.stop(within_s=8) == 0


@pytest.mark.thorough
@pytest.mark.mosquitto
@pytest.mark.timeout(120)
def test_a_flooding_device_costs_the_others_nothing(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """One device sends 200 times its share; every reading of every device is aggregated."""
    # Writing its queues down at each message would be the slowest of all.
    mosquitto = make_mosquitto(lines="autosave_on_changes false")
    config = _config(mosquitto, "sqlite:///log.db", "flood")
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start()
        flood = [
            ("hall/a/flood", json.dumps({"t": _START_MS + n, "force": n % 90}).encode())
            for n in range(20_000)
        ]
        _publish(mosquitto, [*_messages(0, 50), *flood, *_messages(50, 100)])
        expected = 100 * 5 * 2 + 20_000
        until(lambda: _readings(_points(gateway)) >= expected, "every reading in a point")

        assert _readings(_points(gateway)) == expected
        assert not gateway.status()["quarantined"]


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
def test_a_stop_under_load_is_quick_and_loses_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """SIGTERM in the middle of a burst ends with 0 within 5 s; the rest follows after a start."""
    gateway = Gateway(tmp_path / "gateway", _config(mosquitto, "sqlite:///log.db", "stop"))
    with gateway:
        gateway.start()
        _publish(mosquitto, _messages(0, 400))
        assert gateway.stop(within_s=6) == 0
        gateway.start()
        until(lambda: _readings(_points(gateway)) >= 4000, "every reading in a point")

        assert _readings(_points(gateway)) == 4000
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
