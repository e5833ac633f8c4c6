"""Commands by a real broker, away at times, to a device that answers, answers late, or never."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.core.commands import Command
from tests.acting import (
    ANSWER,
    alarm_of,
    at_work,
    config_of,
    echo,
)
from tests.commanded import CommandedDevice, Taken
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.uplink import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]


@pytest.fixture
def device(mosquitto: Mosquitto) -> Iterator[CommandedDevice]:
    """It answers nothing unless it is told to."""
    with CommandedDevice(mosquitto.port) as device:
        yield device


def _without_rights_to(folder: Path, topics: str) -> str:
    """What has mosquitto refuse subscriptions to these. Its access lists only keep silent."""
    every = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    refused = {"acltype": "subscribePattern", "topic": topics, "priority": 1, "allow": False}
    rights = {
        "defaultACLAccess": dict.fromkeys(every, True),
        "roles": [{"rolename": "deaf", "acls": [refused]}],
        "groups": [{"groupname": "all", "roles": [{"rolename": "deaf"}]}],
        "anonymousGroup": "all",
    }
    file = folder / "rights.json"
    file.write_text(json.dumps(rights))
    (plugin,) = Path("/usr/lib").glob("*/mosquitto_dynamic_security.so")
    return f"plugin {plugin}\nplugin_opt_config_file {file}"


async def test_an_answer_is_waited_for(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """The second one says nothing new."""
    device.answers = lambda taken: echo(taken) * 2
    async with at_work(config_of(tmp_path, mosquitto.port, ANSWER)) as acting:
        await acting.take(alarm_of())
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
    more = f'{ANSWER}payload = "stop"\n'
    async with at_work(config_of(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(alarm_of(), alarm_of("p2"))
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
    more = f'{ANSWER}timeout = "1s"\n'
    config = config_of(tmp_path, mosquitto.port, more, mqtt=f'version = "{version}"')
    async with at_work(config) as acting:
        await acting.take(alarm_of())
        await acting.until("asked", "sent", "failed no_answer")

    assert acting.telemetry.unmatched_answers._value.get() == 2


async def test_a_late_answer_is_told_as_one(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """The command has failed, and it is said that it arrived."""
    more = f'{ANSWER}timeout = "300ms"\n'
    async with at_work(config_of(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(alarm_of())
        await acting.until("asked", "sent", "failed no_answer")
        for answer in echo(device.taken[0]) * 2:
            device.say(*answer)
        late = (await acting.until("asked", "sent", "failed no_answer", "failed late"))[-1]

    assert late.answered_ns > late.sent_ns


async def test_without_an_id_the_next_message_answers_the_oldest(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """Nobody could tell them apart."""
    more = 'answer = "said/all"\npayload = "stop {device}"\n'
    async with at_work(config_of(tmp_path, mosquitto.port, more)) as acting:
        await acting.take(alarm_of("p1"), alarm_of("p2"))
        await until(lambda: len(device.taken) == 2)
        await acting.until_states({"p1": "sent", "p2": "sent"})
        device.say("said/all", b"one")
        await acting.until_states({"p1": "answered", "p2": "sent"})
        device.say("said/all", b"two")
        await acting.until_states({"p1": "answered", "p2": "answered"})


async def test_a_command_waits_for_a_broker_that_is_away(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """And holds up nothing; once it is too old it has failed, and is never sent."""
    broker = make_mosquitto()
    broker.stop()
    async with at_work(config_of(tmp_path, broker.port, 'max_age = "2s"')) as acting:
        await acting.take(alarm_of("p1"))
        failed = (await acting.until("asked", "failed unreachable"))[-1]
        broker.start()
        with CommandedDevice(broker.port) as device:
            (connection,) = acting.sink._connections.values()
            await until(lambda: not connection.trouble)
            await acting.take(alarm_of("p2"))
            await until(lambda: bool(device.taken))

    assert "Connection refused" in failed.detail
    assert [each.topic for each in device.taken] == ["cmd/a/p2"]


async def test_a_command_is_sent_once_the_broker_is_back_in_time(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """It was never handed over before."""
    broker = make_mosquitto()
    broker.stop()
    async with at_work(config_of(tmp_path, broker.port)) as acting:
        await acting.take(alarm_of())
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
    async with at_work(config_of(tmp_path, broker.port)) as acting:
        with CommandedDevice(broker.port) as device:
            await acting.take(alarm_of("p1"))
            await acting.until("asked", "sent")
            broker.pause()
            await acting.take(alarm_of("p2"))
            await until(lambda: any(each.is_sending for each in acting.entries))
            await asyncio.sleep(0.2)
            await until(lambda: device.is_there)
            broker.stop(signal.SIGKILL)
            await until(lambda: not device.is_there)
            failed = (await acting.until_states({"p1": "sent", "p2": "failed unconfirmed"}))["p2"]
            broker.start()
            await until(lambda: device.is_there)
            await acting.take(alarm_of("p3"))
            await acting.until_states({"p1": "sent", "p2": "failed unconfirmed", "p3": "sent"})
            await until(lambda: len(device.taken) == 2)

    assert failed.detail.endswith("it may have been carried out")
    assert {each.topic for each in device.taken} == {"cmd/a/p1", "cmd/a/p3"}
    # Also while the device was not there yet.
    assert "cmd/a/p2" not in broker.log()


async def test_what_comes_before_it_is_sent_is_no_answer(
    mosquitto: Mosquitto,
    device: CommandedDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though a message needs no id to be one: it comes once it is noted that it will be sent."""
    more = f'{ANSWER}payload = "stop"\ntimeout = "1s"'
    async with at_work(config_of(tmp_path, mosquitto.port, more)) as acting:
        save, unmatched = acting.memory.save, acting.telemetry.unmatched_answers

        async def saved() -> None:
            await save()
            if any(each.is_sending for each in acting.entries) and not unmatched._value.get():
                device.say("said/p1", b"done")
                await until(lambda: unmatched._value.get() == 1)

        monkeypatch.setattr(acting.memory, "save", saved)
        await acting.take(alarm_of())
        await acting.until_states({"p1": "failed no_answer"})

    assert len(device.taken) == 1


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_the_broker_refuses_has_failed(
    make_mosquitto: MakeMosquitto, tmp_path: Path, qos: int
) -> None:
    """With its own words."""
    (tmp_path / "acl").write_text("topic readwrite said/#\ntopic write cmd/a/p1\n")
    broker = make_mosquitto(lines=f"acl_file {tmp_path / 'acl'}")
    async with at_work(config_of(tmp_path, broker.port, f"qos = {qos}")) as acting:
        await acting.take(alarm_of("p1"), alarm_of("p2"))
        last = await acting.until_states({"p1": "sent", "p2": "failed refused"})

    assert last["p2"].detail == "the broker refused: Not authorized"


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_answers_that_the_broker_lets_nobody_hear(
    make_mosquitto: MakeMosquitto, tmp_path: Path, version: str
) -> None:
    """Only commands that wait for them are affected, and that is said; others go on as always."""
    broker = make_mosquitto(lines=_without_rights_to(tmp_path, "said/+"))
    more = (
        f'{ANSWER}timeout = "5m"\n'
        '[action.heard]\nrules = ["cold"]\ntopic = "cmd/{line}/heard"\n'
        'answer = "told/{device}"\ndry_run = false\n'
        '[action.alone]\nrules = ["cold"]\ntopic = "cmd/{line}/alone"\ndry_run = false\n'
    )
    config = config_of(tmp_path, broker.port, more, mqtt=f'version = "{version}"')
    with CommandedDevice(broker.port) as device:
        device.answers = lambda taken: [
            (each, taken.payload, b"") for each in ("said/p1", "told/p2")
        ]
        async with at_work(config) as acting:
            await acting.take(alarm_of("p1"), alarm_of("p2", rule="cold"))
            await until(lambda: len(device.taken) == 3)
            wanted = {"stop": "failed", "heard": "answered", "alone": "sent"}
            last: dict[str, Command] = {}
            async with asyncio.timeout(30):
                while {name: each.state for name, each in last.items()} != wanted:
                    last = {each.action: each for each in await acting.written()}
                    await asyncio.sleep(0.02)
            acting.sink.is_due()
            warnings, samples = acting.telemetry.details["warnings"], acting.telemetry

    refused = "Not authorized" if version == "5" else "Unspecified error"
    why = f"the broker refused the subscription to said/+ ({refused})"
    assert (last["stop"].reason, last["stop"].detail) == ("unheard", why)
    assert warnings == {
        "answers stop": f"action.stop.answer: answers are not heard: {why}; let the gateway's user "
        "subscribe to it"
    }
    assert samples.unheard_actions.labels("stop")._value.get() == 1
    assert samples.unheard_actions.labels("heard")._value.get() == 0


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_that_nobody_listens_is_told_as_far_as_the_broker_tells_it(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """Over MQTT 5 it does."""
    config = config_of(tmp_path, mosquitto.port, mqtt=f'version = "{version}"')
    async with at_work(config) as acting:
        await acting.take(alarm_of())
        sent = (await acting.until("asked", "sent"))[-1]

    assert sent.detail == ("nobody subscribes to the topic" if version == "5" else "")


async def test_with_qos_0_nobody_confirms(
    mosquitto: Mosquitto, device: CommandedDevice, tmp_path: Path
) -> None:
    """It is sent once it is written."""
    async with at_work(config_of(tmp_path, mosquitto.port, "qos = 0")) as acting:
        await acting.take(alarm_of())
        await acting.until("asked", "sent")
        await until(lambda: bool(device.taken))


async def test_a_retained_command_is_kept_by_the_broker_until_it_expires(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """For devices that come later."""
    async with at_work(config_of(tmp_path, mosquitto.port, "retain = true")) as acting:
        await acting.take(alarm_of())
        await acting.until("asked", "sent")
    with CommandedDevice(mosquitto.port) as device:
        await until(lambda: bool(device.taken))

    assert device.taken[0].retain
    assert device.taken[0].properties["MessageExpiryInterval"] <= 30
