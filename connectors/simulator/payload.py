"""A step of the fleet as MQTT messages: one JSON object a pump."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from connectors.simulator.fleet import CHANNELS, Fleet, Step
from headgate.core.errors import ConfigError

#: Where a pump publishes; a line has ten pumps.
DEFAULT_TOPIC = "plant/{line}/{device}/telemetry"
_PUMPS_A_LINE = 10


class PayloadWriter:
    """Writes steps as ``(topic, payload)`` pairs.

    The payload is ``{"time": ms, "load": …, "flow": …}``; a sensor that sent nothing is null.

    Args:
        fleet: The pumps whose steps will be written.
        topic: Pattern of the topics; ``{device}`` must stand in it, ``{line}`` may.

    Raises:
        ConfigError: The pattern has no ``{device}``, or a wildcard.
    """

    def __init__(self, fleet: Fleet, topic: str = DEFAULT_TOPIC) -> None:
        if "{device}" not in topic or set("+#\0") & set(topic):
            raise ConfigError(
                f"--topic: expected a topic with {{device}} and no wildcard, got {topic!r}; "
                f"give one like {DEFAULT_TOPIC}"
            )
        self.topics = tuple(
            topic.replace("{line}", f"line-{place // _PUMPS_A_LINE + 1}").replace("{device}", name)
            for place, name in enumerate(fleet.names)
        )

    def messages(self, step: Step) -> Iterator[tuple[str, bytes]]:
        """One message a pump, in the fleet's order."""
        time_ms = step.time_ns // 1_000_000
        # orjson writes NaN as null.
        for topic, row in zip(self.topics, step.values.tolist(), strict=True):
            yield topic, orjson.dumps({"time": time_ms, **dict(zip(CHANNELS, row, strict=True))})
