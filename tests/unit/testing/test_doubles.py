"""The virtual world: time that waits for nothing, a source and a sink that do as they are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.mqtt.packets import HEAD_BYTES
from connectors.mqtt.received import Received
from connectors.sinks.points import Point
from connectors.sources.source import SourceContext
from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from headgate.testing.scripted import MemorySink, ScriptedConnection, ScriptedSource
from headgate.testing.virtual_time import Deadlock, VirtualClock, VirtualLoop, run


def test_an_hour_passes_at_once_and_to_the_end() -> None:
    """By both clocks; what is skipped counts, and makes nobody's sleep shorter."""
    loop = VirtualLoop()
    clock = VirtualClock(loop)
    before = clock.wall_ns(), clock.monotonic_ns(), clock.uptime()[1]

    async def sleep() -> None:
        sleeping = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(1)
        clock.skip(86_400)
        assert not sleeping.done()
        await sleeping

    run(sleep(), loop)

    after = clock.wall_ns(), clock.monotonic_ns(), clock.uptime()[1]
    assert [b - a for a, b in zip(before, after, strict=True)] == [90_000 * NS_PER_S] * 3


def test_the_wall_clock_is_set_to_the_nanosecond() -> None:
    """And time by the other clock goes on undisturbed."""
    loop = VirtualLoop()
    clock = VirtualClock(loop)
    before_ns = clock.monotonic_ns()

    clock.set_wall(1_767_225_600_000_000_001)

    assert clock.wall_ns() == 1_767_225_600_000_000_001
    assert clock.monotonic_ns() == before_ns
    loop.close()


def test_who_waits_for_nobody_is_found_out() -> None:
    """In the real world it would hang for ever."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(wait(), VirtualLoop())


async def test_a_source_brings_what_it_is_told_and_nothing_while_it_is_paused(
    tmp_path: Path,
) -> None:
    """In order; what is too large is cut, and its size told."""
    config = Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "ingest": {"max_payload": "8B"},
            "local_store": {},
            "feed": {"f": {"topic": "{device}", "channels": {"x": {}}}},
        }
    )
    received: list[Received] = []
    clock = ManualClock()
    context = SourceContext("s", "source.s", config, clock, Telemetry(clock), received.append)
    source = ScriptedSource(context)
    source.publish(b"a", b"before it was there")
    assert source.trouble
    assert not received
    running = asyncio.create_task(source.run())
    await asyncio.sleep(0)
    assert not source.trouble
    source.pause()
    source.publish(b"b", b"x" * (HEAD_BYTES + 100))
    source.publish(b"c", b"", is_retained=True)
    assert len(received) == 1
    source.resume()
    await source.acknowledge(received)
    await source.close(is_all_safe=True)
    await running

    assert [each.topics[0] for each in received] == [b"a", b"b", b"c"]
    assert {each.connection for each in received} == {source.connection}
    assert [dict(each.cut) for each in received] == [{}, {0: HEAD_BYTES + 100}, {}]
    assert [list(each.retained) for each in received] == [[], [], [0]]


async def test_a_connection_knows_what_was_said_and_acknowledged() -> None:
    """So that a test can ask for it."""
    received: list[Received] = []
    connection = ScriptedConnection(on_messages=received.append, max_payload_bytes=8)
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(0)
    connection.publish(b"a", b"1")
    connection.ack(received[0])
    connection.say("t", b"2")
    connection.close()
    await running

    assert connection.acknowledged == 1
    assert connection.said == [("t", b"2")]


async def test_a_sink_keeps_each_point_once_with_all_its_fields() -> None:
    """The newest value of each; a failure keeps nothing."""
    sink = MemorySink("s", failures=[TransientError("not now")])
    first = Point("aggregates", "m", (("d", "1"),), {"a": 1.0, "b": 2.0}, 5)
    again = Point("aggregates", "m", (("d", "1"),), {"b": 3.0, "c": 4.0}, 5)

    with pytest.raises(TransientError):
        await sink.write([first])
    assert not sink.points
    assert await sink.write([first, again]) == []

    (point,) = sink.points.values()
    assert point.fields == {"a": 1.0, "b": 3.0, "c": 4.0}
