"""TLS towards the broker: how it is set up, and what went wrong with it in words for people."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from connectors.mqtt.config import MqttConfig, TlsConfig
from headgate.config.certificates import key_problem, shown
from headgate.core.certificates import validities

#: OpenSSL's names for bytes that are no TLS at all.
_NO_TLS: Final = (
    "WRONG_VERSION_NUMBER",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
)

#: By OpenSSL's name, what an alert of the broker's means for whoever has to mend it.
_ALERTS: Final[Mapping[str, str]] = {
    "CERTIFICATE_EXPIRED": "the broker says that our certificate has expired",
    "CERTIFICATE_REVOKED": "the broker says that our certificate has been revoked",
    "CERTIFICATE_REQUIRED": "the broker wants a certificate of ours: give cert_file and key_file",
    "HANDSHAKE_FAILURE": "the broker refuses the handshake; perhaps it wants a certificate of "
    "ours: see cert_file and key_file",
    "UNKNOWN_CA": "the broker does not know the authority that our certificate is from",
    "BAD_CERTIFICATE": "the broker refuses our certificate",
    "UNSUPPORTED_CERTIFICATE": "the broker refuses our certificate",
    "CERTIFICATE_UNKNOWN": "the broker refuses our certificate",
    "ACCESS_DENIED": "the broker refuses our certificate",
    "PROTOCOL_VERSION": "the broker speaks no TLS of version 1.2 or 1.3",
}


class _Context(ssl.SSLContext):
    """A context that asks for a server of this name, and checks for it, if it has one."""

    server_name: str | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # type: ignore[override]  # noqa: ANN401
        """As always, but for the name."""
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, **options)


def tls_context(tls: TlsConfig, key: str) -> ssl.SSLContext:
    """A context of the files as they are now.

    Args:
        tls: What is wanted.
        key: Where the configuration has the connection that it is for.

    Raises:
        ValueError: A file can't be used; the message says which and why.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.server_name = tls.server_name
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    try:
        if tls.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(str(tls.ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(
            f"{key}.tls.ca_file: expected a PEM file of certificates, got {tls.ca_file}: "
            f"{_plain(error)}"
        ) from error
    if tls.cert_file is None or tls.key_file is None:
        return context
    if problem := key_problem(tls.key_file):
        raise ValueError(f"{key}.tls.key_file: {problem}")
    try:
        # An encrypted key would be asked for on a terminal that nobody looks at.
        context.load_cert_chain(str(tls.cert_file), str(tls.key_file), password="")
    except ssl.SSLError as error:
        what = "expected PEM files of a certificate and its key"
        if error.reason == "KEY_VALUES_MISMATCH":
            what = "expected a key that belongs to the certificate"
        raise ValueError(
            f"{key}.tls.cert_file, key_file: {what}, got {tls.cert_file} and {tls.key_file}: "
            f"{_plain(error)}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{key}.tls.cert_file, key_file: expected files that can be read, got {tls.cert_file} "
            f"and {tls.key_file}: {_plain(error)}"
        ) from error
    return context


def cause(error: BaseException | str, settings: MqttConfig, key: str, wall_ns: int) -> str:
    """What an error of the connection means, in words that tell what to do.

    Args:
        error: While connecting, or later; a text is what it says.
        settings: Those of the connection.
        key: Where the configuration has them.
        wall_ns: The time, for certificates that are out of theirs.
    """
    if isinstance(error, str):
        return error
    if settings.tls is None:
        return _plain(error)
    if isinstance(error, ConnectionResetError):
        return f"{_plain(error)}; is it the broker's port for plain MQTT?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_their_certificate(error, settings.tls, settings.host, key)
    return (
        _of_tls(error, settings.tls, wall_ns) if isinstance(error, ssl.SSLError) else _plain(error)
    )


def _of_tls(error: ssl.SSLError, tls: TlsConfig, wall_ns: int) -> str:
    """What a handshake ended by."""
    reason = error.reason or ""
    if reason in _NO_TLS:
        return "what answers speaks no TLS; is it the broker's port for plain MQTT?"
    meaning = _ALERTS.get(reason.partition("ALERT_")[2])
    if isinstance(error, ssl.SSLEOFError):
        meaning = "the broker ended the TLS handshake"
    if meaning is None:
        return _plain(error)
    return f"{meaning}{_of_our_certificate(tls, wall_ns)} ({reason})"


def _of_their_certificate(
    error: ssl.SSLCertVerificationError, tls: TlsConfig, host: str, key: str
) -> str:
    """What is wrong with the broker's certificate."""
    said = error.verify_message
    if "mismatch" in said:
        return (
            f"the broker's certificate is not for {tls.server_name or host}; connect to a name "
            f"that it is for, or give one as {key}.tls.server_name ({said})"
        )
    if "expired" in said or "not yet valid" in said:
        return f"the broker's certificate, or one above it: {said}; is our clock right?"
    whose = "an authority that this system trusts" if tls.ca_file is None else str(tls.ca_file)
    return f"the broker's certificate does not lead to {whose}: {said}"


def _of_our_certificate(tls: TlsConfig, wall_ns: int) -> str:
    """What of our certificate may be the reason."""
    if tls.cert_file is None:
        return ""
    now = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    try:
        first = validities(tls.cert_file.read_text(errors="replace"))[0]
    except (OSError, ValueError):
        return f"; our certificate is {tls.cert_file}"
    if now >= first.not_after:
        return f"; {tls.cert_file} has expired, on {shown(first.not_after)}"
    if now < first.not_before:
        return f"; {tls.cert_file} is not valid before {shown(first.not_before)}"
    return f"; our certificate is {tls.cert_file}, valid until {shown(first.not_after)}"


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__
