"""Messages of examples, sent as people send them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from tests.mosquitto import Mosquitto


def publish_examples(broker: Mosquitto, lines: Sequence[str]) -> int:
    """Publish the lines that are a topic and a payload, with mosquitto's own client; how many."""
    messages = [line.split(" ", 1) for line in lines if not line.startswith("→ ")]
    for topic, payload in messages:
        subprocess.run(
            ["mosquitto_pub", "-q", "1", "-p", str(broker.port), "-t", topic, "-m", payload],
            check=True,
            timeout=20,
        )
        # Two values of one channel and no time of their own are two readings, not one.
        time.sleep(0.01)
    return len(messages)
