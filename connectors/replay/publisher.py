"""An MQTT publisher that knows what the broker has confirmed.

For programs that stand in for devices: the replay and the simulator. The gateway itself has no
need of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import PermanentError, TransientError

#: Most messages that wait for their PUBACK. paho keeps every message until then, without a bound
#: of its own; at 150 bytes a message this is well under a megabyte.
_MAX_PENDING = 1000

#: How long a broker may be silent before publishing gives up, s. Longer than the restart of a
#: broker, short enough for a person who waits.
_PATIENCE_S = 30.0


class Publisher:
    """A connection to a broker that publishes with backpressure. Use it as a context manager.

    Entering connects; leaving disconnects without waiting, so call ``flush`` before. After a lost
    connection it reconnects, and sends again what was not confirmed (at least once, QoS 1).

    Args:
        host: The broker's host.
        port: The broker's port.
        clock: For timeouts.
        qos: Of every message. With 0 a message counts as confirmed once it has been sent.
        version: ``"3.1.1"`` for brokers that do not speak MQTT 5; with 5 the broker can say that
            it refuses a message.
        username: User name, if the broker wants one.
        password: Password that goes with it.
        ca_file: Certificate authority of the broker: switches TLS on.
        patience_s: Seconds without any progress before giving up.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: Clock,
        *,
        qos: Literal[0, 1, 2] = 1,
        version: Literal["3.1.1", "5"] = "5",
        username: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._broker = f"{host}:{port}"
        self._host = host
        self._port = port
        self._clock = clock
        self._qos = qos
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._pending = 0
        self._confirmed = 0
        self._payload_bytes = 0
        self._is_connected = False
        self._refusal = ""
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            protocol=mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311,
        )
        self._client.reconnect_delay_set(min_delay=1, max_delay=10)
        self._client.max_inflight_messages_set(_MAX_PENDING)
        if username is not None:
            self._client.username_pw_set(username, password)
        if ca_file is not None:
            self._client.tls_set(ca_certs=str(ca_file))
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    @property
    def confirmed(self) -> int:
        """Messages that the broker has taken responsibility for."""
        return self._confirmed

    @property
    def payload_bytes(self) -> int:
        """Bytes of all payloads handed over to be published."""
        return self._payload_bytes

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            TransientError: Nobody answers there.
            PermanentError: The broker does not let us in.
        """
        try:
            self._client.connect(self._host, self._port, keepalive=30)
        except (OSError, ValueError) as error:
            raise TransientError(
                f"{self._broker}: expected an MQTT broker, got {error}; "
                f"start it, or give its --host and --port"
            ) from error
        self._client.loop_start()
        try:
            self._wait_for(lambda: self._is_connected, "an answer to CONNECT")
        except Exception:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand a message over, waiting first while too many are unconfirmed.

        Raises:
            TransientError: The broker stayed away, or confirmed nothing, for ``patience_s``.
            PermanentError: The broker refused this or an earlier message.
        """
        self._wait_for(
            lambda: self._is_connected and self._pending < _MAX_PENDING, "room for a message"
        )
        with self._changed:
            # Counted before it is sent: the answer may be there before publish returns.
            self._pending += 1
            self._payload_bytes += len(payload)
        self._client.publish(topic, payload, qos=self._qos)

    def flush(self) -> None:
        """Wait until every message is confirmed; raises like ``publish``."""
        self._wait_for(lambda: self._pending == 0, "confirmation of the last messages")

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            progress = self._confirmed
            deadline_ns = self._clock.monotonic_ns() + round(self._patience_s * NS_PER_S)
            while not self._refusal and not condition():
                if self._confirmed != progress:
                    progress = self._confirmed
                    deadline_ns = self._clock.monotonic_ns() + round(self._patience_s * NS_PER_S)
                left_s = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
                if left_s <= 0:
                    raise TransientError(
                        f"{self._broker}: expected {what} within {self._patience_s:g} s, got "
                        f"none; {self._pending} messages are unconfirmed; look at the broker's log"
                    )
                self._changed.wait(min(left_s, 1.0))
            if self._refusal:
                raise PermanentError(f"{self._broker}: {self._refusal}")

    def _close(self) -> None:
        # Also ends the attempts to reconnect; without it loop_stop would wait for ever.
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        with self._changed:
            if reason.is_failure:
                self._refusal = (
                    f"expected to be let in, got {reason}; give --username and --password-file"
                )
            else:
                self._is_connected = True
            self._changed.notify_all()

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: object,
        _reason: ReasonCode,
        _properties: object,
    ) -> None:
        with self._changed:
            self._is_connected = False
            self._changed.notify_all()

    def _on_publish(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _mid: int,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        with self._changed:
            self._pending -= 1
            if reason.is_failure:
                self._refusal = f"expected the message to be taken, got {reason}; mend its ACL"
            else:
                self._confirmed += 1
            self._changed.notify_all()
