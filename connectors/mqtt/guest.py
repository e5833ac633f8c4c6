"""A client that is a guest at a broker: under an id of its own, for as long as a command runs."""

from __future__ import annotations

from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.tls import tls_context
from connectors.mqtt.transport import set_transport, transport_options
from headgate.config.schema import read_secret

#: How long the broker may take to let us in, and to answer a subscription, s.
ANSWER_LIMIT_S: Final = 10.0


def guest_client(
    settings: MqttConfig, key: str, client_id: str, *, keeps_session: bool, reconnects: bool
) -> Client:
    """Paho's client, made ready to connect, with no callbacks yet.

    Args:
        settings: The broker, and how to log in.
        key: Where the configuration has them.
        client_id: One that nobody else has.
        keeps_session: Whether a session of this id is left as it is. What comes in one that is not
            ours stays with the broker then: nothing is acknowledged.
        reconnects: Whether it connects again by itself.

    Raises:
        OSError: A file that it needs can't be read.
        ValueError: Likewise what is in one.
    """
    is_v5 = settings.version == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        clean_session=None if is_v5 else not keeps_session,
        reconnect_on_failure=reconnects,
        manual_ack=keeps_session,
        **transport_options(settings),
    )
    set_transport(client, settings)
    client.connect_timeout = ANSWER_LIMIT_S
    password = read_secret(settings.password_env, settings.password_file)
    client.username_pw_set(settings.username, password)
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls, key))
    return client
