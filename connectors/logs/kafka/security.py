"""How a client proves itself to Kafka, and Kafka to the client."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.core.errors import ConfigError


class _Context(ssl.SSLContext):
    """What Kafka's clients are given once, and keep: each connection gets one of the file's now.

    Adding what is in a renewed file to a living context would leave the old authority trusted.
    """

    ca_file: Path

    @classmethod
    def of(cls, ca_file: Path) -> _Context:
        """Of a file's certificates.

        Raises:
            OSError: They can't be read; the message says what was expected.
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.ca_file = ca_file
        _load(context, ca_file)
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401
        """A new connection, as asyncio makes it.

        Raises:
            OSError: The file can't be read now; the client tries again.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(context, self.ca_file)
        return context.wrap_bio(*arguments, **options)


def _load(context: ssl.SSLContext, ca_file: Path) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # What this Python takes for safe, and for a chain that ends.
    context.verify_flags = ssl.create_default_context().verify_flags
    try:
        context.load_verify_locations(str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise OSError(
            f"log.tls_ca_file: expected a PEM file of certificates, got {ca_file}: {error}"
        ) from error


@dataclass(frozen=True, slots=True)
class Security:
    """Credentials and trust.

    Attributes:
        username: None when Kafka asks for none.
        password: Never shown by ``repr``.
        mechanism: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
        ca_file: Certificates that Kafka's own must lead to; None for no TLS.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    mechanism: str = "SCRAM-SHA-512"
    ca_file: Path | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """A context that checks Kafka's certificate and name; None for no TLS.

        The certificates are read anew for each connection that is made with it.

        Raises:
            ConfigError: The certificates can't be read.
        """
        if self.ca_file is None:
            return None
        try:
            return _Context.of(self.ca_file)
        except OSError as error:
            raise ConfigError(str(error)) from error

    def client_settings(self) -> dict[str, Any]:
        """Arguments for aiokafka's clients."""
        context = self.ssl_context()
        settings: dict[str, Any] = {"ssl_context": context}
        if self.username is None:
            settings["security_protocol"] = "PLAINTEXT" if context is None else "SSL"
        else:
            settings["security_protocol"] = "SASL_PLAINTEXT" if context is None else "SASL_SSL"
            settings["sasl_mechanism"] = self.mechanism
            settings["sasl_plain_username"] = self.username
            settings["sasl_plain_password"] = self.password or ""
        return settings
