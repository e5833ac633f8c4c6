"""``headgate devices``: who is there, who is not, and since when."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from connectors.logs.configured import open_log, topic, topic_specs
from headgate.cli import main
from headgate.cli.devices import _shown_held
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.log import QUARANTINE, READINGS, STATE, Record, TopicPartition
from headgate.core.records import rejected_record
from headgate.core.stage import Snapshot
from headgate.inspect.devices import _devices_in
from streams.build import build_pipeline
from streams.process.state import selection_of, snapshot_record

#: Breaks the line, and turns the writing round.
_HOSTILE = "c\n\u202e"

_START_NS = 1_750_000_000 * NS_PER_S


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's configuration, and what its lane has written down of three devices."""
    monkeypatch.setenv("COLUMNS", "140")
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'[gateway]\ndata_dir = "{tmp_path}"\n[log]\npartitions = 1\n[local_store]\n'
        '[feed.f]\ntopic = "f/{line}/{device}"\n[feed.f.channels]\nx = {}\ny = {}\n'
        '[feed.g]\ntopic = "g/{device}"\ndevice_state = false\n[feed.g.channels]\nx = {}\n'
    )
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    config = load_config(path)
    log = open_log(config, SystemClock())
    await log.start()
    await log.ensure_topics(topic_specs(config))
    table = ChannelTable(identities=config.identities)
    pipeline = build_pipeline(config, table)
    rows = [
        table.row(Channel("f", "a", "f", "x", tags=(("line", "1"),))),
        table.row(Channel("f", "a", "f", "y", tags=(("line", "1"),))),
        table.row(Channel("f", "b", "f", "x", tags=(("line", "1"),))),
        table.row(Channel("g", _HOSTILE, "g", "x")),
    ]
    written: list[bytes] = []
    for second in range(0, 600, 2):
        sending = rows if second < 100 else [*rows[:2], rows[3]]
        times = [_START_NS + second * NS_PER_S] * len(sending)
        batch = Batch.from_columns(
            table, times, sending, [1.0] * len(sending), origin=Origin("r", 0, second)
        )
        now_ns = second * NS_PER_S
        pipeline.process(batch, now_ns)
        pipeline.advance(now_ns)
        if second in (50, 598):
            written.append(_snapshot(pipeline, second))
    records = [Record(value, key=b"0", headers=(("schema", b"state/2"),)) for value in written]
    at = TopicPartition(topic(config, STATE), 0)
    await log.append(at, [*records[:1], Record(b"damaged", key=b"1"), *records[1:]])
    late = Batch.from_columns(
        table, [_START_NS] * 3, [rows[2]] * 3, [9.5] * 3, origin=Origin(READINGS, 0, 1)
    )
    again = [rejected_record(late, ["late"] * 3)] * 2
    await log.append(TopicPartition(topic(config, QUARANTINE), 0), again)
    await log.stop()


def _snapshot(pipeline: object, next_offset: int) -> bytes:
    table = pipeline.channels  # type: ignore[attr-defined]
    selection = selection_of(table, np.arange(len(table.devices), dtype=np.int32))
    snapshot = Snapshot(
        next_offset,
        list(table.devices),
        table.keys(selection.channels),
        pipeline.fingerprints,  # type: ignore[attr-defined]
        pipeline.snapshot(selection),  # type: ignore[attr-defined]
    )
    return snapshot_record(b"0", snapshot).value


def test_each_device_is_listed_with_how_it_is(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its newest snapshot; what a replay has rejected again counts once."""
    assert main(["devices", "-c", str(config_file), "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert found == [
        {
            "feed": "f", "device": "a", "tags": {"line": "1"}, "state": "online",
            "seen": "2025-06-15T15:16:38.000000000Z", "period_s": 2.0, "channels": 2,
            "rejected": 0,
            "held": {},
        },
        {
            "feed": "f", "device": "b", "tags": {"line": "1"}, "state": "offline",
            "seen": "2025-06-15T15:08:18.000000000Z", "period_s": 2.0, "channels": 1,
            "rejected": 3,
            "held": {},
        },
        {
            "feed": "g", "device": _HOSTILE, "tags": {}, "state": None,
            "seen": "2025-06-15T15:16:38.000000000Z", "period_s": 2.0, "channels": 1,
            "rejected": 0,
            "held": {},
        },
    ]  # fmt: skip


def test_those_that_are_away_can_be_asked_for(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And those of a feed; names from outside break no line."""
    assert main(["devices", "-c", str(config_file), "--offline"]) == 0
    away = capsys.readouterr().out
    assert main(["devices", "-c", str(config_file), "--feed", "g"]) == 0
    of_feed = capsys.readouterr().out

    assert "b line=1" in away and "devices: 1, away: 1" in away  # noqa: PT018
    assert "a line=1" not in away
    assert "\u202e" not in of_feed
    assert "devices: 1, away: 0" in of_feed


def test_a_feed_that_there_is_not_is_a_mistake(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With those that there are."""
    assert main(["devices", "-c", str(config_file), "--feed", "h"]) == 2
    assert "--feed: expected one of f, g, got h" in capsys.readouterr().err


def test_what_a_text_channel_holds_is_shown_as_a_text() -> None:
    """Also when nothing but the snapshot is left of it."""
    feed = {"topic": "{device}", "retained": "state", "channels": {"mode": {"type": "text"}}}
    config = Config.model_validate({"local_store": {}, "feed": {"f": feed}})
    table = ChannelTable()
    mode = table.row(Channel("f", "d", "f", "mode", is_text=True))
    pipeline = build_pipeline(config, table)
    pipeline.hold(Batch.from_columns(table, [_START_NS], [mode], [table.texts.add(mode, "hand")]))
    here = selection_of(table, np.array([0], np.int32))
    snapshot = Snapshot(
        0,
        table.devices,
        table.keys(here.channels),
        pipeline.fingerprints,
        pipeline.snapshot(here),
        texts=table.texts.of(here.channels.tolist()),
    )

    (device,) = _devices_in(snapshot, Counter()).values()

    assert [held.value for held in device.held] == ["hand"]
    assert _shown_held(device) == "mode hand"
