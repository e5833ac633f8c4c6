"""How a client proves itself to Kafka, and Kafka to the client."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.core.errors import ConfigError


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

        Raises:
            ConfigError: The certificates can't be read.
        """
        if self.ca_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"log.tls_ca_file: expected a PEM file of certificates, got {self.ca_file}: {error}"
            ) from error

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
