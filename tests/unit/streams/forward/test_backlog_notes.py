"""A note of what waits for a sink that can't be read: some points go twice, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.logs.configured import topic, topic_specs
from connectors.logs.embedded.store import SqliteLog
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.errors import DataError
from headgate.core.log import AGGREGATES, FORWARDED, THINNED, Record, TopicPartition
from streams.forward.backlog import EVICTED, Backlog, read_note

_HEADERS = (("schema", b"forwarded/1"),)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """One partition."""
    return Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "local_store": {},
            "log": {"partitions": 1},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )


@pytest.fixture
async def log(config: Config) -> AsyncIterator[SqliteLog]:
    """300 records of aggregates, and 7 of thinned ones."""
    log = SqliteLog(config.log_path, SystemClock())
    await log.start()
    # Not compacted, as a log that has not come to it yet.
    await log.ensure_topics([replace(each, is_compacted=False) for each in topic_specs(config)])
    await log.append(_at(config, AGGREGATES), [Record(b"x")] * 300)
    await log.append(_at(config, THINNED[0]), [Record(b"x")] * 7)
    yield log
    await log.stop()


def _at(config: Config, name: str) -> TopicPartition:
    return TopicPartition(topic(config, name), 0)


async def _spoil(config: Config, log: SqliteLog, value: bytes) -> None:
    await log.append(_at(config, FORWARDED), [Record(value, b"s/0", _HEADERS)])


async def test_the_note_before_a_bad_one_is_taken(config: Config, log: SqliteLog) -> None:
    """It knows of all that waits: what has been sent since is sent again."""
    backlog = Backlog(config, log, "s", 0)
    await backlog.load()
    backlog.fall_behind(100)
    backlog.tiers[1].add((2, 5))
    await backlog.save()
    await _spoil(
        config, log, b'{"live": 200, "tiers": [{"ranges": [[50, 40]], "carried": [0, 0]}]}'
    )
    back = Backlog(config, log, "s", 0)
    await back.load()

    assert (back.live, back.tiers[0].ranges, back.tiers[1].ranges) == (100, [(0, 100)], [(2, 5)])


async def test_without_any_note_all_that_was_thinned_waits(config: Config, log: SqliteLog) -> None:
    """Aggregates wait from the committed offset on; thinned ones wait nowhere else."""
    backlog = Backlog(config, log, "s", 0)
    await backlog.load()
    await _spoil(config, log, b"rubbish")
    back = Backlog(config, log, "s", 0)
    await back.load()

    assert (back.live, back.tiers[1].ranges) == (0, [(0, 7)])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"null",
        b'{"live": -1, "tiers": []}',
        b'{"live": 1e400, "tiers": []}',
        b'{"live": 1, "tiers": [{"ranges": [[1]], "carried": [0, 0]}]}',
        b'{"live": 1, "tiers": [{"ranges": [[true, 2]], "carried": [0, 0]}]}',
        b'{"live": 1, "tiers": [{"ranges": [], "carried": [0, 0]}, {}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_note_is_refused(value: bytes) -> None:
    """With a data error and nothing else."""
    with pytest.raises(DataError, match="bad_record"):
        read_note(value)


async def test_a_backlog_of_very_many_ranges_still_has_a_note(
    config: Config, log: SqliteLog
) -> None:
    """Some of what was sent between them is sent again."""
    backlog = Backlog(config, log, "s", 0)
    await backlog.load()
    backlog.live = 300
    backlog.tiers[0].ranges = [(10 * number, 10 * number + 1) for number in range(100_000)]
    await backlog.save()
    back = Backlog(config, log, "s", 0)
    await back.load()
    ranges = back.tiers[0].ranges

    assert len(ranges) <= 10_000
    assert (ranges[0][0], ranges[-1][1]) == (0, 999_991)


async def test_what_was_evicted_is_noted_before_the_offset_moves(
    config: Config, log: SqliteLog
) -> None:
    """Whoever looks next, an audit or the lane after a crash, knows of it."""
    backlog = Backlog(config, log, "s", 0)
    await backlog.load()
    backlog.fall_behind(300)
    await backlog.save()
    backlog.let_go(backlog.tiers[0], (0, 100), EVICTED, 100)
    await backlog.commit()
    back = Backlog(config, log, "s", 0)
    await back.look()

    assert back.tiers[0].ranges == [(100, 300)]
    assert back.tiers[0].counts[EVICTED] == 100
