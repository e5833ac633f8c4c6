"""How a broker is reached: TCP, WebSockets, or a socket of this machine."""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import Client

from connectors.mqtt.config import MqttConfig


def transport_options(settings: MqttConfig) -> dict[str, Any]:
    """What paho's client is made with."""
    return {"transport": settings.transport}


def set_transport(client: Client, settings: MqttConfig) -> None:
    """Tell a client what it needs to know before it connects."""
    if settings.transport == "websockets":
        client.ws_set_options(settings.path, dict(settings.headers))


def address(settings: MqttConfig) -> tuple[str, int]:
    """What paho's client connects to."""
    host = settings.host if settings.socket is None else str(settings.socket)
    return host, settings.port
