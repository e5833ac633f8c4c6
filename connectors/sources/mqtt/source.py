"""Messages from a broker: its connection, its session, and what of it is retained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from connectors.mqtt.config import MqttConfig
from connectors.mqtt.connection import Connection
from connectors.mqtt.received import Received
from connectors.mqtt.session import SESSION_FILE, BrokerSession, tell_left_behind
from connectors.mqtt.state import MakeState, former_host_state, host_state, own_state
from connectors.sources.mqtt.retained import RetainedMessages, subscriptions
from connectors.sources.source import SourceContext


def _state(table: MqttConfig, gateway: str) -> MakeState | None:
    """What the source's connection tells of the gateway."""
    if table.primary_host is not None:
        is_former = table.primary_host_version == "2.2"
        make = former_host_state if is_former else host_state
        return make(table.primary_host)
    return own_state(gateway) if table.publish_state else None


class MqttSource:
    """A source of the ingest lane.

    Args:
        table: Its own table.
        context: What surrounds it.
        connect: Makes the connection to the broker; takes what ``Connection`` takes.

    Raises:
        ConfigError: The note of its session can't be read or written.
    """

    def __init__(
        self,
        table: MqttConfig,
        context: SourceContext,
        *,
        connect: Callable[..., Connection] = Connection,
    ) -> None:
        self._on_messages = context.on_messages
        used = {
            context.config.source_file(name, SESSION_FILE): each.table.session
            for name, each in context.config.source.items()
            if isinstance(each.table, MqttConfig)
        }
        # Said once, by the first of them.
        if context.file(SESSION_FILE) == next(iter(used)):
            tell_left_behind(used, context.telemetry)
        self._session = BrokerSession(
            table,
            context.config.gateway.name,
            context.file(SESSION_FILE),
            context.name,
            context.clock,
            context.telemetry,
        )
        self._retained = RetainedMessages(
            context.feeds,
            2 * context.config.ingest.max_devices,
            context.file("retained.db"),
            context.telemetry,
        )
        self._connection = connect(
            settings=table,
            client_id=self._session.client_id,
            clock=context.clock,
            key=context.key,
            on_messages=self._take,
            read_interval_s=context.read_interval_s,
            subscriptions=subscriptions(context.feeds),
            session=self._session,
            max_payload_bytes=context.config.ingest.max_payload,
            asked=context.asked,
            state=_state(table, context.config.gateway.name),
            on_certificate=partial(context.on_certificate, f"{context.key}.host", table.host),
        )

    @property
    def trouble(self) -> str:
        return self._connection.trouble

    @property
    def connection(self) -> int:
        return self._connection.generation

    @property
    def has_kept(self) -> bool:
        return self._session.is_present

    @property
    def is_paused(self) -> bool:
        return self._connection.is_paused

    async def run(self) -> None:
        await self._retained.load()
        await self._connection.run()

    def pause(self) -> None:
        self._connection.pause()

    def resume(self) -> None:
        self._connection.resume()

    async def acknowledge(self, received: Sequence[Received]) -> None:
        await self._retained.keep(received)
        for each in received:
            self._connection.ack(each)

    def say(self, topic: str, payload: bytes) -> None:
        self._connection.say(topic, payload)

    async def settle(self) -> None:
        await self._connection.settle()

    async def close(self, *, is_all_safe: bool) -> None:
        self._connection.close()
        await self._retained.close(is_all_safe=is_all_safe)

    def _take(self, received: Received) -> None:
        self._on_messages(self._retained.sift(received))
