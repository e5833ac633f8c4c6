"""What a device and a channel cost in memory, as docs/guarantees.md has it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from headgate.config.schema import Config
from headgate.core.batch import Origin
from headgate.core.channels import ChannelTable
from headgate.core.records import decode_readings
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.build import build_pipeline
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds
from streams.process.recovery import StateKeeper
from streams.process.state import Placement

pytestmark = pytest.mark.slow

_DEVICES = 2000


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("channels", [1, 10])
def test_a_device_costs_as_much_as_is_documented(channels: int) -> None:
    """With a window open, and no model."""
    fields = [f"c{number}" for number in range(channels)]
    feed = {"topic": "plant/{line}/{device}", "channels": {name: {} for name in fields}}
    config = Config.model_validate(
        {"local_store": {}, "log": {"partitions": 1}, "feed": {"f": feed}}
    )
    clock = ManualClock()
    telemetry = Telemetry(clock)
    refusals = Refusals(config, telemetry, clock)
    translator = Translator(config, telemetry, refusals, UnheardFeeds(config.feed, telemetry))
    body = "{" + ",".join(f'"{name}":1.5' for name in fields) + "}"
    topics = [b"plant/line-%d/pump-%06d" % (number % 20, number) for number in range(_DEVICES)]
    arrival_ns = np.full(_DEVICES, clock.wall_ns())
    before = _held()
    translated = Translated()
    translator.take(Messages(topics, [body.encode()] * _DEVICES, arrival_ns, {}), translated)
    translator.encode(translated)
    values = [record.value for some in translated.records.values() for record in some]
    translated = Translated()
    in_ingest = _held() - before - sum(map(len, values))

    table = ChannelTable()
    pipeline = build_pipeline(config, table)
    keeper = StateKeeper(None, "state", pipeline, Placement(table, 1))  # type: ignore[arg-type]
    before = _held()
    for value in values:
        batch = decode_readings(value, table, Origin("readings", 0, 0))
        pipeline.process(keeper.without_applied(batch), 0)
    keeper.moved_buckets(0)
    del batch
    in_streams = _held() - before

    assert len(table) == channels * _DEVICES
    assert 0 < in_ingest / _DEVICES <= 2000 + 500 * (channels - 1)
    assert 0 < in_streams / _DEVICES <= 4000 + 1500 * (channels - 1)
