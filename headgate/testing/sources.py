"""The laws of sources, that a test of a few lines holds one to.

::

    async def test_my_source_keeps_the_laws(tmp_path: Path) -> None:
        await hold_source("mine", MyScene, tmp_path)

``MyScene`` is the source's other side, see ``SourceScene``: a real one, at which something can be
published, and which can go away.

A source that no configuration names, such as one in memory, is held to one law after the other with
what makes it::

    await hold_source_to(law, "mqtt", MyScene, tmp_path, make=lambda _table, context: Mine(context))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from connectors.sources.configured import make_source, source_key
from connectors.sources.source import MakeSource, Source, SourceContext
from headgate.config.load import load_config
from headgate.core.clock import SystemClock
from headgate.core.telemetry import Telemetry

#: The source's name in the trials: no kind is called so.
_NAME: Final = "here"

#: What the messages of the trials come on; the feed is of ``plant/{device}``.
_TOPIC: Final = "plant/d"
_FEED: Final = '[feed.f]\ntopic = "plant/{device}"\nchannels.x = {}\n'

#: How long a source may take to connect and to bring what is there, and to end, s.
_THERE_S: Final = 60
_STOP_S: Final = 15

#: Between two looks, s.
_PAUSE_S: Final = 0.02


class SourceScene(Protocol):
    """A source's other side; made with a folder of its own, in which ``data`` is the gateway's."""

    def __init__(self, folder: Path) -> None: ...

    def tables(self) -> str:
        """What the configuration needs behind ``type``: the rest of the source's table first."""
        ...

    def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Have a device publish these in their order, and see them safe; may block."""
        ...

    def leave(self) -> None:
        """Be away, with all that was published kept."""
        ...

    def come_back(self) -> None:
        """Be there again."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Running:
    """A source that runs, and what it has handed over.

    Attributes:
        source: It.
        received: What was handed over, in order.
    """

    def __init__(self) -> None:
        self.received: list[Any] = []
        self._source: Source | None = None

    @property
    def source(self) -> Source:
        assert self._source is not None
        return self._source

    @source.setter
    def source(self, source: Source) -> None:
        self._source = source

    @property
    def payloads(self) -> list[bytes]:
        """All payloads, in order."""
        return [payload for each in self.received for payload in each.payloads]

    async def has(self, payloads: Sequence[bytes]) -> None:
        """Wait until these have come, all of them."""
        wanted = {*payloads}
        await _until(
            lambda: wanted <= {*self.payloads},
            lambda: (
                f"{len(wanted - {*self.payloads})} of {len(wanted)} did not come: "
                f"{self.source.trouble or 'no trouble is told'}"
            ),
        )

    async def is_there(self) -> None:
        """Wait until messages can be heard."""
        await _until(lambda: not self.source.trouble, lambda: self.source.trouble)


class SourceTrial:
    """A kind of source with its other side.

    Args:
        kind: Its type in the configuration.
        scene: Its other side.
        folder: The scene's.
        make: Makes it of its table; None for what is installed as this type.
    """

    def __init__(
        self, kind: str, scene: SourceScene, folder: Path, make: MakeSource | None = None
    ) -> None:
        self.scene = scene
        self._make = make
        file = folder / "plant.toml"
        file.write_text(
            f'[local_store]\n[source.{_NAME}]\ntype = "{kind}"\n{scene.tables()}{_FEED}',
            encoding="utf-8",
        )
        self._config = load_config(file)
        self._config.gateway.data_dir.mkdir(exist_ok=True)

    @asynccontextmanager
    async def running(self, *, is_settled: bool = True) -> AsyncIterator[Running]:
        """A source that runs inside the block.

        Args:
            is_settled: Whether it ends in order; otherwise as after a crash.
        """
        clock, here = SystemClock(), Running()
        context = SourceContext(
            _NAME,
            source_key(self._config, _NAME),
            self._config,
            clock,
            Telemetry(clock),
            here.received.append,
        )
        chosen = self._config.source[_NAME]
        if self._make is None:
            source = make_source(chosen, context)
        else:
            source = self._make(chosen.table, context)
        here.source = source
        task = asyncio.create_task(source.run())
        try:
            yield here
            if is_settled:
                source.pause()
                await source.settle()
        finally:
            await source.close(is_all_safe=is_settled)
            async with asyncio.timeout(_STOP_S):
                await task

    async def publish(self, first: int, end: int) -> list[bytes]:
        """Have a device publish numbered messages; their payloads."""
        payloads = [b'{"x": %d}' % number for number in range(first, end)]
        await asyncio.to_thread(self.scene.publish, _TOPIC, payloads)
        return payloads


Law: TypeAlias = Callable[[SourceTrial], Awaitable[None]]


async def hold_source(kind: str, make_scene: Callable[[Path], SourceScene], folder: Path) -> None:
    """Hold a kind of source to all the laws there are.

    Args:
        kind: Its type in the configuration.
        make_scene: Makes its other side, anew for each law.
        folder: An empty folder.

    Raises:
        AssertionError: It breaks one.
    """
    for law in LAWS:
        here = folder / law.__name__
        here.mkdir()
        await hold_source_to(law, kind, make_scene, here)


async def hold_source_to(
    law: Law,
    kind: str,
    make_scene: Callable[[Path], SourceScene],
    folder: Path,
    make: MakeSource | None = None,
) -> None:
    """Hold a kind of source to one law; see ``hold_source``.

    Args:
        law: It.
        kind: The source's type in the configuration.
        make_scene: Makes its other side.
        folder: An empty folder.
        make: Makes the source of its table; None for what is installed as this type.

    Raises:
        AssertionError: It breaks the law.
    """
    scene = make_scene(folder)
    try:
        await law(SourceTrial(kind, scene, folder, make))
    finally:
        scene.close()


async def hands_over_what_is_published_in_order(trial: SourceTrial) -> None:
    """With its topic and its size, over a connection that has a number."""
    async with trial.running() as here:
        assert here.source.trouble, "before it is connected it can't hear anything"
        await here.is_there()
        wanted = await trial.publish(0, 50)
        await here.has(wanted)
        await here.source.acknowledge(here.received)

        assert here.payloads == wanted
        assert {topic for each in here.received for topic in each.topics} == {_TOPIC.encode()}
        assert all(len(each.topics) == len(each.payloads) for each in here.received)
        assert sum(each.size_bytes for each in here.received) >= sum(map(len, wanted))
        assert {each.connection for each in here.received} == {here.source.connection}
        assert here.source.connection > 0


async def brings_again_what_was_not_acknowledged(trial: SourceTrial) -> None:
    """Also after a crash; what was acknowledged, and told the peer, does not come again."""
    async with trial.running() as here:
        await here.is_there()
        first = await trial.publish(0, 20)
        await here.has(first)
        await here.source.acknowledge(here.received)
    async with trial.running(is_settled=False) as here:
        await here.is_there()
        second = await trial.publish(20, 40)
        await here.has(second)
        assert not {*first} & {*here.payloads}, "acknowledged, and there again"
    async with trial.running() as here:
        await here.has(second)
        assert not {*first} & {*here.payloads}, "acknowledged, and there again"
        await here.source.acknowledge(here.received)


async def brings_what_was_published_while_nobody_listened(trial: SourceTrial) -> None:
    """And says that it was kept."""
    async with trial.running() as here:
        await here.is_there()
    wanted = await trial.publish(0, 20)
    async with trial.running() as here:
        await here.has(wanted)
        await here.source.acknowledge(here.received)
        assert here.source.has_kept
        assert here.payloads == wanted


async def comes_back_when_its_peer_does(trial: SourceTrial) -> None:
    """By itself, over another connection; while it is away it says so."""
    async with trial.running() as here:
        await here.is_there()
        await here.has(await trial.publish(0, 5))
        await here.source.acknowledge(here.received)
        earlier = here.source.connection
        await asyncio.to_thread(trial.scene.leave)
        await _until(lambda: bool(here.source.trouble), lambda: "its peer is away, and no trouble")
        # An acknowledgement that comes too late harms nothing.
        await here.source.acknowledge(here.received)
        await asyncio.to_thread(trial.scene.come_back)
        await here.is_there()
        await here.has(await trial.publish(5, 10))
        await here.source.acknowledge(here.received)
        assert here.source.connection > earlier


async def loses_nothing_by_a_pause(trial: SourceTrial) -> None:
    """What comes meanwhile is kept for later."""
    async with trial.running() as here:
        await here.is_there()
        here.source.pause()
        told = [here.source.is_paused]
        wanted = await trial.publish(0, 20)
        here.source.resume()
        told.append(here.source.is_paused)
        assert told == [True, False]
        await here.has(wanted)
        await here.source.acknowledge(here.received)
        assert here.payloads == wanted


async def ends_when_it_is_closed(trial: SourceTrial) -> None:
    """Soon, also while its peer is away, and before it was ever there."""
    async with trial.running() as here:
        await here.is_there()
        await asyncio.to_thread(trial.scene.leave)
        await _until(lambda: bool(here.source.trouble), lambda: "its peer is away, and no trouble")
    async with trial.running():
        pass


#: All of them.
LAWS: tuple[Law, ...] = (
    hands_over_what_is_published_in_order,
    brings_again_what_was_not_acknowledged,
    brings_what_was_published_while_nobody_listened,
    comes_back_when_its_peer_does,
    loses_nothing_by_a_pause,
    ends_when_it_is_closed,
)


async def _until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    try:
        async with asyncio.timeout(_THERE_S):
            while not condition():  # noqa: ASYNC110  (sources have no event for it)
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError as error:
        raise AssertionError(f"not within {_THERE_S} s: {what()}") from error
