"""apprise's URLs: which it understands, and one message to one of them.

Of apprise only its services are used: no configuration that it fetches, no attachments, no plugins
from folders, no files of its own. What it logs may hold secrets, and goes nowhere as it is.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import apprise
from apprise.common import PersistentStoreMode
from apprise.manager_plugins import NotificationManager

from headgate.core.text import printable

_LOGGER = logging.getLogger("apprise")
_LOGGER.propagate = False
_LOGGER.setLevel(logging.WARNING)
_LOGGER.addHandler(logging.NullHandler())
# What these say of each request holds the path, and of a sign-in the token.
for _name in ("urllib3", "requests_oauthlib", "oauthlib"):
    logging.getLogger(_name).setLevel(logging.WARNING)

with warnings.catch_warnings():
    # What a library of a library deprecates is no news of ours. Loaded here, all services at once,
    # because what does it as it goes along might do so in several threads.
    warnings.simplefilter("ignore", DeprecationWarning)
    _SCHEMAS = frozenset(NotificationManager().schemas())

#: Shorter parts of an address hide nothing.
_LEAST_SECRET = 4
_SHOWN = 300


def not_understood(urls: Sequence[str]) -> Iterator[str]:
    """What apprise does not understand, a line each, which does not repeat it."""
    for number, url in enumerate(urls, 1):
        if _service(url) is None:
            schema, mark, _ = url.partition("://")
            known = mark and schema.lower() in _SCHEMAS
            what = f"{schema}:// needs other parts" if known else "apprise knows no such service"
            yield (
                f"address {number}: {what}; expected an address of apprise such as "
                '"mailtos://USER:PASSWORD@HOST?to=NAME@HOST"'
            )


def send(url: str, title: str, text: str) -> str:
    """Send one message; empty once it is taken, otherwise why it is not. Blocks."""
    service = _service(url)
    if service is None:
        return "apprise does not understand the address"
    heard = _Heard()
    _LOGGER.addHandler(heard)
    try:
        if service.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT):
            return ""
    except Exception as error:  # noqa: BLE001  (a hundred services of other people's)
        heard.lines.append(f"{type(error).__name__}: {error}")
    finally:
        _LOGGER.removeHandler(heard)
    return without_secrets("; ".join(heard.lines), url) or "it was not taken"


def shown(url: str) -> str:
    """An address for messages: its service and nothing else."""
    return printable(f"{url.partition('://')[0][:20]}://…")


def without_secrets(said: str, url: str) -> str:
    """What was said, on one line, without any part of the address."""
    _, _, rest = url.partition("://")
    found = {part for text in (rest, unquote(rest)) for part in re.split(r"[/@:?&=#,; ]", text)}
    for part in sorted(found, key=len, reverse=True):
        if len(part) >= _LEAST_SECRET:
            said = said.replace(part, "…")
    return printable(" ".join(said.split()))[:_SHOWN]


class _Heard(logging.Handler):
    """What this thread's apprise has to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


def _service(url: str) -> Any:  # noqa: ANN401  (published without types)
    asset = apprise.AppriseAsset(
        app_id="Headgate",
        app_desc="Headgate",
        storage_mode=PersistentStoreMode.MEMORY,
        plugin_paths=[],
        # Keys of its own that it would make and keep, names in texts, and where an answer leads.
        pem_autogen=False,
        pgp_autogen=False,
        allow_templates=False,
        http_redirects=False,
        secure_logging=True,
        interpret_escapes=False,
        interpret_emojis=False,
        async_mode=False,
    )
    return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
