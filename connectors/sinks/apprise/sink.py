"""Messages by apprise, in threads that are left to themselves when they take too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from connectors.sinks.apprise import addresses
from connectors.sinks.apprise.config import AppriseConfig
from connectors.sinks.notifications.notification import Notification, digest
from headgate.config.named_text import filled
from headgate.core.clock import NS_PER_S
from headgate.core.errors import TransientError

#: Threads that hang at most; until one of them ends nothing more is tried.
MOST_HANGING: Final = 4

#: Settings that can't be read are looked at again this often, s.
_SETTINGS_PAUSE_S: Final = 30.0


class AppriseTeller:
    """Sends notifications to all of some addresses.

    Args:
        settings: The sink's table.
        key: Where the configuration has it, for messages.
        send: Sends one message, ``addresses.send``.
    """

    def __init__(
        self,
        settings: AppriseConfig,
        key: str,
        send: Callable[[str, str, str], str] = addresses.send,
    ) -> None:
        self._settings = settings
        self._key = key
        self._send = send
        self._hanging = 0
        # Of the notification that is being told, the addresses that have it.
        self._told: tuple[str, set[str]] = ("", set())

    async def send(self, told: Notification) -> int:
        """See ``Teller``."""
        try:
            urls = self._settings.read_urls()
        except ValueError as error:
            raise TransientError(
                f"{self._key}: {error}", retry_after_s=_SETTINGS_PAUSE_S
            ) from error
        if self._told[0] != told.id:
            self._told = (told.id, set())
        values = told.values()
        title = filled(self._settings.title_parts, values)
        text = filled(self._settings.text_parts, values)
        failed = []
        for url in urls:
            name = digest(url)
            if name in self._told[1]:
                continue
            why = await self._in_time(url, title, text)
            if why:
                failed.append(f"{addresses.shown(url)}: {why}")
            else:
                self._told[1].add(name)
        if failed:
            raise TransientError("; ".join(failed))
        return len(urls) * len(f"{title}{text}".encode())

    async def _in_time(self, url: str, title: str, text: str) -> str:
        """Send one message; why it was not taken, if it was not."""
        if self._hanging >= MOST_HANGING:
            return f"{self._hanging} tries before this one hang"
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        answer = [""]

        def work() -> None:
            try:
                answer[0] = self._send(url, title, text)
            finally:
                # The lane may have ended meanwhile, and with it the loop.
                if not loop.is_closed():
                    loop.call_soon_threadsafe(finish)

        def finish() -> None:
            self._hanging -= 1
            done.set()

        self._hanging += 1
        # No pool's, which would be waited for at the end.
        threading.Thread(target=work, name="apprise", daemon=True).start()
        timeout_s = self._settings.timeout / NS_PER_S
        try:
            async with asyncio.timeout(timeout_s):
                await done.wait()
        except TimeoutError:
            return f"not within {timeout_s:g} s"
        return answer[0]
