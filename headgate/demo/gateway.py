"""Looking at the demo's gateway from outside, as a user would: through its console."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """The numbers of ``/status`` that the demo shows; zeros before the first answer.

    Attributes:
        messages_per_s: MQTT messages over the last seconds.
        rows: Readings written to the log.
        processed_rows: Readings the agents have worked on.
        quarantined: Messages and readings refused so far.
        mean_batch: Windows in one inference run; None before the first.
        mean_inference_s: Seconds of one inference run; None before the first.
        uplink_bytes: Bytes forwarded to the store.
        flagged: Readings by quality flag.
    """

    messages_per_s: float = 0.0
    rows: int = 0
    processed_rows: int = 0
    quarantined: int = 0
    mean_batch: float | None = None
    mean_inference_s: float | None = None
    uplink_bytes: int = 0
    flagged: Mapping[str, float] | None = None

    @classmethod
    def from_json(cls, status: Mapping[str, Any]) -> Self:
        """Pick the numbers out of ``/status``."""
        return cls(
            messages_per_s=status["rates"]["messages_per_s"],
            rows=int(status["totals"]["rows"]),
            processed_rows=int(status["totals"]["processed_rows"]),
            quarantined=int(sum(status["quarantined"].values())),
            mean_batch=status["inference"]["mean_batch"],
            mean_inference_s=status["inference"]["mean_s"],
            # What goes back to the devices over MQTT stays in the plant.
            uplink_bytes=int(
                sum(sink["bytes"] for name, sink in status["sinks"].items() if "mqtt" not in name)
            ),
            flagged=status["flagged"],
        )


class ConsoleClient:
    """Reads the pages of a gateway's console.

    Args:
        port: The console's port on loopback.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Whether every lane does its work."""
        try:
            self._get("/readyz")
        except OSError:
            return False
        return True

    def status(self) -> GatewayStatus | None:
        """The numbers as they are; None while the console does not answer."""
        try:
            return GatewayStatus.from_json(json.loads(self._get("/status")))
        except OSError:
            return None

    def _get(self, path: str) -> bytes:
        # HTTP errors are OSErrors too. A proxy from the environment is not for loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._url + path, timeout=_TIMEOUT_S) as reply:
            body: bytes = reply.read()
            return body
