"""What alarms command, what they do not, and what is remembered of it over kills."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.actions.configured import open_actions
from connectors.actions.memory import CommandMemory
from connectors.logs.configured import open_log
from headgate.core.clock import SystemClock
from headgate.core.results import Alarm, Anomaly
from headgate.core.telemetry import Telemetry
from headgate.inspect.commands import command_account
from tests.acting import (
    ANSWER,
    alarm_of,
    at_work,
    config_of,
    has_long_been_there,
    over,
)
from tests.commanded import CommandedDevice
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.uplink import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]


@pytest.fixture
def device(mosquitto: Mosquitto) -> Iterator[CommandedDevice]:
    """It answers nothing unless it is told to."""
    with CommandedDevice(mosquitto.port) as device:
        yield device


async def test_an_alarm_commands_its_device(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Once, when it opens, with all that is known, and an id that follows from the data."""
    alarm = alarm_of()
    async with at_work(config_of(tmp_path, mosquitto.port)) as acting:
        await acting.take(alarm, alarm, over(alarm))
        asked, sent = await acting.until("asked", "sent")

    (taken,) = device.taken
    assert (taken.topic, taken.retain) == ("cmd/a/p1", False)
    assert taken.json["id"] == asked.id == sent.id
    assert {"device": "p1", "rule": "hot", "state": "open", "text": "p1: 81.4 °C"}.items() <= (
        taken.json.items()
    )
    assert 0 < taken.properties["MessageExpiryInterval"] <= 30
    assert sent.sent_ns >= asked.asked_ns
    assert acting.telemetry.commands.labels("stop", "sent", "")._value.get() == 1


@pytest.mark.parametrize(
    ("alarm", "reason", "words"),
    [
        ({"ago_s": 31}, "old", r"31\.\d s old"),
        ({"ago_s": -40}, "ahead", r"(39|40)\.\d s ahead"),
        ({"device": "p/1"}, "not_allowed", '"p/1" has "/"'),
        ({"device": "p+1#"}, "not_allowed", r'"p\+1#" has "#" and "\+"'),
        ({"device": "p\n1"}, "not_allowed", "brokers refuse"),
        ({"tags": ()}, "not_allowed", "nothing stands there"),
    ],
)
async def test_what_may_not_be_sent_is_passed_over(
    mosquitto: Mosquitto,
    device: CommandedDevice,
    tmp_path: Path,
    alarm: dict[str, object],
    reason: str,
    words: str,
) -> None:
    """And it is written down why."""
    config = config_of(tmp_path, mosquitto.port)
    await has_long_been_there(config)
    async with at_work(config) as acting:
        await acting.take(alarm_of(**alarm))  # type: ignore[arg-type]
        (passed,) = await acting.until(f"passed_over {reason}")
        await acting.take(alarm_of("p9"))
        await until(lambda: len(device.taken) == 1)

    assert re.search(words, passed.detail)
    assert device.taken[0].topic == "cmd/a/p9"


async def test_a_topic_that_is_not_allowed_any_more_gets_no_command(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Though it was asked for while it was."""
    broker = make_mosquitto()
    broker.stop()
    async with at_work(config_of(tmp_path, broker.port)) as acting:
        await acting.take(alarm_of())
        await acting.until("asked")
    broker.start()
    config = config_of(tmp_path, broker.port, old='["cmd/+/+"]', new='["cmd/+/+/set", "cmd/b/+"]')
    with CommandedDevice(broker.port) as device:
        async with at_work(config) as acting:
            passed = (await acting.until("asked", "passed_over not_allowed"))[-1]
        assert not device.taken

    assert "any more" in passed.detail


async def test_what_an_action_has_left_is_settled_once_there_is_none(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """When the last one is taken out of the file, nothing stays asked for ever."""
    broker = make_mosquitto()
    broker.stop()
    config = config_of(tmp_path, broker.port, f'{ANSWER}timeout = "1s"')
    async with at_work(config) as acting:
        await acting.take(alarm_of())
        await acting.until("asked")
    without = config.model_copy(update={"action": {}})
    log, clock = open_log(config, SystemClock()), SystemClock()
    assert len(open_actions(without, log, clock, Telemetry(clock))) == 1
    async with at_work(without) as acting:
        passed = (await acting.until("asked", "passed_over dry_run"))[-1]
        assert await command_account(without, acting.log) == {"stop": {"passed_over dry_run": 1}}

    assert "taken out of the file" in passed.detail
    assert open_actions(without, log, clock, Telemetry(clock)) == []


async def test_too_many_are_passed_over(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Also by a process that is started anew within the span; and each is written down."""
    config = config_of(tmp_path, mosquitto.port, 'at_most = { count = 2, span = "10m" }')
    alarms = [alarm_of(f"p{number}") for number in range(4)]
    async with at_work(config) as acting:
        await acting.take(*alarms[:3])
        await acting.until_states({"p0": "sent", "p1": "sent", "p2": "passed_over rate"})
    async with at_work(config) as acting:
        await acting.take(*alarms)
        last = await acting.until_states(
            {"p0": "sent", "p1": "sent", "p2": "passed_over rate", "p3": "passed_over rate"}
        )

    assert "there were 2 within 10m" in last["p3"].detail
    assert len(device.taken) == 2


async def test_a_dry_run_sends_nothing_and_says_what_it_would_have(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """It is what an action does unless it is told otherwise. Nothing of it is sent later."""
    dry = config_of(tmp_path, mosquitto.port, old="dry_run = false\n")
    alarm = alarm_of()
    async with at_work(dry) as acting:
        await acting.take(alarm)
        (passed,) = await acting.until("passed_over dry_run")
    assert (passed.topic, passed.detail) == ("cmd/a/p1", "dry_run = false sends it")
    assert passed.payload.startswith('{"id": "')
    async with at_work(config_of(tmp_path, mosquitto.port)) as acting:
        await acting.take(alarm, alarm_of("p2"))
        await acting.until_states({"p1": "passed_over dry_run", "p2": "sent"})
        await until(lambda: bool(device.taken))

    assert [each.topic for each in device.taken] == ["cmd/a/p2"]


async def test_it_is_chosen_what_is_commanded(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """By rule, severity, device and state, as what is told is; anomalies only where asked for."""
    more = 'states = ["open", "over"]\ndevices = "p*"\nseverity = "major"\n'
    alarm, now_ns = alarm_of("p1"), SystemClock().wall_ns()
    anomaly = Anomaly(
        "pump", "p1", "m", now_ns, now_ns, now_ns, now_ns, 2.0, 1.0, "critical", (), "process", (),
        is_open=True, revision=0, tags=(("line", "a"),),
    )  # fmt: skip
    async with at_work(config_of(tmp_path, mosquitto.port, more)) as acting:
        passed: list[Alarm | Anomaly] = [
            alarm_of("q1"),
            alarm_of("p2", rule="cold"),
            alarm_of("p3", severity="minor"),
            anomaly,
        ]
        await acting.take(*passed, alarm, over(alarm))
        await until(lambda: len(device.taken) == 2)
        assert {each.device for each in await acting.written()} == {"p1"}
    assert [each.json["state"] for each in device.taken] == ["open", "over"]
    of = {"old": 'rules = ["hot"]', "new": 'of = "anomalies"'}
    async with at_work(config_of(tmp_path, mosquitto.port, **of)) as acting:
        graver = replace(anomaly, revision=1, severity="critical", peak_score=9.0)
        await acting.take(alarm, replace(anomaly, severity="minor"), anomaly, graver)
        await until(lambda: len(device.taken) == 3)

    assert (device.taken[2].json["model"], device.taken[2].json["rule"]) == ("m", None)


async def test_values_stay_values(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Whatever a device is called, JSON stays what it was."""
    name = 'p"}, "stop": false, {"\\ é'
    more = (
        'payload = \'{{"device": "{device}", "stop": true}}\'\n'
        '[action.table]\nrules = ["hot"]\ntopic = "cmd/t/{line}"\ndry_run = false\n'
        'payload = { level = 3.5, of = ["{device}", { on = true }], at = "{time}" }'
    )
    async with at_work(config_of(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(alarm_of(name))
        await until(lambda: len(device.taken) == 2)
    text, table = sorted(device.taken, key=lambda each: each.topic)

    assert text.topic == f"cmd/a/{name}"
    assert text.json == {"device": name, "stop": True}
    assert {**table.json, "at": ""} == {"level": 3.5, "of": [name, {"on": True}], "at": ""}


async def test_a_kill_while_it_is_sent_is_told_and_nothing_is_sent_twice(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """As it was left on the disk right before."""
    config = config_of(tmp_path, mosquitto.port, f'{ANSWER}timeout = "2s"')
    alarms = [alarm_of("p1"), alarm_of("p2"), alarm_of("p3")]
    async with at_work(config) as acting:
        await acting.take(*alarms)
        await acting.until_states({"p1": "sent", "p2": "sent", "p3": "sent"})
    memory = CommandMemory(config.gateway.data_dir / "forward-actions.commands")
    memory.load()
    one, two, three = memory.entries.values()
    one.command, one.is_sending = replace(one.command, state="asked", sent_ns=0), True
    two.command, two.is_handed_over = replace(two.command, state="asked", sent_ns=0), False
    three.deadline_ns = three.command.sent_ns
    memory.touch()
    await memory.save()
    device.taken.clear()
    async with at_work(config) as acting:
        await acting.take(*alarms)
        last = await acting.until_states(
            {"p1": "failed interrupted", "p2": "failed no_answer", "p3": "failed unheard"}
        )

    assert [each.topic for each in device.taken] == ["cmd/a/p2"]
    assert "may have been carried out" in last["p1"].detail


async def test_what_was_there_before_the_action_asks_for_nothing(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """A new action reads all that the log has. That it is over now changes nothing."""
    async with at_work(config_of(tmp_path, mosquitto.port), is_new=True) as acting:
        before = alarm_of("p3", ago_s=1)
        await acting.take(alarm_of("p1", ago_s=3600), before, over(before), alarm_of("p2"))
        await acting.until("asked", "sent")

    assert [each.topic for each in device.taken] == ["cmd/a/p2"]


async def test_a_memory_that_is_broken_is_told_and_left(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Nobody knows what was sent, so what has opened before commands nothing again."""
    config, alarm = config_of(tmp_path, mosquitto.port), alarm_of()
    async with at_work(config) as acting:
        await acting.take(alarm)
        await until(lambda: len(device.taken) == 1)
    (tmp_path / "data/forward-actions.commands").write_text("{")
    async with at_work(config) as acting:
        await acting.take(alarm, alarm_of("p2"))
        await until(lambda: len(device.taken) == 2)

    assert [each.topic for each in device.taken] == ["cmd/a/p1", "cmd/a/p2"]
