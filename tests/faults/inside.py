"""Makes a gateway's own process fail at a chosen moment, from inside.

Only a process with ``HEADGATE_TEST_FAULTS`` in its environment is touched: a folder whose files say
what is to happen. Each file is one fault, named ``LANE.MOMENT.COUNT``; the process that removes it
has the fault, so each happens once however often the lane is started anew:

``streams.outputs.3``     the streams lane kills itself after its third append of results
``streams.snapshot.2``    … after it has appended its second snapshot
``ingest.appended.5``     the ingest lane … after its fifth append, so before the PUBACK
``forward.written.4``     the forward lane … before its fourth commit, so after the sink's answer

A file ``poison`` holds a word, ``raise``, ``hang`` or ``crash``: what happens to a process in
whose pipeline a reading of exactly 13.5 turns up. A file ``poison-message`` holds ``raise`` or
``crash``: what happens to a process that decodes a message with the text ``poison`` in it. Both
files stay. A file ``left-out`` holds how many records Faust is still to drop, two of nine. A file
``clock`` holds seconds by which the wall clock is wrong, and is read again whenever somebody asks
for the time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from headgate.core.log import TopicPartition


class _Faults:
    """The faults of one lane's process."""

    def __init__(self, folder: Path, lane: str) -> None:
        self._folder = folder
        self._lane = lane
        self._counts: dict[str, int] = {}

    def count(self, moment: str) -> None:
        """Kill this process, if that is what is to happen now and nobody has done it before."""
        self._counts[moment] = self._counts.get(moment, 0) + 1
        try:
            (self._folder / f"{self._lane}.{moment}.{self._counts[moment]}").unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def note_append(self, partitions: Mapping[TopicPartition, Any]) -> None:
        """An append is durable."""
        names = {at.topic.rpartition(".")[2] for at in partitions}
        if self._lane == "ingest":
            self.count("appended")
        elif "state" in names:
            self.count("snapshot")
        elif "aggregates" in names:
            self.count("outputs")


class _Log:
    """A log that counts, and kills at the chosen calls; everything else is the real one's."""

    def __init__(self, log: Any, faults: _Faults) -> None:  # noqa: ANN401
        self._log = log
        self._faults = faults

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._log, name)

    async def append_many(self, batches: Mapping[TopicPartition, Any]) -> None:
        await self._log.append_many(batches)
        self._faults.note_append(batches)

    async def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        self._faults.count("written")
        await self._log.commit(group, offsets)


def _wrap_log(faults: _Faults) -> None:
    from headgate.gateway import lane

    real = lane.open_log  # type: ignore[attr-defined]

    def open_log(*arguments: Any) -> Any:  # noqa: ANN401
        return _Log(real(*arguments), faults)

    lane.open_log = open_log  # type: ignore[assignment, attr-defined]


def _wrap_pipeline(word: str) -> None:
    from streams.pipeline import Pipeline

    real = Pipeline.process

    def process(self: Pipeline, batch: Any, now_ns: int) -> Any:  # noqa: ANN401
        if (batch.value == 13.5).any():
            if word == "hang":
                time.sleep(10**6)
            elif word == "crash":
                ctypes.string_at(0)
            raise ArithmeticError("a reading of 13.5")
        return real(self, batch, now_ns)

    Pipeline.process = process  # type: ignore[method-assign]


def _wrap_decoder(word: str) -> None:
    from connectors.formats.decoder import FeedDecoder

    real = FeedDecoder.decode

    def decode(self: FeedDecoder, topics: Any, payloads: Any, arrival_ns: Any) -> Any:  # noqa: ANN401
        if any(b"poison" in payload for payload in payloads):
            if word == "crash":
                ctypes.string_at(0)
            raise MemoryError("a message with poison in it")
        return real(self, topics, payloads, arrival_ns)

    FeedDecoder.decode = decode  # type: ignore[method-assign]


def _wrap_consumer(path: Path) -> None:
    from faust.transport.consumer import Consumer

    real = Consumer.getmany

    def is_dropped(offset: int) -> bool:
        left = int(path.read_text())
        if not left or offset % 9 not in {4, 5}:
            return False
        # Whoever reads it must never find it empty, nor may a kill leave it so.
        new = path.with_name(f"{path.name}.new")
        new.write_text(f"{left - 1}")
        new.replace(path)
        return True

    async def getmany(self: Consumer, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109
        async for at, message in real(self, timeout):
            if not is_dropped(message.offset):
                yield at, message

    Consumer.getmany = getmany


def _wrap_clock(path: Path) -> None:
    from headgate.core.clock import SystemClock

    real = SystemClock.wall_ns

    def wall_ns(self: SystemClock) -> int:
        return real(self) + round(float(path.read_text()) * 1e9)

    SystemClock.wall_ns = wall_ns  # type: ignore[method-assign]


def install() -> None:
    """Have the lanes that this process becomes or forks armed, if its environment says so."""
    folder = Path(os.environ.get("HEADGATE_TEST_FAULTS", "/nonexistent"))
    if not folder.is_dir() or not {"lane", "run"} & {*sys.orig_argv}:
        return
    from headgate.gateway.process import load_small

    load_small()
    from headgate.gateway import lane

    real = lane.run_lane

    def run_lane(name: str, *arguments: Any) -> NoReturn:  # noqa: ANN401
        _arm(folder, name)
        real(name, *arguments)

    lane.run_lane = run_lane  # type: ignore[assignment]


def _arm(folder: Path, lane: str) -> None:
    if (folder / "clock").exists():
        _wrap_clock(folder / "clock")
    _wrap_log(_Faults(folder, lane))
    if lane == "ingest" and (folder / "poison-message").exists():
        _wrap_decoder((folder / "poison-message").read_text())
    if lane.startswith("streams") and (folder / "left-out").exists():
        _wrap_consumer(folder / "left-out")
    if lane.startswith("streams") and (folder / "poison").exists():
        _wrap_pipeline((folder / "poison").read_text())
