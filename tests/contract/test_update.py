"""The state of an older version, taken up from either log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headgate.config.schema import Config
from headgate.core.batch import Origin
from headgate.core.channels import ChannelTable
from headgate.core.log import Log, Record, TopicPartition, TopicSpec
from headgate.core.records import decode_readings
from streams.build import build_pipeline
from streams.pipeline import Pipeline
from streams.process.recovery import StateKeeper
from streams.process.state import Placement
from tests.contract.logs import Workshop, read_all
from tests.written_before import Before, Made

_S = 10**9


@pytest.mark.parametrize("name", ["one_line", "two_lines"])
async def test_nothing_is_lost_or_counted_twice_over_an_update(
    workshop: Workshop, name: str
) -> None:
    """Older state, some records once more, and a restart with the state as it is written now."""
    old = Before.of(name)
    readings, state = (TopicPartition(workshop.topic(each), 0) for each in ("readings", "state"))
    specs = [TopicSpec(readings.topic, 1), TopicSpec(state.topic, 1, is_compacted=True)]
    made = Made()
    async with workshop.open(*specs) as log:
        await log.append(readings, [Record(value) for value in old.readings])
        await log.append(state, old.state)
        await _work(old, log, readings, state, (old.cut - 7, old.cut + 6), made)
    async with workshop.open(*specs) as log:
        lane = await _work(old, log, readings, state, (old.cut, len(old.readings)), made)
        lane.advance(0)
        made.add(lane.advance(3600 * _S), lane.channels)

    assert made.repeated == 0
    assert made.windows == old.after.windows
    received = sum(len(decode_readings(each, ChannelTable())) for each in old.readings)
    rejected = old.before.rejected.total() + made.rejected.total()
    for window_ns in (4 * _S, 8 * _S):
        settled = old.before.readings(window_ns) + made.readings(window_ns)
        assert settled + rejected == received


async def _work(
    old: Before,
    log: Log,
    readings: TopicPartition,
    state: TopicPartition,
    offsets: Sequence[int],
    made: Made,
) -> Pipeline:
    """Take up what is in the log, work on these records, and write the state down."""
    config = Config.model_validate(old.config)
    table = ChannelTable(identities=config.identities)
    pipeline = build_pipeline(config, table)
    keeper = StateKeeper(log, state.topic, pipeline, Placement(table, 1))
    assert await keeper.restore(0) > 0
    first, end = offsets
    for record in (await read_all(log, readings))[first:end]:
        batch = decode_readings(record.value, table, Origin(readings.topic, 0, record.offset))
        results = pipeline.process(keeper.without_applied(batch), 0)
        keeper.touch(results.moved, results.derived)
        made.add(results, table)
    await log.append(state, keeper.snapshot(0, keeper.moved_buckets(0), end))
    return pipeline
