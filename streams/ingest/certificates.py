"""Watching the certificates that the configuration names, so that none expires unnoticed."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final

from headgate.config.certificates import Certificate, certificates
from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.telemetry import Telemetry

#: Between two looks at the files, ns. A renewed one is used at the next connection; only that it
#: is no longer warned of takes so long.
_INTERVAL_NS: Final = 60 * NS_PER_S


class CertificateWatch:
    """Tells of certificates that have expired, or soon will: metric, and a warning a file.

    Args:
        config: The whole configuration.
        clock: Source of time.
        telemetry: Where it is told.
    """

    def __init__(self, config: Config, clock: Clock, telemetry: Telemetry) -> None:
        self._config = config
        self._clock = clock
        self._telemetry = telemetry
        self._next_ns: int | None = None
        self._peers: dict[str, Certificate] = {}

    def take_peers(self, key: str, whose: str, not_after: str) -> None:
        """Take note of when a peer's certificate ends.

        Args:
            key: Where the configuration names the peer.
            whose: What it is called there.
            not_after: The end, as ``ssl`` writes it.
        """
        end = datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), UTC)
        name = f"the certificate of {whose}"
        self._peers[key] = Certificate(key, name, datetime.min.replace(tzinfo=UTC), end)
        self._next_ns = None

    def look(self) -> None:
        """See to it if it is time; call it often."""
        now_ns = self._clock.monotonic_ns()
        if self._next_ns is not None and now_ns < self._next_ns:
            return
        self._next_ns = now_ns + _INTERVAL_NS
        now = datetime.fromtimestamp(self._clock.wall_ns() / NS_PER_S, UTC)
        found = [*certificates(self._config), *self._peers.values()]
        for certificate in found:
            self._telemetry.certificate_days.labels(certificate.key).set(certificate.days_left(now))
            self._telemetry.warn(f"certificate {certificate.key}", certificate.warning(now))
