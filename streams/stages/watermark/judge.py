"""The judgement on a device's doubtful readings, one after the other (``doubt.py``)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from streams.stages.arrays import NO_TIME_NS
from streams.stages.watermark.gaps import Gaps

#: Readings of a device held at most; one more, and all of them are refuted.
_MOST_HELD = 4096

#: Each time that a device goes back it takes ``confirm`` more readings, up to so many times as
#: many: going back costs more than the readings that bring it about.
_MOST_BACKS = 10

TAKEN, REFUTED, LATE, HELD = 0, 1, 2, 3


@dataclass(slots=True)
class Said:
    """What is said of some readings.

    Attributes:
        source: int32[n], the source of the reading that decided.
        verdict: int8[n].
        turn: int64[n], how often its device has gone back before each.
    """

    source: NDArray[np.int32]
    verdict: NDArray[np.int8] = field(init=False)
    turn: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.verdict = np.full(len(self.source), TAKEN, np.int8)
        self.turn = np.zeros(len(self.source), np.int64)


class Judge:
    """Judges the readings of a device some of which are doubtful.

    Args:
        every: What was held, and a batch.
        said: Gets the verdict on each of its readings.
        feed: The device's feed.
        gaps: The device's gap is among them.
        device: The device's row.
    """

    def __init__(self, every: Batch, said: Said, feed: FeedConfig, gaps: Gaps, device: int) -> None:
        self._time_ns = every.time_ns
        self._channel = every.channel
        self._is_ahead = (every.quality & np.uint16(Quality.AHEAD)) != 0
        self._said = said
        self._feed = feed
        self._gaps = gaps
        self._device = device
        #: Newest event time, what is late whatever that is, the last step, and for each time that
        #: the device has gone back what was late from then on.
        self._newest_ns = self._older_ns = NO_TIME_NS
        self._step_ns = 0
        self._floors_ns: list[int] = []
        #: The doubtful readings in a row, how many different times they have, and their last;
        #: and, where they are behind the watermark, what they must not be older than.
        self._run: list[int] = []
        self._times = 0
        self._last_ns = NO_TIME_NS
        self._floor_ns: int | None = None
        self._met: set[tuple[int, int]] = set()
        #: How often the device has gone back before each jump of its clock over windows, and up to
        #: where all is closed before that.
        self.jumps: list[tuple[int, int]] = []

    def judge(
        self,
        held: NDArray[np.intp],
        rows: NDArray[np.intp],
        newest_ns: int,
        floor_ns: int,
        step_ns: int,
    ) -> tuple[int, list[int]]:
        """Judge the readings.

        Args:
            held: Positions of those that were held.
            rows: Positions of the new ones, in arrival order.
            newest_ns: The device's newest event time before them.
            floor_ns: Older readings are late.
            step_ns: The last step while the device was ahead.

        Returns:
            The last step now; and for each time that the device has gone back, what older than is
            late from then on.
        """
        self._newest_ns, self._older_ns, self._step_ns = newest_ns, floor_ns, step_ns
        for position in held.tolist():
            self._begin(self._floor_of(position))
            self._add(position)
        for position in rows.tolist():
            time_ns = int(self._time_ns[position])
            is_ahead = bool(self._is_ahead[position])
            self._said.turn[position] = len(self._floors_ns)
            if self._gaps.is_closed(self._device, time_ns):
                self._said.verdict[position] = LATE
            elif is_ahead and time_ns > self._newest_ns + self._allowed_ns():
                if self._doubt(position, None) and self._times >= self._feed.time.confirm:
                    self._jump(position)
            elif time_ns >= self._watermark_ns():
                self._refute(position)
                self._go_on(time_ns, is_ahead=is_ahead)
            elif (
                (floor := self._floor_of(position)) is not None
                and self._doubt(position, floor)
                and self._times >= self._enough_to_go_back()
            ):
                self._go_back(position)
        self._said.verdict[self._run] = HELD
        return self._step_ns, self._floors_ns

    def _watermark_ns(self) -> int:
        return max(self._newest_ns - self._feed.grace, self._older_ns)

    def _allowed_ns(self) -> int:
        """By how much the device may move on while it is ahead."""
        step, period_ns = self._step_ns, self._feed.period
        return (2 * max(step, period_ns) if step else period_ns) + self._feed.grace

    def _enough_to_go_back(self) -> int:
        backs = self._gaps.backs(self._device)
        return min(1 + backs, _MOST_BACKS) * self._feed.time.confirm

    def _go_on(self, time_ns: int, *, is_ahead: bool) -> None:
        if time_ns > self._newest_ns:
            if is_ahead and self._newest_ns > NO_TIME_NS:
                self._step_ns = time_ns - self._newest_ns
            self._newest_ns = time_ns

    def _jump(self, position: int) -> None:
        self._step_ns = self._last_step()
        first_ns = int(self._time_ns[self._run].min())
        closed_ns = self._gaps.jump(
            self._device, self._newest_ns, self._older_ns, first_ns, self._feed
        )
        if closed_ns <= first_ns:
            self.jumps.append((len(self._floors_ns), closed_ns))
        self._newest_ns = self._last_ns
        self._decide(TAKEN, position)

    def _go_back(self, position: int) -> None:
        self._older_ns = self._gaps.go_back(
            self._device,
            int(self._time_ns[position]),
            self._newest_ns,
            self._older_ns,
            self._feed,
        )
        self._floors_ns.append(self._older_ns)
        self._newest_ns = self._last_ns
        self._decide(TAKEN, position)

    def _floor_of(self, position: int) -> int | None:
        """What a reading behind the watermark must not be older than, if it may be right."""
        time_ns = int(self._time_ns[position])
        if time_ns >= self._watermark_ns():
            return None
        return self._gaps.floor_ns(self._device, time_ns)

    def _doubt(self, position: int, floor_ns: int | None) -> bool:
        """Take a doubtful reading to those in a row, unless it is one of them already."""
        if floor_ns != self._floor_ns or not self._agrees(position):
            self._refute(position)
        if (int(self._channel[position]), int(self._time_ns[position])) in self._met:
            self._said.verdict[position] = REFUTED if floor_ns is None else LATE
            return False
        self._begin(floor_ns)
        self._add(position)
        return True

    def _agrees(self, position: int) -> bool:
        """Whether a doubtful reading goes on from those before it."""
        if not self._run:
            return True
        if len(self._run) >= _MOST_HELD:
            return False
        time_ns, allowed_ns = int(self._time_ns[position]), self._allowed_ns()
        if self._newest_ns > NO_TIME_NS:
            # They are nearer to each other than they are to what was before.
            away_ns = abs(int(self._time_ns[self._run[0]]) - self._newest_ns)
            allowed_ns = max(allowed_ns, away_ns)
        elif self._times > 1:
            allowed_ns = max(allowed_ns, 3 * self._last_step())
        else:
            allowed_ns = -NO_TIME_NS
        return self._last_ns - self._feed.grace <= time_ns <= self._last_ns + allowed_ns

    def _begin(self, floor_ns: int | None) -> None:
        if not self._run:
            self._floor_ns = floor_ns

    def _add(self, position: int) -> None:
        time_ns = int(self._time_ns[position])
        self._run.append(position)
        self._met.add((int(self._channel[position]), time_ns))
        if time_ns > self._last_ns:
            self._last_ns = time_ns
            self._times += 1

    def _last_step(self) -> int:
        """The step to the newest of the readings in a row; 0 when there is only one time."""
        earlier_ns = [
            int(self._time_ns[each]) for each in self._run if self._time_ns[each] < self._last_ns
        ]
        return self._last_ns - max(earlier_ns) if earlier_ns else 0

    def _refute(self, position: int) -> None:
        self._decide(REFUTED if self._floor_ns is None else LATE, position)

    def _decide(self, verdict: int, position: int) -> None:
        """Let this reading decide on those in a row."""
        self._said.verdict[self._run] = verdict
        self._said.source[self._run] = self._said.source[position]
        self._said.turn[[*self._run, position]] = len(self._floors_ns)
        self._run, self._met, self._floor_ns = [], set(), None
        self._times, self._last_ns = 0, NO_TIME_NS
