"""What a broker retains is a reading once, however often it sends it."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
from pathlib import Path

import pytest

from connectors.sources.mqtt.source import MqttSource
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.telemetry import Telemetry
from tests.integration.mqtt_rig import Rig, make_config, running, until
from tests.mosquitto import Mosquitto, session_of

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(90)]

#: Values from here on only mark a moment.
_MARKS = 10_000

#: Marks before a broker is stopped.
_LAST = itertools.count(2 * _MARKS)

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])


async def _publish(broker: Mosquitto, device: str, value: int, *, retain: bool = True) -> None:
    command = [
        "mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", f"in/{device}",
        "-m", f'{{"x": {value}}}', *(["-r"] if retain else []),
    ]  # fmt: skip
    await asyncio.to_thread(subprocess.run, command, check=True)


async def _lose_session(broker: Mosquitto, config: Config) -> None:
    """Have the broker forget the gateway, and keep what it retains."""
    clock = SystemClock()
    client_id = session_of(config, clock, Telemetry(clock)).client_id
    command = ["mosquitto_sub", "-p", str(broker.port), "-i", client_id, "-t", "nothing", "-E"]
    await asyncio.to_thread(subprocess.run, command, check=True)


async def _hears(rig: Rig, broker: Mosquitto, mark: int) -> None:
    """Wait until a message sent now has come, and whatever the broker sent before it."""
    await until(lambda: rig.lane.health()[0])
    await _publish(broker, "mark", mark, retain=False)
    async with asyncio.timeout(20):
        while mark not in await rig.values():  # noqa: ASYNC110  (the log has no event for it)
            await asyncio.sleep(0.02)


async def _measured(rig: Rig) -> list[float]:
    """Values in the log, but for the marks, which may come again with a broker's restart."""
    return sorted(value for value in await rig.values() if value < _MARKS)


async def _restart(rig: Rig, broker: Mosquitto, number: signal.Signals = signal.SIGTERM) -> None:
    # What is not acknowledged the broker sends again; a message that follows the acknowledgements
    # shows that it has them.
    await until(lambda: all(intake.is_done for intake in rig.lane.intakes))
    await _hears(rig, broker, next(_LAST))
    broker.stop(number)
    await until(lambda: not rig.lane.health()[0])
    broker.start()


def _left_out(rig: Rig) -> float:
    return float(rig.telemetry.retained.labels("f")._value.get())


@both_versions
async def test_a_value_counts_once_until_it_changes(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """Over three restarts of the broker and one of the gateway, with a session and without."""
    config = make_config(mosquitto, tmp_path, version=version)
    await _publish(mosquitto, "before", 1)
    async with running(config) as rig:
        await rig.has(1)
        await _publish(mosquitto, "live", 2)
        await rig.has(2)
        for mark in (10_100, 10_101, 10_102):
            await _restart(rig, mosquitto)
            await _hears(rig, mosquitto, mark)
    await _publish(mosquitto, "live", 3)
    async with running(config) as rig:
        await _hears(rig, mosquitto, 10_103)
    await _lose_session(mosquitto, config)
    async with running(config) as rig:
        await _hears(rig, mosquitto, 10_104)
        assert _left_out(rig) == 2
        values = await _measured(rig)

    assert values == [1, 2, 3]


@both_versions
async def test_a_killed_gateway_remembers_what_was_retained(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """It is noted before the broker is told, not at the end only."""
    config = make_config(mosquitto, tmp_path, version=version)
    await _publish(mosquitto, "a", 1)
    rig = Rig(config)
    await rig.start()
    task = asyncio.create_task(rig.lane.run(asyncio.Event()))
    await _hears(rig, mosquitto, 10_100)
    await _publish(mosquitto, "a", 2)
    await rig.has(3)
    await _hears(rig, mosquitto, 10_101)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await rig.log.stop()
    await _lose_session(mosquitto, config)
    async with running(config) as again:
        await _hears(again, mosquitto, 10_102)

        assert await _measured(again) == [1, 2]
        assert _left_out(again) == 1


@both_versions
async def test_a_value_that_changed_in_the_meantime_counts(
    mosquitto: Mosquitto, tmp_path: Path, version: str
) -> None:
    """The broker's session was lost, and with it the message; what is retained tells it."""
    config = make_config(mosquitto, tmp_path, version=version)
    await _publish(mosquitto, "a", 1)
    async with running(config) as rig:
        await rig.has(1)
    await _lose_session(mosquitto, config)
    await _publish(mosquitto, "a", 2)
    async with running(config) as rig:
        await rig.has(1)
        await _hears(rig, mosquitto, 10_100)

        assert await _measured(rig) == [1, 2]


async def test_live_messages_count_each_time(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A sensor that repeats its value has measured it again, retained at the broker or not."""
    async with running(make_config(mosquitto, tmp_path)) as rig:
        for retain in (True, False, True, False):
            await _publish(mosquitto, "a", 7, retain=retain)
        await rig.has(4)

        assert await rig.values() == [7, 7, 7, 7]
        assert _left_out(rig) == 0


@both_versions
@pytest.mark.parametrize(("how", "expected"), [("ignore", 0), ("reading", 3)])
async def test_a_feed_says_what_retained_messages_are(
    mosquitto: Mosquitto, tmp_path: Path, version: str, how: str, expected: int
) -> None:
    """None of them, or each: at the first connect and after two restarts of the broker."""
    config = make_config(mosquitto, tmp_path, version=version)
    feed = config.feed["f"].model_copy(update={"retained": how})
    config = config.model_copy(update={"feed": {"f": feed}})
    await _publish(mosquitto, "a", 1)
    async with running(config) as rig:
        await _hears(rig, mosquitto, 10_100)
        for mark in (10_101, 10_102):
            await _restart(rig, mosquitto)
            await _hears(rig, mosquitto, mark)
        values = await _measured(rig)

    assert values == [1] * expected


async def test_a_damaged_note_is_begun_anew(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It costs a repetition and no more."""
    (tmp_path / "retained.db").write_bytes(b"no database " * 1000)
    config = make_config(mosquitto, tmp_path)
    await _publish(mosquitto, "a", 1)
    for _ in range(2):
        async with running(config) as rig:
            await _hears(rig, mosquitto, 10_100)
        await _lose_session(mosquitto, config)
    async with running(config) as rig:
        await _hears(rig, mosquitto, 10_100)
        assert await _measured(rig) == [1]


async def test_a_flood_of_retained_values_is_bounded(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """More topics than may be remembered: the memory stays, and all values come."""
    config = make_config(mosquitto, tmp_path, version="3.1.1")
    ingest = config.ingest.model_copy(update={"max_devices": 1000})
    config = config.model_copy(update={"ingest": ingest})
    lines = "\n".join(f'{{"x": {number}}}' for number in range(3000)).encode()
    command = [
        "mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-r", "-t", "in/d", "-l",
    ]  # fmt: skip
    await asyncio.to_thread(subprocess.run, command, input=lines, check=True)
    async with running(config) as rig:
        source = rig.lane.intakes[0].source
        assert isinstance(source, MqttSource)
        for number in range(2500):
            source._retained._digests[b"in/%d" % number] = b"12345678"
        await _hears(rig, mosquitto, 10_100)

        assert len(source._retained._digests) <= 2000
        assert await _measured(rig) == [2999]
