"""Letting time pass for devices that have gone silent, though the state of one may end the process.

No record is in flight then that could be put aside, so the devices whose windows are being closed
are noted. After a process has died of it its successor takes them one by one, each noted before by
its digest; one of which processes died again and again while they had it alone gives up its
history, and all others go on. Of which device a process will die can't be told before, nor when: it
may be silent for longer than the others before its turn comes. So what is known of a device stays
known until it has been dealt with itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from headgate.core.channels import Device
from headgate.core.note import TRIES_ALONE, Note
from headgate.core.telemetry import Telemetry
from streams.pipeline import Pipeline
from streams.process.recovery import StateKeeper
from streams.results import Results, joined

_logger = structlog.get_logger()

#: What is noted where several are in flight; no digest.
_TOGETHER: Final = "together"

#: Devices whose deaths are remembered; there is one as a rule.
_MOST_REMEMBERED: Final = 100


class SilentDevicesInFlight:
    """The note of which silent devices are being closed.

    Args:
        path: A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._note = Note(path)
        #: Whether a process has died of it, so that each device is taken alone.
        self.is_alone = False
        self._held = ""
        # By digest of a device, the processes that have died while they had it alone.
        self._deaths: dict[str, int] = {}

    def open(self) -> None:
        """Take up what the last process left behind."""
        content = self._note.read()
        try:
            held = str(content.get("held", ""))
            self._deaths = {str(of): int(count) for of, count in content.get("deaths", {}).items()}
        except (TypeError, ValueError, AttributeError):
            held, self._deaths = "", {}  # nothing that this program has written
        if held:
            self.is_alone = True
            if held != _TOGETHER:
                self._deaths[held] = self._deaths.pop(held, 0) + 1
                while len(self._deaths) > _MOST_REMEMBERED:
                    del self._deaths[next(iter(self._deaths))]
            _logger.warning(
                "The last process ended while it closed windows of silent devices; they are taken "
                "one by one."
            )
        self._write()

    def has_ended_processes(self, device: Device) -> bool:
        """Whether processes have died of it often enough."""
        return bool(self._deaths) and self._deaths.get(_digest(device), 0) >= TRIES_ALONE

    def take(self, device: Device | None) -> None:
        """Note which device is in flight alone; None: several are."""
        self._held = _TOGETHER if device is None else _digest(device)
        self._write()

    def put_down(self) -> None:
        """Note that nothing is in flight any more."""
        self._held = ""
        self._write()

    def finished(self, devices: Iterable[Device]) -> None:
        """Forget who died of these devices: what they have now is written down."""
        if self._deaths:
            for device in devices:
                self._deaths.pop(_digest(device), None)
            self._write()

    def _write(self) -> None:
        self._note.write({"held": self._held, "deaths": self._deaths})


class PassingTime:
    """Closes what silent devices left open.

    Args:
        pipeline: Where it is open.
        keeper: Keeps the devices' state.
        in_flight: The lane's note, opened.
        telemetry: Where lost history is counted.
        in_thread: Calls the pipeline.
        limit: Ends the process when the pipeline hangs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        keeper: StateKeeper,
        in_flight: SilentDevicesInFlight,
        telemetry: Telemetry,
        *,
        in_thread: Callable[..., Awaitable[Any]],
        limit: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._pipeline = pipeline
        self._keeper = keeper
        self._in_flight = in_flight
        self._telemetry = telemetry
        self._in_thread = in_thread
        self._limit = limit

    async def advance(self, now_ns: int, quiet: NDArray[np.int32]) -> Results:
        """``Pipeline.advance``, of these devices together or, after a death, of each alone."""
        if self._in_flight.is_alone and len(quiet):
            return joined([await self._advance_one(now_ns, row) for row in quiet.tolist()])
        if not len(quiet):
            # Time has nothing to say, most times.
            return joined([])
        return await self._advance_some(now_ns, quiet, None)

    def finished(self, devices: NDArray[np.int32]) -> None:
        """Note that these devices are written down as they are now."""
        every = self._pipeline.channels.devices
        self._in_flight.finished(every[row] for row in devices.tolist())

    async def _advance_one(self, now_ns: int, row: int) -> Results:
        device, rows = self._pipeline.channels.devices[row], np.array([row], np.int32)
        if not self._in_flight.has_ended_processes(device):
            return await self._advance_some(now_ns, rows, device)
        _logger.error(
            "The state of a silent device ends every process that closes its windows; it starts "
            "without history, and what was open is lost.",
            feed=device.feed,
            device=device.label,
        )
        self._telemetry.bad_snapshots.inc()
        self._keeper.give_up(rows)
        return replace(await self._advance_some(now_ns, rows, device), moved=rows)

    async def _advance_some(
        self, now_ns: int, devices: NDArray[np.int32], alone: Device | None
    ) -> Results:
        if len(devices):
            self._in_flight.take(alone)
        with self._limit():
            results: Results = await self._in_thread(self._pipeline.advance, now_ns, devices)
        if len(devices):
            self._in_flight.put_down()
        return results


def _digest(device: Device) -> str:
    return blake2b(orjson.dumps(tuple(device)), digest_size=16).hexdigest()
