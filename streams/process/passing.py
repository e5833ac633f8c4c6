"""Letting time pass for devices that have gone silent, though the state of one may end the process.

No record is in hand then that could be put aside. So what is noted is the buckets of the devices
whose windows are being closed. After a process has died of it they are taken one by one; one on
which processes died again and again gives up the history of those devices, and all others go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from headgate.core.in_hand import InHand, Span
from headgate.core.telemetry import Telemetry
from streams.pipeline import Pipeline
from streams.process.recovery import StateKeeper
from streams.results import Results, joined

_logger = structlog.get_logger()

_STEP: Final = "advance"

#: Devices that are named when their history is given up.
_NAMED: Final = 10


class PassingTime:
    """Closes what silent devices left open.

    Args:
        pipeline: Where it is open.
        keeper: Knows the devices' buckets.
        in_hand: The lane's note. Buckets stand in it under numbers that no partition has.
        telemetry: Where lost history is counted.
        in_thread: Calls the pipeline.
        limit: Ends the process when the pipeline hangs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        keeper: StateKeeper,
        in_hand: InHand,
        telemetry: Telemetry,
        *,
        in_thread: Callable[..., Awaitable[Any]],
        limit: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._pipeline = pipeline
        self._keeper = keeper
        self._in_hand = in_hand
        self._telemetry = telemetry
        self._in_thread = in_thread
        self._limit = limit

    async def advance(self, now_ns: int) -> Results:
        """``Pipeline.advance``, of all silent devices together or, after a death, by bucket."""
        quiet = self._pipeline.quiet(now_ns)
        places = [
            (_number(partition), bucket)
            for partition, buckets in self._keeper.buckets_of(quiet).items()
            for bucket in buckets
        ]
        parts = []
        while places:
            some = places[: self._in_hand.count_together(places)]
            del places[: len(some)]
            parts.append(await self._advance_some(now_ns, quiet, some))
        return joined(parts) if parts else self._pipeline.advance(now_ns, quiet)

    def finished(self, buckets: Mapping[int, Iterable[int]]) -> None:
        """Note that these buckets, by partition, are written down as they are now."""
        for partition, some in buckets.items():
            for bucket in some:
                self._in_hand.finished(_number(partition), bucket + 1, bucket)

    async def _advance_some(
        self, now_ns: int, quiet: NDArray[np.int32], places: list[tuple[int, int]]
    ) -> Results:
        devices = np.concatenate(
            [self._keeper.in_bucket(quiet, _number(at), bucket) for at, bucket in places]
        )
        is_poison = self._in_hand.is_poison(*places[0]) is not None
        if is_poison:
            self._give_up(devices)
        self._in_hand.take(_spans(places), _STEP)
        with self._limit():
            results: Results = await self._in_thread(self._pipeline.advance, now_ns, devices)
        self._in_hand.put_down()
        if is_poison:
            results = replace(results, moved=np.union1d(results.moved, devices).astype(np.int32))
        return results

    def _give_up(self, devices: NDArray[np.int32]) -> None:
        names = [self._pipeline.channels.devices[row].label for row in devices[:_NAMED].tolist()]
        _logger.error(
            "The state of silent devices ends every process that closes their windows; they start "
            "without history, and what was open is lost.",
            devices=len(devices),
            some=names,
        )
        self._telemetry.bad_snapshots.inc()
        self._keeper.give_up(devices)


def _number(partition: int) -> int:
    """Under which number a partition's buckets are noted, and the other way round."""
    return -1 - partition


def _spans(places: Iterable[tuple[int, int]]) -> dict[int, Span]:
    spans: dict[int, Span] = {}
    for number, bucket in places:
        first, end = spans.get(number, (bucket, bucket + 1))
        spans[number] = (min(first, bucket), max(end, bucket + 1))
    return spans
