"""Commands as a sink of the forward lane: each is asked for, sent once, and waited for.

A command goes its way beside the lane's rounds, so that a broker which is away holds up nothing:

1. an alarm comes by, and the command is noted and written to the log as asked for; only then the
   lane commits the alarm's offset
2. that it is about to be sent is noted, and on the disk
3. it is handed to the broker, once, whatever becomes of the connection
4. what came of it is noted and written to the log; an answer likewise

Whoever is killed before 2 sends it later, if it is not too old by then. Whoever is killed between 2
and 4 says that nobody knows, and sends it no second time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from connectors.actions.answers import answer_filters, asked_by, why_unheard
from connectors.actions.asking import answer_topic, asked_for
from connectors.actions.configured import MEMORY_FILE
from connectors.actions.memory import CommandMemory, Entry
from connectors.logs.configured import topic
from connectors.mqtt.commands import (
    CommandConnection,
    NotSentError,
    RefusedError,
    UnconfirmedError,
    expiry_s,
)
from connectors.mqtt.config import MqttConfig
from connectors.sinks.notifications.notification import Notification, notification
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from connectors.sources.configured import source_key
from headgate.config.action import ACTIONS, ActionConfig
from headgate.config.schema import Config
from headgate.core.channels import device_partition
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.commands import (
    ANSWERED,
    ASKED,
    DRY_RUN,
    FAILED,
    INTERRUPTED,
    LATE,
    NO_ANSWER,
    NOT_ALLOWED,
    PASSED_OVER,
    REFUSED,
    SENT,
    UNCONFIRMED,
    UNHEARD,
    UNREACHABLE,
    Command,
)
from headgate.core.errors import TransientError
from headgate.core.log import ANOMALIES, Log, Record, TopicPartition
from headgate.core.records import commands_records
from headgate.core.telemetry import Telemetry
from headgate.core.text import printable

_logger = structlog.get_logger()

#: A broker that is away is looked for again after so long, s, while a command waits for it.
_PAUSE_S: Final = 0.1

#: The log, or the disk, likewise.
_TROUBLE_PAUSE_S: Final = 1.0

#: Of an answer so much is kept, characters.
_SHOWN: Final = 500


class ActionsSink:
    """All actions of a configuration.

    Args:
        config: The whole configuration.
        log: A started log.
        clock: Source of time.
        telemetry: Counts commands.
        file: Where commands are remembered; None: in ``gateway.data_dir``.
        on_change: Called with each command when its state has changed.
        suffix: Of its client ids: no two connections to a broker have the same.
        since_ns: Since when there are actions that are not remembered, ns since 1970 UTC; None:
            since now.
    """

    name = ACTIONS
    kinds: tuple[Kind, ...] = ("anomalies",)
    max_points = 500
    max_wait_s = 0.0

    def __init__(
        self,
        config: Config,
        log: Log,
        clock: Clock,
        telemetry: Telemetry,
        *,
        file: Path | None = None,
        on_change: Callable[[Command], None] = lambda _command: None,
        suffix: str = ACTIONS,
        since_ns: int | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._on_change = on_change
        self._suffix = suffix
        self._since_ns = since_ns
        self._memory = CommandMemory(file or config.gateway.data_dir / MEMORY_FILE)
        # Of actions that send: by name, the source whose broker they send to.
        self._sources = {
            name: source
            for name, action in config.action.items()
            if not action.dry_run and (source := action.source_in(config)) is not None
        }
        self._connections: dict[str, CommandConnection] = {}
        self._running: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        # By source, what wakes the worker that sends to its broker; None: who waits for answers.
        self._wakes = {each: asyncio.Event() for each in (None, *self._sources.values())}
        self._keeping = asyncio.Lock()
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in config.action}

    async def start(self) -> None:
        """Take up what was under way, and begin to connect; does not wait for it."""
        await asyncio.to_thread(self._memory.load)
        since_ns = self._clock.wall_ns() if self._since_ns is None else self._since_ns
        for name, action in self._config.action.items():
            self._memory.since_ns(name, since_ns)
            _logger.info(
                "An action is there; it is a dry run, and sends nothing."
                if action.dry_run
                else "An action is there, and sends commands.",
                action=name,
                topic=action.topic,
            )
        self._take_up()
        for source in dict.fromkeys(self._sources.values()):
            self._connections[source] = connection = self._connection(source)
            self._running.append(asyncio.create_task(connection.run(), name=f"commands-{source}"))
        self._telemetry.details["actions"] = self._told
        # One that is busy with a broker that hangs holds up no other.
        self._workers = [
            asyncio.create_task(self._work(whose, wake), name=f"commands to {whose}")
            for whose, wake in self._wakes.items()
        ]

    async def stop(self) -> None:
        """Disconnect; what is under way is taken up by the next process."""
        for connection in self._connections.values():
            connection.close()
        tasks = [*self._running, *self._workers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TransientError):
            await self._keep()  # else the next process does

    def is_due(self) -> bool:
        """See ``WaitingSink``: there is something to say of the brokers, or of the worker."""
        for source, connection in self._connections.items():
            key = source_key(self._config, source)
            trouble = connection.trouble if connection.has_tried else ""
            line = trouble and f"{key}: commands can't be sent: {trouble}"
            self._telemetry.warn(f"commands {source}", line)
        for name in self._sources:
            self._tell_unheard(name, self._why_unheard(name))
        return any(worker.done() for worker in self._workers)

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        for worker in self._workers:
            if worker.done():
                worker.result()  # what it has died of ends the lane
        passed_over: Counter[tuple[str, str]] = Counter()
        now_ns = self._clock.wall_ns()
        for point in points:
            if point.measurement in ("alarms", "anomalies"):
                told = notification(point)
                for name, action in self._config.action.items():
                    if told.kind in action.of and action.chooses(told):
                        command = self._ask(name, action, told, now_ns)
                        if command is not None and command.reason not in ("", DRY_RUN):
                            passed_over[name, command.reason] += 1
        await self._keep()
        for (name, reason), count in passed_over.items():
            # Of a backlog it may be very many.
            _logger.info("Commands are passed over.", action=name, reason=reason, commands=count)
        self._wake_up()
        return []

    def _ask(
        self, name: str, action: ActionConfig, told: Notification, now_ns: int
    ) -> Command | None:
        """The command that comes of an alarm or an anomaly that an action is for, if any does."""
        memory = self._memory
        command = asked_for(name, self._config, memory, told, now_ns)
        if command is None:
            return None
        entry = Entry(command, is_done=command.state == PASSED_OVER)
        if not entry.is_done:
            entry.answer_topic = answer_topic(action, command, self._config.gateway.name)
            entry.needs_id = action.carries_id
        memory.put(entry)
        self._tell(command)
        return command

    def _take_up(self) -> None:
        """What the last process has left half done."""
        for entry in self._memory.entries.values():
            if entry.is_sending:
                detail = "the gateway ended while it was sent; it may have been carried out"
                self._fails(entry, INTERRUPTED, detail)
            entry.generation = -1  # what came in the meantime nobody has heard

    # The workers' way with each command.

    async def _work(self, whose: str | None, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            try:
                for entry in list(self._memory.entries.values()):
                    if not entry.is_done and self._who_goes_on(entry) == whose:
                        await self._go_on(entry)
                await self._keep()
            except TransientError as error:
                _logger.warning("What becomes of commands can't be written down.", cause=str(error))
                await asyncio.sleep(_TROUBLE_PAUSE_S)
                continue
            with suppress(TimeoutError):
                # Of two things at once, ``wait_for`` of Python 3.11 forgets that it is cancelled.
                async with asyncio.timeout(self._pause_s(whose)):
                    await wake.wait()

    def _wake_up(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    def _who_goes_on(self, entry: Entry) -> str | None:
        """The source to whose broker a command is to be sent; None: that is done, or never is."""
        return self._sources.get(entry.command.action) if entry.command.state == ASKED else None

    def _pause_s(self, whose: str | None) -> float | None:
        """How long nothing is to be done, if nothing comes; None: for ever."""
        under_way = [
            each
            for each in self._memory.entries.values()
            if not each.is_done and self._who_goes_on(each) == whose
        ]
        if not under_way:
            return None
        if whose is not None:
            return _PAUSE_S  # for its broker
        left_ns = min(each.deadline_ns for each in under_way) - self._clock.wall_ns()
        return max(0.0, left_ns / NS_PER_S) + 0.001

    async def _go_on(self, entry: Entry) -> None:
        action = self._config.action.get(entry.command.action)
        if entry.command.state == ASKED:
            await self._send(entry, action)
        elif self._clock.wall_ns() >= entry.deadline_ns:
            if why := self._why_no_answer_was_heard(entry):
                self._fails(entry, UNHEARD, why)
            else:
                self._fails(entry, NO_ANSWER, "no answer came in time")

    def _why_no_answer_was_heard(self, entry: Entry) -> str:
        """Why nobody would have heard the answer to a command; empty where somebody would."""
        name = entry.command.action
        source = self._sources.get(name)
        connection = None if source is None else self._connections[source]
        if connection is None or connection.trouble or connection.generation != entry.generation:
            return "nobody listened for a part of the time that the answer may take"
        return self._why_unheard(name)

    async def _send(self, entry: Entry, action: ActionConfig | None) -> None:
        command = entry.command
        if action is None or action.dry_run:
            entry.is_done = True
            detail = "the action was taken out of the file, or made a dry run"
            self._becomes(entry, state=PASSED_OVER, reason=DRY_RUN, detail=detail)
            return
        if not self._config.actions.allows(command.topic):
            entry.is_done = True
            detail = "[actions] topics don't allow its topic any more"
            self._becomes(entry, state=PASSED_OVER, reason=NOT_ALLOWED, detail=detail)
            return
        connection = self._connections[self._sources[command.action]]
        if not connection.trouble:
            entry.is_sending = True
            self._memory.touch()
            await self._keep()
        left_ns = command.time_ns + action.max_age - self._clock.wall_ns()
        if left_ns <= 0:
            self._fails(entry, UNREACHABLE, connection.trouble or "it took too long")
        elif entry.is_sending:
            await self._publish(entry, action, connection, left_ns)

    async def _publish(
        self, entry: Entry, action: ActionConfig, connection: CommandConnection, left_ns: int
    ) -> None:
        command = entry.command
        entry.generation = connection.generation
        entry.is_handed_over = True
        try:
            odd = await connection.publish_once(
                command.topic,
                command.payload.encode(),
                qos=action.qos,
                retain=action.retain,
                expires_s=expiry_s(left_ns),
                answer=entry.answer_topic,
                correlation=command.id.encode(),
            )
        except NotSentError:
            entry.is_sending = entry.is_handed_over = False
            self._memory.touch()
        except RefusedError as error:
            self._fails(entry, REFUSED, str(error))
        except UnconfirmedError as error:
            self._fails(entry, UNCONFIRMED, f"{error}; it may have been carried out")
        else:
            self._is_sent(entry, action, odd)

    def _is_sent(self, entry: Entry, action: ActionConfig, odd: str) -> None:
        now_ns = self._clock.wall_ns()
        entry.is_sending = False
        if entry.command.state == ANSWERED:
            return  # faster than the broker's own word
        if action.answer is not None and not entry.answer_topic:
            odd = odd or "its answer is not waited for: a name in that topic has no value"
        self._becomes(entry, state=SENT, sent_ns=now_ns, detail=odd)
        # What nobody can hear is not waited for.
        is_heard = not self._why_unheard(entry.command.action)
        entry.deadline_ns = now_ns + (action.timeout if is_heard else 0)
        entry.is_done = not entry.answer_topic
        self._wake_up()

    def _fails(self, entry: Entry, reason: str, detail: str) -> None:
        entry.is_sending = False
        if entry.command.state == ANSWERED:
            return
        entry.is_done = True
        self._becomes(entry, state=FAILED, reason=reason, detail=detail)

    def _becomes(self, entry: Entry, **changes: Any) -> None:  # noqa: ANN401  (a command's)
        entry.command = replace(entry.command, **changes)
        entry.is_logged = False
        self._memory.touch()
        self._tell(entry.command)

    # Answers.

    def _connection(self, source: str) -> CommandConnection:
        settings = self._config.source[source].table
        assert isinstance(settings, MqttConfig)  # noqa: S101  (of this type by name)
        actions = [self._config.action[name] for name, at in self._sources.items() if at == source]
        return CommandConnection(
            settings,
            self._config.gateway.name,
            self._clock,
            suffix=self._suffix,
            key=source_key(self._config, source),
            answers=answer_filters(actions),
            on_answer=self._take_answer,
        )

    def _take_answer(self, at: str, payload: bytes, correlation: bytes) -> None:
        """A message on a topic of answers, from the event loop."""
        entry = asked_by(self._memory.entries.values(), at, payload, correlation)
        if entry is None:
            self._telemetry.unmatched_answers.inc()
            return
        now_ns, command = self._clock.wall_ns(), entry.command
        answer = printable(payload[: 4 * _SHOWN].decode(errors="backslashreplace"))[:_SHOWN]
        answered: dict[str, Any] = {"answered_ns": now_ns, "answer": answer}
        if command.state == FAILED and command.reason in (NO_ANSWER, UNHEARD):
            self._becomes(entry, **answered, reason=LATE, detail="the answer came too late")
        else:
            # Whatever was not known of it before: it has arrived.
            sent_ns = command.sent_ns or now_ns
            self._becomes(entry, **answered, state=ANSWERED, sent_ns=sent_ns, reason="", detail="")
        entry.is_done = True
        self._wake_up()

    def _why_unheard(self, name: str) -> str:
        """Why no answers to an action, which sends, are heard over the connection that there is."""
        connection = self._connections.get(self._sources.get(name, ""))
        if connection is None or connection.trouble:
            return ""
        return why_unheard(self._config.action[name], connection.refused)

    def _tell_unheard(self, name: str, why: str) -> None:
        line = why and (
            f"action.{name}.answer: answers are not heard: {why}; let the gateway's user subscribe "
            "to it"
        )
        self._telemetry.warn(f"answers {name}", line)
        if self._config.action[name].answer is not None:
            self._telemetry.unheard_actions.labels(name).set(bool(why))

    # The account.

    async def _keep(self) -> None:
        """See all that is remembered on the disk, and all that has changed in the log.

        Raises:
            TransientError: It is not.
        """
        async with self._keeping:
            await self._memory.save()
            changed = {each.command.id: each.command for each in self._memory.unlogged()}
            if not changed:
                return
            await self._log.append_many(self._records(changed.values()))
            self._memory.logged(changed)
            await self._memory.save()

    def _records(self, commands: Any) -> Mapping[TopicPartition, Sequence[Record]]:  # noqa: ANN401
        partitions = self._config.log.partitions
        found: dict[int, list[Command]] = {}
        for each in commands:
            number = device_partition(each.feed, each.device, partitions)
            found.setdefault(number, []).append(each)
        name = topic(self._config, ANOMALIES)
        return {
            TopicPartition(name, number): commands_records(those) for number, those in found.items()
        }

    def _tell(self, command: Command) -> None:
        """Count it, and say it, also in the log of the process."""
        self._on_change(command)
        self._telemetry.commands.labels(command.action, command.state, command.reason).inc()
        self._counts.setdefault(command.action, Counter())[
            f"{command.state} {command.reason}".strip()
        ] += 1
        if command.state == PASSED_OVER and command.reason != DRY_RUN:
            return
        tell = _logger.warning if command.state == FAILED else _logger.info
        tell(
            _SENTENCES[command.state],
            action=command.action,
            feed=command.feed,
            device=command.device,
            id=command.id,
            **{key: value for key in ("reason", "detail") if (value := getattr(command, key))},
            topic=command.topic,
        )

    def _told(self) -> dict[str, Any]:
        """For people: by action, whether it is a dry run, and what became of its commands."""
        return {
            name: {"dry_run": action.dry_run, "commands": dict(self._counts[name])}
            for name, action in self._config.action.items()
        }


_SENTENCES: Final = {
    ASKED: "A command is asked for.",
    SENT: "A command is sent.",
    ANSWERED: "A command is answered.",
    FAILED: "A command has failed.",
    PASSED_OVER: "A command is passed over.",
}
