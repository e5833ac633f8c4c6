"""``headgate quarantine --retry``: what it says, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from connectors.logs.configured import (
    consumer_group,
    open_existing_log,
    open_log,
    topic,
    topic_specs,
)
from connectors.logs.embedded.store import SqliteLog
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.clock import SystemClock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import QUARANTINE, READINGS, STREAMS, Record, TopicPartition
from headgate.core.records import QuarantinedMessage, messages_records

_CONFIG = """
[gateway]
data_dir = "data"
[log]
url = "{url}"
partitions = 2
topic_prefix = "here."
[local_store]
[mqtt]
[feed.f]
topic = "m/{{device}}/data"
time = {{ path = "ts", unit = "s" }}
[feed.f.channels]
x = {{}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The configuration of a gateway that has run, and has put four messages into quarantine."""
    file = tmp_path / "headgate.toml"
    file.write_text(_CONFIG.format(url="sqlite:///log.db"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "gateway.lock").touch()
    asyncio.run(_fill(file))
    return file


async def _fill(file: Path, more: int = 0) -> None:
    config = load_config(file, check_files=False)
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    payload = b'{"ts": 1795900000, "x": 1}'
    places = ["mqtt:m/a/data", "mqtt:m/b/data", "mqtt:m/c/data", "mqtt"]
    messages = [
        QuarantinedMessage(
            1_795_900_000 * 10**9 + at, place, payload, "bad_time", "", len(payload), 0
        )
        for at, place in enumerate(places)
    ]
    at = TopicPartition(topic(config, QUARANTINE), 1)
    messages += more * messages[:1]
    await log.append(at, [*messages_records(messages[:1]), *messages_records(messages[1:])])
    await log.stop()


def _retry(file: Path, *options: str) -> int:
    return main(["quarantine", "-c", str(file), "--retry", *options])


def test_what_is_not_there_to_be_tried_is_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word that is none is refused; else it is said that others wait."""
    assert _retry(file, "--reason", "bad_tme") == 2
    error = capsys.readouterr().err
    assert error == (
        "--reason: expected one that messages in quarantine have (bad_time), got 'bad_tme'\n"
    )
    assert _retry(file, "--feed", "g") == 2
    assert "--feed: expected one of f, got 'g'" in capsys.readouterr().err
    assert _retry(file, "--since", "1s", "--dry-run") == 0
    told = capsys.readouterr().out
    assert told == "no message of those asked for waits in quarantine; 4 others do\n"


def test_what_a_sink_refused_is_no_message_of_a_source_of_its_name(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its place has no topic."""
    assert _retry(file, "--json") == 0
    told = {each["feed"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert told["f"]["taken"] == 3
    assert told[""]["left"] == {"other": 1}


def test_what_was_taken_is_exported_with_its_place(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As others are that stand in the log."""
    _retry(file)
    capsys.readouterr()
    assert main(["log", "export", "-c", str(file), "--topic", "quarantine"]) == 0
    rows = map(json.loads, capsys.readouterr().out.splitlines())
    places = [row["source"] for row in rows if row["reason"] == "retried"]
    assert places == [f"log:here.quarantine/1@{place}" for place in ("0/0", "1/0", "1/1")]


def test_what_was_taken_before_a_failure_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then what has failed."""
    asyncio.run(_fill(file, more=1200))
    append_many, calls = SqliteLog.append_many, []

    async def append(log: SqliteLog, batches: Mapping[TopicPartition, Sequence[Record]]) -> None:
        calls.append(batches)
        if len(calls) == 3:
            raise TransientError("log: no room")
        await append_many(log, batches)

    monkeypatch.setattr(SqliteLog, "append_many", append)
    assert _retry(file) == 1
    said = capsys.readouterr()
    assert "took 1000 readings of 1000 messages so far; call this again" in said.out
    assert said.err == "headgate quarantine: log: no room\n"


@pytest.mark.kafka
async def test_on_kafka_a_gateway_of_another_machine_is_seen(kafka: str, tmp_path: Path) -> None:
    """By the consumer group that its streams lane is in."""
    file = tmp_path / "headgate.toml"
    file.write_text(_CONFIG.format(url=f"kafka://{kafka}"))
    config = load_config(file, check_files=False)
    config.gateway.data_dir.mkdir()
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    await log.stop()
    group = consumer_group(config, STREAMS)
    consumer = AIOKafkaConsumer(
        topic(config, READINGS), bootstrap_servers=kafka, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while not consumer.assignment():  # noqa: ASYNC110  (the group settles by itself)
                await asyncio.sleep(0.1)
        with pytest.raises(PermanentError, match="expected that no gateway runs on this log"):
            await open_existing_log(config, SystemClock(), writes=True)
        looked_at = await open_existing_log(config, SystemClock())
        await looked_at.stop()
    finally:
        await consumer.stop()
    ours = await open_existing_log(config, SystemClock(), writes=True)
    await ours.stop()
