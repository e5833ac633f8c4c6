"""What a connection subscribes to, and what its session has from before and is to leave."""

from __future__ import annotations

from collections.abc import Sequence

from paho.mqtt.subscribeoptions import SubscribeOptions

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.received import Subscription
from connectors.mqtt.session import BrokerSession


class Subscribing:
    """The subscriptions of one connection.

    Args:
        settings: Which broker; its group, if messages are shared.
        subscriptions: What is wanted.
        session: The session that keeps them; None where none does.
    """

    def __init__(
        self,
        settings: MqttConfig,
        subscriptions: Sequence[Subscription],
        session: BrokerSession | None,
    ) -> None:
        self._is_v5 = settings.version == "5"
        self._prefix = f"$share/{settings.shared_group}/" if settings.shared_group else ""
        self._subscriptions = subscriptions
        self._session = session
        self._filters = [self._prefix + each.filter for each in subscriptions]
        self._parts = [self._prefix + part for each in subscriptions for part in each.parts]
        #: Packet id of the request to leave what is left over.
        self._leaving: int | None = None

    def asked(self) -> list[tuple[str, int]] | list[tuple[str, SubscribeOptions]]:
        """What is asked for, as paho takes it; it is noted that it may be granted."""
        if self._session is not None:
            self._session.subscribing(self._filters)
        wanted = list(zip(self._filters, self._subscriptions, strict=True))
        if not self._is_v5:
            return [(name, each.qos) for name, each in wanted]
        return [
            (name, SubscribeOptions(each.qos, retainHandling=each.retain_handling))
            for name, each in wanted
        ]

    def left_over(self) -> list[str]:
        """All was granted: what the session has beside it, which would bring messages twice."""
        if self._session is None:
            return []
        self._session.subscribed()
        found = self._session.left_over(self._filters, self._parts)
        if not found:
            self._session.unsubscribed(self._filters)
        return found

    def leaves(self, mid: int | None) -> None:
        """Note under which packet id what is left over is unsubscribed from."""
        self._leaving = mid

    def has_left(self, mid: int) -> bool:
        """Whether the answer with this packet id says that nothing is left over."""
        if mid != self._leaving or self._session is None:
            return False
        self._leaving = None
        self._session.unsubscribed(self._filters)
        return True
