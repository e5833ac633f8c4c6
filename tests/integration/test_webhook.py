"""Notifications by HTTP: to a real server that answers, fails, drips, redirects, and floods."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from connectors.sinks.points import command_points
from connectors.sinks.webhook.sink import signature
from headgate.core.clock import SystemClock
from headgate.core.commands import Command
from headgate.core.errors import TransientError
from headgate.core.log import ANOMALIES
from headgate.core.records import alarms_record
from headgate.core.telemetry import Telemetry
from headgate.inspect.audit import audit
from tests.certificates import Authority
from tests.notified import alarm, config_of, points, telling
from tests.receiver import Answer, Receiver
from tests.uplink import open_rig, until

_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_TOKEN = "a-token-nobody-may-see"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It says yes unless it is told otherwise."""
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


def _table(receiver: Receiver, more: str = "") -> str:
    return f'type = "webhook"\nurl = "{receiver.url}"\n{more}'


def test_a_signature_is_that_of_the_specification() -> None:
    """Its own test vector."""
    key = base64.b64decode(_SECRET.removeprefix("whsec_"))
    body = b'{"test": 2432232314}'

    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def test_an_alarm_is_told_when_it_opens_and_when_it_is_over(
    receiver: Receiver, tmp_path: Path
) -> None:
    """As the page says, signed so that somebody else's library believes it."""
    (tmp_path / "secret").write_text(f"{_SECRET}\n")
    (tmp_path / "token").write_text(_TOKEN)
    more = 'secret_file = "secret"\ntoken_file = "token"\nheaders = { "X-Plant" = "north" }'
    async with telling(config_of(tmp_path, _table(receiver, more))) as sink:
        assert await sink.write(points(alarm(), alarm(is_over=True))) == []

    opened, over = receiver.taken
    assert opened.method == "POST"
    assert opened.headers["authorization"] == f"Bearer {_TOKEN}"
    assert opened.headers["x-plant"] == "north"
    assert opened.headers["content-type"] == "application/json"
    for taken in (opened, over):
        said = Webhook(_SECRET).verify(taken.body, dict(taken.headers))
        assert said["id"] == taken.id
    assert json.loads(over.body) == {
        "id": over.id,
        "kind": "alarms",
        "state": "over",
        "gateway": "gateway",
        "feed": "pump",
        "device": "p1",
        "tags": {"line": "a"},
        "rule": "hot",
        "model": None,
        "channel": None,
        "action": None,
        "severity": "major",
        "text": "p1: 81.4 °C",
        "start": "2026-01-01T00:00:00.000Z",
        "opened": "2026-01-01T00:00:10.000Z",
        "over": "2026-01-01T00:01:00.000Z",
        "duration_s": 60.0,
        "fields": dict(points(alarm(is_over=True))[0].fields),
    }
    assert (json.loads(opened.body)["state"], json.loads(opened.body)["over"]) == ("open", None)
    assert opened.id != over.id


async def test_an_alarm_that_goes_on_is_told_again(receiver: Receiver, tmp_path: Path) -> None:
    """That of an anomaly may; what else changes about it is not told, a graver one is."""
    told = [
        alarm(rule="odd", severity="minor"),
        alarm(rule="odd", severity="minor", revision=1, text="more"),
        alarm(rule="odd", severity="critical", revision=2),
        alarm(rule="odd", severity="critical", revision=3, is_over=True),
        alarm(rule="odd", severity="critical", revision=4),
        alarm(rule="odd", severity="critical", revision=5, is_over=True),
    ]
    telemetry = Telemetry(SystemClock())
    async with telling(config_of(tmp_path, _table(receiver)), telemetry) as sink:
        assert await sink.write(points(*told)) == []
        assert await sink.write(points(*told)) == []

    said = [json.loads(each.body) for each in receiver.taken]
    assert [(each["state"], each["severity"]) for each in said] == [
        ("open", "minor"),
        ("open", "critical"),
        ("over", "critical"),
        ("open", "critical"),
        ("over", "critical"),
    ]
    assert len({each["id"] for each in said}) == 5
    assert _passed_over(telemetry, "nothing_new") == 1


async def test_what_fails_is_tried_again_with_the_same_id(
    receiver: Receiver, tmp_path: Path
) -> None:
    """And what was told before it in the same call is not told again, also after a restart."""
    answers = iter([Answer(204), Answer(500), Answer(200), Answer(200)])
    receiver.answer = lambda _taken: next(answers)
    config, alarms = config_of(tmp_path, _table(receiver)), points(alarm("a"), alarm("b"))
    async with telling(config) as sink:
        with pytest.raises(TransientError, match="500"):
            await sink.write(alarms)
    async with telling(config) as sink:
        assert await sink.write(alarms) == []

    ids = [each.id for each in receiver.taken]
    assert len(ids) == 3
    assert ids[1] == ids[2] != ids[0]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_what_may_pass_is_not_refused(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    """Each is a transient error."""
    receiver.answer = lambda _taken: Answer(status, body=b"later")
    async with telling(config_of(tmp_path, _table(receiver))) as sink:
        with pytest.raises(TransientError, match=f"{status} later"):
            await sink.write(points(alarm()))


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "86400"}, 300),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, 300),
        ({"Retry-After": "soon"}, None),
        ({}, None),
        (
            {
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
                "Retry-After": "Wed, 21 Oct 2015 07:28:20 GMT",
            },
            20,
        ),
    ],
)
async def test_a_pause_that_is_asked_for_is_bounded(
    receiver: Receiver, tmp_path: Path, headers: dict[str, str], pause_s: float | None
) -> None:
    """In seconds or as a date."""
    if "Date" in headers:
        # Behind the server's own.
        headers = {**headers, "Retry-After": _in_20_s()}
    receiver.answer = lambda _taken: Answer(
        429, {name: value for name, value in headers.items() if name != "Date"}
    )
    async with telling(config_of(tmp_path, _table(receiver))) as sink:
        with pytest.raises(TransientError) as found:
            await sink.write(points(alarm()))

    assert found.value.retry_after_s == (
        pause_s if pause_s is None else pytest.approx(pause_s, abs=3)
    )


def _in_20_s() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)  # noqa: TID251


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
async def test_what_is_refused_does_not_hold_up_the_next(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    """It is named, with what was said."""
    receiver.answer = lambda taken: Answer(status if b'"bad"' in taken.body else 204, body=b"no")
    alarms = points(alarm("bad"), alarm("good"))
    async with telling(config_of(tmp_path, _table(receiver))) as sink:
        (refused,) = await sink.write(alarms)

    assert refused.point == alarms[0]
    assert f"{status} no" in refused.detail
    assert len(receiver.taken) == 2


async def test_nobody_follows_a_redirect(receiver: Receiver, tmp_path: Path) -> None:
    """It is said where it leads to, and the token goes nowhere."""
    elsewhere = Receiver()
    elsewhere.start()
    (tmp_path / "token").write_text(_TOKEN)
    receiver.answer = lambda _taken: Answer(307, {"Location": f"{elsewhere.url}/{_TOKEN}"})
    async with telling(config_of(tmp_path, _table(receiver, 'token_file = "token"'))) as sink:
        (refused,) = await sink.write(points(alarm()))
    elsewhere.stop()

    assert elsewhere.taken == []
    assert "307 sends us on to http://127.0.0.1:" in refused.detail
    assert "give sink.told the address itself" in refused.detail
    assert _TOKEN not in refused.detail


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, pause_s=30),
        Answer(500, body=b"x" * 1000, drip_s=0.05),
    ],
    ids=["silent", "dripping"],
)
async def test_a_server_that_never_ends_is_left(
    receiver: Receiver, tmp_path: Path, answer: Answer
) -> None:
    """After the timeout, to be tried again."""
    receiver.answer = lambda _taken: answer
    began = time.perf_counter()
    async with telling(config_of(tmp_path, _table(receiver, 'timeout = "500ms"'))) as sink:
        with pytest.raises(TransientError):
            await sink.write(points(alarm()))

    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("host", "what"),
    [("127.0.0.1:9", "Connection refused"), ("nobody.invalid", "not known|resolution|address")],
)
async def test_a_server_that_is_not_there_is_said_so_in_the_words_of_the_system(
    tmp_path: Path, host: str, what: str
) -> None:
    """And nothing else: where it is stands before it."""
    table = f'type = "webhook"\nurl = "http://{host}/alarms"'
    async with telling(config_of(tmp_path, table)) as sink:
        with pytest.raises(TransientError, match=what) as found:
            await sink.write(points(alarm()))

    assert str(found.value).startswith(f"http://{host}: ")
    assert "<" not in str(found.value)


@pytest.mark.parametrize("status", [200, 500, 400])
async def test_an_answer_without_an_end_is_not_read(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    """A gigabyte of it stays where it is."""
    receiver.answer = lambda _taken: Answer(status, body=b"x" * (1 << 20), repeat=1024)
    async with telling(config_of(tmp_path, _table(receiver))) as sink:
        try:
            refused = await sink.write(points(alarm()))
        except TransientError:
            assert status == 500
        else:
            assert len(refused) == (status == 400)

    assert receiver.sent < 64 << 20


async def test_secrets_are_in_no_message(tmp_path: Path) -> None:
    """Whatever the server gives back, and where there is none."""
    hidden = "T0000/B0000/a-secret-in-the-path"
    receiver = Receiver()
    receiver.start()
    (tmp_path / "token").write_text(_TOKEN)
    (tmp_path / "url").write_text(f"{receiver.url}/{hidden}?key={_TOKEN}")
    table = 'type = "webhook"\nurl_file = "url"\ntoken_file = "token"'
    said = []
    with capture_logs() as logs:
        async with telling(config_of(tmp_path, table)) as sink:
            for status in (400, 302, 500):
                receiver.answer = lambda taken, status=status: Answer(  # type: ignore[misc]
                    status,
                    {"Location": f"http://{_TOKEN}@x/"},
                    f"{taken.path} {taken.headers['authorization']}".encode(),
                )
                try:
                    said += [each.detail for each in await sink.write(points(alarm(str(status))))]
                except TransientError as error:
                    said.append(str(error))
            receiver.stop()
            with pytest.raises(TransientError) as found:
                await sink.write(points(alarm("away")))
    said.append(str(found.value))

    assert len(said) == 4
    for each in (*said, str(logs)):
        assert _TOKEN not in each
        assert "B0000" not in each


async def test_only_who_proves_who_he_is_is_told(receiver: Receiver, tmp_path: Path) -> None:
    """By the authority that is given; by none that the machine knows it is nobody."""
    authority = Authority(tmp_path / "certificates")
    receiver.stop()
    receiver.certificate = (authority.path("broker.pem"), authority.path("broker.key"))
    receiver.start()
    async with telling(config_of(tmp_path, _table(receiver))) as sink:
        with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
            await sink.write(points(alarm()))
    more = f'ca_file = "{authority.path("ca.pem")}"'
    async with telling(config_of(tmp_path, _table(receiver, more))) as sink:
        assert await sink.write(points(alarm())) == []

    assert len(receiver.taken) == 1


async def test_a_body_of_ones_own_stays_what_it_is(receiver: Receiver, tmp_path: Path) -> None:
    """Whatever devices are called."""
    body = """body = '{{"text": "{state}: {device} {tags} {duration}", "at": "{opened}"}}' """
    odd = 'p"1\r\nX-Evil: 1\\'
    async with telling(config_of(tmp_path, _table(receiver, body))) as sink:
        assert await sink.write(points(alarm(odd, is_over=True))) == []

    (taken,) = receiver.taken
    assert json.loads(taken.body) == {
        "text": 'over: p"1\\r\\nX-Evil: 1\\ line=a 1 min',
        "at": "2026-01-01T00:00:10.000Z",
    }
    assert "x-evil" not in taken.headers


async def test_only_what_is_asked_for_is_told(receiver: Receiver, tmp_path: Path) -> None:
    """By feed, device, rule, severity and state; the rest is counted, and settled in the audit."""
    more = (
        'severity = "major"\nfeeds = "pump"\ndevices = ["p?", "q[1-3]"]\n'
        'rules = ["h*"]\nstates = ["open"]'
    )
    config = config_of(tmp_path, _table(receiver, more))
    wanted = [alarm("p1"), alarm("q2", severity="critical")]
    others = [
        alarm("p1", severity="minor"),
        alarm("x1"),
        alarm("p1", rule="cold"),
        alarm("p1", is_over=True),
        alarm("p1", feed="air"),
    ]
    async with open_rig(config) as rig:
        for each in (*others, *wanted):
            await rig.put(ANOMALIES, alarms_record([each]))
        async with telling(config, rig.telemetry) as sink, rig.forwarding(sink):
            await until(lambda: rig.written("told", "anomalies") == 7)
        account = (await audit(config, rig.log)).sinks["told", "anomalies"]

    assert [json.loads(each.body)["device"] for each in receiver.taken] == ["p1", "q2"]
    assert _passed_over(rig.telemetry, "not_asked_for") == 5
    assert (account.made, account.acknowledged, account.passed_over) == (7, 2, 5)
    assert account.is_balanced


async def test_a_command_that_has_failed_is_told(receiver: Receiver, tmp_path: Path) -> None:
    """Each once for each reason, whatever became of others by the same alarm before or since."""
    config = config_of(tmp_path, _table(receiver, 'of = ["commands"]\nrules = "hot"\n'))
    now_ns = SystemClock().wall_ns()
    first = Command(
        "stop", "a1", "pump", "p1", "hot", "", "", "major", 1_000, 2_000, is_open=True,
        state="asked", reason="", detail="", topic="cmd/p1", payload="stop", asked_ns=now_ns,
        tags=(("line", "a"),),
    )  # fmt: skip
    sent = replace(first, state="sent", sent_ns=now_ns)
    failed = replace(sent, state="failed", reason="no_answer", detail="no answer came in time")
    late = replace(failed, reason="late", detail="it came too late", answered_ns=now_ns + 10**9)
    again = replace(failed, id="a2", start_ns=3_000, time_ns=4_000)
    passed = [
        first,
        sent,
        replace(sent, state="answered", answered_ns=now_ns),
        replace(first, state="passed_over", reason="old", detail="it was old"),
        replace(failed, rule="cold"),
    ]
    async with telling(config) as sink:
        points = command_points([*passed, failed, failed, again, late], "gw")
        assert await sink.write(points) == []
        assert await sink.write(points) == []

    told = [json.loads(each.body) for each in receiver.taken]
    said = "p1 line=a: the command of stop has failed: "
    assert [(each["state"], each["text"]) for each in told] == [
        ("open", said + failed.detail),
        ("open", said + failed.detail),
        ("over", said + late.detail),
    ]
    assert {"kind": "commands", "action": "stop", "rule": "hot", "severity": "major"}.items() <= (
        told[0].items()
    )
    assert told[0]["fields"]["reason"] == "no_answer"
    assert len({each["id"] for each in told}) == 3


def _passed_over(telemetry: Telemetry, reason: str) -> float:
    value: float = telemetry.passed_over.labels("told", reason)._value.get()
    return value


async def test_a_lane_whose_receiver_fails_first_tells_all_of_it(
    receiver: Receiver, tmp_path: Path
) -> None:
    """In order, by the lane's own retries; what is refused is in quarantine."""
    answers = iter([Answer(503), Answer(429, {"Retry-After": "0.1"}), Answer(400, body=b"bad")])
    receiver.answer = lambda _taken: next(answers, Answer(204))
    config = config_of(tmp_path, _table(receiver))
    async with open_rig(config) as rig:
        await rig.put(ANOMALIES, alarms_record([alarm("a"), alarm("b"), alarm("c")]))
        async with telling(config, rig.telemetry) as sink, rig.forwarding(sink):
            await until(lambda: rig.written("told", "anomalies") == 2)
        ((reason, payload),) = await rig.quarantined()

    assert reason == "rejected_by_sink"
    assert payload.startswith("alarms,device=a,")
    devices = [json.loads(each.body)["device"] for each in receiver.taken]
    assert devices == ["a", "a", "a", "b", "c"]


async def test_what_was_told_is_forgotten_without_harm(receiver: Receiver, tmp_path: Path) -> None:
    """A file that can't be read is told, and the same id comes again."""
    config = config_of(tmp_path, _table(receiver))
    for _ in range(2):
        async with telling(config) as sink:
            assert await sink.write(points(alarm())) == []
        (tmp_path / "data" / "forward-told.told").write_text("{")
    first, second = receiver.taken

    assert first.id == second.id
