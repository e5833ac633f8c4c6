"""The source and the sink that are scripted keep those laws that have a meaning in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, SinkContext
from connectors.sources.source import Source, SourceContext
from headgate.core.channels import Tags
from headgate.core.errors import TransientError
from headgate.testing import sinks, sources
from headgate.testing.scripted import MemorySink, ScriptedSource
from headgate.testing.sinks import StoredPoint, hold_sink_to
from headgate.testing.sources import SourceTrial, hold_source_to

#: Of a source whose other side ends with it, nothing can be asked over an end; the law below asks
#: the same over connections.
_OVER_AN_END = (
    sources.brings_again_what_was_not_acknowledged,
    sources.brings_what_was_published_while_nobody_listened,
)

#: It sends no bytes, and no process can be killed that has a memory of its own.
_OF_PROCESSES = (sinks.counts_what_it_sends, sinks.loses_nothing_by_a_kill)


class _Peer:
    """The other side of the source that was made last; see ``SourceScene``."""

    def __init__(self, _folder: Path) -> None:
        self._loop = asyncio.get_running_loop()

    def make(self, _table: object, context: SourceContext) -> Source:
        """See ``MakeSource``."""
        self.source = ScriptedSource(context)
        return self.source

    def tables(self) -> str:
        """Of the kind in whose place it is."""
        return ""

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """In the event loop, as whatever is scripted."""
        for payload in payloads:
            self._loop.call_soon_threadsafe(self.source.publish, topic.encode(), payload)

    def leave(self) -> None:
        """See ``SourceScene``."""
        self._loop.call_soon_threadsafe(self.source.leave)

    def come_back(self) -> None:
        """See ``SourceScene``."""
        self._loop.call_soon_threadsafe(self.source.come_back)

    def close(self) -> None:
        """Nothing to end."""


async def _comes_again_over_another_connection(trial: SourceTrial) -> None:
    """What was not acknowledged; what was does not, and whoever is late with it has no effect."""
    async with trial.running() as here:
        await here.is_there()
        first = await trial.publish(0, 20)
        await here.has(first)
        await here.source.acknowledge(here.received)
        second = await trial.publish(20, 40)
        await here.has(second)
        late = here.received[20:]
        trial.scene.leave()
        third = await trial.publish(40, 50)
        await asyncio.sleep(0.05)
        await here.source.acknowledge(late)
        trial.scene.come_back()
        await here.has(third)
        assert here.source.has_kept
        assert here.payloads == [*first, *second, *second, *third]
        assert {each.connection for each in here.received[40:]} == {here.source.connection}


@pytest.mark.parametrize(
    "law",
    [
        *(law for law in sources.LAWS if law not in _OVER_AN_END),
        _comes_again_over_another_connection,
    ],
    ids=lambda law: law.__name__,
)
async def test_the_scripted_source_keeps_the_laws(law: sources.Law, tmp_path: Path) -> None:
    """All but those of a peer that outlives it."""
    peer = _Peer(tmp_path)
    await hold_source_to(law, "mqtt", lambda _folder: peer, tmp_path, peer.make)


class _Memory:
    """What sinks in memory write to, and which outlives them; see ``SinkScene``."""

    overwrites = True
    refused: Point | None = None

    def __init__(self, _folder: Path) -> None:
        self._points: dict[tuple[str, Tags, int], Point] = {}
        self._is_away = False

    def make(self, _table: object, context: SinkContext) -> Sink:
        """See ``MakeSink``; one that is made while it is away takes nothing at first."""
        failures = [TransientError("it is away")] * (3 if self._is_away else 0)
        sink = MemorySink(context.name, failures=failures)
        sink.points = self._points
        return sink

    def tables(self) -> str:
        """Of the kind in whose place it is."""
        return ""

    def leave(self) -> None:
        """See ``SinkScene``."""
        self._is_away = True

    def come_back(self) -> None:
        """See ``SinkScene``."""
        self._is_away = False

    def stored(self) -> list[StoredPoint]:
        """See ``SinkScene``."""
        return [
            StoredPoint(each.measurement, each.tag("device"), each.time_ns, float(each.fields["x"]))
            for each in self._points.values()
        ]

    def close(self) -> None:
        """Nothing to end."""


@pytest.mark.parametrize(
    "law",
    [law for law in sinks.LAWS if law not in _OF_PROCESSES],
    ids=lambda law: law.__name__,
)
async def test_the_sink_in_memory_keeps_the_laws(law: sinks.Law, tmp_path: Path) -> None:
    """All but those of what is outside."""
    memory = _Memory(tmp_path)
    await hold_sink_to(law, "local_store", lambda _folder: memory, tmp_path, memory.make)
