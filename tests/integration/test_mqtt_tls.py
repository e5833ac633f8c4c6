"""TLS towards a real broker: names hold, renewed files are read, and what is wrong is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headgate.config.schema import Config
from headgate.console.details import warnings
from tests.certificates import Authority
from tests.integration.mqtt_rig import Rig, make_config, running, until
from tests.mosquitto import MakeMosquitto, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(90)]

_DAY_S = 86400


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One of its own for each test."""
    return Authority(tmp_path / "certificates")


def _broker(make: MakeMosquitto, authority: Authority, *, mutual: bool = False) -> Mosquitto:
    lines = (
        f"cafile {authority.path('ca.pem')}\ncertfile {authority.path('broker.pem')}\n"
        f"keyfile {authority.path('broker.key')}\n"
    )
    return make(listener=lines + ("require_certificate true" if mutual else ""))


def _client(
    broker: Mosquitto, authority: Authority, folder: Path, *, mutual: bool = False, **tls: str
) -> Config:
    own = {}
    if mutual:
        own = {
            "cert_file": authority.path("client.pem"),
            "key_file": authority.path("client.key"),
        }
    return make_config(broker, folder, tls={"ca_file": authority.path("ca.pem"), **own, **tls})


@asynccontextmanager
async def _refused(config: Config) -> AsyncIterator[Rig]:
    async with running(config, is_ready=False) as rig:
        await until(lambda: rig.lane.health()[1] not in ("starting", "not connected yet"))
        yield rig


async def test_the_servers_name_is_held_to(
    make_mosquitto: MakeMosquitto, authority: Authority, tmp_path: Path
) -> None:
    """The name given is asked for and must be in the certificate, whatever the host is."""
    broker = _broker(make_mosquitto, authority)
    async with running(_client(broker, authority, tmp_path, server_name="broker.example")):
        pass
    async with _refused(_client(broker, authority, tmp_path, server_name="wrong.example")) as rig:
        trouble = rig.lane.health()[1]

    assert "the broker's certificate is not for wrong.example" in trouble
    assert "mqtt.tls.server_name" in trouble


async def test_renewed_files_are_read_at_the_next_connection(
    make_mosquitto: MakeMosquitto, authority: Authority, tmp_path: Path
) -> None:
    """Certificate, key and authority, of a gateway that runs on."""
    await asyncio.to_thread(authority.issue, "client", last_s=-_DAY_S)
    broker = _broker(make_mosquitto, authority, mutual=True)
    async with _refused(_client(broker, authority, tmp_path, mutual=True)) as rig:
        (authority.folder / "client.key").unlink()
        await asyncio.to_thread(authority.issue, "client")
        await until(lambda: rig.lane.health()[0])
        # Now the broker's: another authority, in the file that is trusted.
        broker.stop()
        await asyncio.to_thread(authority.issue, "broker", ca="other", names="DNS:x,IP:127.0.0.1")
        broker.start()
        await until(lambda: "does not lead to" in rig.lane.health()[1])
        trusted = authority.folder / "ca.pem"
        trusted.write_text(trusted.read_text() + (authority.folder / "other.pem").read_text())
        await until(lambda: rig.lane.health()[0], within_s=40)


async def test_our_expired_certificate_is_named_with_its_date(
    make_mosquitto: MakeMosquitto, authority: Authority, tmp_path: Path
) -> None:
    """In health, on the pages that warn, and as a metric below zero."""
    await asyncio.to_thread(authority.issue, "client", last_s=-_DAY_S)
    broker = _broker(make_mosquitto, authority, mutual=True)
    with capture_logs() as logs:
        async with _refused(_client(broker, authority, tmp_path, mutual=True)) as rig:
            trouble = rig.lane.health()[1]
            await until(lambda: bool(warnings([rig.telemetry.details])))
            told = warnings([rig.telemetry.details])
            days = rig.telemetry.certificate_days.labels("mqtt.tls.cert_file")._value.get()
    said = [line["cause"] for line in logs if line["log_level"] == "warning"]

    assert "client.pem has expired, on 20" in trouble
    assert said == [trouble]
    assert list(told) == ["certificate mqtt.tls.cert_file"]
    assert "client.pem has expired, on 20" in told["certificate mqtt.tls.cert_file"]
    assert -1.1 < days < -0.9


async def test_certificates_are_warned_of_ahead_of_their_end(
    make_mosquitto: MakeMosquitto, authority: Authority, tmp_path: Path
) -> None:
    """Thirty days ahead: our own, and the broker's; the authority's has its days, too."""
    await asyncio.to_thread(authority.issue, "client", last_s=20 * _DAY_S + 60)
    await asyncio.to_thread(
        authority.issue, "broker", names="IP:127.0.0.1", last_s=10 * _DAY_S + 60
    )
    broker = _broker(make_mosquitto, authority, mutual=True)
    async with running(_client(broker, authority, tmp_path, mutual=True)) as rig:
        await until(lambda: len(warnings([rig.telemetry.details])) == 2)
        told = warnings([rig.telemetry.details])
        days = rig.telemetry.certificate_days
        left = [
            round(days.labels(key)._value.get())
            for key in ("mqtt.host", "mqtt.tls.cert_file", "mqtt.tls.ca_file")
        ]

    assert "client.pem expires in 20 days, on 20" in told["certificate mqtt.tls.cert_file"]
    assert "certificate of 127.0.0.1 expires in 10 days" in told["certificate mqtt.host"]
    assert left == [10, 20, 400]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("broker expired", "the broker's certificate, or one above it: certificate has expired"),
        ("no certificate", "the broker wants a certificate of ours: give cert_file and key_file"),
        ("unknown authority", "the broker does not know the authority that our certificate is"),
        ("another's key", "expected a key that belongs to the certificate"),
        ("a file that is none", "expected a PEM file of certificates"),
        ("open key", "expected a key that only its owner can read"),
        ("plain port", "is it the broker's port for plain MQTT?"),
        ("tls port", ", before it answered; does the port want TLS, [mqtt.tls]?"),
    ],
)
async def test_what_is_wrong_with_tls_is_said(
    make_mosquitto: MakeMosquitto, authority: Authority, tmp_path: Path, wrong: str, says: str
) -> None:
    """In words that tell what to do."""
    ca = "other" if wrong == "unknown authority" else "ca"
    await asyncio.to_thread(authority.issue, "client", ca=ca)
    if wrong == "broker expired":
        await asyncio.to_thread(authority.issue, "broker", names="IP:127.0.0.1", last_s=-60)
    broker = (
        make_mosquitto()
        if wrong == "plain port"
        else _broker(make_mosquitto, authority, mutual=True)
    )
    config = _client(broker, authority, tmp_path, mutual=wrong != "no certificate")
    if wrong == "another's key":
        (authority.folder / "client.key").write_bytes(
            (authority.folder / "broker.key").read_bytes()
        )
    if wrong == "a file that is none":
        (authority.folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nnone")
    if wrong == "open key":
        (authority.folder / "client.key").chmod(0o640)
    if wrong == "tls port":
        config = make_config(broker, tmp_path)
    async with _refused(config) as rig:
        trouble = rig.lane.health()[1]

    assert says in trouble
