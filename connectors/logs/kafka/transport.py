"""Faust on Kafka with what its own driver has no setting for.

Registered as ``headgate-kafka``: ``faust.App("name", broker="headgate-kafka://host:9092")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from faust import SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver

from connectors.logs.kafka.client_logs import quiet_client_logs
from connectors.logs.kafka.security import Security
from connectors.logs.kafka.topics import FRAMING_BYTES
from headgate.core.clock import SystemClock
from headgate.core.log import MAX_RECORD_BYTES


class Producer(driver.Producer):  # type: ignore[misc]  # Faust has no types
    """Writes each record once, and records as large as the log takes."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {
            **super()._settings_extra(),
            "acks": "all",
            "enable_idempotence": True,
            "max_batch_size": max(self.max_batch_size, 512 << 10),
            "max_request_size": max(self.max_request_size, MAX_RECORD_BYTES + FRAMING_BYTES),
        }


class Transport(driver.Transport):  # type: ignore[misc]  # Faust has no types
    """The driver with our producer. Its consumer reads a record of any size as it is.

    A broker answers a fetch with at least one whole record, however small the limit on the
    fetch's size, so ``consumer_max_fetch_size`` is left alone: it bounds memory.
    """

    Producer: ClassVar[type[Producer]] = Producer

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        quiet_client_logs(SystemClock())


def faust_credentials(security: Security) -> SASLCredentials | SSLCredentials | None:
    """``broker_credentials`` for ``faust.App``; None when Kafka asks for none.

    Raises:
        ConfigError: The certificates can't be read.
    """
    context = security.ssl_context()
    if security.username is not None:
        return SASLCredentials(
            username=security.username,
            password=security.password or "",
            mechanism=security.mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)
