"""Writing points to InfluxDB's v2 write API with influxdb-client.

The client's own batching and retrying are not used: they give up after minutes and drop without a
word. Here a call writes or raises, and the forward lane tries again for as long as it takes. What
InfluxDB refuses for good is found by halving, so that one bad point never holds up its neighbours.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from influxdb_client import InfluxDBClient, WritePrecision, WriteService
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from connectors.sinks.influxdb.config import InfluxDbConfig
from connectors.sinks.points import Kind, Point
from connectors.sinks.sink import Refused
from headgate.config.schema import read_secret
from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError, TransientError
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

#: A little larger than what takes four times as long.
_GZIP_LEVEL = 6

#: The request itself was wrong: some point in it is. 413 is too much in one request.
_BAD_REQUEST = (400, 422)
_TOO_LARGE = 413

#: Settings are wrong: a person can mend them, so nothing is thrown away. Tried again this often,
#: s, because a gateway that hammers with a revoked token gets itself blocked.
_SETTINGS = (401, 403, 404)
_SETTINGS_PAUSE_S = 30.0

#: A server that asks for a longer pause than this is asked again sooner, s.
_RETRY_AFTER_CEILING_S = 300.0

#: How the answer begins when it is not the store's: a proxy's page, or a port that wants TLS.
_NOT_THE_STORE = ("<", "client sent an http request to an https server")


class InfluxSink:
    """A sink of the forward lane.

    Args:
        settings: Its table.
        telemetry: Counts bytes.
        name: The sink's.
        key: Where the configuration has the table, for messages.
    """

    kinds: tuple[Kind, ...] = ("anomalies", "aggregates")

    def __init__(
        self,
        settings: InfluxDbConfig,
        telemetry: Telemetry,
        name: str = "influxdb",
        key: str = "influxdb",
    ) -> None:
        self.name = name
        self.max_points = settings.max_points
        self.max_wait_s = settings.max_wait / NS_PER_S
        self._settings = settings
        self._key = key
        self._telemetry = telemetry
        self._worker = ThreadPoolExecutor(1, name)
        self._client: InfluxDBClient | None = None
        self._api: WriteService | None = None
        self._token = ""
        self._is_stopping = False

    async def start(self) -> None:
        """Nothing to wait for: the connection is made by the first write."""

    async def stop(self) -> None:
        # A request that hangs is given up: its points were not acknowledged and come again.
        self._is_stopping = True
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def write(self, points: Sequence[Point]) -> list[Refused]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._write, points)

    def ask(self) -> str:
        """Ask the store, by writing no point at all, whether it would take some. Blocks.

        It looks at organisation, bucket and token before it looks at what is to be written, and
        nothing is changed by it.

        Returns:
            What there is to doubt; empty when all is well.

        Raises:
            ConfigError: Settings are wrong.
            TransientError: The store does not answer, or can't just now.
        """
        try:
            self._post(b"", encoding="identity")
        except ApiException as error:
            failure = self._transient(error)
            if error.status in _SETTINGS or _is_not_the_stores(error) or _is_certificate(error):
                raise ConfigError(str(failure)) from error
            if error.status not in _BAD_REQUEST:
                raise failure from error
            # InfluxDB 2 has no other answer for those that it would let write.
            said = _message(error)
            return "" if "points" in said.lower() else f"{error.status} {said} to a trial write"
        except (HTTPError, OSError, UnicodeDecodeError) as error:
            if _is_certificate(error):
                raise ConfigError(f"{self._settings.url}: {error}") from error
            raise TransientError(f"{self._settings.url}: {error}") from error
        return ""

    def _write(self, points: Sequence[Point]) -> list[Refused]:
        if self._is_stopping:
            raise TransientError("the gateway is stopping")
        # Compressed here: the client would do it at the slowest level, and not tell how many bytes
        # went out.
        body = gzip.compress("\n".join(point.line() for point in points).encode(), _GZIP_LEVEL)
        try:
            self._post(body)
        except ApiException as error:
            if _is_not_the_stores(error):
                raise self._transient(error) from error
            if error.status == _TOO_LARGE and len(points) > 1:
                return self._write_halves(points)
            if error.status in (*_BAD_REQUEST, _TOO_LARGE):
                if len(points) > 1:
                    return self._write_halves(points)
                return [Refused(points[0], f"{error.status}: {_message(error)}")]
            raise self._transient(error) from error
        except (HTTPError, OSError, UnicodeDecodeError) as error:
            # The last of them: the client can't read an answer that is not UTF-8.
            raise TransientError(f"{self._settings.url}: {error}") from error
        self._telemetry.uplink_bytes.labels(self.name).inc(len(body))
        return []

    def _write_halves(self, points: Sequence[Point]) -> list[Refused]:
        middle = len(points) // 2
        return self._write(points[:middle]) + self._write(points[middle:])

    def _post(self, body: bytes, encoding: str = "gzip") -> None:
        self._connect()
        assert self._api is not None  # noqa: S101  (for the type checker)
        self._api.post_write(
            org=self._settings.org,
            bucket=self._settings.bucket,
            body=body,
            precision=WritePrecision.NS,
            content_encoding=encoding,
            content_type="text/plain; charset=utf-8",
            _return_http_data_only=True,
        )

    def _connect(self) -> None:
        """Make the client, or make it anew when the token file has another token in it."""
        settings = self._settings
        try:
            token = read_secret(settings.token_env, settings.token_file) or ""
        except ValueError as error:
            raise TransientError(
                f"{self._key}: expected a token: {error}", retry_after_s=_SETTINGS_PAUSE_S
            ) from error
        if not (token.isascii() and token.isprintable()):
            # As it stands it can't be a header, and the error about that would show it.
            where = settings.token_env or settings.token_file
            raise TransientError(
                f"{self._key}: expected a token of printable ASCII characters in {where}",
                retry_after_s=_SETTINGS_PAUSE_S,
            )
        if self._client is not None and token == self._token:
            return
        if self._client is not None:
            self._client.close()
        self._token = token
        self._client = InfluxDBClient(
            settings.url,
            token=token,
            org=settings.org,
            timeout=max(1, settings.timeout // 1_000_000),
            verify_ssl=settings.verify_tls,
            ssl_ca_cert=None if settings.ca_file is None else str(settings.ca_file),
            retries=False,
        )
        self._api = WriteService(self._client.api_client)

    def _transient(self, error: ApiException) -> TransientError:
        said = f"{self._settings.url}: {error.status} {_message(error)}"
        if _is_not_the_stores(error):
            return TransientError(
                f"{said}; this is not the store's answer: check {self._key}.url",
                retry_after_s=_SETTINGS_PAUSE_S,
            )
        if error.status in _SETTINGS:
            return TransientError(
                f"{said}; check {self._key}.org, bucket and token", retry_after_s=_SETTINGS_PAUSE_S
            )
        return TransientError(said, retry_after_s=_retry_after_s(error))


def _is_not_the_stores(error: ApiException) -> bool:
    """Whether a bad request is somebody else's word, which says nothing about the points."""
    said = str(error.body or "").lstrip().lower()
    return error.status in _BAD_REQUEST and said.startswith(_NOT_THE_STORE)


def _is_certificate(error: Exception) -> bool:
    """Whether the store could not prove who it is, which no waiting mends."""
    return "CERTIFICATE_VERIFY_FAILED" in f"{error} {getattr(error, 'reason', '')}"


def _message(error: ApiException) -> str:
    # Without an answer, such as after a failed TLS handshake, only the reason says anything.
    said = error.message if error.status else error.reason
    return " ".join(str(said or error.reason or "").split())[:300]


def _retry_after_s(error: ApiException) -> float | None:
    headers = error.headers or {}
    try:
        asked_s = float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None  # absent, or a date, which would need the clock to be right
    return min(max(0.0, asked_s), _RETRY_AFTER_CEILING_S)
