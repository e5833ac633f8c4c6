"""paho-mqtt driven from asyncio: one connection that keeps coming back.

paho does the protocol (connecting, TLS, subscribing, keepalive); when its socket is read, and how
much at once, is decided here. That is what lets a full gateway stop reading, so that the broker
queues, and what makes an acknowledgement safe: message ids are per connection, so messages remember
the connection they came over, and an acknowledgement for an earlier one is dropped. The broker
sends those messages again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connectors.mqtt.bulk_client import READ_BYTES, BulkClient
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.packets import HEAD_BYTES, Publishes
from connectors.mqtt.properties import PropertyReader
from connectors.mqtt.received import Received, Subscription, received_of
from connectors.mqtt.session import BrokerSession
from connectors.mqtt.state import MakeState, State
from connectors.mqtt.subscribing import Subscribing
from connectors.mqtt.tls import cause, tls_context
from connectors.mqtt.transport import address, set_transport, transport_options
from headgate.config.schema import read_secret
from headgate.core.backoff import Backoff
from headgate.core.beat import until_beat
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.properties import Asked

_logger = structlog.get_logger()

#: First and longest pause between two tries to connect, s. Each pause is drawn between half of
#: it and the whole, so that a plant's gateways do not return to a restarted broker in step.
_FIRST_PAUSE_S = 0.5
_PAUSE_CEILING_S = 30.0

#: A connection that lasts this long was a good one: the next pause starts small again. Shorter
#: ones do not count, or two gateways with one client id would throw each other out in a loop.
_STABLE_S = 10.0

#: How long connecting may take, s, name look-up and TLS included.
_CONNECT_TIMEOUT_S = 10.0

#: Packets of up to so many times ``max_payload_bytes`` are let come, to be refused with their name
#: and reason. What is larger still an MQTT 5 broker drops without a word to anybody.
_LARGEST = 16

#: The largest packet that MQTT knows, bytes.
_PACKET_CEILING_BYTES = 268_435_460

#: Who has read so much at once reads again after so long at most, s: the kernel holds but so much.
_MUCH_BYTES, _SHORT_PAUSE_S = 32 << 10, 0.005

#: Who throws a large message away reads again after so long, s: in between the kernel gathers some
#: megabytes of it.
_SKIP_PAUSE_S = 0.001

#: What is said before the first try has come to its end.
NOT_YET = "not connected yet"

#: How long the broker is given to take in the last acknowledgements, s.
_SETTLE_S = 3.0


class Connection:
    """A connection to the broker that is kept up until it is closed.

    Args:
        settings: Which broker, and as whom.
        client_id: Fixed, because the broker keeps the session under it.
        clock: Source of time.
        key: Where the configuration has the settings, as it is written in messages.
        on_messages: Called with what came in, from the event loop; must not block or raise.
        read_interval_s: After messages came in the socket is left alone for so long at most. A
            broker sends each message by itself, and a reader that wakes for each does a hundred
            times the work of one that lets some gather.
        subscriptions: Subscribed to at every connect.
        session: Has the broker keep subscriptions and queued messages while away.
        max_payload_bytes: Of a message with a larger payload only the beginning is handed over.
        asked: What is wanted of the properties of messages; None for nothing.
        on_certificate: Called with the end of the broker's certificate, as ``ssl`` writes it.
        state: Makes what to tell, retained, of whether a connection stands; None for nothing.
    """

    def __init__(
        self,
        settings: MqttConfig,
        client_id: str,
        clock: Clock,
        *,
        key: str = "mqtt",
        on_messages: Callable[[Received], None] | None = None,
        read_interval_s: float = 0.0,
        subscriptions: Sequence[Subscription] = (),
        session: BrokerSession | None = None,
        max_payload_bytes: int = 0,
        asked: Asked | None = None,
        on_certificate: Callable[[str], None] | None = None,
        state: MakeState | None = None,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._clock = clock
        self._key = key
        self._on_messages = on_messages
        self._read_interval_s = read_interval_s
        self._subscriptions = subscriptions
        self._wanted = Subscribing(settings, subscriptions, session)
        self._session = session
        self._max_payload_bytes = max_payload_bytes
        self._asked = asked
        self._on_certificate = on_certificate
        self._make_state = state
        self._state: State | None = None
        self._state_mid: int | None = None
        self._is_v5 = settings.version == "5"
        self._loop = asyncio.get_running_loop()
        self._client = self._make_client()
        # Its own: brokers that never answer would take all threads that others have work for.
        self._thread = ThreadPoolExecutor(1, "mqtt-connect")
        self._socket: socket.socket | None = None
        #: The next read, when it is a matter of time.
        self._reading: asyncio.Handle | None = None
        self._has_messages = False
        self._is_paused = False
        self._is_closing = False
        self._lost = asyncio.Event()
        self._subscribing: dict[int, Sequence[Subscription]] = {}
        self._published: dict[int, asyncio.Future[None]] = {}
        self._settled: asyncio.Future[None] | None = None
        #: Counts connections; 0 before the first.
        self.generation = 0
        #: Why there is no working connection; empty while there is one.
        self.trouble = NOT_YET

    async def run(self) -> None:
        """Stay connected until ``close`` is called."""
        backoff = Backoff(_FIRST_PAUSE_S, _PAUSE_CEILING_S)
        keeping = asyncio.create_task(self._keep_alive(), name="mqtt-keepalive")
        try:
            while True:
                started_ns = self._clock.monotonic_ns()
                self._lost.clear()
                if not self._is_closing and await self._connect():
                    await self._lost.wait()
                if self._is_closing:
                    return
                if self._clock.monotonic_ns() - started_ns > _STABLE_S * NS_PER_S:
                    backoff.reset()
                await asyncio.sleep(backoff.pause_s())
        finally:
            keeping.cancel()

    def close(self) -> None:
        """Say goodbye to the broker and end ``run``. The session stays if it is kept."""
        self._is_closing = True
        if not self.trouble:
            # The broker forgets the last will of who says goodbye.
            self._tell_state(is_online=False)
        self._client.disconnect()
        self._write()
        self._forget_socket()
        self._fail_published("the connection was closed")
        self._thread.shutdown(wait=False)
        self._lost.set()

    @property
    def is_paused(self) -> bool:
        """Whether reading has been stopped."""
        return self._is_paused

    def pause(self) -> None:
        """Stop reading. The kernel's buffer fills, and then the broker has to wait."""
        if not self._is_paused:
            self._is_paused = True
            self._stop_reading()

    def resume(self) -> None:
        """Read again."""
        if self._is_paused:
            self._is_paused = False
            # TLS may hold decrypted bytes that the socket will never announce.
            self._read()

    def ack(self, received: Received) -> None:
        """Acknowledge these messages, those with QoS 1 only over the connection they came over."""
        self._client.ack_qos2(received.qos2_ids, received.connection)
        if received.connection == self.generation and self._socket is not None:
            self._client.ack_all(received.packet_ids)

    async def settle(self) -> None:
        """Wait until the broker has taken in every acknowledgement, for three seconds at most.

        Closing at once would lose those that it has not read yet, and it would send their messages
        again after the next start. Messages that still arrive are left to the broker.
        """
        if self._socket is None or self.trouble:
            return
        self._settled = self._loop.create_future()
        self.resume()
        # The broker answers in order, and unsubscribing from nothing changes nothing.
        self._client.unsubscribe(f"headgate/{self._client_id}/settled")
        await asyncio.wait({self._settled}, timeout=_SETTLE_S)

    async def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish with QoS 1; returns once the broker has acknowledged.

        Raises:
            ConnectionError: There is no connection, or it broke before the acknowledgement.
        """
        if self.trouble:
            raise ConnectionError(self.trouble)
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionError(f"paho-mqtt refused to publish: {info.rc.name}")
        confirmed = self._published[info.mid] = self._loop.create_future()
        try:
            await confirmed
        finally:
            self._published.pop(info.mid, None)

    def say(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 0, if there is a connection: whether it arrives nobody knows."""
        if not self.trouble:
            self._client.publish(topic, payload)

    def _make_client(self) -> BulkClient:
        client = BulkClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if self._is_v5 else self._session is None,
            reconnect_on_failure=False,
            manual_ack=True,
            **transport_options(self._settings),
        )
        set_transport(client, self._settings)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_payload_bytes = self._max_payload_bytes
        client.property_reader = None if self._asked is None else PropertyReader(self._asked)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_publish = self._on_publish
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        client.on_socket_close = self._on_socket_close
        return client

    async def _connect(self) -> bool:
        settings = self._settings
        try:
            password = read_secret(settings.password_env, settings.password_file)
            self._client.username_pw_set(settings.username, password)
            await self._loop.run_in_executor(self._thread, self._connect_blocking)
        except (OSError, ValueError) as error:
            why = cause(error, settings, self._key, self._clock.wall_ns())
            self._set_trouble(f"can't connect to {settings.where}: {why}")
            return False
        connected = self._client.socket()
        if self._is_closing or connected is None:
            return False
        self.generation += 1
        self._client.generation = self.generation
        if self._on_certificate is not None and (end := self._client.certificate_end):
            self._on_certificate(end)
        self._socket = connected
        if self._client.want_write():
            self._loop.add_writer(connected, self._write)
        self._read()
        return True

    def _connect_blocking(self) -> None:
        if self._settings.tls is not None:
            # Anew each time: certificates and keys are renewed while a gateway runs.
            self._client.use_tls(tls_context(self._settings.tls, self._key))
        if self._make_state is not None:
            self._state = state = self._make_state(self._clock.wall_ns())
            self._client.will_set(state.topic, state.offline, qos=1, retain=True)
        arguments: dict[str, Any] = {}
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = self._settings.receive_maximum
            properties.MaximumPacketSize = min(
                _LARGEST * self._max_payload_bytes + HEAD_BYTES, _PACKET_CEILING_BYTES
            )
            if self._session is not None:
                seconds = self._settings.session_expiry // NS_PER_S
                properties.SessionExpiryInterval = min(seconds, 0xFFFFFFFF)
            arguments = {"properties": properties, "clean_start": self._session is None}
        self._client.connect(
            *address(self._settings),
            keepalive=max(1, self._settings.keepalive // NS_PER_S),
            **arguments,
        )

    async def _keep_alive(self) -> None:
        """Paho's timers: pings, and noticing that an answer did not come."""
        while True:
            await until_beat(1)
            if self._socket is not None:
                self._checked(self._client.loop_misc(is_reading=not self._is_paused))

    def _read(self) -> None:
        self._stop_reading()
        sock = self._socket
        if sock is None or self._is_paused:
            return
        self._has_messages = False
        try:
            result, size = self._client.read_bulk(self._on_publishes)
        except Exception:
            # Whatever it was, nobody would read on; over a new connection the broker sends again
            # what was not acknowledged.
            _logger.exception("What the broker sent can't be read; will connect anew.")
            result, size = MQTTErrorCode.MQTT_ERR_PROTOCOL, 0
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._checked(result)
            return
        if self._socket is not sock or self._is_paused:
            return
        if self._client.is_skipping and size:
            self._reading = self._loop.call_later(_SKIP_PAUSE_S, self._read)
        elif size >= READ_BYTES:
            self._reading = self._loop.call_soon(self._read)
        elif self._has_messages and self._read_interval_s:
            pause_s = self._read_interval_s
            if size >= _MUCH_BYTES:
                pause_s = min(pause_s, _SHORT_PAUSE_S)
            self._reading = self._loop.call_later(pause_s, self._read)
        else:
            self._loop.add_reader(sock, self._read)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        if self._socket is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)

    def _write(self) -> None:
        if self._socket is not None:
            self._checked(self._client.loop_write())

    def _checked(self, result: MQTTErrorCode) -> None:
        if result not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
            self._forget_socket()
            self._lost.set()

    def _forget_socket(self) -> None:
        self._stop_reading()
        sock, self._socket = self._socket, None
        if sock is not None and sock.fileno() >= 0:
            self._loop.remove_writer(sock)

    def _set_trouble(self, trouble: str) -> None:
        # Said once, not at every try: an outage may last for days.
        if trouble and trouble != self.trouble:
            _logger.warning(
                "No connection to the MQTT broker; will keep trying.",
                source=self._key,
                cause=trouble,
            )
        self.trouble = trouble

    def _tell_state(self, *, is_online: bool) -> None:
        if (state := self._state) is not None:
            payload = state.online if is_online else state.offline
            self._state_mid = self._client.publish(state.topic, payload, 1, retain=True).mid

    def _fail_published(self, why: str) -> None:
        for future in self._published.values():
            if not future.done():
                future.set_exception(ConnectionError(why))

    # The callbacks. All but the first socket events run in the event loop; an exception that
    # left one would be lost in paho, so none may.

    def _on_connect(
        self,
        client: Client,
        _data: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self._set_trouble(f"the broker refused: {reason}")
            return
        self._client.was_let_in = True
        if not flags.session_present:
            self._client.forget_session()
        if self._session is not None:
            self._session.connected(is_present=flags.session_present)
        _logger.info(
            "Connected to the MQTT broker.",
            source=self._key,
            broker=self._settings.where,
            session_present=flags.session_present,
        )
        if not self._subscriptions:
            self._set_trouble("")
            return
        # At every connect, session or not: the broker may have lost it, and subscribing to what
        # one is subscribed to changes nothing.
        _, mid = client.subscribe(self._wanted.asked())
        if mid is not None:
            self._subscribing[mid] = self._subscriptions

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        asked = self._subscribing.pop(mid, ())
        refused = [
            f"{each.filter} ({reason})"
            for each, reason in zip(asked, reasons, strict=False)
            if reason.is_failure
        ]
        if refused:
            self._set_trouble(f"the broker refused the subscription to {', '.join(refused)}")
            return
        self._set_trouble("")
        if left_over := self._wanted.left_over():
            self._wanted.leaves(self._client.unsubscribe(left_over)[1])
        self._tell_state(is_online=True)

    def _on_unsubscribe(self, _client: Client, _data: object, mid: int, *_rest: object) -> None:
        if self._wanted.has_left(mid):
            return
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _props: object
    ) -> None:
        if not self._is_closing:
            found = self._client.problem or str(reason)
            why = cause(found, self._settings, self._key, self._clock.wall_ns())
            if self._client.problem and not self._client.was_let_in and self._settings.tls is None:
                why += f", before it answered; does the port want TLS, [{self._key}.tls]?"
            if "taken over" in why.lower():
                why += f"; is another client using the client id {self._client_id!r}?"
            refused = self.trouble.startswith("the broker refused")
            if not refused:
                self._set_trouble(f"the connection ended: {why}")
        self._fail_published("the connection ended")
        self._lost.set()

    def _on_publishes(self, publishes: Publishes, size_bytes: int) -> None:
        self._has_messages = True
        if self._on_messages is None or self._settled is not None:
            return
        self._on_messages(received_of(publishes, self.generation, size_bytes))

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        if mid == self._state_mid and reason.is_failure and self._state is not None:
            _logger.warning(
                "The broker does not let the gateway tell its state.",
                source=self._key,
                topic=self._state.topic,
                reason=str(reason),
            )
        future = self._published.get(mid)
        if future is not None and not future.done():
            if reason.is_failure:
                future.set_exception(ConnectionError(f"the broker refused: {reason}"))
            else:
                future.set_result(None)

    def _on_want_write(self, _client: Client, _data: object, _sock: object) -> None:
        # May be called from the connecting thread, before the socket is ours.
        if self._socket is not None:
            self._loop.add_writer(self._socket, self._write)

    def _on_written(self, _client: Client, _data: object, _sock: object) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)

    def _on_socket_close(self, _client: Client, _data: object, _sock: object) -> None:
        self._forget_socket()
