"""MQTT in, against a real mosquitto: sessions, acknowledgements, TLS, backpressure."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.logs.configured import topic, topic_specs
from connectors.replay.publisher import Publisher
from connectors.sources.mqtt.source import MqttSource
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock, built_ns
from headgate.core.errors import TransientError
from headgate.core.log import READINGS, TopicPartition
from headgate.core.records import decode_readings
from streams.ingest.refusals import Messages
from streams.ingest.translated import Translated
from tests.integration.mqtt_rig import GOOD, Rig, make_config, publish, running, until
from tests.mosquitto import MakeMosquitto, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_session_outlives_a_restart(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """What is published while the gateway is down is there when it comes back."""
    config = make_config(mosquitto, tmp_path, version=version)
    async with running(config) as rig:
        await publish(mosquitto, 0, 10)
        await rig.has(10)
    await publish(mosquitto, 10, 2000)
    async with running(config) as rig:
        await rig.has(1990)

        assert sorted(await rig.values()) == list(range(2000))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_every_quality_of_service(
    mosquitto: Mosquitto, tmp_path: Path, qos: int, version: str
) -> None:
    """Each message comes in once, in order, and the broker is left with nothing unacknowledged."""
    config = make_config(mosquitto, tmp_path, qos, version=version)
    async with running(config) as rig:
        await publish(mosquitto, 0, 200, qos=qos, version=version)
        await rig.has(200)
        values = await rig.values()
    async with running(config) as rig:
        await publish(mosquitto, 200, 201, qos=qos, version=version)
        await rig.has(1)

        assert values == list(range(200))
        assert await rig.values() == list(range(201))


async def test_a_killed_broker_is_found_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It reconnects, subscribes again and goes on."""
    async with running(make_config(mosquitto, tmp_path)) as rig:
        await publish(mosquitto, 0, 5)
        await rig.has(5)
        mosquitto.stop(signal.SIGKILL)
        await until(lambda: not rig.lane.health()[0])
        mosquitto.start()
        await until(lambda: rig.lane.health()[0])
        await publish(mosquitto, 5, 10)
        async with asyncio.timeout(20):
            # Those that the broker sends again count too, so a number says nothing.
            while set(await rig.values()) != set(range(10)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_nothing_is_acknowledged_before_the_log_has_it(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that ends while its log refuses leaves every message to the broker."""
    config = make_config(mosquitto, tmp_path)
    rig = Rig(config)
    await rig.log.start()
    await rig.log.ensure_topics(topic_specs(config))

    async def refuse(_batches: object) -> None:
        raise TransientError("no room")

    monkeypatch.setattr(rig.log, "append_many", refuse)
    task = asyncio.create_task(rig.lane.run(asyncio.Event()))
    await until(lambda: rig.lane.health()[0])
    await publish(mosquitto, 0, 50)
    await until(lambda: "no room" in rig.lane.health()[1])
    task.cancel()  # as kill -9 would: no goodbye, no acknowledgement
    await asyncio.gather(task, return_exceptions=True)
    await rig.log.stop()

    async with running(config) as again:
        await again.has(50)
        assert sorted(await again.values()) == list(range(50))


async def test_a_full_gateway_stops_reading_and_goes_on(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the log refuses, what waits in memory is bounded; the broker has the rest."""
    config = make_config(mosquitto, tmp_path)
    limited = config.model_copy(
        update={"ingest": config.ingest.model_copy(update={"max_pending": 200_000})}
    )
    async with running(limited) as rig:
        append = rig.log.append_many

        async def refuse(_batches: object) -> None:
            raise TransientError("no room")

        monkeypatch.setattr(rig.log, "append_many", refuse)
        await publish(mosquitto, 0, 5000)
        await until(lambda: "no room" in rig.lane.health()[1])
        await asyncio.sleep(0.5)
        waiting_bytes = rig.lane.intakes[0].size_bytes
        monkeypatch.setattr(rig.log, "append_many", append)
        await rig.has(5000)

        assert waiting_bytes < 2 * 200_000
        assert sorted(await rig.values()) == list(range(5000))


async def test_an_acknowledgement_of_an_earlier_connection_is_not_sent(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Message ids start anew with a connection; an old one would acknowledge another message."""
    async with running(make_config(mosquitto, tmp_path)) as rig:
        append = rig.log.append_many
        is_held = asyncio.Event()
        source = rig.lane.intakes[0].source
        assert isinstance(source, MqttSource)

        async def hold(batches: object) -> None:
            is_held.set()
            await until(lambda: source.connection == 2 and not source.trouble)
            await append(batches)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.log, "append_many", hold)
        await publish(mosquitto, 0, 1)
        await is_held.wait()
        acknowledged: list[int] = []
        monkeypatch.setattr(source._connection._client, "ack_all", acknowledged.extend)
        mosquitto.stop()
        mosquitto.start()
        await rig.has(2)
        await until(lambda: bool(acknowledged))
        await asyncio.sleep(0.1)

        # The broker sent it again over the second connection; only that one is acknowledged.
        assert len(acknowledged) == 1
        assert set(await rig.values()) == {0}


async def test_a_shared_subscription_divides_the_messages(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Two gateways of one group get each message once between them."""
    first = make_config(mosquitto, tmp_path / "a", shared_group="plant", client_id="a")
    second = make_config(mosquitto, tmp_path / "b", shared_group="plant", client_id="b")
    async with running(first) as one, running(second) as two:
        await publish(mosquitto, 0, 200)
        await until(
            lambda: sum(rig.telemetry.rows.labels("f")._value.get() for rig in (one, two)) >= 200
        )
        values = [await one.values(), await two.values()]

        assert sorted(values[0] + values[1]) == list(range(200))
        assert all(values)


async def test_what_cannot_be_read_is_kept_with_its_reason(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """A huge payload, broken text and no JSON, between good ones."""

    def work() -> None:
        with Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher:
            for payload in (
                GOOD % 1,
                b"\xff\xfe",
                b'{"x": "' + b"a" * 5_000_000 + b'"}',
                b"{",
                b"[" * 10_000,
                GOOD % 2,
            ):
                publisher.publish("in/d", payload)
            publisher.flush()

    async with running(make_config(mosquitto, tmp_path)) as rig:
        await asyncio.to_thread(work)
        await rig.has(2)
        await until(lambda: rig.telemetry.quarantined.labels("too_deep")._value.get() == 1)

        assert await rig.values() == [1, 2]
        assert sorted(await rig.reasons()) == ["not_json", "not_utf8", "too_deep", "too_large"]


async def test_hostile_messages_leave_one_entry_each_and_the_honest_go_on(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full of numbers, of objects, of names; between their slices the loop does other things."""
    numbers = b"[" + b"1," * 524_000 + b"1]"
    objects = b"[" + b"{}," * 349_000 + b"{}]"
    hostile = [
        ("in/d", numbers, "too_many_records"),  # of which none is one
        ("in/d", objects, "too_many_records"),
        ("in/d", b"[" * 50_000, "too_deep"),
        ("in/d", b"[" + b'{"x":"?"},' * 9_999 + b"1]", "not_object"),
        ("in/" + "d" * 65_000, b'{"x": 1}', "name_too_long"),
    ]
    turns = 0
    seen: list[int] = []

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running(make_config(mosquitto, tmp_path)) as rig:
        take = rig.lane._translator.take

        def counted(messages: Messages, into: Translated) -> None:
            seen.append(turns)
            take(messages, into)

        monkeypatch.setattr(rig.lane._translator, "take", counted)
        turning = asyncio.create_task(turn())

        def work() -> None:
            with Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher:
                for number in range(30):
                    name, payload, _ = hostile[number % len(hostile)]
                    publisher.publish(name, payload)
                    publisher.publish("in/honest", GOOD % number)
                publisher.flush()

        await asyncio.to_thread(work)
        await rig.has(30 + 6 * 9_999)
        turning.cancel()
        reasons = Counter(await rig.reasons())
        examples = reasons.pop("bad_field")

        assert reasons == Counter([reason for *_, reason in hostile] * 6)
        assert 1 <= examples <= 2
        assert len(seen) >= 24
        assert len(set(seen)) == len(seen)
        assert set(range(30)) <= set(await rig.values())


async def test_a_wrong_password_is_said_once(
    make_mosquitto: MakeMosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's refusal is the reason in health, one line in the log, and holds no secret."""
    passwords = tmp_path / "passwords"
    command = ["mosquitto_passwd", "-b", "-c", str(passwords), "gateway", "right"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    broker = make_mosquitto(lines=f"allow_anonymous false\npassword_file {passwords}")
    monkeypatch.setenv("MQTT_PASSWORD", "not-the-right-one")
    config = make_config(broker, tmp_path, username="gateway", password_env="MQTT_PASSWORD")
    with capture_logs() as logs:
        async with running(config, is_ready=False) as rig:
            await until(lambda: "refused" in rig.lane.health()[1])
            await asyncio.sleep(2.5)
            warnings = [line for line in logs if line["log_level"] == "warning"]

            assert len(warnings) == 1
            assert "not-the-right-one" not in str(logs)

            monkeypatch.setenv("MQTT_PASSWORD", "right")
            await until(lambda: rig.lane.health()[0])


def _certificates(folder: Path) -> None:
    """A certificate authority, a broker, a client, and another authority."""
    folder.mkdir()
    script = """
    set -e
    for ca in ca other; do
      openssl req -x509 -newkey rsa:2048 -nodes -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 2
    done
    for name in broker client; do
      openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
      printf 'subjectAltName=IP:127.0.0.1' > san
      openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $name.pem \
        -days 2 -extfile san
    done
    chmod 600 *
    """
    subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True)


# paho-mqtt leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_with_a_client_certificate(make_mosquitto: MakeMosquitto, tmp_path: Path) -> None:
    """Mutual TLS carries messages; a foreign authority is refused with a clear reason."""
    certificates = tmp_path / "certificates"
    await asyncio.to_thread(_certificates, certificates)
    broker = make_mosquitto(
        listener=f"cafile {certificates}/ca.pem\ncertfile {certificates}/broker.pem\n"
        f"keyfile {certificates}/broker.key\nrequire_certificate true"
    )
    client = {
        "cert_file": str(certificates / "client.pem"),
        "key_file": str(certificates / "client.key"),
    }
    wrong = make_config(
        broker, tmp_path / "w", tls={"ca_file": str(certificates / "other.pem"), **client}
    )
    async with running(wrong, is_ready=False) as rig:
        await until(lambda: "certificate" in rig.lane.health()[1].lower())
    good = make_config(
        broker, tmp_path / "g", tls={"ca_file": str(certificates / "ca.pem"), **client}
    )
    async with running(good) as rig:
        command = [
            "mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", "in/d",
            "--cafile", str(certificates / "ca.pem"), "--cert", client["cert_file"],
            "--key", client["key_file"], "-l",
        ]  # fmt: skip
        lines = b"\n".join(GOOD % number for number in range(3000))
        await asyncio.to_thread(subprocess.run, command, input=lines, check=True)
        await rig.has(3000)

        assert sorted(await rig.values()) == list(range(3000))


class _WrongClock(SystemClock):
    """The computer's clocks, with a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.behind_ns = super().wall_ns()

    def wall_ns(self) -> int:
        return super().wall_ns() - self.behind_ns


async def test_arrival_times_under_a_clock_that_is_not_set_are_marked(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """A box that begins in 1970 says what it has made up, until its clock is set."""
    clock = _WrongClock()
    with capture_logs() as logs:
        async with running(make_config(mosquitto, tmp_path), clock=clock) as rig:
            await publish(mosquitto, 0, 3)
            await rig.has(3)
            clock.behind_ns = 0
            await publish(mosquitto, 3, 6)
            await rig.has(6)
            at = TopicPartition(topic(rig.config, READINGS), 0)
            records = await rig.log.read(at, 0)
            await until(lambda: any("is set." in entry["event"] for entry in logs))
    batches = [decode_readings(record.value, ChannelTable()) for record in records]
    times_ns = [each for batch in batches for each in batch.time_ns.tolist()]
    flags = [each for batch in batches for each in batch.quality.tolist()]

    estimated = Quality.ARRIVAL_TIME | Quality.ESTIMATED_TIME
    assert flags == 3 * [estimated] + 3 * [Quality.ARRIVAL_TIME]
    assert all(0 <= each - built_ns() < 120e9 for each in times_ns[:3])
    assert all(abs(each - clock.wall_ns()) < 120e9 for each in times_ns[3:])
    assert [entry["event"][:20] for entry in logs if "clock is" in entry["event"]] == [
        "The clock is not set",
        "The clock is set. Ar",
    ]


async def test_what_a_filter_has_more_than_a_topic_is_passed_over(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """A placeholder within a level has all of the level subscribed to."""
    config = make_config(mosquitto, tmp_path)
    feed = config.feed["f"]
    feeds = {
        "f": feed.model_copy(update={"topic": "in/dev-{device}"}),
        "g": feed.model_copy(update={"topic": "in/gw-{device}", "qos": 0}),
    }
    config = config.model_copy(update={"feed": feeds})
    async with running(config) as rig:

        def work() -> None:
            with Publisher("127.0.0.1", mosquitto.port, SystemClock()) as publisher:
                for topic_name in ("in/dev-1", "in/other", "in/gw-2", "in/dev-3"):
                    publisher.publish(topic_name, b'{"x": 1}')
                publisher.flush()

        await asyncio.to_thread(work)
        await until(lambda: rig.telemetry.rows.labels("g")._value.get() >= 1)
        await rig.has(2)
        names = {(each.feed, each.name) for each in rig.lane._translator._channels.devices}
        ignored, reasons = rig.telemetry.ignored._value.get(), await rig.reasons()

    assert names == {("f", "1"), ("g", "2"), ("f", "3")}
    assert (ignored, reasons) == (1, [])
