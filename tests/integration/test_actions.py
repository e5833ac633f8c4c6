"""Commands by a real broker, to a device that answers, answers twice, late, or never."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.actions.memory import CommandMemory, Entry
from connectors.actions.sink import ActionsSink
from connectors.logs.configured import open_log, topic, topic_specs
from connectors.sinks.points import alarm_points, anomaly_points
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.commands import Command
from headgate.core.log import ANOMALIES, TopicPartition
from headgate.core.records import decode_commands
from headgate.core.results import Alarm, Anomaly
from headgate.core.telemetry import Telemetry
from tests.commanded import CommandedDevice, Taken
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.uplink import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]

_S = 10**9

_FILE = """
[mqtt]
port = {port}
publish_anomalies = false
{mqtt}
[log]
partitions = 2
[feed.pump]
topic = "hall/{{line}}/{{device}}"
channels.temperature = {{ unit = "°C" }}
[rule]
hot = {{ feed = "pump", when = "temperature > 80" }}
cold = {{ feed = "pump", when = "temperature < 10" }}
[sink.here]
type = "local_store"
[actions]
topics = ["cmd/+/+"]
[action.stop]
rules = ["hot"]
topic = "cmd/{{line}}/{{device}}"
dry_run = false
{action}
"""

_ANSWER = 'answer = "said/{device}"\n'


@pytest.fixture
def device(mosquitto: Mosquitto) -> Iterator[CommandedDevice]:
    """It answers nothing unless it is told to."""
    with CommandedDevice(mosquitto.port) as device:
        yield device


def _config(
    folder: Path, port: int, action: str = "", mqtt: str = "", old: str = "", new: str = ""
) -> Config:
    file = folder / "headgate.toml"
    text = _FILE.format(port=port, action=action, mqtt=mqtt)
    file.write_text(f'[gateway]\ndata_dir = "{folder / "data"}"\n' + text.replace(old, new))
    return load_config(file)


class _Acting:
    """The sink of a configuration with its log, and what was written of its commands."""

    def __init__(self, config: Config) -> None:
        clock = SystemClock()
        self.config = config
        self.telemetry = Telemetry(clock)
        self.log = open_log(config, clock)
        self.sink = ActionsSink(config, self.log, clock, self.telemetry)

    @property
    def memory(self) -> CommandMemory:
        """What is remembered."""
        return self.sink._memory

    @property
    def entries(self) -> list[Entry]:
        """Commands that are."""
        return list(self.memory.entries.values())

    async def take(self, *told: Alarm | Anomaly) -> None:
        """Have it see these."""
        for each in told:
            points = alarm_points([each], "gw") if isinstance(each, Alarm) else []
            points = points or anomaly_points([each], "gw")  # type: ignore[list-item]
            assert await self.sink.write(points) == []

    async def written(self) -> list[Command]:
        """What the log has of commands, in its order."""
        found: list[Command] = []
        for number in range(self.config.log.partitions):
            at = TopicPartition(topic(self.config, ANOMALIES), number)
            for record in await self.log.read(at, 0):
                found += decode_commands(record.value)
        return found

    async def until(self, *states: str) -> list[Command]:
        """Wait until it has been written that commands were in these states, in this order."""
        written: list[Command] = []
        async with asyncio.timeout(30):
            while [_state(each) for each in written] != list(states):
                written = await self.written()
                await asyncio.sleep(0.02)
        return written

    async def until_states(self, states: Mapping[str, str]) -> dict[str, Command]:
        """Wait until the devices' last commands are so."""
        last: dict[str, Command] = {}
        async with asyncio.timeout(30):
            while {device: _state(each) for device, each in last.items()} != states:
                last = {each.device: each for each in await self.written()}
                await asyncio.sleep(0.02)
        return last


@asynccontextmanager
async def _acting(config: Config, *, is_new: bool = False) -> AsyncIterator[_Acting]:
    """Its action is as old as the world, unless it is new."""
    memory = config.gateway.data_dir / "forward-actions.commands"
    if not is_new and not memory.exists():
        await _has_long_been_there(config)
    acting = _Acting(config)
    await acting.log.start()
    await acting.log.ensure_topics(topic_specs(config))
    await acting.sink.start()
    try:
        yield acting
    finally:
        await acting.sink.stop()
        await acting.log.stop()


async def _has_long_been_there(config: Config) -> None:
    """Its action has."""
    memory = CommandMemory(config.gateway.data_dir / "forward-actions.commands")
    memory.since_ns("stop", 1)
    await memory.save()


def _state(command: Command) -> str:
    return f"{command.state} {command.reason}".strip()


def _alarm(device: str = "p1", *, ago_s: float = 0, **other: object) -> Alarm:
    """It opened so long ago."""
    opened_ns = SystemClock().wall_ns() - round(ago_s * _S)
    opened = Alarm(
        "pump", device, "hot", opened_ns - 10 * _S, opened_ns, opened_ns,
        is_open=True, severity="major", text=f"{device}: 81.4 °C", tags=(("line", "a"),),
    )  # fmt: skip
    return replace(opened, **other)  # type: ignore[arg-type]


def _over(alarm: Alarm) -> Alarm:
    return replace(alarm, is_open=False, time_ns=SystemClock().wall_ns())


def _echo(taken: Taken) -> list[tuple[str, bytes, bytes]]:
    return [(f"said/{taken.topic.rpartition('/')[2]}", taken.payload, b"")]


async def test_an_alarm_commands_its_device(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Once, when it opens, with all that is known, and an id that follows from the data."""
    alarm = _alarm()
    async with _acting(_config(tmp_path, mosquitto.port)) as acting:
        await acting.take(alarm, alarm, _over(alarm))
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


async def test_an_answer_is_waited_for(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """The second one says nothing new."""
    device.answers = lambda taken: _echo(taken) * 2
    async with _acting(_config(tmp_path, mosquitto.port, _ANSWER)) as acting:
        await acting.take(_alarm())
        await until(lambda: acting.telemetry.unmatched_answers._value.get() == 1)
        answered = (await acting.until_states({"p1": "answered"}))["p1"]

    assert answered.answer.startswith('{"id": "')
    assert answered.answered_ns > 0 < answered.sent_ns
    assert len(device.taken) == 1


async def test_by_the_properties_of_mqtt_5_a_device_need_not_know_of_ids(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """It answers where the command says, with what the command says."""

    def answers(taken: Taken) -> list[tuple[str, bytes, bytes]]:
        correlation = bytes.fromhex(taken.properties["CorrelationData"])
        return [(taken.properties["ResponseTopic"], b"\xff\x00done", correlation)]

    device.answers = answers
    more = f'{_ANSWER}payload = "stop"\n'
    async with _acting(_config(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(_alarm(), _alarm("p2"))
        written = await acting.until_states({"p1": "answered", "p2": "answered"})

    assert {each.answer for each in written.values()} == {r"\xff\x00done"}
    assert {each.payload for each in device.taken} == {b"stop"}


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("5", b"yes"),
        # Brokers of this one send what they have kept.
        ("3.1.1", b"yes"),
        ("5", b'{"id": "00000000000000000000000000000000"}'),
        ("5", b"\x00\xff" * 500_000),
    ],
    ids=["none", "none over 3.1.1", "another", "binary"],
)
async def test_what_is_no_answer_is_none(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path, version: str, answer: bytes
) -> None:
    """Without the id; and what the broker had kept from before is none either."""
    device.say("said/p1", b"an old one", retain=True)
    device.answers = lambda _taken: [("said/p1", answer, b""), ("said/p2", b"no", b"")]
    more = f'{_ANSWER}timeout = "1s"\n'
    config = _config(tmp_path, mosquitto.port, more, mqtt=f'version = "{version}"')
    async with _acting(config) as acting:
        await acting.take(_alarm())
        await acting.until("asked", "sent", "failed no_answer")

    assert acting.telemetry.unmatched_answers._value.get() == 2


async def test_a_late_answer_is_told_as_one(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """The command has failed, and it is said that it arrived."""
    more = f'{_ANSWER}timeout = "300ms"\n'
    async with _acting(_config(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(_alarm())
        await acting.until("asked", "sent", "failed no_answer")
        for answer in _echo(device.taken[0]) * 2:
            device.say(*answer)
        late = (await acting.until("asked", "sent", "failed no_answer", "failed late"))[-1]

    assert late.answered_ns > late.sent_ns


async def test_without_an_id_the_next_message_answers_the_oldest(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Nobody could tell them apart."""
    more = 'answer = "said/all"\npayload = "stop {device}"\n'
    async with _acting(_config(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(_alarm("p1"), _alarm("p2"))
        await until(lambda: len(device.taken) == 2)
        await acting.until_states({"p1": "sent", "p2": "sent"})
        device.say("said/all", b"one")
        await acting.until_states({"p1": "answered", "p2": "sent"})
        device.say("said/all", b"two")
        await acting.until_states({"p1": "answered", "p2": "answered"})


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
    config = _config(tmp_path, mosquitto.port)
    await _has_long_been_there(config)
    async with _acting(config) as acting:
        await acting.take(_alarm(**alarm))  # type: ignore[arg-type]
        (passed,) = await acting.until(f"passed_over {reason}")
        await acting.take(_alarm("p9"))
        await until(lambda: len(device.taken) == 1)

    assert re.search(words, passed.detail)
    assert device.taken[0].topic == "cmd/a/p9"


async def test_a_command_waits_for_a_broker_that_is_away(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """And holds up nothing; once it is too old it has failed, and is never sent."""
    broker = make_mosquitto()
    broker.stop()
    async with _acting(_config(tmp_path, broker.port, 'max_age = "2s"')) as acting:
        await acting.take(_alarm("p1"))
        failed = (await acting.until("asked", "failed unreachable"))[-1]
        broker.start()
        with CommandedDevice(broker.port) as device:
            await acting.take(_alarm("p2"))
            await until(lambda: bool(device.taken))

    assert "Connection refused" in failed.detail
    assert [each.topic for each in device.taken] == ["cmd/a/p2"]


async def test_a_command_is_sent_once_the_broker_is_back_in_time(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """It was never handed over before."""
    broker = make_mosquitto()
    broker.stop()
    async with _acting(_config(tmp_path, broker.port)) as acting:
        await acting.take(_alarm())
        await acting.until("asked")
        broker.start()
        with CommandedDevice(broker.port) as device:
            await until(lambda: bool(device.taken))
            await acting.until("asked", "sent")

    assert len(device.taken) == 1


async def test_what_a_broker_does_not_confirm_is_never_sent_again(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Nobody knows whether it was taken, and that is said: the broker had been stopped short."""
    broker = make_mosquitto()
    async with _acting(_config(tmp_path, broker.port)) as acting:
        with CommandedDevice(broker.port) as device:
            await acting.take(_alarm("p1"))
            await acting.until("asked", "sent")
            broker.pause()
            await acting.take(_alarm("p2"))
            await until(lambda: any(each.is_sending for each in acting.entries))
            await asyncio.sleep(0.2)
            await until(lambda: device.is_there)
            broker.stop(signal.SIGKILL)
            await until(lambda: not device.is_there)
            failed = (await acting.until_states({"p1": "sent", "p2": "failed unconfirmed"}))["p2"]
            broker.start()
            await until(lambda: device.is_there)
            await acting.take(_alarm("p3"))
            await acting.until_states({"p1": "sent", "p2": "failed unconfirmed", "p3": "sent"})
            await until(lambda: len(device.taken) == 2)

    assert failed.detail.endswith("it may have been carried out")
    assert {each.topic for each in device.taken} == {"cmd/a/p1", "cmd/a/p3"}
    # Also while the device was not there yet.
    assert "cmd/a/p2" not in broker.log()


async def test_a_topic_that_is_not_allowed_any_more_gets_no_command(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """Though it was asked for while it was."""
    broker = make_mosquitto()
    broker.stop()
    async with _acting(_config(tmp_path, broker.port)) as acting:
        await acting.take(_alarm())
        await acting.until("asked")
    broker.start()
    config = _config(tmp_path, broker.port, old='["cmd/+/+"]', new='["cmd/+/+/set", "cmd/b/+"]')
    with CommandedDevice(broker.port) as device:
        async with _acting(config) as acting:
            passed = (await acting.until("asked", "passed_over not_allowed"))[-1]
        assert not device.taken

    assert "any more" in passed.detail


async def test_what_comes_before_it_is_sent_is_no_answer(
    mosquitto: Mosquitto,
    device: CommandedDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though a message needs no id to be one: it comes once it is noted that it will be sent."""
    more = f'{_ANSWER}payload = "stop"\ntimeout = "1s"'
    async with _acting(_config(tmp_path, mosquitto.port, more)) as acting:
        save, unmatched = acting.memory.save, acting.telemetry.unmatched_answers

        async def saved() -> None:
            await save()
            if any(each.is_sending for each in acting.entries) and not unmatched._value.get():
                device.say("said/p1", b"done")
                await until(lambda: unmatched._value.get() == 1)

        monkeypatch.setattr(acting.memory, "save", saved)
        await acting.take(_alarm())
        await acting.until_states({"p1": "failed no_answer"})

    assert len(device.taken) == 1


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_the_broker_refuses_has_failed(
    make_mosquitto: MakeMosquitto, tmp_path: Path, qos: int
) -> None:
    """With its own words."""
    (tmp_path / "acl").write_text("topic readwrite said/#\ntopic write cmd/a/p1\n")
    broker = make_mosquitto(lines=f"acl_file {tmp_path / 'acl'}")
    async with _acting(_config(tmp_path, broker.port, f"qos = {qos}")) as acting:
        await acting.take(_alarm("p1"), _alarm("p2"))
        last = await acting.until_states({"p1": "sent", "p2": "failed refused"})

    assert last["p2"].detail == "the broker refused: Not authorized"


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_that_nobody_listens_is_told_as_far_as_the_broker_tells_it(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """Over MQTT 5 it does."""
    config = _config(tmp_path, mosquitto.port, mqtt=f'version = "{version}"')
    async with _acting(config) as acting:
        await acting.take(_alarm())
        sent = (await acting.until("asked", "sent"))[-1]

    assert sent.detail == ("nobody subscribes to the topic" if version == "5" else "")


async def test_with_qos_0_nobody_confirms(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """It is sent once it is written."""
    async with _acting(_config(tmp_path, mosquitto.port, "qos = 0")) as acting:
        await acting.take(_alarm())
        await acting.until("asked", "sent")
        await until(lambda: bool(device.taken))


async def test_too_many_are_passed_over(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Also by a process that is started anew within the span; and each is written down."""
    config = _config(tmp_path, mosquitto.port, 'at_most = { count = 2, span = "10m" }')
    alarms = [_alarm(f"p{number}") for number in range(4)]
    async with _acting(config) as acting:
        await acting.take(*alarms[:3])
        await acting.until_states({"p0": "sent", "p1": "sent", "p2": "passed_over rate"})
    async with _acting(config) as acting:
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
    dry = _config(tmp_path, mosquitto.port, old="dry_run = false\n")
    alarm = _alarm()
    async with _acting(dry) as acting:
        await acting.take(alarm)
        (passed,) = await acting.until("passed_over dry_run")
    assert (passed.topic, passed.detail) == ("cmd/a/p1", "dry_run = false sends it")
    assert passed.payload.startswith('{"id": "')
    async with _acting(_config(tmp_path, mosquitto.port)) as acting:
        await acting.take(alarm, _alarm("p2"))
        await acting.until_states({"p1": "passed_over dry_run", "p2": "sent"})
        await until(lambda: bool(device.taken))

    assert [each.topic for each in device.taken] == ["cmd/a/p2"]


async def test_it_is_chosen_what_is_commanded(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """By rule, severity, device and state, as what is told is; anomalies only where asked for."""
    more = 'states = ["open", "over"]\ndevices = "p*"\nseverity = "major"\n'
    alarm, now_ns = _alarm("p1"), SystemClock().wall_ns()
    anomaly = Anomaly(
        "pump", "p1", "m", now_ns, now_ns, now_ns, now_ns, 2.0, 1.0, "critical", (), "process", (),
        is_open=True, revision=0, tags=(("line", "a"),),
    )  # fmt: skip
    async with _acting(_config(tmp_path, mosquitto.port, more)) as acting:
        passed: list[Alarm | Anomaly] = [
            _alarm("q1"),
            _alarm("p2", rule="cold"),
            _alarm("p3", severity="minor"),
            anomaly,
        ]
        await acting.take(*passed, alarm, _over(alarm))
        await until(lambda: len(device.taken) == 2)
        assert {each.device for each in await acting.written()} == {"p1"}
    assert [each.json["state"] for each in device.taken] == ["open", "over"]
    of = {"old": 'rules = ["hot"]', "new": 'of = "anomalies"'}
    async with _acting(_config(tmp_path, mosquitto.port, **of)) as acting:
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
    async with _acting(_config(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(_alarm(name))
        await until(lambda: len(device.taken) == 2)
    text, table = sorted(device.taken, key=lambda each: each.topic)

    assert text.topic == f"cmd/a/{name}"
    assert text.json == {"device": name, "stop": True}
    assert {**table.json, "at": ""} == {"level": 3.5, "of": [name, {"on": True}], "at": ""}


async def test_a_retained_command_is_kept_by_the_broker_until_it_expires(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """For devices that come later."""
    async with _acting(_config(tmp_path, mosquitto.port, "retain = true")) as acting:
        await acting.take(_alarm())
        await acting.until("asked", "sent")
    with CommandedDevice(mosquitto.port) as device:
        await until(lambda: bool(device.taken))

    assert device.taken[0].retain
    assert device.taken[0].properties["MessageExpiryInterval"] <= 30


async def test_a_kill_while_it_is_sent_is_told_and_nothing_is_sent_twice(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """As it was left on the disk right before."""
    config = _config(tmp_path, mosquitto.port, f'{_ANSWER}timeout = "2s"')
    alarms = [_alarm("p1"), _alarm("p2"), _alarm("p3")]
    async with _acting(config) as acting:
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
    async with _acting(config) as acting:
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
    async with _acting(_config(tmp_path, mosquitto.port), is_new=True) as acting:
        before = _alarm("p3", ago_s=1)
        await acting.take(_alarm("p1", ago_s=3600), before, _over(before), _alarm("p2"))
        await acting.until("asked", "sent")

    assert [each.topic for each in device.taken] == ["cmd/a/p2"]


async def test_a_memory_that_is_broken_is_told_and_left(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Nobody knows what was sent, so what has opened before commands nothing again."""
    config, alarm = _config(tmp_path, mosquitto.port), _alarm()
    async with _acting(config) as acting:
        await acting.take(alarm)
        await until(lambda: len(device.taken) == 1)
    (tmp_path / "data/forward-actions.commands").write_text("{")
    async with _acting(config) as acting:
        await acting.take(alarm, _alarm("p2"))
        await until(lambda: len(device.taken) == 2)

    assert [each.topic for each in device.taken] == ["cmd/a/p1", "cmd/a/p2"]
