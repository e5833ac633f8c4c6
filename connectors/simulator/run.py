"""The fleet running: each step published when its time has come."""

from __future__ import annotations

import threading
from collections.abc import Callable

from connectors.replay.publisher import Publisher
from connectors.simulator.fleet import Fleet, Step
from connectors.simulator.payload import PayloadWriter
from headgate.core.clock import NS_PER_S, Clock


def run_fleet(
    fleet: Fleet,
    writer: PayloadWriter,
    publisher: Publisher,
    clock: Clock,
    *,
    steps: int | None,
    stop: threading.Event,
    on_step: Callable[[Step], None] | None = None,
) -> int:
    """Publish the fleet's steps in real time, and return the number of messages published.

    A step's event time is when it is due, so that a machine too slow for the rate publishes late
    but leaves no gap. On return every message is confirmed by the broker.

    Args:
        fleet: The pumps.
        writer: Writes their payloads.
        publisher: A connected publisher.
        clock: Wall time at the start says when the first step is due; from there on only the
            monotonic time counts, so that a clock being set does not stall or flood.
        steps: How many; None goes on until ``stop``.
        stop: Ends the run before the next step.
        on_step: Called after each step was handed to the publisher.

    Raises:
        TransientError: The broker stayed away too long.
        PermanentError: The broker refused a message.
    """
    messages = 0
    epoch_ns = clock.wall_ns() - clock.monotonic_ns()
    while steps is None or fleet.steps < steps:
        due_ns = fleet.time_ns(fleet.steps) - epoch_ns
        ahead_s = (due_ns - clock.monotonic_ns()) / NS_PER_S
        if stop.wait(max(0.0, ahead_s)):
            break
        step = fleet.step()
        for topic, payload in writer.messages(step):
            publisher.publish(topic, payload)
            messages += 1
        if on_step is not None:
            on_step(step)
    publisher.flush()
    return messages
