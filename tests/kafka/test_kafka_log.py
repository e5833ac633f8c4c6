"""What the log on Kafka does beyond the contract that both logs share."""

from __future__ import annotations

import asyncio
import gc
import socket
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from connectors.logs.kafka.log import KafkaLog
from connectors.logs.kafka.security import Security
from headgate.core.clock import SystemClock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import Record, TopicPartition, TopicSpec
from tests.contract.logs import numbered, read_all
from tests.kafka.server import KafkaServer


@pytest.fixture
def at() -> TopicPartition:
    """A partition that no other test uses."""
    return TopicPartition(f"t{uuid.uuid4().hex[:12]}.readings", 0)


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[KafkaLog]:
    """A started log that gives an append up soon."""
    log = KafkaLog(kafka, SystemClock(), delivery_timeout_s=1.0)
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
def own_server(kafka_server: KafkaServer) -> Iterator[KafkaServer]:
    """A broker that a test may disturb."""
    if kafka_server.process is None:
        pytest.skip("HEADGATE_TEST_KAFKA names a broker that is not ours to disturb")
    yield kafka_server
    kafka_server.resume()


async def test_an_unreachable_kafka_is_transient_and_told_at_once() -> None:
    """The message says why; starting again is allowed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        log = KafkaLog(address, SystemClock())
        loop = asyncio.get_running_loop()
        start = loop.time()

        for _ in range(2):
            with pytest.raises(TransientError, match=r"at 127.*ConnectionRefused"):
                await log.start()

        assert loop.time() - start < 2
    await log.stop()


@pytest.mark.kafka
async def test_a_wrong_password_is_permanent_and_the_right_one_works(
    own_server: KafkaServer, at: TopicPartition
) -> None:
    """Retrying a refused password only locks accounts."""
    assert own_server.password_address is not None

    def log_with(password: str) -> KafkaLog:
        security = Security(username="gateway", password=password, mechanism="PLAIN")
        return KafkaLog(own_server.password_address or "", SystemClock(), security=security)

    refused = log_with("guess")
    with pytest.raises(PermanentError, match="uthentication"):
        await refused.start()
    await refused.stop()

    log = log_with("secret")
    await log.start()
    await log.ensure_topics([TopicSpec(at.topic, 1)])
    assert await log.append(at, numbered(1)) == 0
    await log.stop()


@pytest.mark.kafka
async def test_an_append_to_a_kafka_that_hangs_is_given_up_and_can_be_repeated(
    own_server: KafkaServer, log: KafkaLog, at: TopicPartition
) -> None:
    """While Kafka hangs appends raise; afterwards they succeed, and nothing is out of order."""
    await log.ensure_topics([TopicSpec(at.topic, 1)])
    await log.append(at, numbered(1))
    own_server.pause()
    with pytest.raises(TransientError, match="appending to"):
        await log.append(at, numbered(1, 1))
    own_server.resume()

    await log.append(at, numbered(1, 2))

    values = [record.value for record in await read_all(log, at)]
    # Whether Kafka wrote the one that was given up can't be known; its place can.
    assert values in ([b"0", b"2"], [b"0", b"1", b"2"])


@pytest.mark.kafka
async def test_settings_are_applied_to_topics_that_exist(
    kafka: str, log: KafkaLog, at: TopicPartition
) -> None:
    """Ours are as they should be again, whoever changed them; one that is not ours stays."""
    await log.ensure_topics([TopicSpec(at.topic, 1, retention_s=60)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        before = await _settings_of(admin, at.topic)
        changed = {"file.delete.delay.ms": "1234", "retention.ms": "1"}
        resource = ConfigResource(ConfigResourceType.TOPIC, at.topic, configs=changed)
        await admin.alter_configs([resource])

        await log.ensure_topics([TopicSpec(at.topic, 1, retention_s=120)])
        after = await _settings_of(admin, at.topic)
    finally:
        await admin.close()

    # The log itself deletes what is old: Kafka would by a clock that may be wrong.
    assert before["retention.ms"] == "-1"
    assert before["flush.messages"] == "1"
    assert after["retention.ms"] == "-1"
    assert after["flush.messages"] == "1"
    assert after["file.delete.delay.ms"] == "1234"


@pytest.mark.kafka
async def test_reading_before_the_oldest_record_begins_at_the_oldest(
    kafka: str, log: KafkaLog, at: TopicPartition
) -> None:
    """What retention deleted is skipped, whether or not the reader waits."""
    await log.ensure_topics([TopicSpec(at.topic, 1)])
    await log.append(at, numbered(10))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({KafkaPartition(*at): RecordsToDelete(before_offset=6)})
    finally:
        await admin.close()

    assert await log.offsets(at) == (6, 10)
    assert [record.offset for record in await log.read(at, 0)] == [6, 7, 8, 9]
    assert [record.offset for record in await log.read(at, 2, wait_s=5)] == [6, 7, 8, 9]
    assert await log.read(at, 50, wait_s=0.1) == []
    assert [record.offset for record in await log.read(at, 8)] == [8, 9]


@pytest.mark.kafka
async def test_more_partitions_than_readers_can_be_read(
    log: KafkaLog, at: TopicPartition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that was idle longest makes room."""
    monkeypatch.setattr("connectors.logs.kafka.log._MAX_READERS", 2)
    partitions = [TopicPartition(at.topic, number) for number in range(5)]
    await log.ensure_topics([TopicSpec(at.topic, 5)])
    await log.append_many({each: [Record(str(each.partition).encode())] for each in partitions})

    for _ in range(2):
        values = [(await log.read(each, 0))[0].value for each in partitions]
        assert values == [b"0", b"1", b"2", b"3", b"4"]

    assert len(log._readers) == 2


async def _settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in described[0].resources[0][4]}


async def test_who_has_no_time_to_take_leave_of_kafka_holds_no_socket(
    kafka: str, at: TopicPartition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine too busy to end each client in order."""
    log = KafkaLog(kafka, SystemClock())
    await log.start()
    await log.ensure_topics([TopicSpec(at.topic, 1)])
    await log.append(at, numbered(3))
    assert await read_all(log, at)
    assert await log.read_many({at: 0}, max_bytes=1 << 20, wait_s=0.1)

    async def takes_its_time(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiokafka.consumer.fetcher.Fetcher.close", takes_its_time)
    monkeypatch.setattr("connectors.logs.kafka.log._STOP_TIMEOUT_S", 0.1)

    await log.stop()
    del log
    # A socket that is still open is an error here, as all warnings are.
    gc.collect()
