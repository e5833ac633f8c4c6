"""The gateway's peers go away, hang, refuse, and come back; in any order, also before the start."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.conftest import MakeRig
from tests.faults.rig import LANES, Rig
from tests.faults.store import Mode
from tests.kafka.server import KafkaServer
from tests.processes import until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.store,
    pytest.mark.kafka,
    pytest.mark.timeout(300),
]

#: Longer than a Kafka session, s.
_LONG_S = 8.0


@pytest.fixture
def kafka_rig(make_rig: MakeRig, kafka_server: KafkaServer) -> Rig:
    """A rig on Kafka, whose server is at hand too."""
    return make_rig(f"kafka://{kafka_server.address}")


def test_a_broker_that_stops_and_hangs_costs_nothing(rig: Rig) -> None:
    """Stopped for longer than devices may be silent by default, and not answering for a while."""
    rig.start()
    rig.plant.start()
    time.sleep(2)
    rig.broker.stop()
    time.sleep(3)
    rig.broker.start()
    time.sleep(3)
    rig.broker.pause()
    time.sleep(3)
    rig.broker.resume()
    rig.recover()
    time.sleep(2)
    account = rig.settle()

    assert account.is_settled, str(account)


def test_a_kafka_that_hangs_and_is_killed_costs_nothing(
    kafka_rig: Rig, kafka_server: KafkaServer
) -> None:
    """Hanging for longer than the group's session, and killed and started again."""
    kafka_rig.start()
    kafka_rig.plant.start()
    time.sleep(2)
    kafka_server.pause()
    time.sleep(_LONG_S)
    kafka_server.resume()
    time.sleep(4)
    kafka_server.kill()
    time.sleep(3)
    kafka_server.launch()
    kafka_rig.recover(within_s=90)
    time.sleep(2)
    account = kafka_rig.settle(within_s=120)

    assert account.is_settled, str(account)


_BAD_DAYS: tuple[Mode, ...] = ("slow", "reset", "silent", "429", "500", "503", "401", "413")


def test_a_store_with_bad_days_gets_every_point_once(rig: Rig) -> None:
    """Slow, silent, resetting, refusing, overloaded, and away; then all that waited comes."""
    rig.start()
    rig.plant.start()
    for mode in _BAD_DAYS:
        for each in (mode, "ok"):
            seen = rig.store.requests[each]
            rig.store.mode = each
            until(lambda each=each, seen=seen: rig.store.requests[each] > seen, each)  # type: ignore[misc]
    rig.store.close()
    time.sleep(4)
    rig.store.open()
    account = rig.settle()

    assert {*_BAD_DAYS} <= rig.store.requests.keys()
    assert account.is_settled, str(account)


@pytest.mark.parametrize("mode", ["400", pytest.param("422", marks=pytest.mark.thorough)])
def test_a_point_the_store_refuses_does_not_hold_up_the_others(
    make_rig: MakeRig, mode: Mode
) -> None:
    """It is in quarantine, with its reason; everything beside it is at the store."""
    rig = make_rig("sqlite:///log.db")
    rig.store.mode = mode
    rig.start()
    rig.plant.start()
    time.sleep(6)
    account = rig.settle(refused=True)
    refused = rig.quarantined()[1]["influxdb"]

    assert account.is_settled, str(account)
    assert account.sinks["influxdb"].refused == len(refused)
    assert account.sinks["local_store"].refused == 0
    assert len(refused) > 5
    assert all("device=pump-02," in line for line in refused)


@contextmanager
def _absent(rig: Rig, who: str, kafka_server: KafkaServer) -> Iterator[Callable[[], None]]:
    """A peer that is not there, until what is given is called."""
    leave, come = {
        "broker": (rig.broker.stop, rig.broker.start),
        "store": (rig.store.close, rig.store.open),
        "kafka": (kafka_server.kill, kafka_server.launch),
    }[who]
    leave()
    has_come = False

    def arrive() -> None:
        nonlocal has_come
        come()
        has_come = True

    try:
        yield arrive
    finally:
        if not has_come:
            come()


@pytest.mark.parametrize(
    "order",
    [
        ("store", "kafka", "broker"),
        pytest.param(("kafka", "broker", "store"), marks=pytest.mark.thorough),
    ],
)
def test_peers_that_come_one_after_the_other_are_waited_for(
    kafka_rig: Rig, kafka_server: KafkaServer, order: tuple[str, str, str]
) -> None:
    """Started before all of them, the gateway goes to work by itself when the last has come."""
    rig = kafka_rig
    first, second, third = order
    with (
        _absent(rig, first, kafka_server) as first_comes,
        _absent(rig, second, kafka_server) as second_comes,
        _absent(rig, third, kafka_server) as third_comes,
    ):
        rig.gateway.start_without_waiting()
        rig.gateway.wait_for("/healthz", 60)
        for who, comes in zip(order, (first_comes, second_comes, third_comes), strict=True):
            time.sleep(3)
            # That the store is away shows when there is something for it.
            assert who == "store" or rig.gateway.get("/readyz")[0] == 503
            comes()
        rig.recover()
    rig.plant.start()
    time.sleep(5)
    account = rig.settle()

    assert account.is_settled, str(account)


def test_lanes_that_stand_still_for_a_while_go_on(rig: Rig, fault_log_url: str) -> None:
    """SIGSTOP, on Kafka for longer than a session: each lane alone, and the whole gateway."""
    lasts_s = _LONG_S if fault_log_url.startswith("kafka") else 3
    rig.start()
    rig.plant.start()
    for lane in LANES:
        rig.signal(lane, signal.SIGSTOP)
        time.sleep(lasts_s)
        rig.signal(lane, signal.SIGCONT)
        rig.recover()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        rig.gateway.signal_all(number)
        time.sleep(lasts_s)
    rig.recover()
    account = rig.settle()

    assert account.is_settled, str(account)


def test_the_wall_clock_may_jump_a_day(make_rig: MakeRig, fault_log_url: str) -> None:
    """Forward and back, under load: event time rules, and no timer follows the wall clock."""
    rig = make_rig(fault_log_url)
    clock = rig.faults / "clock"
    clock.write_text("0")
    rig.start()
    rig.plant.start()
    for offset_s in (86_400, -86_400, 0):
        time.sleep(2.5)
        # By a rename, so that nobody reads half a number.
        (rig.faults / "clock.new").write_text(str(offset_s))
        (rig.faults / "clock.new").rename(clock)
    time.sleep(1)
    assert rig.gateway.get("/readyz")[0] == 200
    account = rig.settle()

    assert account.is_settled, str(account)


def test_a_permanent_outage_is_said_and_not_shouted(
    make_rig: MakeRig, kafka_server: KafkaServer
) -> None:
    """With every peer away the gateway writes less than 10 MB of logs a day."""
    rig = make_rig(f"kafka://{kafka_server.address}")
    rig.start()
    rig.plant.start()
    time.sleep(2)
    rig.plant.finish()
    with (
        _absent(rig, "broker", kafka_server),
        _absent(rig, "store", kafka_server),
        _absent(rig, "kafka", kafka_server),
    ):
        until(lambda: rig.gateway.get("/readyz")[0] == 503, "not ready")
        time.sleep(35)  # what an outage's begin has to say, and once more
        before, seconds = len(rig.gateway.output()), 25
        time.sleep(seconds)
        said = len(rig.gateway.output()) - before

    assert said * 86_400 / seconds < 10e6, rig.gateway.output()[-said:]
