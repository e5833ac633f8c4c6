"""Notifications by apprise: real mail to a real SMTP server, and services that fail."""

from __future__ import annotations

import asyncio
import email.policy
import logging
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from structlog.testing import capture_logs

from connectors.sinks.apprise.config import AppriseConfig
from connectors.sinks.apprise.sink import MOST_HANGING, AppriseTeller
from connectors.sinks.notifications.notification import notification
from headgate.config.load import load_config
from headgate.core.errors import ConfigError, TransientError
from headgate.demo.processes import free_port
from headgate.testing import ManualClock
from tests.notified import START_NS, alarm, config_of, points, said, telling
from tests.receiver import Answer, Receiver

_SECRET = "hunter2hunter2"


class _Mails:
    """A mail server."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        #: Answers to the next mails in place of taking them.
        self.refusals: list[str] = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(  # noqa: N802  (the library's name)
        self, _server: object, _session: object, envelope: Message
    ) -> str:
        if self.refusals:
            return self.refusals.pop()
        mail = message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


@pytest.fixture
def mails() -> Iterator[_Mails]:
    """It takes all."""
    mails = _Mails()
    mails.start()
    yield mails
    mails.stop()


def _mailto(mails: _Mails) -> str:
    return f"mailto://127.0.0.1:{mails.port}?from=gateway@plant.example&to=shift@plant.example"


def _table(folder: Path, *urls: str, more: str = "") -> str:
    (folder / "urls").write_text("\n".join(urls))
    return f'type = "apprise"\nurls_file = "urls"\n{more}'


async def test_an_alarm_is_mailed(mails: _Mails, tmp_path: Path) -> None:
    """With subject and text, and whatever a device is called it adds no header and no mail."""
    odd = "p1\r\nBcc: evil@example\r\n\r\nx"
    async with telling(config_of(tmp_path, _table(tmp_path, _mailto(mails)))) as sink:
        assert await sink.write(points(alarm(severity="critical"))) == []
        assert await sink.write(points(alarm(odd), alarm(is_over=True))) == []

    first, second, third = mails.mails
    assert first["Subject"] == "[critical] p1: hot"
    assert "p1: 81.4 °C" in first.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert second["Subject"].startswith("[major] p1\\r\\nBcc: evil@example")
    assert second["Bcc"] is None
    assert third["Subject"] == "[over] p1: hot"


async def test_what_is_shelved_is_mailed_when_that_ends(mails: _Mails, tmp_path: Path) -> None:
    """Once, though the mail server takes it at the second try only."""
    clock = ManualClock(START_NS + 60 * 10**9)
    config = config_of(tmp_path, _table(tmp_path, _mailto(mails)))
    async with telling(config, clock=clock) as sink:
        assert await sink.write(said(alarm(), 60, until_s=3600)) == []
        assert await sink.write(points(alarm(), alarm("p2"))) == []
        clock.advance(3600)
        mails.refusals = ["451 try later"]
        with pytest.raises(TransientError, match="mailto://…: "):
            await sink.write([])
        assert await sink.write([]) == []
        assert await sink.write([]) == []

    assert [mail["Subject"] for mail in mails.mails] == ["[major] p2: hot", "[major] p1: hot"]


async def test_a_mail_server_that_can_t_just_now_gets_it_later(
    mails: _Mails, tmp_path: Path
) -> None:
    """Also one that refuses: it may be mended."""
    mails.refusals = ["451 try later", "550 no such user"]
    async with telling(config_of(tmp_path, _table(tmp_path, _mailto(mails)))) as sink:
        for _ in range(2):
            with pytest.raises(TransientError, match="mailto://…: "):
                await sink.write(points(alarm()))
        assert await sink.write(points(alarm())) == []

    assert len(mails.mails) == 1


async def test_who_has_it_is_not_told_again_for_another(mails: _Mails, tmp_path: Path) -> None:
    """One address that fails does not double it at the others."""
    receiver = Receiver()
    receiver.start()
    answers = iter([Answer(500), Answer(500)])
    receiver.answer = lambda _taken: next(answers, Answer(200))
    there = receiver.url.replace("http://", "json://")
    async with telling(config_of(tmp_path, _table(tmp_path, _mailto(mails), there))) as sink:
        for _ in range(2):
            with pytest.raises(TransientError, match="json://…"):
                await sink.write(points(alarm()))
        assert await sink.write(points(alarm())) == []
    receiver.stop()

    assert len(mails.mails) == 1
    assert len(receiver.taken) == 3


async def test_secrets_are_in_no_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of an address that fails its service is said; and nothing of requests, at any level."""
    caplog.set_level(logging.DEBUG)
    port, receiver = free_port(), Receiver(lambda _taken: Answer(500))
    receiver.start()
    urls = [
        f"{receiver.url.replace('http://', 'json://')}/{_SECRET}",
        f"json://user:{_SECRET}@127.0.0.1:{port}/{_SECRET}",
        f"mailto://user:{_SECRET}@127.0.0.1:{port}?to=a@b.example&from=c@d.example",
    ]
    with capture_logs() as logs:
        async with telling(config_of(tmp_path, _table(tmp_path, *urls))) as sink:
            with pytest.raises(TransientError) as found:
                await sink.write(points(alarm()))
    receiver.stop()

    assert len(receiver.taken) == 1
    assert "json://…: " in str(found.value)
    assert "mailto://…: " in str(found.value)
    for text in (str(found.value), str(logs), caplog.text):
        assert _SECRET not in text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"nosuch://{_SECRET}", "address 2: apprise knows no such service"),
        (_SECRET, "address 2: apprise knows no such service"),
        ("tgram://hunter2hunter2", "address 2: tgram:// needs other parts"),
    ],
)
def test_an_address_that_apprise_does_not_understand_is_told(
    tmp_path: Path, url: str, said: str
) -> None:
    """With the line of its key, and without itself."""
    with pytest.raises(ConfigError) as found:
        config_of(tmp_path, _table(tmp_path, "json://127.0.0.1", url))

    (problem,) = found.value.problems
    assert f"sink.told.urls_file: {said}" in problem
    assert _SECRET not in problem


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('title = "{nothing}"', 'sink.told.title: no "nothing" to put in'),
        ('title = "a\\nb"', "sink.told.title: expected one line"),
        ('text = "{text!r}"', "sink.told.text: expected one of id, "),
        ('urls_env = "A"', "sink.told: the addresses hold secrets: give either"),
    ],
)
def test_what_is_wrong_with_the_table_is_told(tmp_path: Path, more: str, said: str) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigError) as found:
        config_of(tmp_path, _table(tmp_path, "json://127.0.0.1", more=more))

    assert said in str(found.value)


def test_an_empty_file_has_no_addresses(tmp_path: Path) -> None:
    """Comments are none."""
    with pytest.raises(ConfigError, match="expected 1 to 50 addresses, one a line, found 0"):
        config_of(tmp_path, _table(tmp_path, "# mailto://…", "", ""))


async def test_a_service_that_hangs_is_left_to_itself(tmp_path: Path) -> None:
    """After its time; and not more than some of them."""
    config = config_of(tmp_path, _table(tmp_path, "json://127.0.0.1", more='timeout = "100ms"'))
    table = config.sink["told"].table
    assert isinstance(table, AppriseConfig)
    release, began = threading.Event(), []

    def hang(*message: str) -> str:
        began.append(message)
        release.wait(20)
        return ""

    teller = AppriseTeller(table, "sink.told", hang)
    (told,) = map(notification, points(alarm()))
    for _ in range(MOST_HANGING):
        with pytest.raises(TransientError, match=r"json://…: not within 0\.1 s"):
            await teller.send(told)
    with pytest.raises(TransientError, match="tries before this one hang"):
        await teller.send(told)
    assert len(began) == MOST_HANGING
    release.set()
    await asyncio.sleep(0.2)
    await teller.send(told)

    assert load_config(tmp_path / "headgate.toml").sink["told"].name == "apprise"
