"""Messages of the simulation's stories that are not made up on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from connectors.simulator.faults import Fault
from connectors.simulator.fleet import Fleet
from connectors.simulator.payload import PayloadWriter
from tests.simulation.world import Message

PERIOD_MS = 100
START_MS = 1_750_000_000_000
_LONG_MS = 10**7

#: What a clock that is wrong is ahead by: decades, because the gateway believes that it is no
#: earlier than its own files are.
AHEAD_MS = 20 * 365 * 86_400_000

#: A time that no clock that is right has reached.
FUTURE_MS = START_MS + 10 * 365 * 86_400_000


def closing(messages: Sequence[Message], set_forward: set[bytes]) -> list[Message]:
    """More of each device, so late that every window before them closes.

    As many as it takes to be believed where they are ahead.
    """
    last: dict[bytes, tuple[str, dict[str, Any]]] = {}
    for topic_name, payload in messages:
        content = json.loads(payload)
        key = "t" if "t" in content else "time"
        is_wrong = content[key] > FUTURE_MS and topic_name not in set_forward
        if payload.count(b"13.5") == 0 and not is_wrong:
            newest = last[topic_name][1][key] if topic_name in last else 0
            content[key] = max(newest, content[key] + _LONG_MS)
            last[topic_name] = key, content
    return [
        (topic_name, json.dumps({**content, key: content[key] + number * PERIOD_MS}).encode())
        for topic_name, (key, content) in last.items()
        for number in range(3)
    ]


@lru_cache(3)
def pump_messages(variant: int) -> tuple[Message, ...]:
    start_ns = START_MS * 1_000_000
    faults = [Fault("cavitation", 0, start_ns + 4 * 10**9, start_ns + 10 * 10**9)]
    fleet = Fleet(2, 10, variant, start_ns=start_ns, faults=faults)
    writer = PayloadWriter(fleet)
    return tuple(
        (topic_name.encode(), payload)
        for _ in range(130)
        for topic_name, payload in writer.messages(fleet.step())
    )
