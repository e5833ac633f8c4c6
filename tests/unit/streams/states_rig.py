"""The stage that says whether devices are there, as the lane has it look."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.results import Availability, DeviceState
from headgate.testing.stages import everything
from streams.stages.watermark.stage import Watermarks

_SILENT_AFTER_NS = 10 * NS_PER_S

#: What of a snapshot older versions have not.
_OF_STATES = ("said", "said_ns", "own_word", "through_word", "is_missed")

#: Topics by which devices, and what they are connected through, say that they are there.
_TOPICS = {"topic": ["{device}/state", "bridge"]}

#: The device's clock, where its readings begin.
START_S = 1_000_000


class Gateway:
    """A gateway that looks for silence as the lane does, and what it has said."""

    def __init__(self, **feed: object) -> None:
        keys = {"topic": "{device}", "channels": {"x": {}}, "aggregates": [{"window": "5s"}]}
        self._keys: dict[str, object] = {**keys, **feed}
        self.feeds = {"f": FeedConfig.model_validate(self._keys)}
        self.channels = ChannelTable()
        for name in ("a", "b"):
            self.channels.row(Channel("f", name, "f", "x"))
        self.watermarks = Watermarks(self.feeds, self.channels)
        self.said: list[DeviceState] = []
        #: When which devices went silent or had windows closed, and up to where.
        self.closed: list[tuple[int, list[int], list[int], list[int]]] = []
        self.now_s = 0

    def until(self, time_s: int) -> None:
        """Let time pass, and look each second."""
        while self.now_s < time_s:
            self.now_s += 1
            self.look()

    def look(self) -> None:
        """One look at what time has to say."""
        now_ns = self.now_s * NS_PER_S
        among = self.watermarks.quiet(now_ns, _SILENT_AFTER_NS)
        found = self.watermarks.advance(now_ns, _SILENT_AFTER_NS, among)
        self.said += found.states
        if len(found.silent) or len(found.closing):
            columns = (found.silent.tolist(), found.closing.tolist(), found.floor_ns.tolist())
            self.closed.append((self.now_s, *columns))

    def send(self, times_s: Iterable[float], device: int = 0, quality: int = 0) -> None:
        """Readings of a device, by its clock."""
        times = [round((START_S + time_s) * NS_PER_S) for time_s in times_s]
        rows = [device] * len(times)
        batch = Batch.from_columns(
            self.channels, times, rows, [1.0] * len(times), quality=[quality] * len(times)
        )
        for turn in self.watermarks.turns(batch, self.now_s * NS_PER_S):
            self.said += turn.states

    def word(
        self,
        state: str,
        device: int = 0,
        cause: str = "availability",
        at_s: float | None = None,
        *,
        is_through: bool = False,
    ) -> None:
        """Something is said of a device; its clock and the gateway's are the same."""
        time_ns = round((START_S + (self.now_s if at_s is None else at_s)) * NS_PER_S)
        said = Availability("f", None, time_ns, state, cause, is_through)
        rows = np.array([device], np.int32)
        self.said += self.watermarks.tell(rows, said, self.now_s * NS_PER_S)

    def live(self, first_s: int, last_s: int, device: int = 0) -> None:
        """A reading each second, as time passes."""
        for second in range(first_s, last_s):
            self.until(second)
            self.send([second], device)

    def restart(self, *left_out: str, **feed: object) -> None:
        """A new process that takes up what was written down.

        Args:
            left_out: What was not: columns of the snapshot.
            feed: Keys of the feed that have changed.
        """
        old, selection = self.watermarks, everything(self.channels)
        self._keys |= feed
        self.feeds = {"f": FeedConfig.model_validate(self._keys)}
        self.watermarks = Watermarks(self.feeds, self.channels)
        block = {
            name: column for name, column in old.snapshot(selection).items() if name not in left_out
        }
        self.watermarks.restore(selection, block)

    def told(self, device: str = "a") -> list[tuple[str, float]]:
        """What was said of a device, and from when on by its clock, s."""
        return [
            (each.state, (each.time_ns - START_S * NS_PER_S) / NS_PER_S)
            for each in self.said
            if each.device == device
        ]
