"""``headgate log``: what is whole, what is not, and rows as text."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connectors.logs.configured import open_log, topic, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import ANOMALIES, QUARANTINE, READINGS, TopicPartition
from headgate.core.records import (
    QuarantinedMessage,
    anomalies_record,
    health_record,
    messages_record,
    readings_record,
    rejected_record,
)
from headgate.core.results import Anomaly, SensorHealth

#: Clears a screen in both ways of writing it, breaks the line, and turns the writing round.
_HOSTILE = "a\x1b[2J\x9b2J\nb\u2028\u202e"

_START_NS = 1_750_000_000 * 10**9
_TAGS = (("line", "ü 1"), ("site", ""))


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A gateway's configuration, and its log with some readings of two devices."""
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{tmp_path}"\n[log]\npartitions = 2\n[local_store]\n'
        '[feed.f]\ntopic = "{device}"\n[feed.f.channels]\nx = { unit = "bar" }\n'
    )
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    table = ChannelTable()
    for partition, device in enumerate(("a", "b")):
        row = table.row(Channel("f", device, "f", "x", "bar", _TAGS))
        for first in (0, 3):
            times = [_START_NS + (first + step) * 10**9 for step in range(3)]
            batch = Batch.from_columns(table, times, [row] * 3, [1.5, 2.5, float(first)])
            record = readings_record(batch, "f")
            await log.append(TopicPartition(topic(config, READINGS), partition), [record])
    message = QuarantinedMessage(_START_NS, "mqtt:a", b"\xff{", "not_utf8", "byte 0", 2)
    late = Batch.from_columns(
        table, [_START_NS], [0], [9.5], origin=Origin(topic(config, READINGS), 0, 1)
    )
    at = TopicPartition(topic(config, QUARANTINE), 0)
    await log.append(at, [messages_record([message]), rejected_record(late, ["late"])])
    await log.stop()


def test_a_whole_log_is_called_whole(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is in it, by topic."""
    assert main(["log", "verify", "-c", str(config_file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    by_topic = {each["topic"]: each for each in found["topics"]}

    assert found["whole"]
    assert by_topic["headgate.readings"]["records"] == 4
    assert by_topic["headgate.readings"]["rows"] == 12
    assert by_topic["headgate.quarantine"]["rows"] == 2
    assert main(["log", "verify", "-c", str(config_file)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("whole")


def test_damage_is_found_and_named(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record whose bytes have changed, one of a version nobody knows, and where they are."""
    with closing(sqlite3.connect(config_file.parent / "log.db")) as database, database:
        database.execute("UPDATE records SET value = x'00' WHERE id % 1024 = 1")

    assert main(["log", "verify", "-c", str(config_file)]) == 1
    out = capsys.readouterr().out
    assert "headgate.readings/0@1: bad_record: unknown schema 'damaged" in out
    assert "headgate.readings/1@1" in out
    assert "DAMAGED" in out


def test_rows_come_out_as_text(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON lines or CSV, of a device and a span of time."""
    out = tmp_path / "out.csv"
    span = ["--from", "2025-06-15T15:06:42Z", "--to", "2025-06-15T15:06:45"]
    command = ["log", "export", "-c", str(config_file)]

    assert main([*command, *span, "--device", "b"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["time"][17:19] for row in rows] == ["42", "43", "44"]
    assert rows[0] == {
        "time": "2025-06-15T15:06:42.000000000Z", "feed": "f", "device": "b", "channel": "x",
        "value": 0.0, "unit": "bar", "quality": "good", "tags": {"line": "ü 1", "site": ""},
    }  # fmt: skip

    assert main([*command, "--format", "csv", "-o", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["device"] for row in rows] == ["a"] * 6 + ["b"] * 6
    assert {row["tags"] for row in rows} == {'{"line": "ü 1", "site": ""}'}

    assert main([*command, "--topic", "quarantine"]) == 0
    message, reading = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (message["reason"], message["payload"]) == ("not_utf8", "base64:/3s=")
    assert (reading["reason"], reading["source"]) == ("late", "reading:f/a/x")
    assert (message["tags"], reading["tags"]) == ({}, dict(_TAGS))
    assert list(message) == list(reading)


async def _put_hostile(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    messages = [
        QuarantinedMessage(_START_NS, f"mqtt:{_HOSTILE}", text.encode(), "not_json", _HOSTILE, 9)
        for text in ("=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", "a\r\nb", "plain")
    ]
    at = TopicPartition(topic(config, QUARANTINE), 1)
    await log.append(at, [messages_record(messages)])
    await log.stop()


def test_what_devices_send_is_neither_painted_nor_worked_out(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON and CSV hold escapes; a cell that begins like a formula is marked as text."""
    asyncio.run(_put_hostile(config_file))
    command = ["log", "export", "-c", str(config_file), "--topic", "quarantine"]

    assert main(command) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1]["detail"] == _HOSTILE

    assert main([*command, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.replace("\r\n", "\n").split("\n")
    assert all(line.isprintable() for line in lines)
    payloads = [row["payload"] for row in csv.DictReader(lines)]
    assert payloads[2:] == [
        *("'=1+1", "'+cmd", "'-2", "'@SUM(A1)", r"\t=1", r"a\r\nb", "plain"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "yesterday"], "--from: expected a time such as"),
        (["-o", "/nonexistent/x.csv"], "--output: expected a file that can be written"),
    ],
)
def test_a_mistake_is_one_line(
    config_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Exit code 2."""
    assert main(["log", "export", "-c", str(config_file), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def test_a_gateway_that_never_ran_has_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looking at it does not make one."""
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{tmp_path}"\n[local_store]\n'
        '[feed.f]\ntopic = "{device}"\n[feed.f.channels]\nx = {}\n'
    )

    assert main(["log", "verify", "-c", str(path)]) == 1
    assert "expected the log of a gateway that has run" in capsys.readouterr().err
    assert not (tmp_path / "log.db").exists()


async def _tell(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    anomaly = Anomaly(
        "f", "a", "m", _START_NS, _START_NS, _START_NS, _START_NS, 3.5, 1.0, "major",
        (("x", 1.0),), "sensor", ("x",), True, 0, _TAGS,
    )  # fmt: skip
    health = SensorHealth("f", "a", "x", _START_NS, "stuck", _START_NS, 2.5, math.nan, _TAGS)
    at = TopicPartition(topic(config, ANOMALIES), 0)
    await log.append(at, [anomalies_record([anomaly]), health_record([health])])
    await log.stop()


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_anomalies_and_sensors_health_are_exported_side_by_side(
    config_file: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Both kinds of row have the same columns, and values where they concern them."""
    asyncio.run(_tell(config_file))
    command = ["log", "export", "-c", str(config_file), "--topic", "anomalies", "--format", form]
    assert main(command) == 0
    text = capsys.readouterr().out
    rows = (
        list(csv.DictReader(text.splitlines()))
        if form == "csv"
        else [json.loads(line) for line in text.splitlines()]
    )

    assert list(rows[0]) == list(rows[1])
    assert [row["verdict"] or None for row in rows] == ["sensor", None]
    assert [row["sensor"] or None for row in rows] == [None, "stuck"]
    assert [row["usual"] or None for row in rows] == [None, None]
