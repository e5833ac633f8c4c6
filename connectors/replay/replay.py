"""Publishing a recording: its rows as JSON objects over MQTT, at the pace they were recorded in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from connectors.replay.publisher import Publisher
from connectors.replay.recording import Recording, Row
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of a recording.

    Attributes:
        messages: Messages published, all of them confirmed by the broker.
        nulls: Cells that held no number and were sent as null.
        untimed: Rows whose time could not be read; their time was sent as null.
    """

    messages: int
    nulls: int
    untimed: int


def replay(
    recording: Recording,
    publisher: Publisher,
    clock: Clock,
    *,
    topic: str,
    speed: float | None = 1.0,
    starts_now: bool = False,
    stop: threading.Event | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> ReplayResult:
    """Publish every row as ``{"time": ms, COLUMN: number or null, …}``.

    Args:
        recording: The rows.
        publisher: A connected publisher.
        clock: Sets the pace.
        topic: Where to; ``{device}`` in it stands for each row's device.
        speed: Recorded seconds a second; None publishes as fast as the broker confirms.
        starts_now: Shift all times so that the first row is measured now; else they are kept.
        stop: Ends the replay before the next row.
        on_row: Called after each row was handed to the publisher.

    Raises:
        ConfigError: The recording or the topic can't be used.
        TransientError: The broker stayed away too long.
        PermanentError: The broker refused a message.
    """
    check_topic(topic)
    stop = threading.Event() if stop is None else stop
    messages = nulls = untimed = 0
    shift_ms = 0
    first_ms: int | None = None
    start_ns = clock.monotonic_ns()
    for row in recording.rows():
        if row.time_ms is not None:
            if first_ms is None:
                first_ms = row.time_ms
                shift_ms = clock.wall_ns() // _NS_PER_MS - first_ms if starts_now else 0
            if speed is not None:
                due_ns = start_ns + (row.time_ms - first_ms) * _NS_PER_MS / speed
                if stop.wait(max(0.0, (due_ns - clock.monotonic_ns()) / NS_PER_S)):
                    break
        if stop.is_set():
            break
        time_ms = None if row.time_ms is None else row.time_ms + shift_ms
        publisher.publish(
            _topic_of(topic, row, recording), orjson.dumps({**row.values, "time": time_ms})
        )
        messages += 1
        untimed += time_ms is None
        nulls += sum(value is None for value in row.values.values())
        if on_row is not None:
            on_row(row)
    publisher.flush()
    return ReplayResult(messages, nulls, untimed)


def check_topic(topic: str) -> None:
    """Refuse a topic that can't be published to; raises ConfigError."""
    if not topic or set("+#\0") & set(topic) or len(topic.encode()) > 65_535:
        raise ConfigError(
            f"--topic: expected a topic without wildcards, got {topic!r}; "
            f"give one like plant/line-1/{{device}}/telemetry"
        )


def _topic_of(topic: str, row: Row, recording: Recording) -> str:
    if "{device}" not in topic:
        return topic
    if not row.device or set("/+#\0") & set(row.device):
        raise ConfigError(
            f"{recording.path}:{row.line}: expected a device name that can be a topic's level, "
            f"got {row.device!r}; give --device"
        )
    return topic.replace("{device}", row.device)
