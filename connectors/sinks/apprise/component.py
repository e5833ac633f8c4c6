"""Notifications by apprise as a kind of sink."""
# ruff: noqa: PLC0415  (a library that nobody asks for is not loaded)

from __future__ import annotations

from connectors.sinks.apprise.config import AppriseConfig
from connectors.sinks.notifications.notification import notification, test_message
from connectors.sinks.points import Point
from connectors.sinks.sink import Sink, SinkComponent, SinkContext


def _make(table: AppriseConfig, context: SinkContext) -> Sink:
    from connectors.sinks.apprise.sink import AppriseTeller
    from connectors.sinks.notifications.sink import NotificationSink

    return NotificationSink(table, AppriseTeller(table, context.key), context)


async def _test(table: AppriseConfig, context: SinkContext) -> int:
    from connectors.sinks.apprise.sink import AppriseTeller

    now_ns = context.clock.wall_ns()
    told = test_message(context.config.gateway.name, context.name, now_ns)
    return await AppriseTeller(table, context.key).send(told)


def _passes_over(table: AppriseConfig, point: Point) -> bool:
    return not table.wants(notification(point))


APPRISE = SinkComponent(
    about="alarms and what else is told, by mail, chat and text message",
    table=AppriseConfig,
    make=_make,
    kinds=("anomalies",),
    passes_over=_passes_over,
    test=_test,
)
