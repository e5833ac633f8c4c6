"""What the topics and the clients on Kafka are set to."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from connectors.logs.kafka.security import Security
from connectors.logs.kafka.topics import topic_settings
from connectors.logs.kafka.transport import faust_credentials
from headgate.core.errors import ConfigError
from headgate.core.log import MAX_RECORD_BYTES, TopicSpec


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """A certificate made for this test."""
    path = tmp_path / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=test", "-keyout", str(tmp_path / "key.pem")]
    subprocess.run([*command, "-out", str(path)], check=True, capture_output=True)
    return path


def test_with_one_copy_every_append_is_synced_to_disk() -> None:
    """With more copies the copies are what survives a power cut, so at least two must have it."""
    spec = TopicSpec("readings", 4)

    alone, copied = topic_settings(spec, 1), topic_settings(spec, 3)

    assert alone["flush.messages"] == "1"
    assert "flush.messages" not in copied
    assert copied["min.insync.replicas"] == "2"


def test_retention_is_in_kafkas_units_and_segments_are_a_small_part_of_it() -> None:
    """Kafka deletes whole segments, so a segment is an eighth of what is kept at most."""
    spec = TopicSpec("readings", 4, retention_s=1.5, retention_bytes=1 << 30)

    settings = topic_settings(spec, 1)

    assert settings["cleanup.policy"] == "delete"
    # Kafka would delete what nobody has read, by another clock than ours.
    assert settings["retention.ms"] == "-1"
    assert settings["retention.bytes"] == str(1 << 30)
    assert settings["segment.bytes"] == str(1 << 27)


def test_without_limits_kafka_keeps_everything() -> None:
    """Kafka's own defaults would delete after a week."""
    settings = topic_settings(TopicSpec("readings", 4), 1)

    assert settings["retention.ms"] == "-1"
    assert settings["retention.bytes"] == "-1"


@pytest.mark.parametrize("is_compacted", [True, False])
def test_a_topic_takes_the_largest_record(is_compacted: bool) -> None:
    """The limit leaves room for Kafka's framing, and a segment holds at least one record."""
    settings = topic_settings(
        TopicSpec("state", 1, is_compacted=is_compacted, retention_bytes=1000), 1
    )

    assert int(settings["max.message.bytes"]) > MAX_RECORD_BYTES
    assert int(settings["segment.bytes"]) > int(settings["max.message.bytes"])
    assert settings["cleanup.policy"] == ("compact" if is_compacted else "delete")


@pytest.mark.parametrize(
    ("username", "has_tls", "protocol"),
    [
        (None, False, "PLAINTEXT"),
        (None, True, "SSL"),
        ("gateway", False, "SASL_PLAINTEXT"),
        ("gateway", True, "SASL_SSL"),
    ],
)
def test_protocol_follows_from_what_is_given(
    ca_file: Path, username: str | None, has_tls: bool, protocol: str
) -> None:
    """Both clients, ours and Faust's, are told the same."""
    security = Security(
        username=username,
        password="secret" if username else None,
        ca_file=ca_file if has_tls else None,
    )

    settings = security.client_settings()
    credentials = faust_credentials(security)

    assert settings["security_protocol"] == protocol
    assert (settings["ssl_context"] is not None) == has_tls
    assert "secret" not in repr(security)
    assert (credentials is None) == (protocol == "PLAINTEXT")
    if credentials is not None:
        assert credentials.protocol.value == protocol
        assert "secret" not in repr(credentials)


def test_kafkas_certificate_and_name_are_checked(ca_file: Path) -> None:
    """There is no way to switch the check off."""
    context = Security(ca_file=ca_file).ssl_context()

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.verify_flags == ssl.create_default_context().verify_flags


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_the_users_mistake(
    tmp_path: Path, content: str | None
) -> None:
    """The message names the key and the file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError, match=r"log\.tls_ca_file: expected .*ca\.pem"):
        Security(ca_file=path).ssl_context()
