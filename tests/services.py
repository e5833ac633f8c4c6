"""Real services for the tests: how they are found, and what happens where one is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kafka.jars import CannotFetchError, fetch
from tests.kafka.server import KafkaServer, start

#: In continuous integration a missing service is a failure: a skipped test proves nothing.
IS_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def require(name: str, found: bool, how: str) -> None:
    """Go on when the service is there; otherwise skip the test, or fail it in CI.

    Args:
        name: What is needed, as a person calls it (``"mosquitto"``).
        found: Whether it is there.
        how: What to do to get it, a sentence without a full stop.
    """
    if found:
        return
    message = f"{name} is not available: {how}."
    if IS_CI:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A real Kafka: the one that HEADGATE_TEST_KAFKA names, or one started for this run."""
    address = os.environ.get("HEADGATE_TEST_KAFKA")
    if address:
        yield KafkaServer(address)
        return
    try:
        jars = fetch()
    except CannotFetchError as error:
        require("Apache Kafka", False, f"{error}, or set HEADGATE_TEST_KAFKA=host:port")
        raise
    server = start(jars, tmp_path_factory.mktemp("kafka"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka(kafka_server: KafkaServer) -> str:
    """``host:port`` of a real Kafka."""
    return kafka_server.address
