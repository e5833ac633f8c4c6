"""``[sink.NAME]`` with ``type = "webhook"``."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.sinks.notifications.config import NotificationsConfig, Timeout
from connectors.sinks.notifications.notification import NAMES
from headgate.config.hosts import host_of, is_loopback
from headgate.config.named_text import TextPart, filled, plain_text_parts
from headgate.config.schema import read_secret
from headgate.config.values import CertificatesFile, SecretFile, SecretVariable
from headgate.core.units import parse_duration_ns

if TYPE_CHECKING:
    from headgate.config.schema import Config

_URL: Final = re.compile(r"https?://[^\s/@?#]+([/?][^\s@#]*)?")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTENT_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(; *[\w-]+=[\w-]+)*")

#: Headers that are none of a file's, and what says them instead.
_OURS: Final = {
    "authorization": "token_file",
    "content-type": "content_type",
    "content-length": "nothing",
    "connection": "nothing",
    "cookie": "token_file",
    "host": "url",
    "proxy-authorization": "nothing",
    "transfer-encoding": "nothing",
    "user-agent": "nothing",
    "webhook-id": "nothing",
    "webhook-signature": "secret_file",
    "webhook-timestamp": "nothing",
}

#: How a secret of Standard Webhooks begins, and how many bytes it has.
_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = range(24, 65)


class WebhookConfig(NotificationsConfig):
    """A request for each notification."""

    #: One of these: an address may be a secret itself.
    url: str | None = None
    url_env: SecretVariable | None = None
    url_file: SecretFile | None = None
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    #: What signs requests, as Standard Webhooks has it.
    secret_env: SecretVariable | None = None
    secret_file: SecretFile | None = None
    #: A bearer token.
    token_env: SecretVariable | None = None
    token_file: SecretFile | None = None
    #: What is sent, with names in braces; None: a JSON object.
    body: Annotated[str | None, Field(min_length=1, max_length=10_000)] = None
    content_type: str = "application/json"
    ca_file: CertificatesFile | None = None
    #: Of a request from beginning to end.
    timeout: Timeout = parse_duration_ns("10s")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        return url if url is None else _checked_url(url)

    @field_validator("headers")
    @classmethod
    def _may_be_given(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if _HEADER.fullmatch(name) is None:
                raise ValueError("expected names of headers, such as X-Plant")
            if (instead := _OURS.get(name.lower())) is not None:
                other = f"; {instead} says what it is" if instead != "nothing" else ""
                raise ValueError(f"expected other headers than {name}, which is ours{other}")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name}: expected printable ASCII characters")
        return headers

    @field_validator("content_type")
    @classmethod
    def _is_content_type(cls, content_type: str) -> str:
        if _CONTENT_TYPE.fullmatch(content_type) is None:
            raise ValueError('expected a content type such as "text/plain"')
        return content_type

    @field_validator("body")
    @classmethod
    def _can_be_filled(cls, body: str | None) -> str | None:
        if body is not None:
            plain_text_parts(body, NAMES)
        return body

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sum(each is not None for each in (self.url, self.url_env, self.url_file)) != 1:
            raise ValueError("expected one of url, url_env and url_file")
        for what in ("secret", "token"):
            if getattr(self, f"{what}_env") and getattr(self, f"{what}_file"):
                raise ValueError(f"expected one of {what}_env and {what}_file, got both")
        if self.body is None and self.content_type != "application/json":
            raise ValueError("content_type: expected body beside it; without one JSON is sent")
        if self._is_json and self.body_parts is not None:
            try:
                json.loads(self.filled_body(dict.fromkeys(NAMES, "a")))
            except ValueError as error:
                raise ValueError(
                    f"body: expected JSON, as content_type says: {error}; braces that are meant "
                    'are written twice, and names stand in quotes: {{"text": "{text}"}}'
                ) from None
        return self

    @cached_property
    def body_parts(self) -> tuple[TextPart, ...] | None:
        """The text that is sent, if there is one."""
        return None if self.body is None else plain_text_parts(self.body, NAMES)

    def filled_body(self, values: Mapping[str, str]) -> bytes:
        """What is sent of these values, each written so that it stays a value."""
        return filled(self.body_parts or (), values, self._written).encode()

    def read_url(self) -> str:
        """The address.

        Raises:
            ValueError: It can't be read, or is none.
        """
        if self.url is not None:
            return self.url
        return _checked_url(read_secret(self.url_env, self.url_file) or "")

    def read_key(self) -> bytes | None:
        """What requests are signed with; None when they are not.

        Raises:
            ValueError: It can't be read, or is none.
        """
        secret = read_secret(self.secret_env, self.secret_file)
        return None if secret is None else _key(secret)

    def read_token(self) -> str | None:
        """The bearer token; None when there is none.

        Raises:
            ValueError: It can't be read, or can't be sent.
        """
        token = read_secret(self.token_env, self.token_file)
        if token is not None and not (token.isascii() and token.isprintable() and token):
            raise ValueError("expected a token of printable ASCII characters")
        return token

    def insecure(self) -> Iterator[str]:
        yield from super().insecure()
        try:
            url = self.read_url()
        except ValueError:
            return
        if url.startswith("http://") and not is_loopback(host_of(url)):
            given = [key for key in _SOURCES if getattr(self, key) is not None]
            what = "the token" if self.token_env or self.token_file else "what is told"
            yield (
                f"{given[0]}: http:// sends {what} to {host_of(url)} as it is, for all in between "
                "to read; use https://"
            )

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:
        yield from super().unusable(config)
        for read, keys in self._readers():
            try:
                read()
            except ValueError as error:
                given = [key for key in keys if getattr(self, key) is not None]
                yield (given or list(keys))[0], str(error)

    def _readers(self) -> tuple[tuple[Callable[[], object], tuple[str, ...]], ...]:
        return (
            (self.read_url, _SOURCES),
            (self.read_key, ("secret_env", "secret_file")),
            (self.read_token, ("token_env", "token_file")),
        )

    @property
    def _is_json(self) -> bool:
        kind = self.content_type.partition(";")[0].strip().lower()
        return kind.endswith(("/json", "+json"))

    def _written(self, value: str) -> str:
        """A value as it may stand in a text of this content type."""
        kind = self.content_type.partition(";")[0].strip().lower()
        if self._is_json:
            return json.dumps(value, ensure_ascii=False)[1:-1]
        if kind.endswith(("/xml", "+xml", "/html")):
            return escape(value)
        return quote(value, safe="") if kind.endswith("/x-www-form-urlencoded") else value


#: Keys that say the address.
_SOURCES: Final = ("url", "url_env", "url_file")


def _checked_url(url: str) -> str:
    """The address, which is not repeated where it is none: it may hold a secret."""
    is_url = _URL.fullmatch(url) is not None
    try:
        parts = urlsplit(url)
        is_url = is_url and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not url.isascii() or not url.isprintable():
        raise ValueError(
            'expected an address such as "https://HOST/PATH", without user, password and "#"'
        )
    return url


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _SECRET_BYTES:
        raise ValueError(
            "expected a secret of Standard Webhooks: whsec_ and 24 to 64 bytes in base64; "
            "`echo whsec_$(openssl rand -base64 32)` makes one"
        )
    return key
