"""What sinks that tell people do alike: one notification after the other, each until it is taken.

A kind of them says only how a notification is sent (``Teller``). What is not told at once waits in
the sink's memory, and is told when the lane finds that it is due: by the same call, with the lane's
own retries.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from connectors.sinks.notifications.config import NotificationsConfig
from connectors.sinks.notifications.memory import Memory
from connectors.sinks.notifications.notification import Notification, notification, summary
from connectors.sinks.notifications.standing import Shelf, Standing, place_of
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused, SinkContext
from headgate.config.schedule import looked_at
from headgate.core.clock import NS_PER_S
from headgate.core.errors import PermanentError, TransientError
from headgate.core.results import severity_rank
from headgate.core.units import format_duration

#: Why something was not told by itself: nobody asked for it, or it says nothing that is new; it was
#: old, its newest state was told after quiet hours, it is in the summary of a flood, or it has
#: changed again or was over while it was shelved; or nobody need be told since it was over in time.
NOT_ASKED_FOR, NOTHING_NEW = "not_asked_for", "nothing_new"
OLD, QUIET, FLOOD, SHELVED, IN_TIME = "old", "quiet", "flood", "shelved", "in_time"
#: Or there were more that nobody had acknowledged than are kept.
MANY: Final = "too_many"
#: Why something is told that nobody has acknowledged.
_UNACKNOWLEDGED: Final = "unacknowledged"
#: What is said when it is for the last time.
_LAST: Final = "(told for the last time, for it is about to leave the log)"

#: When nothing old has come for this long, what came is told, s. Likewise what was shelved, when
#: nothing comes any more from before the end of that: it may be over by now. Where what comes never
#: ends, as of a device whose clock is behind, nothing waits for longer than the second of these.
_SETTLED_S: Final = 5
_MOST_SETTLING_S: Final = 60

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
        # For so long it can be answered: what the log does not hold is listed nowhere.
        self._answerable_ns = context.config.log.retention
        schedules, quiet = context.config.schedule, settings.quiet
        self._during = looked_at(settings.during, settings.except_, schedules)
        self._quiet = None if quiet is None else looked_at(quiet.during, (), schedules)
        folder = context.config.gateway.data_dir
        self._memory = Memory(folder / f"forward-{context.name}.told")
        # When the last came that is from before what is due by now was, and since when such comes,
        # by the wall clock, ns; who has just been started expects some.
        self._late_ns = self._late_since_ns = 0

    async def start(self) -> None:
        await asyncio.to_thread(self._memory.load)
        self._choose_anew()
        self._late_ns = self._late_since_ns = self._clock.wall_ns()
        self._show_shelved()

    async def stop(self) -> None:
        """Nothing is kept open between two notifications."""

    def _choose_anew(self) -> None:
        """Forget what waits and is not asked for any more, since the table has changed."""
        memory, wants = self._memory, self._settings.wants
        for told in memory.waiting():
            if not wants(told):
                memory.take_out(told)
                self._count(Counter({NOT_ASKED_FOR: 1}))
        for each in [*memory.standings]:
            if not wants(each.told):
                memory.standings.forget(each.told.identity)
                self._count(Counter({NOT_ASKED_FOR: int(each.is_owed)}))
                memory.touch()
            elif self._settings.repeat is None and not each.is_pending and each.due_ns:
                each.due_ns = 0
                memory.touch()

    def is_due(self) -> bool:
        """See ``WaitingSink``."""
        return bool(self._due(self._clock.wall_ns()))

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        refused: list[Refused] = []
        passed_over: Counter[str] = Counter()
        try:
            told_of = [(point, notification(point)) for point in points]
            # What is shelved by now is not told, though it came before that was said.
            for point, told in told_of:
                self._hear_note(told, point)
            for point, told in told_of:
                self._note_catching_up(told)
                if not self._wants(told):
                    self._pass_over(told, point)
                    passed_over[NOT_ASKED_FOR] += 1
                elif self._memory.has_dealt_with(told):
                    continue  # before something of the same call was not taken, or in another life
                elif self._is_shelved(told, point):
                    self._hide(told, point)
                elif self._memory.says_nothing_new(told):
                    passed_over[NOTHING_NEW] += 1
                    self._memory.note_id(told)
                elif self._is_for_later(told):
                    self._keep(told, point)
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
        self._show_shelved()
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

    def _note_catching_up(self, told: Notification) -> None:
        now_ns, standings = self._clock.wall_ns(), self._memory.standings
        dues = (
            *(shelf.until_ns for _, shelf in standings.ended(now_ns)),
            *(each.due_ns for each in standings.due(now_ns)),
        )
        if any(told.changed_ns < due_ns for due_ns in dues):
            if not 0 <= now_ns - self._late_ns < _SETTLED_S * NS_PER_S:
                self._late_since_ns = now_ns
            self._late_ns = now_ns

    def _pass_over(self, told: Notification, point: Point) -> None:
        """Nobody is told of it; but it may say what becomes of an alarm."""
        if told.kind == "alarms" and told.state == "over":
            self._memory.standings.forget(told.identity)
            self._memory.touch()
        start_ns, says_so = told.fields.get("start_ns"), told.fields.get("acknowledges") is True
        if told.kind == "alarm_notes" and says_so and isinstance(start_ns, int):
            for each in self._memory.standings.acknowledge(place_of(point), start_ns):
                self._take_out_answered(each.told)
            self._memory.touch()

    def _take_out_answered(self, told: Notification) -> None:
        """It waits no more if it would be told, or told again, because nobody acknowledges it."""
        memory, settings = self._memory, self._settings
        is_repeated = settings.repeat is not None and memory.is_told_before(told)
        if settings.unacknowledged_for is not None or is_repeated:
            memory.take_out(told)

    def _hear_note(self, told: Notification, point: Point) -> None:
        """What somebody says of an alarm, if that is what it is."""
        memory = self._memory
        until_ns = told.fields.get("until_ns", 0)
        if told.kind != "alarm_notes" or not isinstance(until_ns, int) or not until_ns:
            return
        if memory.has_dealt_with(told):
            return
        memory.note_id(told)
        place = place_of(point)
        if until_ns <= told.changed_ns:
            memory.standings.unshelve(place, until_ns)
            return
        memory.standings.shelve(place, Shelf(told.id, until_ns))
        for each in memory.standings.at(place):
            memory.take_out(each.told)

    def _is_shelved(self, told: Notification, point: Point) -> bool:
        now_ns = self._clock.wall_ns()
        return told.kind == "alarms" and self._memory.standings.is_shelved(
            place_of(point), told.changed_ns, now_ns
        )

    def _hide(self, told: Notification, point: Point) -> None:
        """Have it wait for the end of the shelf, in place of what the alarm said before."""
        memory, standings = self._memory, self._memory.standings
        memory.note_id(told)
        before, was_told_open = standings.get(told.identity), memory.was_told_open(told)
        if before and before.is_hidden and (before.told.state, was_told_open) != ("open", True):
            self._count(Counter({SHELVED: 1}))
        if told.state == "open" or was_told_open:
            self._stand(told, point, is_hidden=True)
        else:
            # Who has not heard of its beginning need not hear of its end.
            standings.forget(told.identity)
            self._count(Counter({SHELVED: 1}))

    def _stand(self, told: Notification, point: Point, *, is_hidden: bool = False) -> None:
        """Know how an alarm is."""
        memory, now_ns = self._memory, self._clock.wall_ns()
        span_ns = self._settings.unacknowledged_for
        due_ns = 0 if span_ns is None else told.changed_ns + span_ns
        lost = memory.standings.put(
            place_of(point),
            told,
            is_hidden=is_hidden,
            due_ns=due_ns,
            is_pending=span_ns is not None,
            heard_ns=now_ns,
        )
        if lost is not None:
            box = memory.box(SHELVED if lost.is_hidden else MANY)
            box.passed, box.put_ns = box.passed + 1, now_ns
        memory.touch()

    def _is_for_later(self, told: Notification) -> bool:
        """Whether it is only told if nobody acknowledges it, or was not told for that reason."""
        if self._settings.unacknowledged_for is None:
            return False
        return told.state == "open" or not self._memory.was_told_open(told)

    def _keep(self, told: Notification, point: Point) -> None:
        """Have it wait for who acknowledges it."""
        self._memory.note_id(told)
        if told.state == "open":
            self._stand(told, point)
        else:
            self._memory.standings.forget(told.identity)
            self._count(Counter({IN_TIME: 1}))

    def _show_shelved(self) -> None:
        self._telemetry.shelved_alarms.labels(self.name).set(self._memory.standings.hidden)

    async def _take(self, told: Notification, point: Point, refused: list[Refused]) -> None:
        """Tell it, or have it wait."""
        now_ns = self._clock.wall_ns()
        if told.kind == "alarms" and told.state == "open":
            self._stand(told, point)
        elif told.kind == "alarms":
            self._memory.standings.forget(told.identity)
            self._memory.touch()
        if now_ns - told.changed_ns > self._settings.max_age:
            self._memory.wait(OLD, told, now_ns)
        elif self._is_quiet(now_ns) and not self._is_told_all_the_same(told):
            self._memory.wait(QUIET, told, now_ns)
        else:
            await self._tell(told, point, refused)

    async def _tell(self, told: Notification, point: Point, refused: list[Refused]) -> None:
        """Tell it by itself, if so many may be."""
        now_ns, limit = self._clock.wall_ns(), self._settings.at_most
        if limit is not None and not self._memory.window.take(limit, now_ns):
            self._memory.wait(FLOOD, told, now_ns)
            self._have_repeated(told, now_ns)
            return
        if await self._send(told, point, refused) and limit is not None:
            self._memory.window.note(limit, now_ns)
        self._have_repeated(told, now_ns)

    def _have_repeated(self, told: Notification, now_ns: int) -> None:
        """It is told again, if nobody acknowledges it; or not again where none are."""
        standing = self._memory.standings.get(told.identity)
        if standing is not None:
            standing.due_ns = self._next_ns(standing, now_ns)
            standing.is_pending = False
            self._memory.touch()

    def _next_ns(self, standing: Standing, now_ns: int) -> int:
        """When it is told again that is told now, ns; 0: never."""
        repeat_ns = self._settings.repeat
        if repeat_ns is None or now_ns + repeat_ns > standing.heard_ns + self._answerable_ns:
            return 0
        return now_ns + repeat_ns

    async def _send(self, told: Notification, point: Point, refused: list[Refused]) -> bool:
        try:
            sent = await self._teller.send(told)
        except PermanentError as error:
            refused.append(Refused(point, str(error)))
            return False
        self._telemetry.uplink_bytes.labels(self.name).inc(sent)
        self._memory.note(told)
        return True

    def _due(self, now_ns: int) -> list[str]:
        """The reasons for which what waits needs to wait no longer."""
        memory, settings = self._memory, self._settings
        window = memory.window
        due = []
        for why in (OLD, MANY):
            box = memory.box(why)
            if box and not 0 <= now_ns - box.put_ns < _SETTLED_S * NS_PER_S:
                due.append(why)
        if memory.box(QUIET) and not self._is_quiet(now_ns):
            due.append(QUIET)
        limit = settings.at_most
        if memory.box(FLOOD) and (limit is None or window.is_over(limit, now_ns)):
            due.append(FLOOD)
        has_ended = next(memory.standings.ended(now_ns), None) is not None
        if memory.box(SHELVED) or (has_ended and self._has_caught_up(now_ns)):
            due.append(SHELVED)
        if next(self._unacknowledged(now_ns), None) is not None:
            due.append(_UNACKNOWLEDGED)
        return due

    def _unacknowledged(self, now_ns: int) -> Iterator[Standing]:
        """What is to be told because nobody has acknowledged it."""
        if not self._has_caught_up(now_ns):
            return
        is_quiet = self._is_quiet(now_ns)
        is_off = self._during is not None and not self._during.has(now_ns)
        for each in self._memory.standings.due(now_ns):
            # What is quiet now is looked at again when that ends, and so is what would be told
            # again to those who are off. What has not been told is told: nobody else does.
            if is_off and not each.is_pending:
                continue
            if not is_quiet or self._is_told_all_the_same(each.told):
                yield each

    def _has_caught_up(self, now_ns: int) -> bool:
        late_ns, since_ns = now_ns - self._late_ns, now_ns - self._late_since_ns
        return not (
            0 <= late_ns < _SETTLED_S * NS_PER_S and 0 <= since_ns < _MOST_SETTLING_S * NS_PER_S
        )

    async def _tell_due(self, refused: list[Refused]) -> None:
        """Tell what needs to wait no longer; what was told is taken out as it goes along."""
        left = self.max_points
        for why in self._due(self._clock.wall_ns()):
            if why == _UNACKNOWLEDGED:
                await self._tell_unacknowledged(left, refused)
                return
            box = self._memory.box(why)
            if why == SHELVED:
                left = await self._tell_unshelved(left, refused)
            if why in (FLOOD, SHELVED, MANY):
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
                box.pop(told.identity)
                self._memory.touch()
            if why == OLD or box.is_over_full:
                await self._tell_summary(why, refused)
            else:
                self._empty(why)

    async def _tell_unshelved(self, left: int, refused: list[Refused]) -> int:
        """Tell what is on the shelf no more; returns how many more may be told in this call."""
        memory, standings, now_ns = self._memory, self._memory.standings, self._clock.wall_ns()
        if not self._has_caught_up(now_ns):
            return left
        for place, shelf in standings.ended(now_ns):
            for each in standings.at(place):
                if not each.is_hidden:
                    continue
                if not left:
                    return left
                if self._is_for_later(each.told) and (each.is_acknowledged or each.due_ns > now_ns):
                    each.is_hidden = False
                    continue
                left -= 1
                told = each.told.again(shelf.id)
                if self._is_quiet(now_ns) and not self._is_told_all_the_same(told):
                    memory.wait(QUIET, told, now_ns)
                else:
                    await self._tell(told, told.point(), refused)
                each.is_hidden = False
                if told.state == "over":
                    standings.forget(told.identity)
                memory.touch()
            standings.take_off(place)
            memory.touch()
        return left

    async def _tell_unacknowledged(self, left: int, refused: list[Refused]) -> None:
        """Tell at most so many of them."""
        now_ns = self._clock.wall_ns()
        for each in [*self._unacknowledged(now_ns)][:left]:
            told = each.told.again(f"{_UNACKNOWLEDGED} {each.calls}")
            if self._settings.repeat is not None and not self._next_ns(each, now_ns):
                told = replace(told, text=f"{told.text} {_LAST}")
            await self._tell(told, told.point(), refused)
            each.calls += 1

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
            SHELVED: "more were shelved than are kept",
            MANY: "more were unacknowledged than are kept",
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
