"""What may stand in the configuration of a connection to a broker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headgate.config.hosts import is_loopback
from headgate.config.source import SourceConfig
from headgate.config.table import Table
from headgate.config.values import (
    Address,
    CertificatesFile,
    FilePath,
    Flag,
    Int,
    Name,
    OwnCertificateFile,
    Port,
    PrivateKeyFile,
    SecretFile,
    SecretVariable,
)
from headgate.core.units import DurationNs, parse_duration_ns


def _protocol(text: str) -> str:
    if not 1 <= len(text.encode()) <= 255 or not text.isascii():
        raise ValueError('expected the name of a protocol, such as "mqtt"')
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError('expected a path as in an address, such as "/mqtt"')
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable():
            raise ValueError(f"expected a header's name and a line of text, got {name!r}")
    return headers


#: What a header may be called.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

#: Name of a protocol that runs over TLS.
Protocol = Annotated[str, AfterValidator(_protocol)]


class TlsConfig(Table):
    """``[source.NAME.tls]``: TLS towards the broker; mutual with a client certificate."""

    ca_file: CertificatesFile | None = None
    cert_file: OwnCertificateFile | None = None
    key_file: PrivateKeyFile | None = None
    server_name: str | None = None
    #: Protocols that are offered to the broker in the handshake (ALPN), such as "mqtt".
    alpn: tuple[Protocol, ...] = ()

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        return self


class MqttConfig(SourceConfig):
    """``[source.NAME]`` with ``type = "mqtt"``: a broker that devices publish to."""

    kept_key: ClassVar[str] = "session_expiry"
    session_key: ClassVar[str] = "client_id"

    host: Address = "127.0.0.1"
    port: Port = 1883
    #: "websockets" is ws, or wss with ``tls``; "unix" a socket of this machine.
    transport: Literal["tcp", "websockets", "unix"] = "tcp"
    #: Of WebSockets: the path at the broker, and headers of the first request.
    path: Annotated[str, AfterValidator(_path)] = "/mqtt"
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    #: The file of the socket, with "unix".
    socket: FilePath | None = None
    version: Literal["3.1.1", "5"] = "5"
    client_id: str | None = None
    username: str | None = None
    password_env: SecretVariable | None = None
    password_file: SecretFile | None = None
    keepalive: DurationNs = parse_duration_ns("30s")
    session_expiry: DurationNs = parse_duration_ns("7d")
    receive_maximum: Annotated[Int, Field(ge=1, le=65535)] = 5000
    shared_group: Name | None = None
    tls: TlsConfig | None = None
    #: Tell whether the gateway is there: "online", or "offline" as its last will, retained, in
    #: ``headgate/{gateway}/state``. The broker must let it publish there, or may not let it in.
    publish_state: Flag = False
    #: The gateway's id as Sparkplug's primary host, whose STATE nodes wait for: the same in
    #: ``spBv1.0/STATE/ID``, as the specification has it.
    primary_host: Name | None = None
    #: The version of Sparkplug that its nodes have: those of 2.2 look for ``STATE/ID``.
    primary_host_version: Literal["3.0", "2.2"] = "3.0"

    @model_validator(mode="after")
    def _secrets(self) -> Self:
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("password_env and password_file: give one of them, not both")
        if self.shared_group is not None and self.version != "5":
            raise ValueError('shared_group needs MQTT 5: set version = "5"')
        if self.username is None and (self.password_env or self.password_file):
            raise ValueError("a password needs a username: give username as well")
        if self.primary_host is None and self.primary_host_version != "3.0":
            raise ValueError("primary_host_version: of which host? Give primary_host as well")
        if self.publish_state and self.primary_host is not None:
            raise ValueError(
                "publish_state and primary_host: a connection has one last will; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_transport(self) -> Self:
        for key in ("path", "headers"):
            if key in self.model_fields_set and self.transport != "websockets":
                raise ValueError(f'{key} is of WebSockets: set transport = "websockets"')
        if (self.socket is not None) != (self.transport == "unix"):
            raise ValueError('socket and transport = "unix" belong together: give both or neither')
        if self.socket is not None and self.tls is not None:
            raise ValueError("tls: a socket of this machine has none; leave it out")
        return self

    @property
    def session(self) -> str:
        """See ``SourceConfig``: one that the configuration names."""
        return "" if self.client_id is None else f"{self.client_id}@{self.where}"

    @property
    def is_shared(self) -> bool:
        """Whether others get a part of the messages."""
        return self.shared_group is not None

    @property
    def lacks_properties_without(self) -> str:
        """See ``SourceConfig``: content types and user properties came with MQTT 5."""
        return "" if self.version == "5" else 'version = "5"'

    @property
    def where(self) -> str:
        """The broker, as it is named in messages."""
        if self.socket is not None:
            return str(self.socket)
        place = f"{self.host}:{self.port}"
        if self.transport == "tcp":
            return place
        return f"{'ws' if self.tls is None else 'wss'}://{place}{self.path}"

    def insecure(self) -> Iterator[str]:
        """What of it works and is not secure."""
        is_here = self.socket is not None or is_loopback(self.host)
        if self.username is None or self.tls is not None or is_here:
            return
        key = "username"
        if self.password_env is not None or self.password_file is not None:
            key = "password_env" if self.password_file is None else "password_file"
        yield (
            f"{key}: name and password go to {self.host} as they are, for all in between to read; "
            "give a table tls"
        )


class FormerMqttConfig(MqttConfig):
    """``[mqtt]``: the one broker of a plain configuration."""

    #: Adds the sink ``mqtt``, unless there is a ``[sink.mqtt]``.
    publish_anomalies: Flag = True
