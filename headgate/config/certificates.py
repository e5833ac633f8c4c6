"""Certificates and keys that the configuration names: how long they hold, and who may read them.

None that has expired keeps a gateway from starting: its broker may be the only one to mind, and a
renewed file is read at the next connection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from headgate.config.named import named
from headgate.config.schema import Config
from headgate.config.values import Role
from headgate.core.certificates import validities

#: So long before its end a certificate is warned of.
_AHEAD: Final = timedelta(days=30)

#: Docker hands secrets over here, readable by all: who can look is inside the container already.
_CONTAINER_SECRETS: Final = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A file of certificates, or what a server has shown.

    Attributes:
        key: Where the configuration names it.
        name: The file, or the server.
        not_before: From when it is valid: all of a chain of our own, any of those we trust.
        not_after: Until when.
    """

    key: str
    name: str
    not_before: datetime
    not_after: datetime

    def days_left(self, now: datetime) -> float:
        """How long it is still valid, days; negative when it no longer is."""
        return (self.not_after - now) / timedelta(days=1)

    def warning(self, now: datetime) -> str:
        """What to say of it, ``key: what``; empty while all is well."""
        if now >= self.not_after:
            what = f"{self.name} has expired, on {shown(self.not_after)}; renew it"
        elif now < self.not_before:
            what = f"{self.name} is not valid before {shown(self.not_before)}; is the clock right?"
        elif now >= self.not_after - _AHEAD:
            days = int(self.days_left(now))
            what = f"{self.name} expires in {days} days, on {shown(self.not_after)}; renew it"
        else:
            return ""
        return f"{self.key}: {what}"


def certificates(config: Config) -> Iterator[Certificate]:
    """Those that can be read, of the files that the configuration names."""
    for key, names, value in named(config):
        if names.role not in (Role.OWN_CERTIFICATE, Role.TRUSTED_CERTIFICATES):
            continue
        path = Path(value)
        try:
            found = validities(path.read_text(errors="replace"))
        except (OSError, ValueError):
            continue  # whoever needs it says so
        if names.role is Role.OWN_CERTIFICATE:
            not_before = max(each.not_before for each in found)
            not_after = min(each.not_after for each in found)
        else:
            # Old and new authorities stand side by side while they are exchanged.
            best = max(found, key=lambda each: each.not_after)
            not_before, not_after = best.not_before, best.not_after
        yield Certificate(".".join(key), str(path), not_before, not_after)


def expiring(config: Config, wall_ns: int) -> list[str]:
    """Warnings of certificates that are not valid, or soon are no longer."""
    now = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return list(filter(None, (each.warning(now) for each in certificates(config))))


def key_problem(path: Path) -> str:
    """Why a private key is not used though it can be read; empty if it is.

    As ssh has it: a key of ours that others can read is no secret any more.
    """
    try:
        state = path.stat()
    except OSError:
        return ""  # who opens it says so
    is_ours = state.st_uid == os.geteuid()
    if is_ours and state.st_mode & 0o077 and not is_handed_over(path):
        return (
            f"expected a key that only its owner can read, found {path} with mode "
            f"{state.st_mode & 0o777:04o}; chmod 600 {path}"
        )
    return ""


def is_handed_over(path: Path) -> bool:
    """Whether a secret is one that Docker has handed over to this container."""
    return path.absolute().is_relative_to(_CONTAINER_SECRETS)


def shown(time: datetime) -> str:
    """A time for people."""
    return f"{time:%Y-%m-%d %H:%M} UTC"
