"""paho-mqtt's client with its reading turned round: bytes are brought to it.

The stock client asks its socket for each packet's first byte, then for its length, then for the
rest, and makes an object of each message. At a thousand messages a second and more that is most of
a gateway's work. Here the socket is read in bulk; the many PUBLISH packets are split off at once,
and whatever else there is goes through the client's own reading, so that connecting, subscribing,
keepalive, QoS 2 and errors stay its business.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, TypeAlias

from paho.mqtt.client import PUBACK, Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from connectors.mqtt.packets import Publishes, packet_end, pubacks, take_publishes

#: Read at one go. Bounds how long the event loop is away: splitting so much takes a millisecond.
READ_BYTES = 256 << 10

#: Takes messages, and how many bytes they were.
OnPublishes: TypeAlias = Callable[[Publishes, int], None]


class _FedSocket:
    """The client's socket, whose ``recv`` gives what it was fed instead of reading."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  (plain or TLS)
        self._socket = sock
        self._fed = memoryview(b"")
        self._error: Exception | None = None
        self._is_at_end = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._socket, name)

    def read(self) -> bytes:
        """What has arrived, up to ``READ_BYTES``; empty when there is nothing, or no more."""
        parts: list[bytes] = []
        size = 0
        try:
            # TLS gives one record at a time; a plain socket gives all there is.
            while size < READ_BYTES:
                part = self._socket.recv(READ_BYTES - size)
                if not part:
                    self._is_at_end = True
                    break
                parts.append(part)
                size += len(part)
                if not isinstance(self._socket, ssl.SSLSocket):
                    break
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._error = error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def has_ended(self) -> bool:
        """Whether the connection is at its end, by error or not."""
        return self._is_at_end or self._error is not None

    @property
    def has_food(self) -> bool:
        """Whether the client has not taken yet all that it was fed."""
        return len(self._fed) > 0

    def feed(self, packet: bytes) -> None:
        """Have the client read this."""
        self._fed = memoryview(packet)

    def recv(self, size: int) -> bytes:
        """What the client calls."""
        if not self._fed:
            if self._error is not None:
                raise self._error
            if self._is_at_end:
                return b""
            raise BlockingIOError
        part, self._fed = bytes(self._fed[:size]), self._fed[size:]
        return part


class BulkClient(Client):  # type: ignore[misc]
    """A client whose reading is done with ``read_bulk`` instead of ``loop_read``.

    ``on_message`` is called for messages with QoS 2 only.
    """

    _fed: _FedSocket | None = None
    _rest: list[bytes]
    _rest_bytes = 0
    _wanted_bytes = 0

    def read_bulk(
        self, on_publishes: Callable[[Publishes, int], None]
    ) -> tuple[MQTTErrorCode, int]:
        """Read what has arrived and work on it.

        Args:
            on_publishes: Called with messages of QoS 0 and 1 and their size in bytes. They are in
                order with each other and with whatever the client's callbacks get.

        Returns:
            The outcome, as of ``loop_read``, and the bytes that were read.
        """
        fed = self._fed
        if fed is None or self._sock is not fed:
            return MQTTErrorCode.MQTT_ERR_NO_CONN, 0
        data = fed.read()
        outcome = self._work_on(fed, data, on_publishes) if data else MQTTErrorCode.MQTT_ERR_SUCCESS
        if outcome == MQTTErrorCode.MQTT_ERR_SUCCESS and fed.has_ended and self._sock is fed:
            # The client finds the end of the connection by itself, and knows what to do.
            outcome = self.loop_read()
        return outcome, len(data)

    def ack_all(self, packet_ids: list[int]) -> None:
        """Acknowledge messages with QoS 1, in one write."""
        # ``ack`` would do, but with a packet and a system call for each.
        self._packet_queue(PUBACK, pubacks(packet_ids), 0, 1)

    def _create_socket(self) -> Any:  # noqa: ANN401  (paho's name for it is private)
        self._fed = _FedSocket(super()._create_socket())
        self._rest, self._rest_bytes, self._wanted_bytes = [], 0, 0
        return self._fed

    def _work_on(self, fed: _FedSocket, data: bytes, on_publishes: OnPublishes) -> MQTTErrorCode:
        if self._rest:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes < self._wanted_bytes:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            data = b"".join(self._rest)
            self._rest = []
        is_v5 = self._protocol == MQTTProtocolVersion.MQTTv5
        at = 0
        while True:
            publishes = Publishes()
            begin, at = at, take_publishes(data, at, publishes, is_v5=is_v5)
            if at > begin:
                on_publishes(publishes, at - begin)
            if at >= len(data):
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            end = packet_end(data, at)
            if end < 0 or end > len(data):
                # The rest of it is put to it when all of it is there, and not with every read.
                self._rest = [data[at:]]
                self._rest_bytes = len(data) - at
                self._wanted_bytes = max(end - at, 0)
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            fed.feed(data[at:end])
            at = end
            while fed.has_food:
                outcome = self.loop_read()
                if outcome != MQTTErrorCode.MQTT_ERR_SUCCESS or self._sock is not fed:
                    return outcome
