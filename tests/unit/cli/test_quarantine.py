"""``headgate quarantine``, and ``headgate check`` with a sample or what stands in quarantine."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectors.logs.configured import open_log, topic, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.log import QUARANTINE, READINGS, TopicPartition
from headgate.core.records import QuarantinedMessage, messages_record, rejected_record
from headgate.gateway.lock import FileLock
from headgate.inspect.log_contents import Filter, exported

_START_NS = 1_750_000_000 * 10**9

_MESSAGES = [
    QuarantinedMessage(_START_NS, "mqtt:m/a", b"13.9", "not_object", "expected an object", 4, 0),
    QuarantinedMessage(
        _START_NS + 1, "mqtt:m/b", b"14.5", "not_object", "expected an object", 4, 0
    ),
    QuarantinedMessage(_START_NS + 2, "mqtt:m/b", b"14.", "not_object", "expected an object", 9, 0),
    QuarantinedMessage(_START_NS, "mqtt:x/\x1b[2J", b"\x9b", "unknown_topic", "no feed", 1),
    QuarantinedMessage(_START_NS, "influxdb", b"p v=1", "rejected_by_sink", "bad point", 5),
]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A gateway's configuration, and its log with something in quarantine."""
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{tmp_path}"\n[log]\npartitions = 2\n[local_store]\n'
        '[feed.f]\ntopic = "m/{device}"\n[feed.f.channels]\ntemp = { unit = "C" }\n'
    )
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    table = ChannelTable()
    table.row(Channel("f", "a", "f", "temp", "C", ()))
    late = Batch.from_columns(
        table, [_START_NS], [0], [9.5], origin=Origin(topic(config, READINGS), 0, 1)
    )
    for partition in range(2):
        at = TopicPartition(topic(config, QUARANTINE), partition)
        await log.append(at, [messages_record(_MESSAGES[partition::2])])
    await log.append(at, [rejected_record(late, ["late"])])
    await log.stop()


async def _add(path: Path, message: QuarantinedMessage) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    await log.append(TopicPartition(topic(config, QUARANTINE), 0), [messages_record([message])])
    await log.stop()


def test_kinds_are_listed_with_what_takes_them(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The most first; readings beside messages."""
    assert main(["quarantine", "-c", str(config_file), "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [(each["reason"], each["feed"], each["count"]) for each in listed] == [
        ("not_object", "f", 3),
        ("late", "f", 1),
        ("rejected_by_sink", "", 1),
        ("unknown_topic", "", 1),
    ]
    first = listed[0]
    assert first["sources"] == {"m/b": 2, "m/a": 1}
    # The newest one was cut, so that nothing can be tried on it.
    assert first["payload"] in ("13.9", "14.5")
    assert first["remedies"][0]["lines"] == [
        ["[feed.f]", 'format = { type = "value", channel = "temp" }']
    ]
    assert not any(each["remedies"] for each in listed[1:])


def test_it_is_printed_for_people(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing in it that moves a cursor."""
    assert main(["quarantine", "-c", str(config_file)]) == 0
    out = capsys.readouterr().out

    assert "1. not_object: 3 of feed f" in out
    assert 'remedy   in [feed.f]: format = { type = "value", channel = "temp" }' in out
    assert "\x1b" not in out


@pytest.mark.parametrize("which", [[], ["1"], ["not_object"]])
def test_what_stands_in_quarantine_is_explained(
    config_file: Path, capsys: pytest.CaptureFixture[str], which: list[str]
) -> None:
    """The newest, the one of a number, or the one of a reason."""
    code = main(["check", "-c", str(config_file), "--json", "--from-quarantine", *which])
    (told,) = json.loads(capsys.readouterr().out)["samples"]

    assert code == 1
    assert told["troubles"][0]["reason"] == "not_object"
    assert told["troubles"][0]["remedies"]


@pytest.mark.parametrize("which", ["late", "99", "nothing"])
def test_what_is_not_there_is_refused(
    config_file: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    """With what there is."""
    assert main(["check", "-c", str(config_file), "--from-quarantine", which]) == 2
    assert "which holds 1 (not_object), 2 (late)" in capsys.readouterr().err


def test_samples_are_followed(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files and stdin; 0 when readings come of each."""
    good = config_file.parent / "good.json"
    good.write_bytes(b'{"temp": 21.5}')
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"nonsense")))
    command = ["check", "-c", str(config_file), "--topic", "m/p7", "--sample", str(good)]

    assert main(command) == 0
    out = capsys.readouterr().out
    assert "reading    p7 temp = 21.5 C at " in out
    assert "f_10s,device=p7,gateway=gateway temp_mean=21.5" in out
    assert main([*command, "--sample", "-"]) == 1
    assert "refused    not_json" in capsys.readouterr().out


def test_a_sample_says_what_it_is(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once for all samples, or each for itself."""
    with config_file.open("a") as file:
        file.write('[feed.f.content_types]\n"application/msgpack" = "msgpack"\n')
        file.write('[feed.f.tags]\nbatch = { user_property = "b" }\n')
    packed, json_file = config_file.parent / "packed", config_file.parent / "json"
    packed.write_bytes(b"\x81\xa4temp\x05")
    json_file.write_bytes(b'{"temp": 6}')
    command = ["check", "-c", str(config_file), "--topic", "m/p7", "--sample", str(packed)]
    msgpack = ["--content-type", "Application/MsgPack"]

    assert main(command) == 1
    assert main([*command, *msgpack, "--sample", str(packed)]) == 0
    more = ["--content-type", "a/b", "--user-property", "b=7=8"]
    assert main([*command, *msgpack, "--sample", str(json_file), *more]) == 0
    out = capsys.readouterr().out
    assert "reading    p7 batch=7=8 temp = 6 C" in out


def test_what_a_message_of_quarantine_says_that_it_is_counts(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would take it is told of the format that it says that it has."""
    with config_file.open("a") as file:
        file.write('[feed.f.content_types]\n"application/msgpack" = "msgpack"\n')
    packed = b"\x81\xa1x\x05"
    detail, content_type = "none of the feed's channels is in the record", "application/msgpack"
    message = QuarantinedMessage(
        _START_NS + 9, "mqtt:m/c", packed, "no_channels", detail, 4, 0, content_type
    )
    asyncio.run(_add(config_file, message))

    main(["quarantine", "-c", str(config_file)])
    assert f"because  {detail}; content type {content_type}\n" in capsys.readouterr().out

    main(["check", "-c", str(config_file), "--json", "--from-quarantine", "no_channels"])
    (told,) = json.loads(capsys.readouterr().out)["samples"]
    (trouble,) = told["troubles"]
    assert told["format"] == "msgpack"
    assert trouble["reason"] == "no_channels"
    assert trouble["remedies"][0]["lines"] == [["[feed.f.channels]", "x = {}"]]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--content-type", "a/b"], "--content-type: expected --sample"),
        (["--user-property", "a=b"], "--user-property: expected --sample"),
        (["--sample", "-", "--topic", "a", "--user-property", "a"], "NAME=VALUE, got 'a'"),
        (
            ["--sample", "-", "--topic", "a", "--content-type", "a", "--content-type", "b"],
            "one for each of 1 samples, got 2",
        ),
        (["--sample", "-"], "--sample: expected --topic"),
        (["--topic", "m/a"], "--topic: expected --sample"),
        (["--sample", "-", "--topic", "m/+"], "without wildcards, got 'm/+'"),
        (["--sample", "-", "--topic", "a", "--topic", "b"], "one for each of 1 samples, got 2"),
        (["--sample", "/nowhere", "--topic", "m/a"], "--sample: expected a readable file"),
        (["--sample", "-", "--topic", "m/a", "--from-quarantine"], "expected no --sample"),
        (["--sample", "-", "--topic", "m/a", "--connect"], "neither --connect nor --strict"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    config_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    """Each with what is expected."""
    assert main(["check", "-c", str(config_file), *arguments]) == 2
    assert problem in capsys.readouterr().err


def _mend(config_file: Path) -> None:
    """Have the feed read bare numbers."""
    text = config_file.read_text()
    text = text.replace("[feed.f]\n", '[feed.f]\nformat = { type = "value", channel = "temp" }\n')
    config_file.write_text(text)


def _readings(config_file: Path) -> int:
    """How many readings stand in the log."""

    async def count() -> int:
        config = load_config(config_file)
        log = open_log(config, SystemClock())
        await log.start()
        found = 0
        async for rows in exported(config, log, READINGS, Filter()):
            found += len(list(rows))
        await log.stop()
        return found

    return asyncio.run(count())


def test_what_is_read_by_now_is_taken(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First it is shown, by feed and reason; then it is done, and listed no more."""
    command = ["quarantine", "-c", str(config_file), "--retry"]
    _mend(config_file)
    (config_file.parent / "gateway.lock").touch()

    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "2 readings of 2 messages would be taken, and nothing was changed" in shown
    assert "left (cut): not all of it was kept" in shown
    assert "left (other): it is no message of a source" in shown
    assert _readings(config_file) == 0

    assert main([*command, "--json", "--reason", "not_object"]) == 0
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == {
        "feed": "f",
        "reason": "not_object",
        "messages": 3,
        "taken": 2,
        "readings": 2,
        "refused": {},
        "left": {"cut": 1},
    }
    assert _readings(config_file) == 2

    assert main(command) == 0
    assert "took 0 readings of 0 messages" in capsys.readouterr().out
    assert main(["quarantine", "-c", str(config_file), "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["reason"]: each["count"] for each in listed}["not_object"] == 1
    assert _readings(config_file) == 2


@pytest.mark.parametrize("lock", ["gateway.lock", "ingest.lock"])
def test_nothing_is_taken_beside_a_gateway(
    config_file: Path, capsys: pytest.CaptureFixture[str], lock: str
) -> None:
    """Nor beside a lane of one that has died; to look is allowed."""
    command = ["quarantine", "-c", str(config_file), "--retry"]
    _mend(config_file)
    folder = config_file.parent
    (folder / "gateway.lock").touch()
    with FileLock(folder / lock):
        assert main(command) == 1
        said = capsys.readouterr().err
        assert f"{folder / lock}: expected that the gateway is stopped, found process" in said
        assert main([*command, "--dry-run"]) == 0

    assert _readings(config_file) == 0


def test_nothing_is_taken_where_no_gateway_has_run(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may run on another machine."""
    assert main(["quarantine", "-c", str(config_file), "--retry"]) == 1
    assert "found no gateway.lock; do this on the gateway's machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--dry-run"], "--dry-run: expected --retry with it"),
        (["--feed", "f"], "--feed: expected --retry with it"),
        (["--since", "1d"], "--since: expected --retry with it"),
        (["--retry", "--feed", "g"], "--feed: expected one of f, got 'g'"),
        (["--retry", "--since", "soon"], '--since: expected a text like "10s"'),
    ],
)
def test_options_of_retry_that_do_not_fit_are_refused(
    config_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    """Each with what is expected."""
    assert main(["quarantine", "-c", str(config_file), *arguments]) == 2
    assert problem in capsys.readouterr().err
