"""Recordings and simulated pumps, published to a real broker and read back from it."""

from __future__ import annotations

import getpass
import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from connectors.replay.publisher import Publisher
from connectors.replay.recording import Recording
from connectors.replay.replay import replay
from connectors.simulator.fleet import CHANNELS, Fleet
from connectors.simulator.payload import PayloadWriter
from connectors.simulator.run import run_fleet
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.errors import PermanentError, TransientError
from headgate.demo.broker import make_broker
from headgate.demo.processes import Child, free_port
from tests.services import require

_ACL = """\
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
acl_file {folder}/acl
user {user}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real mosquitto in which nobody may write below ``forbidden/``."""
    folder = tmp_path_factory.mktemp("broker")
    broker = make_broker(folder, free_port(), SystemClock())
    require("mosquitto", broker.name == "mosquitto", "install the package mosquitto")
    (folder / "acl").write_text("topic readwrite plant/#\ntopic read forbidden/#\n")
    # Started by root it would become another user, who may not read the folder.
    conf = _ACL.format(port=broker.port, folder=folder, user=getpass.getuser())
    (folder / "mosquitto.conf").write_text(conf)
    with broker.child:
        broker.child.wait_until(broker.is_ready, 10)
        yield broker.port


class Listener:
    """Everything that is published, in order of arrival."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        """The messages, once there are this many."""
        deadline = time.perf_counter() + 10
        while len(self.messages) < count and time.perf_counter() < deadline:
            time.sleep(0.01)
        return self.messages


@contextmanager
def _listening(port: int, topic: str) -> Iterator[Listener]:
    listener = Listener()
    is_subscribed = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: listener.messages.append(
        (message.topic, message.payload)
    )
    client.on_subscribe = lambda *_: is_subscribed.set()
    client.connect("127.0.0.1", port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    assert is_subscribed.wait(5)
    try:
        yield listener
    finally:
        client.disconnect()
        client.loop_stop()


def _publish_csv(
    port: int, path: Path, *, version: str = "5", speed: float | None = None, now: bool = False
) -> int:
    clock = SystemClock()
    with Publisher("127.0.0.1", port, clock, version=version) as publisher:  # type: ignore[arg-type]
        result = replay(
            Recording(path, "t"),
            publisher,
            clock,
            topic="plant/{device}",
            speed=speed,
            starts_now=now,
        )
        assert publisher.confirmed == result.messages
    return result.messages


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_every_row_arrives_once_and_in_order(tmp_path: Path, port: int, version: str) -> None:
    """More rows than may be in flight, at full speed."""
    path = tmp_path / "pump-1.csv"
    path.write_text("t;a;b\n" + "".join(f"{1_600_000_000 + i};{i};x\n" for i in range(3000)))
    with _listening(port, "plant/#") as listener:
        assert _publish_csv(port, path, version=version) == 3000
        messages = listener.wait_for(3000)
    assert {topic for topic, _ in messages} == {"plant/pump-1"}
    payloads = [json.loads(payload) for _, payload in messages]
    assert [payload["a"] for payload in payloads] == list(range(3000))
    assert payloads[7] == {"a": 7.0, "b": None, "time": 1_600_000_007_000}


@pytest.mark.mosquitto
def test_the_pace_is_kept_and_times_can_be_shifted_to_now(tmp_path: Path, port: int) -> None:
    """Two recorded seconds at tenfold speed take a fifth of a second; the spacing stays."""
    path = tmp_path / "pump.csv"
    path.write_text("t,a\n1000,1\n1001,2\n1002,3\n")
    with _listening(port, "plant/#") as listener:
        before_ms = time.time_ns() // 1_000_000  # noqa: TID251  (what a device would see)
        begin = time.perf_counter()
        _publish_csv(port, path, speed=10, now=True)
        assert 0.2 <= time.perf_counter() - begin < 2
        times = [json.loads(payload)["time"] for _, payload in listener.wait_for(3)]
    assert [each - times[0] for each in times] == [0, 1000, 2000]
    assert before_ms <= times[0] < before_ms + 2000


@pytest.mark.mosquitto
def test_a_refused_message_is_an_error(port: int) -> None:
    """An MQTT 5 broker says that the ACL forbids it; it must not pass for published."""
    with Publisher("127.0.0.1", port, SystemClock()) as publisher:
        publisher.publish("forbidden/x", b"{}")
        with pytest.raises(PermanentError, match="expected the message to be taken, got Not auth"):
            publisher.flush()


def test_an_absent_broker_is_one_clear_line() -> None:
    """Where it was looked for, and what to do."""
    with (
        pytest.raises(TransientError, match=r"127\.0\.0\.1:\d+: expected an MQTT broker, got .*"),
        Publisher("127.0.0.1", free_port(), SystemClock()),
    ):
        raise AssertionError("nobody listens there")


@pytest.mark.mosquitto
def test_messages_survive_a_restart_of_the_broker(tmp_path: Path) -> None:
    """What was not confirmed when the connection broke is sent again."""
    broker = make_broker(tmp_path, free_port(), SystemClock())
    require("mosquitto", broker.name == "mosquitto", "install the package mosquitto")
    with broker.child:
        broker.child.wait_until(broker.is_ready, 10)
        with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
            publisher.publish("plant/a", b"1")
            publisher.flush()
            broker.child.stop()
            restart = threading.Timer(0.3, broker.child.__enter__)
            restart.start()
            for number in range(100):
                publisher.publish("plant/a", b"%d" % number)
            publisher.flush()
            restart.join()
            assert publisher.confirmed == 101


def _publish_often(publisher: Publisher, count: int) -> None:
    for _ in range(count):
        publisher.publish("plant/a", b"1")


@pytest.mark.mosquitto
def test_publishing_to_a_broker_that_stays_away_ends(tmp_path: Path) -> None:
    """Patience has an end, and the message counts what is unconfirmed."""
    broker = make_broker(tmp_path, free_port(), SystemClock())
    require("mosquitto", broker.name == "mosquitto", "install the package mosquitto")
    with broker.child:
        broker.child.wait_until(broker.is_ready, 10)
        with Publisher("127.0.0.1", broker.port, SystemClock(), patience_s=0.3) as publisher:
            broker.child.stop()
            with pytest.raises(TransientError, match=r"expected .* within 0.3 s, got none"):
                _publish_often(publisher, 2000)


@pytest.mark.mosquitto
def test_the_fleet_publishes_on_time_and_leaves_no_gap(port: int) -> None:
    """Each pump sends each step, with the event time it was due at."""
    clock = SystemClock()
    fleet = Fleet(3, 50, 1, start_ns=clock.wall_ns())
    with (
        _listening(port, "plant/+/+/telemetry") as listener,
        Publisher("127.0.0.1", port, clock) as publisher,
    ):
        begin_ns = clock.monotonic_ns()
        count = run_fleet(
            fleet, PayloadWriter(fleet), publisher, clock, steps=26, stop=threading.Event()
        )
        elapsed_s = (clock.monotonic_ns() - begin_ns) / NS_PER_S
        messages = listener.wait_for(78)
    assert count == len(messages) == 78
    assert 0.49 < elapsed_s < 5
    times = [json.loads(body)["time"] for topic, body in messages if "pump-02" in topic]
    assert [each - times[0] for each in times] == list(range(0, 520, 20))


def _run(*arguments: str, stop_when: Callable[[], bool] | None = None) -> tuple[int, str, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if stop_when is not None:
        deadline = time.perf_counter() + 20
        while not stop_when() and time.perf_counter() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.mosquitto
def test_the_replay_command_publishes_and_says_how_much(tmp_path: Path, port: int) -> None:
    """Chosen columns and rows of a semicolon-separated file; a device name of one's own."""
    path = tmp_path / "a.csv"
    path.write_text("t;a;b\n" + "".join(f"2020-03-09 10:00:{i:02};{i};1\n" for i in range(20)))
    with _listening(port, "plant/#") as listener:
        code, out, err = _run(
            *("replay", str(path), "--topic", "plant/{device}/raw", "--time", "t"),
            *("--speed", "max", "--columns", "a", "--rows", "5:15", "--device", "rig"),
            *("--port", str(port)),
        )
        assert (code, out) == (0, "Published 10 messages, all confirmed.\n"), err
        messages = listener.wait_for(10)
    assert messages[0] == ("plant/rig/raw", b'{"a":5.0,"time":1583748005000}')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time", "when"], "expected a column 'when', got t, a"),
        (["--time", "t", "--topic", "a/#"], "--topic: expected a topic without wildcards"),
        (["--time", "t", "--port", "0"], "--port: expected 1 to 65535, got 0"),
        (["--time", "t", "--speed", "-1"], "expected a number above 0, got '-1'"),
        (["--time", "t", "--rows", "x"], "expected A:B, A: or :B, got 'x'"),
    ],
)
def test_the_users_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Said before anything is published."""
    path = tmp_path / "a.csv"
    path.write_text("t,a\n1000,1\n")
    code, out, err = _run("replay", str(path), "--topic", "plant/x", *arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.mosquitto
def test_the_simulate_command_runs_until_it_is_stopped(port: int) -> None:
    """SIGTERM ends it in order: confirmed, counted, exit code 0."""
    with _listening(port, "plant/#") as listener:
        code, out, err = _run(
            *("simulate", "--port", str(port), "--devices", "2", "--rate", "20"),
            stop_when=lambda: len(listener.messages) > 10,
        )
        assert code == 0, err
        published = int(out.splitlines()[-1].split()[1])
        assert published > 10
        assert len(listener.wait_for(published)) == published
    assert set(json.loads(listener.messages[0][1])) == {"time", *CHANNELS}


def test_the_simulate_command_writes_the_same_file_again(tmp_path: Path) -> None:
    """Healthy data to train on, reproducible from its options."""
    options = ("simulate", "--devices", "3", "--rate", "2", "--seconds", "10", "--seed", "7")
    for name in ("first.csv", "again.csv"):
        code, out, err = _run(*options, "--csv", str(tmp_path / name))
        assert (code, out.startswith("Wrote 60 rows to ")) == (0, True), err
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()
    code, _, err = _run("simulate", "--csv", str(tmp_path / "x.csv"))
    assert (code, err.startswith("--seconds: expected")) == (2, True)


@pytest.mark.parametrize("may_use_mosquitto", [True, False])
def test_the_demos_broker_carries_messages(tmp_path: Path, *, may_use_mosquitto: bool) -> None:
    """Whichever this machine has, and the embedded one in any case."""
    if not may_use_mosquitto:
        pytest.importorskip("amqtt", reason="install the extra embedded")
    clock = SystemClock()
    broker = make_broker(tmp_path, free_port(), clock, may_use_mosquitto=may_use_mosquitto)
    if not may_use_mosquitto:
        assert broker.name == "amqtt"
    with broker.child:
        broker.child.wait_until(broker.is_ready, 20)
        with (
            _listening(broker.port, "plant/#") as listener,
            Publisher("127.0.0.1", broker.port, clock, version=broker.version) as publisher,
        ):
            for number in range(50):
                publisher.publish("plant/x", b"%d" % number)
            publisher.flush()
            assert [body for _, body in listener.wait_for(50)] == [b"%d" % n for n in range(50)]
    assert not broker.child.is_running()


def test_a_child_that_ends_too_soon_is_quoted(tmp_path: Path) -> None:
    """One sees why a part of the demo did not start."""
    script = "import sys; print('no such thing'); sys.exit(3)"
    child = Child("part", [sys.executable, "-c", script], tmp_path / "out", SystemClock())
    with child, pytest.raises(PermanentError, match=r"part: ended with 3:\n  no such thing"):
        child.wait_until(lambda: False, 10)


@pytest.mark.mosquitto
def test_the_sample_can_be_replayed_as_its_readme_says(port: int) -> None:
    """The command of the README, on the file beside it."""
    folder = Path(__file__).parents[2] / "connectors" / "replay"
    command = (folder / "README.md").read_text().split("    headgate ", 1)[1].split("\n\n")[0]
    arguments = shlex.split(command.replace("\\\n", " "))
    arguments[1] = str(folder / "sample.csv")
    with _listening(port, "plant/#") as listener:
        code, out, err = _run(*arguments, "--speed", "max", "--port", str(port))
        assert code == 0, err
        assert out == "Published 4 messages, all confirmed; cells sent as null: 1.\n"
        first = listener.wait_for(4)[0]
    assert first[0] == "plant/line-1/pump-01/telemetry"
    assert first[1].decode() in (folder / "README.md").read_text()
