"""Publishing commands: each is handed to the broker once, whatever becomes of the connection.

An MQTT client of the usual kind publishes again, over the next connection, what the broker has not
confirmed. Of a command that may be one too many, so nothing here is ever published twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.connection import NOT_YET, Connection
from connectors.mqtt.received import Received, Subscription
from connectors.mqtt.session import results_client_id
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.properties import Asked

_logger = structlog.get_logger()

#: How long the broker may take to confirm, s.
_TIMEOUT_S: Final = 10.0

#: Of an answer so much is read, bytes.
MAX_ANSWER: Final = 64 << 10

#: What MQTT 5 calls it where nobody subscribes to a topic.
_NOBODY: Final = 0x10


class NotSentError(Exception):
    """Nothing was handed to the broker; it may be tried again."""


class RefusedError(Exception):
    """The broker says that it does not take it."""


class UnconfirmedError(Exception):
    """It was handed over, and the broker has not said whether it took it."""


class CommandConnection(Connection):
    """A connection of its own: commands out, and answers to them in.

    Args:
        settings: Which broker.
        gateway: The gateway's name.
        clock: Source of time.
        suffix: Of its client id.
        key: Where the configuration has the settings.
        answers: Topic filters of answers.
        on_answer: Called with topic, payload, its beginning if it is long, and correlation data of
            each message that came in; from the event loop, must not block or raise.
    """

    def __init__(
        self,
        settings: MqttConfig,
        gateway: str,
        clock: Clock,
        *,
        suffix: str,
        key: str,
        answers: Sequence[str] = (),
        on_answer: Callable[[str, bytes, bytes], None],
    ) -> None:
        # Answers are for this gateway, whoever it shares its readings with.
        own = settings.model_copy(update={"shared_group": None})
        super().__init__(
            own,
            results_client_id(settings, gateway, suffix),
            clock,
            key=key,
            on_messages=self._take,
            # Retained messages of before are no answers: a broker of MQTT 5 need not send them.
            subscriptions=[Subscription(each, 1, retain_handling=2) for each in answers],
            max_payload_bytes=MAX_ANSWER,
            asked=Asked(content_type=False, user=frozenset(), correlation=True),
        )
        self._on_answer = on_answer
        #: By topic filter of answers that the broker refused to subscribe to, its words.
        self.refused: dict[str, str] = {}
        # By packet id, what the broker has said when it took it.
        self._said: dict[int, int] = {}

    @property
    def has_tried(self) -> bool:
        """Whether it is known by now whether the broker is there."""
        return self.trouble != NOT_YET

    async def publish_once(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        expires_s: int,
        answer: str = "",
        correlation: bytes = b"",
    ) -> str:
        """Publish; returns once the broker has confirmed, with QoS 0 once it is written.

        Args:
            topic: Where to.
            payload: What.
            qos: Quality of service.
            retain: Whether the broker is to keep it for those that subscribe later.
            expires_s: The broker throws it away after so long, s; MQTT 5 only, as what follows.
            answer: Where the answer is expected; empty for none.
            correlation: What the answer is to hold.

        Returns:
            What is odd about it, in a few words; else nothing.

        Raises:
            NotSentError: There is no connection.
            RefusedError: The broker does not take it.
            UnconfirmedError: It has not said so.
        """
        if self.trouble or self._socket is None:
            raise NotSentError(self.trouble or "not connected")
        properties: Properties | None = None
        if self._is_v5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expires_s
            if answer:
                properties.ResponseTopic = answer
                properties.CorrelationData = correlation
        try:
            info = self._client.publish(topic, payload, qos, retain, properties)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        if info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN:
            self._client.forget_sent()
            raise NotSentError("not connected")
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            # Whether a part of it was written is not known.
            self._client.give_up(f"paho-mqtt did not publish: {info.rc.name}")
            raise UnconfirmedError(f"the connection ended: {info.rc.name}")
        if qos == 0 and info.is_published():
            return ""
        return await self._confirmed(info.mid)

    async def _confirmed(self, mid: int) -> str:
        confirmed = self._published[mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await confirmed
        except TimeoutError:
            self._client.give_up(f"the broker has confirmed nothing for {_TIMEOUT_S:g} s")
            raise UnconfirmedError(f"the broker said nothing for {_TIMEOUT_S:g} s") from None
        except ConnectionRefusedError as error:
            raise RefusedError(str(error)) from error
        except ConnectionError as error:
            raise UnconfirmedError(str(error)) from error
        finally:
            self._published.pop(mid, None)
        said = self._said.pop(mid, 0)
        return "nobody subscribes to the topic" if said == _NOBODY else ""

    def _connect_blocking(self) -> None:
        self._client.forget_sent()
        super()._connect_blocking()

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        # Commands can be sent all the same.
        refused = {
            each.filter: str(reason)
            for each, reason in zip(self._subscribing.pop(mid, ()), reasons, strict=False)
            if reason.is_failure
        }
        if refused and refused != self.refused:
            _logger.warning(
                "The broker does not let the gateway hear answers to commands.",
                source=self._key,
                refused=refused,
            )
        self.refused = refused
        self._set_trouble("")

    def _take(self, received: Received) -> None:
        self.ack(received)
        for at, (topic, payload) in enumerate(zip(received.topics, received.payloads, strict=True)):
            if at in received.retained:
                continue
            beside = received.properties.get(at)
            correlation = b"" if beside is None else beside.correlation
            self._on_answer(topic.decode(errors="replace"), payload, correlation)

    def _on_publish(
        self,
        client: Client,
        data: object,
        mid: int,
        reason: ReasonCode,
        properties: Any,  # noqa: ANN401
    ) -> None:
        future = self._published.get(mid)
        if future is not None and not future.done() and reason.is_failure:
            future.set_exception(ConnectionRefusedError(f"the broker refused: {reason}"))
            return
        if future is not None:
            self._said[mid] = reason.value
        super()._on_publish(client, data, mid, reason, properties)


def expiry_s(left_ns: int) -> int:
    """How long a broker may keep what counts for so long, whole s; at least 1."""
    return max(1, left_ns // NS_PER_S)
