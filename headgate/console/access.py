"""Who may read the console.

On loopback whoever has an account on the machine may, unless a token is configured. From elsewhere
nobody may without one. And no page of another site may, on behalf of somebody's browser: such a
page can make its own name lead to this machine (DNS rebinding), but then the ``Host`` that the
browser sends is that name.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

import structlog

from headgate.config.hosts import is_loopback
from headgate.config.schema import ConsoleConfig, read_secret
from headgate.console.server import Reply, Request

_logger = structlog.get_logger()

#: What those are told who would need a token where there is none.
CLOSED: Final = (
    "console.host is no address of loopback, and there is no token; give console.token_file or "
    "console.token_env, and restart the gateway"
)


class Access:
    """Decides by a request's ``Host`` and ``Authorization``.

    Args:
        settings: ``[console]``.
    """

    def __init__(self, settings: ConsoleConfig) -> None:
        self._settings = settings
        self._names = {settings.host.lower(), *(name.lower() for name in settings.hosts)}
        self._has_token = (settings.token_env, settings.token_file) != (None, None)
        self._trouble = ""

    @property
    def is_closed(self) -> bool:
        """Whether nobody may read, because there should be a token and is none."""
        return not self._has_token and not is_loopback(self._settings.host)

    def misdirected(self, request: Request) -> Reply | None:
        """The answer to a request whose ``Host`` is none of ours; None when it is."""
        for host in request.headers.get("host", []):
            if not self._is_ours(_without_port(host)):
                return Reply.text(
                    421,
                    "expected an address, localhost or one of console.hosts as Host; add the name "
                    "there if it is this gateway's",
                )
        return None

    def refusal(self, request: Request) -> Reply | None:
        """The answer to a request that does not show the token; None when it may read."""
        if self.is_closed:
            return Reply.text(403, CLOSED)
        if not self._has_token:
            return None
        settings = self._settings
        try:
            # Anew each time, so that one in a file can be changed without a restart.
            token = read_secret(settings.token_env, settings.token_file)
        except ValueError as error:
            token = None
            self._say(f"the token can't be read: {error}")
        else:
            self._say("" if token else "the token is empty")
        shown = request.headers.get("authorization", [])
        if token and len(shown) == 1 and _is_token(shown[0], token):
            return None
        return Reply.text(
            401,
            "expected the header Authorization: Bearer TOKEN, with the token of console.token_file "
            "or console.token_env",
            WWW_Authenticate='Bearer realm="headgate"',
        )

    def _is_ours(self, host: str) -> bool:
        if is_loopback(host) or host in self._names:
            return True
        try:
            # An address needs no look-up, so nobody can make it lead elsewhere.
            ip_address(host.strip("[]"))
        except ValueError:
            return False
        return True

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _logger.warning("Nobody can read the console.", cause=trouble)
        self._trouble = trouble


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _is_token(header: str, token: str) -> bool:
    scheme, _, shown = header.partition(" ")
    # Hashes are of one length, and take as long to compare whatever was guessed.
    digests = [sha256(text).digest() for text in (shown.strip().encode("latin-1"), token.encode())]
    return scheme.lower() == "bearer" and hmac.compare_digest(*digests)
