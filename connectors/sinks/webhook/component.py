"""Notifications by HTTP as a kind of sink."""
# ruff: noqa: PLC0415  (a client that nobody asks for is not loaded)

from __future__ import annotations

from connectors.sinks.notifications.notification import notification, test_message
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, SinkComponent, SinkContext
from connectors.sinks.webhook.config import WebhookConfig


def _make(table: WebhookConfig, context: SinkContext) -> Sink:
    from connectors.sinks.notifications.sink import NotificationSink
    from connectors.sinks.webhook.sink import Webhook

    return NotificationSink(table, Webhook(table, context.key, context.clock), context)


async def _test(table: WebhookConfig, context: SinkContext) -> int:
    from connectors.sinks.webhook.sink import Webhook

    now_ns = context.clock.wall_ns()
    told = test_message(context.config.gateway.name, context.name, now_ns)
    return await Webhook(table, context.key, context.clock).send(told)


def _passes_over(table: WebhookConfig, point: Point) -> bool:
    return not table.wants(notification(point))


WEBHOOK = SinkComponent(
    about="alarms and what else is told, an HTTP request each",
    table=WebhookConfig,
    make=_make,
    kinds=("anomalies",),
    passes_over=_passes_over,
    test=_test,
)
