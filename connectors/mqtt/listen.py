"""Listening to all that a broker has, without touching anything: nothing is published or kept.

A client id that nobody else has, a session that ends with it, quality of service 0: no queue grows,
and no other client gets a message more or less.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.guest import ANSWER_LIMIT_S, guest_client
from connectors.mqtt.tls import cause
from connectors.mqtt.transport import address
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import TransientError

#: Called with topic, payload, arrival in ns since 1970 UTC, whether it was retained, and the type
#: of its content, as MQTT 5 has it; empty where there is none.
OnMessage = Callable[[bytes, bytes, int, bool, str], None]


class Listener:
    """Hears everything until it is closed; a context manager.

    Args:
        settings: The broker, and how to log in.
        topic_filter: What to subscribe to.
        clock: When messages arrive.
        on_message: Called in a thread of its own; must not raise.
    """

    def __init__(
        self, settings: MqttConfig, topic_filter: str, clock: Clock, on_message: OnMessage
    ) -> None:
        self._settings = settings
        self._filter = topic_filter
        self._clock = clock
        self._take = on_message
        self._is_v5 = settings.version == "5"
        self._client_id = f"headgate-discover-{secrets.token_hex(8)}"
        self._changed = threading.Condition()
        self._answer: ReasonCode | None = None
        self._granted: ReasonCode | None = None
        self._has_session = False
        self._client: Client | None = None
        #: Why nothing is heard at present; empty while it is.
        self.trouble = ""

    def open(self) -> None:
        """Log in and subscribe.

        Raises:
            TransientError: The broker is not there, or does not let us in or hear.
        """
        # The first time only to see that nobody else has a session under this id: a broker that
        # gives all clients of a user one session would have us throw the gateway out.
        probe = self._connected(keeps_session=True)
        has_session = self._has_session
        probe.disconnect()
        probe.loop_stop()
        if has_session:
            raise TransientError(
                f"{self._where} gives all clients of a user one session; listen with a user of "
                "your own, so as not to take the gateway's messages"
            )
        client = self._client = self._connected(keeps_session=False)
        with self._changed:
            self._changed.wait_for(lambda: self._granted, ANSWER_LIMIT_S)
            granted = self._granted
        if granted is None or granted.is_failure:
            client.disconnect()
            client.loop_stop()
            raise TransientError(
                f"{self._where} refuses the subscription to {self._filter}: {granted or 'silence'}"
            )

    def close(self) -> None:
        """Say goodbye."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _connected(self, *, keeps_session: bool) -> Client:
        settings = self._settings
        self._answer = None
        try:
            client = self._make(keeps_session=keeps_session)
            client.connect(
                *address(settings),
                keepalive=max(1, settings.keepalive // NS_PER_S),
                **self._arguments(keeps_session=keeps_session),
            )
        except (OSError, ValueError) as error:
            why = cause(error, settings, "mqtt", self._clock.wall_ns())
            raise TransientError(f"can't connect to {self._where}: {why}") from error
        client.loop_start()
        answer = self._wait_for_answer()
        if answer is None or answer.is_failure:
            client.disconnect()
            client.loop_stop()
            hint = "; see --mqtt-version" if "rotocol" in str(answer) else "; see --user"
            said = "does not answer" if answer is None else f"refuses the login: {answer}{hint}"
            raise TransientError(f"{self._where} {said}")
        return client

    def _wait_for_answer(self) -> ReasonCode | None:
        with self._changed:
            self._changed.wait_for(lambda: self._answer, ANSWER_LIMIT_S)
            return self._answer

    def _make(self, *, keeps_session: bool) -> Client:
        client = guest_client(
            self._settings,
            "mqtt",
            self._client_id,
            keeps_session=keeps_session,
            reconnects=not keeps_session,
        )
        client.on_connect = self._on_connect
        if not keeps_session:
            client.on_message = self._on_message
            client.on_subscribe = self._on_subscribe
            client.on_disconnect = self._on_disconnect
        return client

    def _arguments(self, *, keeps_session: bool) -> dict[str, Any]:
        if not self._is_v5:
            return {}
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0
        return {"properties": properties, "clean_start": not keeps_session}

    # The callbacks run in paho's thread.

    def _on_connect(
        self,
        client: Client,
        _data: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        with self._changed:
            self._answer, self._has_session = reason, flags.session_present
            self._changed.notify_all()
        if client.on_message is not None and not reason.is_failure:
            self.trouble = ""
            client.subscribe(self._filter, qos=0)

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _props: object
    ) -> None:
        with self._changed:
            self._granted = reasons[0]
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _props: object
    ) -> None:
        self.trouble = str(reason)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        # Not ``message.topic``: that decodes UTF-8.
        topic: bytes = message._topic  # noqa: SLF001
        content_type = str(getattr(message.properties, "ContentType", ""))
        arrived_ns = self._clock.wall_ns()
        self._take(topic, message.payload, arrived_ns, bool(message.retain), content_type)
