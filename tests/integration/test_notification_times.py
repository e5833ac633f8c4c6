"""What is told later, and in fewer words: after an outage, in a flood, in quiet hours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connectors.sinks.notifications import pacing
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, WaitingSink
from headgate.config.schema import Config
from headgate.core.errors import ConfigError, TransientError
from headgate.core.log import ANOMALIES
from headgate.core.records import alarms_record
from headgate.core.telemetry import Telemetry
from headgate.inspect.audit import audit
from headgate.testing import ManualClock
from streams.forward.timings import ForwardTimings
from tests.notified import START_NS, alarm, config_of, points, telling
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
    """It is the time at which alarms open."""
    return ManualClock(START_NS)


def _config(folder: Path, receiver: Receiver, more: str) -> Config:
    return config_of(folder, f'type = "webhook"\nurl = "{receiver.url}"\n{more}')


def _said(receiver: Receiver) -> list[tuple[str, str, str]]:
    """Kind, device and state of what was told; of summaries the text."""
    return [
        (said["kind"], said["device"], said["text" if said["kind"] == "summary" else "state"])
        for said in (json.loads(each.body) for each in receiver.taken)
    ]


async def _write_due(sink: Sink) -> bool:
    """As the lane does; whether there was something to do."""
    assert isinstance(sink, WaitingSink)
    is_due = False
    while sink.is_due():
        is_due = True
        assert await sink.write([]) == []
    return is_due


async def _write(sink: Sink, told: Sequence[Point]) -> None:
    assert await sink.write(told) == []


def _passed_over(telemetry: Telemetry, reason: str) -> float:
    value: float = telemetry.passed_over.labels("told", reason)._value.get()
    return value


async def test_after_an_outage_what_is_still_so_is_told(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """One by one, and all else in a line; and what a restart has seen it forgets not."""
    telemetry, config = Telemetry(clock), _config(tmp_path, receiver, 'max_age = "1h"')
    clock.advance(5 * _HOUR_S)
    old = [
        *(alarm("a", at_s=100 * n, is_over=over) for n in range(3) for over in (False, True)),
        alarm("b"),
        alarm("c"),
        alarm("c", is_over=True),
    ]
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(*old))
        assert not await _write_due(sink)
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(*old))
        await _write(sink, points(alarm("d", at_s=5 * _HOUR_S)))
        clock.advance(6)
        assert await _write_due(sink)
        assert not await _write_due(sink)
        # It goes on with what comes of it.
        await _write(sink, points(alarm("b", is_over=True, time_ns=clock.wall_ns())))

    assert _said(receiver) == [
        ("alarms", "d", "open"),
        ("alarms", "b", "open"),
        ("summary", "", ("8 changes were not told one by one: they were older than 1h when their "
         "turn came")),
        ("alarms", "b", "over"),
    ]  # fmt: skip
    assert _passed_over(telemetry, "old") == 8


async def test_of_a_flood_the_rest_is_told_in_one(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """At the end of the span, once, under one id however often it is tried; over a restart."""
    more = 'at_most = { count = 3, span = "10m" }'
    telemetry, config = Telemetry(clock), _config(tmp_path, receiver, more)
    async with telling(config, telemetry, clock) as sink:
        await _write(sink, points(*(alarm(f"d{n}") for n in range(5)), alarm("d3", is_over=True)))
        clock.advance(300)
        await _write(sink, points(alarm("d9")))
        assert not await _write_due(sink)
    assert len(receiver.taken) == 3
    async with telling(config, telemetry, clock) as sink:
        assert not await _write_due(sink)
        clock.advance(301)
        receiver.answer = lambda _taken: Answer(500)
        for _ in range(2):
            with pytest.raises(TransientError):
                await sink.write([])
    async with telling(config, telemetry, clock) as sink:
        receiver.answer = lambda _taken: Answer(204)
        assert await _write_due(sink)
        assert not await _write_due(sink)
        await _write(sink, points(alarm("e")))

    told = _said(receiver)
    text = "4 further: [major] d4: hot; [over] d3: hot; [major] d9: hot; and 1 more"
    assert told[3:] == [*[("summary", "", text)] * 3, ("alarms", "e", "open")]
    assert len({each.id for each in receiver.taken[3:6]}) == 1
    assert _passed_over(telemetry, "flood") == 4


async def test_in_quiet_hours_what_comes_waits(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """But for what is critical; afterwards each is told once, as it is then."""
    more = 'max_age = "1d"\nquiet = { during = "night" }\n[schedule.night]\ntimes = "00:30-06:00"\n'
    more += 'zone = "Europe/Berlin"'
    telemetry, config = Telemetry(clock), _config(tmp_path, receiver, more)
    async with telling(config, telemetry, clock) as sink:  # it is 01:00 in Berlin
        await _write(
            sink,
            points(
                alarm("a"), alarm("b"), alarm("c", severity="critical"), alarm("b", is_over=True)
            ),
        )
        clock.advance(4 * _HOUR_S)
        assert not await _write_due(sink)
    assert _said(receiver) == [("alarms", "c", "open")]
    async with telling(config, telemetry, clock) as sink:
        clock.advance(_HOUR_S)
        assert await _write_due(sink)
        await _write(sink, points(alarm("e")))

    assert _said(receiver)[1:] == [
        ("alarms", "a", "open"),
        ("alarms", "b", "over"),
        ("alarms", "e", "open"),
    ]
    assert _passed_over(telemetry, "quiet") == 1


async def test_of_sinks_that_take_turns_the_one_whose_time_it_was_tells(
    receiver: Receiver, clock: ManualClock, tmp_path: Path
) -> None:
    """Whenever that is: by when it changed, which for some was at midnight in UTC, and later."""
    schedule = 'max_age = "1d"\n[schedule.hour]\ntimes = "00:00-01:00"'
    told = points(
        *(
            alarm(device, at_s=at_s, opened_ns=START_NS + (at_s + 10) * 10**9)
            for device, at_s in (("a", 0), ("b", 3589), ("c", 3590))
        )
    )
    clock.advance(2 * _HOUR_S)
    for number, keys in enumerate(('during = "hour"', 'except = ["hour"]')):
        folder = tmp_path / str(number)
        folder.mkdir()
        telemetry, config = Telemetry(clock), _config(folder, receiver, f"{keys}\n{schedule}")
        async with telling(config, telemetry, clock) as sink:
            await _write(sink, told)
        assert _passed_over(telemetry, "not_asked_for") == 1 + number

    assert [device for _, device, _ in _said(receiver)] == ["a", "b", "c"]


async def test_more_than_can_wait_is_told_in_a_line(
    receiver: Receiver, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest are those of which it is only said how many."""
    monkeypatch.setattr(pacing, "MOST_WAITING", 2)
    more = 'max_age = "1d"\nquiet = { during = "night" }\n[schedule.night]\ntimes = "23:00-01:00"'
    config = _config(tmp_path, receiver, more)
    async with telling(config, clock=clock) as sink:
        await _write(sink, points(*(alarm(f"d{n}") for n in range(5))))
    async with telling(config, clock=clock) as sink:
        clock.advance(_HOUR_S)
        assert await _write_due(sink)

    assert _said(receiver) == [
        ("alarms", "d3", "open"),
        ("alarms", "d4", "open"),
        ("summary", "", "3 changes were not told one by one: there were too many in quiet hours"),
    ]


async def test_the_lane_tells_what_is_due_and_tries_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    """Nothing new need come for it; what is refused then is in quarantine, and all is settled."""
    more = 'at_most = { count = 1, span = "1s" }\nmax_age = "3650d"'
    config = _config(tmp_path, receiver, more)
    answers = iter([Answer(204), Answer(503), Answer(410, body=b"gone")])
    receiver.answer = lambda _taken: next(answers, Answer(204))
    async with open_rig(config, timings=ForwardTimings(wait_s=0.1)) as rig:
        await rig.put(ANOMALIES, alarms_record([alarm("a"), alarm("b")]))
        async with telling(config, rig.telemetry) as sink, rig.forwarding(sink) as lane:
            await until(lambda: len(receiver.taken) == 3)
            await until(lambda: lane.health()[0])
            await until(rig.telemetry.quarantined.labels("rejected_by_sink")._value.get)
        ((reason, payload),) = await rig.quarantined()
        account = (await audit(config, rig.log)).sinks["told", "anomalies"]

    assert [each[0] for each in _said(receiver)] == ["alarms", "summary", "summary"]
    assert (reason, payload.partition(" ")[0]) == ("rejected_by_sink", "summary,gateway=gateway")
    assert (account.made, account.acknowledged) == (2, 2)
    assert account.is_balanced


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("at_most = { count = 0, span = '1m' }", "at_most.count: expected at least 1"),
        ("at_most = { count = 1, span = '0s' }", 'at_most.span: expected more than "0s"'),
        ("at_most = { count = 1 }", "at_most.span"),
        ("quiet = { but = 'major' }", "quiet.during: missing"),
        ("quiet = { during = [] }", "quiet.during: expected at least 1"),
        ("quiet = { during = 'night' }", "quiet: no [schedule.night] in this file; those there"),
        ("during = 'night'", "during: no [schedule.night] in this file; those there are: none"),
        ("except = ['night']", "except: no [schedule.night] in this file; those there are: none"),
        (
            "max_age = '1d'\nquiet = { during = 'n', but = 'worst' }\n[schedule.n]\ndays = 'mon'",
            "quiet.but: expected",
        ),
    ],
)
def test_what_is_wrong_is_told(receiver: Receiver, tmp_path: Path, more: str, said: str) -> None:
    """With its key."""
    with pytest.raises(ConfigError) as found:
        _config(tmp_path, receiver, more)

    assert f"sink.told.{said}" in str(found.value) or said in str(found.value)
