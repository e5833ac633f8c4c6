"""What sinks that tell people do alike: one notification after the other, each until it is taken.

A kind of them says only how a notification is sent (``Teller``). What is not told at once waits in
the sink's memory, and is told when the lane finds that it is due: by the same call, with the lane's
own retries.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from connectors.sinks.notifications.config import NotificationsConfig
from connectors.sinks.notifications.memory import Memory
from connectors.sinks.notifications.notification import Notification, notification, summary
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused, SinkContext
from headgate.config.schedule import looked_at
from headgate.core.clock import NS_PER_S
from headgate.core.errors import PermanentError, TransientError
from headgate.core.results import severity_rank
from headgate.core.units import format_duration

#: Why something was not told by itself: nobody asked for it, or it says nothing that is new; it was
#: old, its newest state was told after quiet hours, or it is in the summary of a flood.
NOT_ASKED_FOR, NOTHING_NEW = "not_asked_for", "nothing_new"
OLD, QUIET, FLOOD = "old", "quiet", "flood"

#: When nothing old has come for this long, what came is told, s.
_SETTLED_S: Final = 5

#: That a summary names at most.
_NAMED: Final = 10


class Teller(Protocol):
    """Sends notifications."""

    async def send(self, told: Notification) -> int:
        """Send one; returns once it is taken, with the bytes that were sent.

        Raises:
            TransientError: Not now.
            PermanentError: It will never be taken. The message holds no secret.
        """
        ...


class NotificationSink:
    """A sink of the forward lane.

    Args:
        settings: Its table.
        teller: Sends.
        context: What the sink is made with.
    """

    kinds: tuple[Kind, ...] = ("anomalies",)
    #: So few that a call ends in time though each may take as long as it is allowed to.
    max_points = 16
    max_wait_s = 0.0

    def __init__(self, settings: NotificationsConfig, teller: Teller, context: SinkContext) -> None:
        self.name = context.name
        self._settings = settings
        self._teller = teller
        self._clock = context.clock
        self._telemetry = context.telemetry
        self._gateway = context.config.gateway.name
        schedules, quiet = context.config.schedule, settings.quiet
        self._during = looked_at(settings.during, settings.except_, schedules)
        self._quiet = None if quiet is None else looked_at(quiet.during, (), schedules)
        folder = context.config.gateway.data_dir
        self._memory = Memory(folder / f"forward-{context.name}.told")

    async def start(self) -> None:
        await asyncio.to_thread(self._memory.load)

    async def stop(self) -> None:
        """Nothing is kept open between two notifications."""

    def is_due(self) -> bool:
        """See ``WaitingSink``."""
        return bool(self._due(self._clock.wall_ns()))

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        refused: list[Refused] = []
        passed_over: Counter[str] = Counter()
        try:
            for point in points:
                told = notification(point)
                if not self._wants(told):
                    passed_over[NOT_ASKED_FOR] += 1
                elif self._memory.has_dealt_with(told):
                    continue  # before something of the same call was not taken, or in another life
                elif self._memory.says_nothing_new(told):
                    passed_over[NOTHING_NEW] += 1
                    self._memory.note_id(told)
                else:
                    await self._take(told, point, refused)
            if not points:
                await self._tell_due(refused)
        except TransientError:
            # What was told of it all the same is not to be told again.
            await asyncio.to_thread(self._memory.save)
            raise
        await asyncio.to_thread(self._memory.save)
        self._count(passed_over)
        return refused

    def _wants(self, told: Notification) -> bool:
        # By when it changed, and not by when its turn comes: of sinks that take turns it is one
        # that tells it, however late and however often it is tried.
        is_its_time = self._during is None or self._during.has(told.changed_ns)
        return is_its_time and self._settings.wants(told)

    def _is_quiet(self, now_ns: int) -> bool:
        return self._quiet is not None and self._quiet.has(now_ns)

    def _is_told_all_the_same(self, told: Notification) -> bool:
        quiet = self._settings.quiet
        return quiet is not None and told.rank >= severity_rank(quiet.but)

    async def _take(self, told: Notification, point: Point, refused: list[Refused]) -> None:
        """Tell it, or have it wait."""
        now_ns = self._clock.wall_ns()
        if now_ns - told.changed_ns > self._settings.max_age:
            self._wait(OLD, told, now_ns)
        elif self._is_quiet(now_ns) and not self._is_told_all_the_same(told):
            self._wait(QUIET, told, now_ns)
        else:
            await self._tell(told, point, refused)

    async def _tell(self, told: Notification, point: Point, refused: list[Refused]) -> None:
        """Tell it by itself, if so many may be."""
        now_ns, limit = self._clock.wall_ns(), self._settings.at_most
        if limit is not None and not self._memory.window.take(limit, now_ns):
            self._wait(FLOOD, told, now_ns)
            return
        if await self._send(told, point, refused) and limit is not None:
            self._memory.window.note(limit, now_ns)

    async def _send(self, told: Notification, point: Point, refused: list[Refused]) -> bool:
        try:
            sent = await self._teller.send(told)
        except PermanentError as error:
            refused.append(Refused(point, str(error)))
            return False
        self._telemetry.uplink_bytes.labels(self.name).inc(sent)
        self._memory.note(told)
        return True

    def _wait(self, why: str, told: Notification, now_ns: int) -> None:
        self._memory.box(why).put(told, now_ns)
        self._memory.note(told)

    def _due(self, now_ns: int) -> list[str]:
        """The reasons for which what waits needs to wait no longer."""
        memory, settings = self._memory, self._settings
        old, window = memory.box(OLD), memory.window
        due = []
        if old and not 0 <= now_ns - old.put_ns < _SETTLED_S * NS_PER_S:
            due.append(OLD)
        if memory.box(QUIET) and not self._is_quiet(now_ns):
            due.append(QUIET)
        limit = settings.at_most
        if memory.box(FLOOD) and (limit is None or window.is_over(limit, now_ns)):
            due.append(FLOOD)
        return due

    async def _tell_due(self, refused: list[Refused]) -> None:
        """Tell what needs to wait no longer; what was told is taken out as it goes along."""
        left = self.max_points
        for why in self._due(self._clock.wall_ns()):
            box = self._memory.box(why)
            if why == FLOOD:
                await self._tell_summary(why, refused)
                continue
            while box.entries:
                if not left:
                    return  # the rest is due in the next call
                left -= 1
                told = next(iter(box.entries.values()))
                if why == OLD and told.state == "over":
                    box.passed += 1
                else:
                    await self._tell(told, told.point(), refused)
                del box.entries[told.identity]
                self._memory.touch()
            if why == OLD or box.is_over_full:
                await self._tell_summary(why, refused)
            else:
                self._empty(why)

    async def _tell_summary(self, why: str, refused: list[Refused]) -> None:
        """One for all that is in a box, which is empty then."""
        box = self._memory.box(why)
        count = box.passed + len(box.entries)
        if count:
            told = summary(self._gateway, why, self._in_short(why, count), box.put_ns, count)
            await self._send(told, told.point(), refused)
        self._empty(why)

    def _in_short(self, why: str, count: int) -> str:
        """What a summary says of so many."""
        cause = {
            OLD: f"they were older than {format_duration(self._settings.max_age)} when their turn "
            "came",
            QUIET: "there were too many in quiet hours",
        }.get(why)
        if cause is not None:
            return f"{count} changes were not told one by one: {cause}"
        titles = [each.title for each in list(self._memory.box(why).entries.values())[:_NAMED]]
        more = count - len(titles)
        return f"{count} further: {'; '.join(titles)}{f'; and {more} more' if more else ''}"

    def _empty(self, why: str) -> None:
        box = self._memory.box(why)
        self._count(Counter({why: box.passed + len(box.entries)}))
        self._memory.empty(why)

    def _count(self, passed_over: Counter[str]) -> None:
        for reason, count in passed_over.items():
            self._telemetry.passed_over.labels(self.name, reason).inc(count)
