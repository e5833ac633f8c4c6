"""TLS towards a real Kafka whose authority is renewed while a gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import faust
import pytest
from aiokafka.errors import KafkaError

from connectors.logs.kafka.log import KafkaLog
from connectors.logs.kafka.security import Security
from connectors.logs.kafka.transport import faust_credentials
from headgate.core.clock import SystemClock
from headgate.core.errors import HeadgateError
from headgate.core.log import Record, TopicPartition, TopicSpec
from tests.certificates import Authority
from tests.kafka.jars import CannotFetchError, fetch
from tests.kafka.server import KafkaServer, start
from tests.services import require

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

_AT = TopicPartition("readings", 0)


class _Site:
    """A Kafka with a certificate, and who trusts it.

    Args:
        folder: For all files.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "certificates")
        self.trusted = self.authority.folder / "ca.pem"
        self._store = folder / "broker-store.pem"
        self._keep()
        (folder / "kafka").mkdir()
        self.server: KafkaServer = start(fetch(), folder / "kafka", certificate=self._store)

    @property
    def address(self) -> str:
        """Where it speaks TLS."""
        assert self.server.tls_address is not None
        return self.server.tls_address

    def renew(self) -> None:
        """Start the broker anew with a certificate of another authority."""
        self.server.kill()
        self.authority.issue("broker", ca="other", names="DNS:x,IP:127.0.0.1")
        self._keep()
        self.server.launch()

    def trust(self, name: str) -> None:
        """Overwrite the file of who is trusted."""
        self.trusted.write_text((self.authority.folder / name).read_text())

    def _keep(self) -> None:
        folder = self.authority.folder
        self._store.write_text(
            (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
        )


@asynccontextmanager
async def _site(folder: Path) -> AsyncIterator[_Site]:
    try:
        site = await asyncio.to_thread(_Site, folder)
    except CannotFetchError as error:
        require("Apache Kafka", False, str(error))
        raise
    try:
        yield site
    finally:
        await asyncio.to_thread(site.server.stop)


@pytest.mark.thorough
async def test_a_renewed_authority_is_read_at_the_next_connection(tmp_path: Path) -> None:
    """By our clients and by Faust's; and the old one is trusted no more."""
    async with _site(tmp_path) as site:
        old_authority = site.trusted.read_text()
        security = Security(ca_file=site.trusted)
        log = KafkaLog(site.address, SystemClock(), security=security, delivery_timeout_s=10)
        app = faust.App(
            "tls",
            broker=f"headgate-kafka://{site.address}",
            broker_credentials=faust_credentials(security),
            store="memory://",
        )
        await log.start()
        await app.producer.start()
        try:
            await log.ensure_topics([TopicSpec(_AT.topic, 1)])
            assert await log.append(_AT, [Record(b"1")]) == 0
            await _send(app, b"2")

            await asyncio.to_thread(site.renew)
            with pytest.raises(HeadgateError):
                await log.append(_AT, [Record(b"not trusted yet")])
            # In the file there is the new authority, and not the old one beside it.
            await asyncio.to_thread(site.trust, "other.pem")
            assert await _append(log, b"3") == 2
            await _send(app, b"4")
            assert [each.value for each in await log.read(_AT, 0)] == [b"1", b"2", b"3", b"4"]

            site.trusted.write_text(old_authority)
            with pytest.raises(HeadgateError):
                await KafkaLog(site.address, SystemClock(), security=security).start()
        finally:
            await app.producer.stop()
            await log.stop()


async def _send(app: faust.App, value: bytes) -> None:
    """By Faust, until Kafka has it."""
    sent = await app.producer.send(_AT.topic, None, value, 0, None, {})
    await asyncio.wait_for(sent, 60)


async def _append(log: KafkaLog, value: bytes) -> int:
    """By our log, which the lanes have try again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await log.append(_AT, [Record(value)])
            except (HeadgateError, KafkaError):
                await asyncio.sleep(0.5)
