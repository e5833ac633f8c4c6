"""Which messages the broker may have kept while nobody listened to it."""

from __future__ import annotations

from headgate.core.clock import NS_PER_S

#: What waits comes at once. A second without any message, s, and the rest is of now.
_LULL_S = 1.0


class KeptMessages:
    """Tells messages that may have waited from those that are published now.

    All times are arrival times, ns since 1970 UTC.
    """

    def __init__(self) -> None:
        self._connection = 0
        #: When something was last read, until when it was listened without a break, and since when
        #: nobody had listened to what comes now; 0 when it comes as it is published.
        self._read_ns = 0
        self._listened_ns = 0
        self._unheard_ns = 0

    def listened(self, time_ns: int) -> None:
        """Note that somebody listens at this time, or has: this process or an earlier one.

        What nothing came of until then was not published before.
        """
        self._listened_ns = max(self._listened_ns, time_ns)

    def connected(self, connection: int, now_ns: int, *, has_session: bool) -> None:
        """A connection stands; may be said of it more than once.

        Args:
            connection: Which one, in their order.
            now_ns: When.
            has_session: Whether the broker had kept anything at all.
        """
        if connection == self._connection:
            return
        self._connection = connection
        self.resumed(now_ns)
        if not has_session:
            self._unheard_ns = 0

    def resumed(self, now_ns: int) -> None:
        """Reading begins, or begins again."""
        self._unheard_ns = self._unheard_ns or max(self._read_ns, self._listened_ns) or now_ns
        self._read_ns = now_ns

    def read(self, connection: int, now_ns: int, *, has_session: bool) -> int:
        """Something has been read; the arguments are those of ``connected``.

        Returns:
            Since when nobody had listened; 0 when it has not waited.
        """
        self.connected(connection, now_ns, has_session=has_session)
        if now_ns - self._read_ns > _LULL_S * NS_PER_S:
            self._unheard_ns = 0
        self._read_ns = now_ns
        return self._unheard_ns

    def caught_up(self) -> None:
        """What comes now comes as it is published."""
        self._unheard_ns = 0
