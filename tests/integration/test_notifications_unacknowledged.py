"""What nobody has acknowledged is told to others, and again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connectors.sinks.notifications import standing
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, WaitingSink
from headgate.config.schema import Config
from headgate.core.errors import ConfigError, TransientError
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from tests.notified import START_NS, alarm, config_of, points, said, telling
from tests.receiver import Answer, Receiver

_HOUR_S = 3600
_LATER = 'unacknowledged_for = "10m"\n'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It says yes unless it is told otherwise."""
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def clock() -> ManualClock:
    """Alarms have opened by now that began at ``START_NS``."""
    return ManualClock(START_NS + 10 * 10**9)


def _config(folder: Path, receiver: Receiver, more: str) -> Config:
    return config_of(folder, f'type = "webhook"\nurl = "{receiver.url}"\n{more}')


def _told(receiver: Receiver) -> list[tuple[str, str]]:
    """Device and state of what was taken."""
    bodies = [json.loads(each.body) for each in receiver.taken if each.answer.status == 204]
    return [(each["device"], each["state"]) for each in bodies]


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


async def test_only_what_nobody_has_seen_to_is_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """So long after it has opened, whatever restarts there are; once, and that it is over."""
    telemetry, config = Telemetry(clock), _config(tmp_path, receiver, _LATER)
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(*(alarm(device) for device in "abcde")))
        await _write(
            sink,
            points(alarm("b", is_over=True)),
            said(alarm("c"), 60, acknowledges=True),
            said(alarm("d"), 60, until_s=_HOUR_S),
            # A comment, and what is said of an earlier alarm.
            said(alarm("e"), 60),
            said(alarm("e", at_s=-60), 60, acknowledges=True),
        )
        clock.advance(599.5)
        assert not await _write_due(sink)
    async with telling(config, telemetry, clock) as sink:
        assert not await _write_due(sink)
        clock.advance(0.5)
        assert not await _write_due(sink)  # something of the time before may come
        clock.advance(4.5)
        assert await _write_due(sink)
        assert _told(receiver) == [("a", "open"), ("e", "open")]
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(alarm("a")), said(alarm("e"), 700, acknowledges=True))
        await _write(sink, points(alarm("c", is_over=True), alarm("e", is_over=True)))
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        await _write(sink, points(alarm("d", is_over=True)))
        assert not await _write_due(sink)

    assert _told(receiver)[2:] == [("e", "over"), ("d", "open"), ("d", "over")]
    in_time = telemetry.passed_over.labels("told", "in_time")._value.get()
    assert in_time == 2


async def test_what_is_acknowledged_while_it_is_shelved_is_not_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """And what has opened there just before the end, so long after that."""
    config = _config(tmp_path, receiver, _LATER)
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a"), alarm("b")))
        for device in "ab":
            await _write(sink, said(alarm(device), 60, until_s=_HOUR_S))
        await _write(sink, said(alarm("a"), 60, acknowledges=True))
        opened_ns = START_NS + 3500 * 10**9
        again = alarm("b", at_s=3490, opened_ns=opened_ns, time_ns=opened_ns)
        await _write(sink, points(alarm("b", is_over=True), again))
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        assert receiver.taken == []
        clock.advance(490)
        assert await _write_due(sink)

    assert _told(receiver) == [("b", "open")]


async def test_what_nobody_acknowledges_is_told_again(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Under another id each time, and under the same over a kill; not what is answered or over."""
    config = _config(tmp_path, receiver, 'repeat = "1h"')
    memory = tmp_path / "data" / "forward-told.told"
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(*(alarm(device) for device in "abc")))
        await _write(sink, points(alarm("b", is_over=True)))
        await _write(sink, said(alarm("c"), 60, acknowledges=True))
        clock.advance(_HOUR_S - 1)
        assert not await _write_due(sink)
        before = memory.read_bytes()
        clock.advance(1)
        assert await _write_due(sink)
        assert not await _write_due(sink)
    memory.write_bytes(before)  # who was killed had not written it
    async with telling(config, clock=clock) as sink:
        clock.advance(5)
        receiver.answer = lambda _taken: Answer(503)
        with pytest.raises(TransientError):
            await sink.write([])
        receiver.answer = lambda _taken: Answer()
        assert await _write_due(sink)
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        await _write(sink, said(alarm("a"), 9000, acknowledges=True))
        clock.advance(_HOUR_S)
        assert not await _write_due(sink)

    assert _told(receiver)[4:] == [("a", "open")] * 3
    ids = [each.id for each in receiver.taken]
    assert len(set(ids[4:7])) == 1
    assert len(set(ids)) == 6


async def test_both_together_and_in_quiet_hours(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """In the morning once, what is still so; but for what is critical."""
    more = _LATER + 'repeat = "1h"\nquiet = { during = "night" }\n[schedule.night]\n'
    config = _config(tmp_path, receiver, f'max_age = "1d"\n{more}times = "00:00-06:00"')
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a"), alarm("b"), alarm("c", severity="critical")))
        for _ in range(2):
            clock.advance(_HOUR_S)
            assert await _write_due(sink)
        assert _told(receiver) == [("c", "open")] * 2
        await _write(sink, said(alarm("b"), 7000, acknowledges=True))
        await _write(sink, said(alarm("c"), 7000, acknowledges=True))
        clock.advance(4 * _HOUR_S)
        assert await _write_due(sink)
        assert not await _write_due(sink)
        clock.advance(_HOUR_S)
        assert await _write_due(sink)

    assert _told(receiver)[2:] == [("a", "open")] * 2
    assert len({each.id for each in receiver.taken}) == 4


async def test_what_a_backlog_answers_is_not_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """But of what comes without end from a clock that is behind, nothing waits for ever."""
    config = _config(tmp_path, receiver, _LATER)
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a"), alarm("b"), alarm("c")))
        clock.advance(700)
        await _write(sink, points(alarm("x", is_over=True)))
        assert not await _write_due(sink)
    clock.advance(5 * _HOUR_S)
    async with telling(config, clock=clock) as sink:
        clock.advance(4)
        await _write(sink, points(alarm("d", at_s=20)))
        clock.advance(4)
        assert not await _write_due(sink)
        await _write(sink, points(alarm("a", is_over=True)))
        await _write(sink, said(alarm("b"), 300, acknowledges=True))
        for second in range(13):
            assert not await _write_due(sink)
            clock.advance(4)
            await _write(sink, points(alarm(f"e{second}", is_over=True)))
        assert await _write_due(sink)

    assert _told(receiver) == [("c", "open"), ("d", "open")]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ('unacknowledged_for = "0s"', 'unacknowledged_for: expected more than "0s"'),
        ('repeat = "59s"', 'repeat: expected at least "1m"'),
        (_LATER + 'of = ["alarms", "device_state"]', 'expected of = ["alarms"]'),
        ('repeat = "1h"\nof = ["anomalies"]', 'repeat: expected "alarms" in of'),
        (_LATER + 'states = "over"', 'unacknowledged_for: expected "open" in states'),
    ],
)
def test_what_is_wrong_is_told(receiver: Receiver, tmp_path: Path, more: str, what: str) -> None:
    """With its key."""
    with pytest.raises(ConfigError) as found:
        _config(tmp_path, receiver, more)

    assert what in str(found.value)
    assert "sink.told" in str(found.value)


async def test_what_was_told_before_it_waited_is_over_for_who_was_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """What is told again waits in a flood, and is shelved meanwhile; restarts change nothing."""
    more = 'repeat = "1h"\nat_most = { count = 1, span = "10m" }'
    config = _config(tmp_path, receiver, more)
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a")))
        clock.advance(_HOUR_S - 1)
        await _write(sink, points(alarm("b", at_s=3590), alarm("c", at_s=3590)))
        clock.advance(10)
        assert await _write_due(sink)
    async with telling(config, clock=clock) as sink:
        for device in "ac":
            await _write(sink, said(alarm(device), 3620, until_s=8000))
        await _write(sink, points(alarm("a", is_over=True)))
        await _write(sink, points(alarm("c", at_s=3590, is_over=True)))
        clock.advance(4500)
        assert await _write_due(sink)

    assert _told(receiver) == [("a", "open"), ("b", "open"), ("a", "over")]


@pytest.mark.parametrize(("more", "told"), [(_LATER, []), ('repeat = "1h"', ["a", "b"])])
async def test_what_is_acknowledged_while_it_waits_is_not_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path, more: str, told: list[str]
) -> None:
    """Nor told again; that it has begun is told to who is told of all."""
    more += '\nat_most = { count = 1, span = "3h" }'
    config = _config(tmp_path, receiver, more)
    async with telling(config, clock=clock) as sink:
        # It uses up what may be told.
        await _write(sink, points(alarm("x", severity="critical")))
        clock.advance(_HOUR_S)
        await _write_due(sink)
        assert _told(receiver) == [("x", "open")]
        await _write(sink, points(*(alarm(device) for device in "ab")))
        clock.advance(_HOUR_S)
        await _write_due(sink)
        for device in "abx":
            await _write(sink, said(alarm(device), 7500, acknowledges=True))
        clock.advance(4 * _HOUR_S)
        await _write_due(sink)
        await _write_due(sink)
        await _write(sink, points(*(alarm(device, is_over=True) for device in "x")))

    texts = [json.loads(each.body)["text"] for each in receiver.taken[1:-1]]
    named = [device for device in "abx" if any(f"] {device}:" in text for text in texts)]
    assert named == told
    assert _told(receiver)[-1] == ("x", "over")


async def test_of_more_than_are_kept_those_go_first_that_were_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or acknowledged; of others a line says how many."""
    monkeypatch.setattr(standing, "MOST_STANDING", 3)
    telemetry, config = Telemetry(clock), _config(tmp_path, receiver, _LATER)
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(alarm("a")))
        clock.advance(700)
        assert await _write_due(sink)
        told = [alarm(device, at_s=700) for device in "bcdef"]
        await _write(sink, points(*told[:3]))
        await _write(sink, said(told[2], 710, acknowledges=True), points(told[3]))
        assert not await _write_due(sink)
        await _write(sink, points(told[4]))
        assert not await _write_due(sink)
        clock.advance(700)
        assert await _write_due(sink)

    # a was told, d acknowledged, and of the others b is the oldest.
    assert _told(receiver) == [("a", "open"), ("", "open"), *((each, "open") for each in "cef")]
    text = "1 changes were not told one by one: more were unacknowledged than are kept"
    assert json.loads(receiver.taken[1].body)["text"] == text
    assert telemetry.passed_over.labels("told", "too_many")._value.get() == 1


@pytest.mark.parametrize(
    ("more", "is_told"),
    [
        (_LATER, True),
        (_LATER + 'severity = "critical"', False),
        (_LATER + 'devices = "b*"', False),
        (_LATER + 'rules = "cold"', False),
        (_LATER + 'feeds = "air"', False),
        ("", True),  # it has not been told, and is to be
    ],
)
async def test_what_is_not_asked_for_any_more_is_forgotten(
    receiver: Receiver, clock: ManualClock, tmp_path: Path, more: str, is_told: bool
) -> None:
    """Whether nobody has acknowledged it, it is shelved, or it waits in a flood."""
    telemetry = Telemetry(clock)
    async with telling(_config(tmp_path, receiver, _LATER), clock=clock) as sink:
        await _write(sink, points(alarm("a"), alarm("c")), said(alarm("c"), 60, until_s=_HOUR_S))
    config = _config(tmp_path, receiver, more)
    async with telling(config, telemetry, clock) as sink:
        clock.advance(2 * _HOUR_S)
        await _write_due(sink)

    assert sorted(_told(receiver)) == [("a", "open"), ("c", "open")] * is_told
    not_asked_for = telemetry.passed_over.labels("told", "not_asked_for")._value.get()
    assert not_asked_for == (0 if is_told else 2)


async def test_what_waits_in_a_flood_is_chosen_anew(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """When the table has changed."""
    more = 'at_most = { count = 1, span = "10m" }\n'
    async with telling(_config(tmp_path, receiver, more), clock=clock) as sink:
        await _write(sink, points(alarm("a"), alarm("b"), alarm("c")))
    config = _config(tmp_path, receiver, more + 'devices = ["a", "c"]')
    async with telling(config, clock=clock) as sink:
        clock.advance(700)
        assert await _write_due(sink)

    assert json.loads(receiver.taken[1].body)["text"] == "1 further: [major] c: hot"


async def test_what_was_to_be_told_again_is_not_without_repeat(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """When the key has gone."""
    async with telling(_config(tmp_path, receiver, 'repeat = "1h"'), clock=clock) as sink:
        await _write(sink, points(alarm("a")))
    async with telling(_config(tmp_path, receiver, ""), clock=clock) as sink:
        clock.advance(2 * _HOUR_S)
        assert not await _write_due(sink)
        await _write(sink, points(alarm("a", is_over=True)))

    assert _told(receiver) == [("a", "open"), ("a", "over")]


async def test_what_can_not_be_acknowledged_any_more_is_not_told_again(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """It is in the log no more; the last says so."""
    more = 'max_age = "1d"\nrepeat = "1h"\n[log]\nretention = "3h"'
    config = _config(tmp_path, receiver, more)
    for _ in range(4):
        async with telling(config, clock=clock) as sink:
            await _write(sink, points(alarm("a")))
            await _write_due(sink)
            clock.advance(_HOUR_S)
            await _write_due(sink)
        clock.advance(6)
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a", is_over=True)))

    assert _told(receiver) == [*[("a", "open")] * 3, ("a", "over")]
    texts = [json.loads(each.body)["text"] for each in receiver.taken]
    last = "a: 81.4 °C (told for the last time, for it is about to leave the log)"
    assert texts == ["a: 81.4 °C", "a: 81.4 °C", last, "a: 81.4 °C"]


async def test_who_is_off_is_not_told_again(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Before the next shift begins; but of what is told for the first time, wherever that falls."""
    more = 'max_age = "1d"\nrepeat = "1h"\nduring = "day"\n[schedule.day]\ntimes = "00:00-00:30"'
    config = _config(tmp_path, receiver, _LATER.replace("10", "40") + more)
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(alarm("a")))
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        assert _told(receiver) == [("a", "open")]
        for _ in range(22):
            clock.advance(_HOUR_S)
            assert not await _write_due(sink)
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        assert not await _write_due(sink)

    assert _told(receiver) == [("a", "open")] * 2
