"""Notifications by HTTP as a kind of sink."""
# ruff: noqa: PLC0415  (a client that nobody asks for is not loaded)

from __future__ import annotations

from connectors.sinks.notifications.notification import notification
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, SinkComponent, SinkContext
from connectors.sinks.webhook.config import WebhookConfig


def _make(table: WebhookConfig, context: SinkContext) -> Sink:
    from connectors.sinks.notifications.sink import NotificationSink
    from connectors.sinks.webhook.sink import Webhook

    return NotificationSink(table, Webhook(table, context.key, context.clock), context)


def _passes_over(table: WebhookConfig, point: Point) -> bool:
    return not table.wants(notification(point))


WEBHOOK = SinkComponent(
    about="alarms and what else is told, an HTTP request each",
    table=WebhookConfig,
    make=_make,
    kinds=("anomalies",),
    passes_over=_passes_over,
)
