"""A client that may say anything to the broker, and says it fast."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

#: How long the broker may take over everything that one attack sends, s.
_PATIENCE_S = 60

#: Of a huge message in one piece.
_PIECE = b"1," * (1 << 19)


class Peer:
    """A connection to the broker; use it as a context manager.

    Args:
        port: The broker's port on loopback.
        client_id: Chosen by the broker when empty.
    """

    def __init__(self, port: int, client_id: str = "") -> None:
        self._port = port
        self._unconfirmed: list[mqtt.MQTTMessageInfo] = []
        self._connected = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5
        )
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = lambda *_: self._connected.set()

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port, clean_start=True)
        self._client.loop_start()
        assert self._connected.wait(_PATIENCE_S), "the broker does not answer"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        user_property: str | None = None,
    ) -> None:
        """Publish; returns before the broker has it."""
        properties = None
        if user_property is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = ("x", user_property)
        self._unconfirmed.append(
            self._client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        )

    def flush(self) -> None:
        """Wait until the broker has everything."""
        for info in self._unconfirmed:
            info.wait_for_publish(_PATIENCE_S)
            assert info.is_published(), "the broker does not confirm"
        self._unconfirmed.clear()


def send_huge(port: int, topic: str, size_bytes: int) -> None:
    """Publish one message that is never whole in this process's memory, QoS 1, by MQTT 3.1.1."""
    name = topic.encode()
    with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as line:
        line.sendall(b"\x10\x0e\0\4MQTT\4\2\0\0\0\2hu")
        assert line.recv(4) == b"\x20\2\0\0"
        body = len(name).to_bytes(2, "big") + name + b"\0\1"
        length, encoded = len(body) + size_bytes, b""
        while True:
            length, digit = divmod(length, 128)
            encoded += bytes([digit | (0x80 if length else 0)])
            if not length:
                break
        line.sendall(b"\x32" + encoded + body)
        left = size_bytes
        while left:
            left -= line.send(_PIECE[:left])
        assert line.recv(4) == b"\x40\2\0\1", "the broker did not take it"
