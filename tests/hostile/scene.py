"""The scene of an attack: broker, gateway, honest devices, and what is looked at meanwhile."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from headgate.core.clock import SystemClock
from tests.e2e.gateway import Gateway
from tests.hostile.honest import GRACE_MS, Honest, stored
from tests.hostile.memory import Memory, pss_bytes

#: What all processes of the gateway together may take over what they take when honest devices are
#: all there is, bytes. One message may take 16 times its size (docs/guarantees.md): 16 MiB here;
#: the rest is for allocators, which give back late.
ROOM_BYTES = 64 << 20

#: Nobody's readings wait for longer than this, whatever is sent beside them, s.
LONGEST_S = 45.0

_CONFIG = """
[mqtt]
port = {port}
publish_anomalies = false
{mqtt}
[log]
partitions = 2
[ingest]
max_devices = 60
max_tag_values = 40
{ingest}
[streams]
silent_after = "{silent_after}"
snapshot_interval = "500ms"
stage_timeout = "5s"
[local_store]
[feed.plant]
topic = "plant/{{line}}/{{device}}/telemetry"
time = {{ path = "t", unit = "ms" }}
period = "{period_ms}ms"
grace = "{grace_ms}ms"
aggregates = [{{ window = "{window_ms}ms" }}]
[feed.plant.channels]
a = {{}}
b = {{}}
[feed.named]
topic = "named/{{line}}"
device = "name"
time = {{ path = "t", unit = "ms" }}
[feed.named.channels]
a = {{}}
[feed.state]
topic = "state/{{device}}"
[feed.state.channels]
a = {{}}
"""

_REFUSED = re.compile(
    r'^headgate_(?:quarantined|bad_fields)_total\{[^}]*reason="(\w+)"[^}]*\} (\S+)$', re.MULTILINE
)


class Scene:
    """A running gateway with honest devices; use it as a context manager.

    Args:
        folder: For all files.
        port: The broker's on loopback.
        honest: The honest devices; five, unless others are given.
        mqtt: More lines of ``[mqtt]``.
        ingest: More lines of ``[ingest]``.
        silent_after: As in the configuration; a busy machine may keep devices from being heard for
            seconds, and after this what they say is late.
        environment: More variables for the gateway's processes.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        honest: Honest | None = None,
        mqtt: str = "",
        ingest: str = "",
        silent_after: str = "20s",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.honest = honest or Honest(port)
        self.gateway = Gateway(
            folder / "gateway",
            _CONFIG.format(
                port=port,
                mqtt=mqtt,
                ingest=ingest,
                silent_after=silent_after,
                period_ms=self.honest.period_ms,
                window_ms=self.honest.window_ms,
                grace_ms=GRACE_MS,
            ),
            environment,
        )
        self._clock = SystemClock()
        self._usual_bytes = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.gateway)
            self.gateway.start(ready_within_s=60)
            self.honest.start()
            if self.honest.devices:
                # An attack that came before they are known could take their places.
                self.until(lambda: len(self.honest.readings) > 1, lambda: "nothing published")
            self.wait_for_honest()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.honest.stop()
        finally:
            self._stack.__exit__(kind, error, trace)

    @property
    def now_ms(self) -> int:
        """The time that devices have."""
        return self._clock.wall_ns() // 1_000_000

    @property
    def points(self) -> Path:
        """The local store's file."""
        return self.gateway.folder / "data" / "points.db"

    def watch(self) -> Memory:
        """Look at the memory that the gateway takes from now on."""
        self._usual_bytes = pss_bytes(self.gateway.pid)
        return Memory(self.gateway.pid)

    def over_usual(self, memory: Memory) -> int:
        """Bytes over what it took before."""
        return memory.most_bytes - self._usual_bytes

    def refused(self) -> Counter[str]:
        """Messages and readings in quarantine, and bad fields, by reason, as /metrics has them."""
        _, page = self.gateway.get("/metrics")
        counts: Counter[str] = Counter()
        for reason, count in _REFUSED.findall(page.decode()):
            counts[reason] += int(float(count))
        return counts

    def restarts(self) -> dict[str, int]:
        """How often each lane was started anew."""
        return {name: lane["restarts"] for name, lane in self.gateway.status()["lanes"].items()}

    def wait_for_honest(self, within_s: float = LONGEST_S) -> None:
        """Wait until all that honest devices have sent up to now is in the store, once.

        Raises:
            AssertionError: Something of it is missing, or counted twice, after that long.
        """
        # The last windows are closed by what comes after their grace.
        until_ms = self.now_ms // self.honest.window_ms * self.honest.window_ms
        begins = [begin for begin in list(self.honest.readings) if begin < until_ms]
        self.until(
            lambda: not self._wrong(begins), lambda: f"windows: {self._wrong(begins)}", within_s
        )

    def _wrong(self, begins: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Expected and found readings of the windows in which these differ."""
        found: Counter[int] = Counter()
        for each in stored(self.points):
            found[each.begin_ms] += each.readings
        expected = self.honest.readings
        return {
            begin: (expected[begin], found[begin])
            for begin in begins
            if expected[begin] != found[begin]
        }

    def pause(self) -> None:
        """Have the honest devices fall silent, until no window of theirs is open any more."""
        self.honest.pause()
        begins = list(self.honest.readings)
        self.until(lambda: not self._wrong(begins), lambda: f"windows: {self._wrong(begins)}")

    def restart(self) -> None:
        """End the gateway in an orderly way, and start it again."""
        assert self.gateway.stop() == 0
        self.gateway.start(ready_within_s=60)

    def until(
        self,
        condition: Callable[[], bool],
        what: Callable[[], str],
        within_s: float = LONGEST_S,
    ) -> None:
        """Wait until something holds."""
        deadline = time.perf_counter() + within_s
        while not condition():
            assert time.perf_counter() < deadline, f"not within {within_s:g} s: {what()}"
            time.sleep(0.2)
