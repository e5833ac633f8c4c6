"""One HTTP request for each notification, signed as Standard Webhooks has it.

Nothing that the other side does holds the gateway up: a request has its time from beginning to end,
an answer is read to a bound and then left, and where it leads to elsewhere nobody follows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from connectors.sinks.notifications.notification import Notification
from connectors.sinks.webhook.config import WebhookConfig
from headgate import __version__
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import PermanentError, TransientError
from headgate.core.text import printable

#: Answers that say "not now": a time-out, too early, too many, and whatever ails the server.
_NOT_NOW: Final = (408, 425, 429)
_SERVER_FAILS: Final = 500

#: A server that asks for a longer pause than this is asked again sooner, s.
RETRY_AFTER_CEILING_S: Final = 300.0

#: Settings that can't be read are looked at again this often, s.
_SETTINGS_PAUSE_S: Final = 30.0

#: Of an answer this much is read at most, bytes, and of that this much shown, characters.
MAX_ANSWER: Final = 64 << 10
_SHOWN: Final = 200

#: Shorter parts of an address hide nothing.
_LEAST_SECRET: Final = 6


class Webhook:
    """Sends notifications to a URL.

    Args:
        settings: The sink's table.
        key: Where the configuration has it, for messages.
        clock: Its wall time is signed.
    """

    def __init__(self, settings: WebhookConfig, key: str, clock: Clock) -> None:
        self._settings = settings
        self._key = key
        self._clock = clock

    async def send(self, told: Notification) -> int:
        """See ``Teller``."""
        settings = self._settings
        body = told.body()
        if settings.body is not None:
            body = settings.filled_body(told.values())
        try:
            url, token = settings.read_url(), settings.read_token()
            headers = self._headers(told, body, settings.read_key(), token)
            context = self._context()
        except (ValueError, OSError) as error:
            raise TransientError(
                f"{self._key}: {error}", retry_after_s=_SETTINGS_PAUSE_S
            ) from error
        await self._request(url, headers, body, context, _secrets(url, token))
        return len(body)

    def _headers(
        self, told: Notification, body: bytes, key: bytes | None, token: str | None
    ) -> dict[str, str]:
        timestamp = str(self._clock.wall_ns() // NS_PER_S)
        headers = {
            **self._settings.headers,
            "Content-Type": self._settings.content_type,
            # An answer that unfolds to gigabytes is not asked for, nor unfolded.
            "Accept-Encoding": "identity",
            "User-Agent": f"headgate/{__version__}",
            "webhook-id": told.id,
            "webhook-timestamp": timestamp,
        }
        if key is not None:
            headers["webhook-signature"] = signature(key, told.id, timestamp, body)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _context(self) -> ssl.SSLContext:
        ca_file = self._settings.ca_file
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))

    async def _request(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        context: ssl.SSLContext,
        secrets: tuple[str, ...],
    ) -> None:
        timeout_s = self._settings.timeout / NS_PER_S
        where = _place(url)
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=timeout_s),
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.request(
                    self._settings.method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=body,
                    ssl=context,
                    allow_redirects=False,
                ) as answer,
            ):
                await self._judge(answer, where, secrets)
        except TimeoutError as error:
            raise TransientError(f"{where}: no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # A class of error says enough where its text might say the whole address.
            said = _without(_why(error), (url, *secrets))
            raise TransientError(f"{where}: {said}") from error

    async def _judge(
        self, answer: aiohttp.ClientResponse, where: str, secrets: tuple[str, ...]
    ) -> None:
        """Say what an answer means; a 2xx means yes whatever follows."""
        status = answer.status
        try:
            if status < 300:
                return
            if status < 400:
                to = _place(answer.headers.get("Location", "")) or "nowhere"
                raise PermanentError(
                    f"{where}: {status} sends us on to {_without(to, secrets)}, which is not "
                    f"followed; give {self._key} the address itself"
                )
            said = f"{where}: {status} {_without(await _text(answer), secrets)}".rstrip()
            if status in _NOT_NOW or status >= _SERVER_FAILS:
                raise TransientError(said, retry_after_s=_retry_after_s(answer.headers))
            raise PermanentError(said)
        finally:
            # Not given back for the next request: what was not read of the answer would follow.
            answer.close()


def signature(key: bytes, told_id: str, timestamp: str, body: bytes) -> str:
    """What Standard Webhooks puts in ``webhook-signature``."""
    signed = f"{told_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _why(error: Exception) -> str:
    """What went wrong, in the words of the system where a connection could not be made."""
    # Of a certificate the class says more than the system does.
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(
        error, aiohttp.ClientSSLError
    ):
        number = error.os_error.errno or 0
        # Those of names have numbers below 0, and words of their own.
        return os.strerror(number) if number > 0 else str(error.os_error.strerror)
    return f"{type(error).__name__}: {error}"


async def _text(answer: aiohttp.ClientResponse) -> str:
    """The beginning of an answer, on one line."""
    read = b""
    with suppress(aiohttp.ClientError, TimeoutError):
        while len(read) < MAX_ANSWER:
            part = await answer.content.read(MAX_ANSWER - len(read))
            if not part:
                break
            read += part
    return printable(" ".join(read.decode(errors="replace").split()))[:MAX_ANSWER]


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The pause that is asked for, in seconds or as a date beside the answer's own."""
    said = headers.get("Retry-After", "").strip()
    try:
        pause_s = float(said)
    except ValueError:
        try:
            until = parsedate_to_datetime(said)
            # By the server's clock: ours may be wrong.
            pause_s = (until - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
        except (ValueError, TypeError):
            return None
    if pause_s != pause_s:  # noqa: PLR0124  (NaN, which is nothing to wait for)
        return None
    return min(max(0.0, pause_s), RETRY_AFTER_CEILING_S)


def _place(url: str) -> str:
    """A URL up to its host: what follows may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}") if parts.netloc else ""


def _secrets(url: str, token: str | None) -> tuple[str, ...]:
    """What no message may hold, though the other side says it; the longest first."""
    parts = urlsplit(url)
    path = [each for each in re.split(r"[/&=;]", f"{parts.path}/{parts.query}") if each]
    found = {token or "", url.removeprefix(_place(url)).strip("/"), parts.path.strip("/")}
    found |= {each for each in path if len(each) >= _LEAST_SECRET} | {parts.query}
    return tuple(sorted(filter(None, found), key=len, reverse=True))


def _without(text: str, secrets: tuple[str, ...]) -> str:
    for each in secrets:
        text = text.replace(each, "…")
    return text[:_SHOWN]
