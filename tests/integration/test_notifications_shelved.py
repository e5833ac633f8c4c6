"""What is shelved is told to nobody while it is, and once when that ends and it is still so."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connectors.sinks.configured import sink_context
from connectors.sinks.notifications import standing
from connectors.sinks.notifications.config import NotificationsConfig
from connectors.sinks.notifications.notification import Notification
from connectors.sinks.notifications.sink import NotificationSink
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, WaitingSink
from headgate.config.schema import Config
from headgate.core.errors import TransientError
from headgate.core.log import ANOMALIES
from headgate.core.records import alarm_notes_record, alarms_record
from headgate.core.results import AlarmNote
from headgate.core.telemetry import Telemetry
from headgate.inspect.audit import audit
from headgate.testing import ManualClock
from streams.forward.timings import ForwardTimings
from tests.notified import START_NS, alarm, config_of, points, said, telling
from tests.receiver import Answer, Receiver
from tests.uplink import open_rig, until

_HOUR_S = 3600


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It says yes unless it is told otherwise."""
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def clock() -> ManualClock:
    """A minute after the first alarms open."""
    return ManualClock(START_NS + 60 * 10**9)


def _config(folder: Path, receiver: Receiver, more: str = "") -> Config:
    return config_of(folder, f'type = "webhook"\nurl = "{receiver.url}"\n{more}')


def _told(receiver: Receiver) -> list[tuple[str, str]]:
    """Device and state of what was told; of a summary its text."""
    bodies = [json.loads(each.body) for each in receiver.taken]
    return [
        (each["device"], each["state"]) if each["kind"] == "alarms" else ("", each["text"])
        for each in bodies
    ]


async def _write(sink: Sink, *told: Sequence[Point]) -> None:
    assert await sink.write([point for each in told for point in each]) == []


async def _write_due(sink: Sink) -> bool:
    """As the lane does; whether there was something to do."""
    assert isinstance(sink, WaitingSink)
    is_due = False
    while sink.is_due():
        is_due = True
        assert await sink.write([]) == []
    return is_due


def _hidden(telemetry: Telemetry) -> float:
    value: float = telemetry.shelved_alarms.labels("told")._value.get()
    return value


def _passed_over(telemetry: Telemetry) -> float:
    value: float = telemetry.passed_over.labels("told", "shelved")._value.get()
    return value


async def test_what_is_still_open_is_told_when_shelving_ends(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Told before or not; what opened anew, too, and what is over only to who knows of it."""
    telemetry, config = Telemetry(clock), _config(tmp_path, receiver)
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(alarm("a"), alarm("b"), alarm("c"), alarm("d")))
        for device in "abc":
            await _write(sink, said(alarm(device), 60, until_s=_HOUR_S))
        await _write(sink, points(alarm("b", is_over=True), alarm("c", is_over=True)))
        await _write(sink, points(alarm("c", at_s=90), alarm("d", is_over=True)))
        await _write(sink, points(alarm("c", at_s=90, is_over=True), alarm("c", at_s=200)))
    assert _told(receiver) == [*((device, "open") for device in "abcd"), ("d", "over")]
    assert (_hidden(telemetry), _passed_over(telemetry)) == (2, 2)

    clock.advance(_HOUR_S - 60.5)
    async with telling(config, telemetry, clock) as sink:
        assert not await _write_due(sink)
        clock.advance(6)
        assert await _write_due(sink)
        assert not await _write_due(sink)
        # From now on it is as if it had never been shelved.
        await _write(sink, points(alarm("a", is_over=True), alarm("b", at_s=2 * _HOUR_S)))

    assert sorted(_told(receiver)[5:9]) == [
        ("a", "open"),
        ("b", "over"),
        ("c", "open"),
        ("c", "over"),
    ]
    assert _told(receiver)[9:] == [("a", "over"), ("b", "open")]
    assert len({each.id for each in receiver.taken}) == len(receiver.taken)
    assert _hidden(telemetry) == 0


async def test_who_takes_it_off_the_shelf_is_told_at_once(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """And what is said of another device, or of another part of the same, is of no matter."""
    config = _config(tmp_path, receiver)
    part = (("phase", "b"),)
    async with telling(config, clock=clock) as sink:
        clock.advance(6)
        await _write(sink, points(alarm("a")), said(alarm("a"), 66, until_s=_HOUR_S))
        await _write(sink, points(alarm("b"), alarm("a", part=part)))
        # It came before it was shelved, and is not told all the same, since it is by now.
        assert _told(receiver) == [("b", "open"), ("a", "open")]
        clock.advance(60)
        await _write(sink, said(alarm("b"), 126, until_s=126))
        assert not await _write_due(sink)
        await _write(sink, said(alarm("a"), 126, until_s=126))
        assert await _write_due(sink)
        assert not await _write_due(sink)

    assert _told(receiver)[2:] == [("a", "open")]


async def test_the_last_that_is_said_of_a_shelf_holds(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Longer or shorter; and what is said twice, after a kill, is said once."""
    config = _config(tmp_path, receiver)
    first, second = (said(alarm("a"), at_s, until_s=_HOUR_S + at_s) for at_s in (60, 70))
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a")), first, second)
        clock.advance(_HOUR_S + 5)
        await _write(sink, first)
        assert not await _write_due(sink)
        clock.advance(5)
        assert await _write_due(sink)
        await _write(sink, first, second, points(alarm("a")))
        clock.advance(6)
        assert not await _write_due(sink)

    assert _told(receiver) == [("a", "open")]


async def test_a_kill_at_any_time_repeats_under_the_same_id(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Of what was told but not noted; the rest once."""
    config = _config(tmp_path, receiver)
    devices = [f"d{n:02}" for n in range(20)]
    async with telling(config, clock=clock) as sink:
        for device in devices:
            await _write(sink, said(alarm(device), 60, until_s=_HOUR_S), points(alarm(device)))
    assert receiver.taken == []
    clock.advance(_HOUR_S)
    (memory,) = (tmp_path / "data").glob("forward-told.told")
    before = memory.read_bytes()
    for kill in range(4):
        async with telling(config, clock=clock) as sink:
            clock.advance(6)
            assert await sink.write([]) == []  # as many as go in a call
        if kill < 3:
            memory.write_bytes(before)  # who was killed had not written it
    async with telling(config, clock=clock) as sink:
        clock.advance(6)
        answers = iter([Answer(204), Answer(503)])
        receiver.answer = lambda _taken: next(answers, Answer(204))
        with pytest.raises(TransientError):
            await sink.write([])
        assert await _write_due(sink)
        assert not await _write_due(sink)

    taken = [each for each in receiver.taken if each.answer.status == 204]
    assert len({each.id for each in taken}) == 20
    assert sorted(json.loads(each.body)["device"] for each in taken) == sorted(
        devices[:16] * 4 + devices[16:]
    )


class _Listener:
    """Takes what is told."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def send(self, told: Notification) -> int:
        self.ids.append(told.id)
        return 1


async def _tell_all(config: Config, seed: int, *, kills: bool) -> list[str]:
    """The ids that are told of what comes by chance, by one process or by many."""
    chance, fate, clock = random.Random(seed), random.Random(-seed), ManualClock(START_NS)
    listener, table = _Listener(), config.sink["told"].table
    memory = config.gateway.data_dir / "forward-told.told"
    memory.unlink(missing_ok=True)
    assert isinstance(table, NotificationsConfig)
    context = sink_context(config, "told", clock, Telemetry(clock))
    sink = NotificationSink(table, listener, context)
    await sink.start()

    async def go_on(told: Sequence[Point] | None) -> None:
        if told is not None:
            assert await sink.write(told) == []
            return
        clock.advance(6)
        await _write_due(sink)

    for second in range(0, 20 * 300, 300):
        told: list[Point] = []
        for device in chance.choices("abc", k=chance.randint(1, 4)):
            one = alarm(device, at_s=chance.choice((0, second)), is_over=chance.random() < 0.4)
            span_s = chance.choice((0, 200, 700))
            told += chance.choice(
                (
                    points(one),
                    points(one),
                    said(one, second, until_s=second + span_s),
                    said(one, second, acknowledges=True),
                )
            )
        for each in (told, None):  # what comes, and what is due
            while kills and fate.random() < 0.4:  # it dies before it has noted what it has told
                before, now_ns = memory.exists() and memory.read_bytes(), clock.wall_ns()
                await go_on(each)
                memory.unlink(missing_ok=True)
                if before:
                    memory.write_bytes(before)
                clock.step_wall((now_ns - clock.wall_ns()) / 10**9 + 0.001)
                sink = NotificationSink(table, listener, context)
                await sink.start()
            await go_on(each)
        clock.advance(294)
    return listener.ids


@pytest.mark.parametrize("more", ["", 'repeat = "10m"', 'unacknowledged_for = "5m"'])
async def test_kills_repeat_what_was_told_and_nothing_else(
    receiver: Receiver, tmp_path: Path, more: str
) -> None:
    """Whatever opens, is over, is acknowledged, is shelved and is not any more."""
    config = _config(tmp_path, receiver, more)
    (tmp_path / "data").mkdir(exist_ok=True)
    for seed in range(1, 9):
        told = await _tell_all(config, seed, kills=False)
        assert told
        assert len(set(told)) == len(told)
        assert [*dict.fromkeys(await _tell_all(config, seed, kills=True))] == told


async def test_what_a_backlog_ends_is_not_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Shelving has ended while the gateway was away, and so has the alarm, which comes later."""
    config = _config(tmp_path, receiver)
    async with telling(config, clock=clock) as sink:
        await _write(sink, said(alarm("a"), 60, until_s=_HOUR_S), points(alarm("a"), alarm("b")))
        await _write(sink, said(alarm("b"), 60, until_s=_HOUR_S))
    clock.advance(5 * _HOUR_S)
    async with telling(config, clock=clock) as sink:
        assert not await _write_due(sink)
        clock.advance(4)
        await _write(sink, points(alarm("c", at_s=1000)))
        clock.advance(4)
        assert not await _write_due(sink)
        over_ns = START_NS + 2000 * 10**9
        await _write(sink, points(alarm("a", is_over=True, time_ns=over_ns)))
        # Of what is said there of a shelf it is the same.
        await _write(sink, said(alarm("c"), 1100, until_s=1200))
        await _write(sink, points(alarm("c", at_s=1000, is_over=True)))
        clock.advance(4)
        await _write(sink, points(alarm("e", at_s=5 * _HOUR_S)))
        clock.advance(1)
        assert await _write_due(sink)

    assert _told(receiver) == [
        ("b", "open"),
        ("c", "open"),
        ("e", "open"),
        ("b", "open"),
        ("c", "over"),
    ]


async def test_what_waited_for_another_reason_waits_for_the_shelf(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """And whose shelf ends in quiet hours, for the end of these."""
    more = 'quiet = { during = "night" }\n[schedule.night]\ntimes = "00:00-02:00"'
    config = _config(tmp_path, receiver, f'max_age = "1d"\n{more}')
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a"), alarm("b"), alarm("c"), alarm("d")))
        for device in "ad":
            await _write(sink, said(alarm(device), 60, until_s=_HOUR_S))
        # Nobody has heard of its beginning.
        await _write(sink, points(alarm("d", is_over=True)))
        await _write(sink, said(alarm("b"), 60, until_s=3 * _HOUR_S))
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        assert receiver.taken == []
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        assert sorted(_told(receiver)) == [("a", "open"), ("c", "open")]
        clock.advance(_HOUR_S)
        assert await _write_due(sink)

    assert _told(receiver)[2:] == [("b", "open")]


async def test_more_than_can_be_kept_is_told_in_a_line(
    receiver: Receiver, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First those go that were told; and of shelves the oldest ends early."""
    monkeypatch.setattr(standing, "MOST_STANDING", 2)
    monkeypatch.setattr(standing, "MOST_SHELVED", 2)
    config = _config(tmp_path, receiver)
    async with telling(config, clock=clock) as sink:
        clock.advance(6)
        for device in "bcd":
            shelved = said(alarm(device), 66, until_s=_HOUR_S)
            await _write(sink, shelved, points(alarm(device)))
            assert await _write_due(sink) == (device == "d")
            if device == "b":
                await _write(sink, points(alarm("a")))
        clock.advance(_HOUR_S)
        assert await _write_due(sink)

    summary = "1 changes were not told one by one: more were shelved than are kept"
    assert _told(receiver) == [("a", "open"), ("", summary), ("c", "open"), ("d", "open")]


async def test_the_lane_tells_when_shelving_ends(receiver: Receiver, tmp_path: Path) -> None:
    """Nothing new need come for it, and all is settled in the account."""
    config = _config(tmp_path, receiver)
    note = AlarmNote(
        "pump", "a", "hot", "", START_NS, START_NS, "anna", False, "", (), (("line", "a"),),
        START_NS + _HOUR_S * 10**9,
    )  # fmt: skip
    async with open_rig(config, timings=ForwardTimings(wait_s=0.1)) as rig:
        await rig.put(ANOMALIES, alarms_record([alarm("b")]))
        clock = ManualClock(START_NS + 60 * 10**9)
        async with telling(config, rig.telemetry, clock) as sink, rig.forwarding(sink):
            await rig.put(ANOMALIES, alarm_notes_record([note]))
            await rig.put(ANOMALIES, alarms_record([alarm("a")]))
            await until(lambda: len(receiver.taken) == 1)
            await until(lambda: _hidden(rig.telemetry) == 1)
            clock.advance(_HOUR_S + 6)
            await until(lambda: len(receiver.taken) == 2)
        account = (await audit(config, rig.log)).sinks["told", "anomalies"]

    assert _told(receiver) == [("b", "open"), ("a", "open")]
    assert (account.made, account.acknowledged, account.passed_over) == (3, 2, 1)
    assert account.is_balanced
