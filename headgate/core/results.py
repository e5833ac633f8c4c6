"""What stages make of readings, on the way to becoming records and points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import Tags
from headgate.core.counts import Counts


@dataclass(frozen=True, slots=True)
class Frames:
    """Dense windows of one model, ready for inference.

    Attributes:
        model: Name of the model in the configuration.
        device: int32[w], device row of each window.
        end_ns: int64[w], event time of the window's last step (the step's start).
        values: float32[w, window, channel], normalized, channels in the model package's order.
    """

    model: str
    device: NDArray[np.int32]
    end_ns: NDArray[np.int64]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.device)


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's answer for each window of a ``Frames``, in the same order.

    Attributes:
        model: Name of the model in the configuration.
        device: int32[w].
        time_ns: int64[w], the window's ``end_ns``.
        score: float32[w], higher is more abnormal.
        share: float32[w, channel], each channel's part of the score; rows sum to 1, or to 0
            where the score is 0.
    """

    model: str
    device: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    score: NDArray[np.float32]
    share: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.device)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One event of one device, opened by a detector. Rare, so an object and not a column.

    It is emitted when it opens and again, with the same identity ``(feed, device, tags, model,
    start_ns)`` and a higher ``revision``, when it gets worse, its verdict changes, it closes, or
    goes on soon after; the sink overwrites.

    Attributes:
        feed: The device's feed.
        device: The device's name.
        model: Name of the model in the configuration.
        start_ns: Event time of the first step over the threshold.
        opened_ns: Event time of the step at which it was taken for an anomaly.
        end_ns: Event time of the last step over the lower threshold so far.
        peak_ns: Event time of the highest score.
        peak_score: The highest score so far.
        threshold: The threshold the score had to pass.
        severity: ``"minor"``, ``"major"`` or ``"critical"``.
        shares: ``(channel name, share)`` at the peak, largest first.
        verdict: ``"sensor"`` when most of the peak's score stems from sensors that were faulty
            meanwhile, otherwise ``"process"``.
        faulty: The channels of those sensors, in the model's order.
        is_open: False once it has ended.
        revision: 0 at opening, then counting up.
        tags: What else than its name tells the device from others of its feed.
    """

    feed: str
    device: str
    model: str
    start_ns: int
    opened_ns: int
    end_ns: int
    peak_ns: int
    peak_score: float
    threshold: float
    severity: str
    shares: tuple[tuple[str, float], ...]
    verdict: str
    faulty: tuple[str, ...]
    is_open: bool
    revision: int
    tags: Tags = ()


#: How grave an anomaly or an alarm is, the least first.
SEVERITIES = ("minor", "major", "critical")


def severity_rank(severity: str) -> int:
    """How grave that is: 1 for the least of ``SEVERITIES``; 0 for what has none."""
    return SEVERITIES.index(severity) + 1 if severity in SEVERITIES else 0


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a rule has to say of one device.

    It is emitted when it opens, and again, with the same identity ``(feed, device, tags, part,
    channel, rule, start_ns)``, when it is over, and that of an anomaly when that changes; the sink
    overwrites.

    Attributes:
        feed: The device's feed.
        device: The device's name.
        rule: Name of the rule in the configuration.
        start_ns: Event time from which on what it tells of has been so.
        opened_ns: Event time at which it opened: it had been so for long enough.
        time_ns: Event time at which it opened, or was over; of an anomaly that has changed, up to
            which it has gone on.
        is_open: False once it is over.
        severity: ``"minor"``, ``"major"`` or ``"critical"``.
        text: What it says, with the values at which it opened.
        part: Which part of the device it is of, where tags tell several apart that are none of the
            device's own: a phase, a line.
        channel: Of a faulty sensor its channel; otherwise empty.
        revision: Of an anomaly's alarm that of the anomaly, by which it is told that it goes on
            after it was over; otherwise 0.
        tags: What else than its name tells the device from others of its feed.
    """

    feed: str
    device: str
    rule: str
    start_ns: int
    opened_ns: int
    time_ns: int
    is_open: bool
    severity: str
    text: str
    part: Tags = ()
    channel: str = ""
    revision: int = 0
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class AlarmNote:
    """What somebody has said of an alarm.

    Attributes:
        feed: Of which alarm, and so on to ``start_ns``: its identity.
        time_ns: When it was said, ns since 1970 UTC.
        by: Who has said it.
        acknowledges: Whether it says that the alarm has been seen to.
        comment: What else; may be empty.
        part: As the alarm's.
        tags: Likewise.
        until_ns: Until when the alarm, and all of the same rule at the same place, is shelved, ns
            since 1970 UTC; not later than ``time_ns``: it is shelved no more. 0 where nothing is
            said of that.
    """

    feed: str
    device: str
    rule: str
    channel: str
    start_ns: int
    time_ns: int
    by: str
    acknowledges: bool
    comment: str
    part: Tags = ()
    tags: Tags = ()
    until_ns: int = 0


#: What can be wrong with a sensor, worst first; ``streams.stages.health.symptoms`` says what each
#: is.
SENSOR_FAULTS = ("dropout", "stuck", "flat", "spike", "noise", "drift")


@dataclass(frozen=True, slots=True)
class SensorHealth:
    """How one sensor is from now on. Said when it changes, and again every hour of a fault.

    Attributes:
        feed: The device's feed.
        device: The device's name.
        channel: The sensor's channel (its field).
        time_ns: Event time of the end of the window that told.
        state: ``"ok"`` or one of ``SENSOR_FAULTS``.
        since_ns: Event time of the start of the first window that pointed to it.
        found: What was found in the last window, in a figure that belongs to the state; NaN where
            there is none.
        usual: What that figure usually is; NaN where it is not known.
        tags: What else than its name tells the device from others of its feed.
    """

    feed: str
    device: str
    channel: str
    time_ns: int
    state: str
    since_ns: int
    found: float
    usual: float
    tags: Tags = ()


#: How a device is.
ONLINE: Final = "online"
OFFLINE: Final = "offline"

#: What was said of a device says nothing any more; no state of one.
WITHDRAWN: Final = "withdrawn"


@dataclass(frozen=True, slots=True)
class Availability:
    """What a device has said of whether it is there, or somebody else for it. No reading.

    Attributes:
        feed: The device's feed.
        device: The device's name; None: all of the feed's devices that are known.
        time_ns: When it was said, which is when it arrived, ns since 1970 UTC.
        state: ``"online"`` or ``"offline"``; ``"withdrawn"`` where what was said before it holds no
            longer.
        cause: What tells: ``"availability"``, a topic for that; ``"birth"`` or ``"death"``, a
            certificate.
        is_through: Whether it is said of what the device is connected through, such as a bridge.
        adds: Whether a device becomes known by it that was not known yet.
        tags: Tags that the devices have, at least; with ``adds`` all that tell it from others.
    """

    feed: str
    device: str | None
    time_ns: int
    state: str
    cause: str
    is_through: bool = False
    adds: bool = False
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Whether one device is there from now on. Said when it changes.

    Attributes:
        feed: The device's feed.
        device: The device's name.
        time_ns: Event time from which on it is so: that of the reading by which it was heard
            (again), or right after its last one.
        state: ``"online"`` or ``"offline"``.
        cause: What tells: ``"reading"``, ``"silence"``, or that of an ``Availability``.
        seen_ns: Event time of its newest reading; 0 where it has sent none.
        tags: What else than its name tells the device from others of its feed.
    """

    feed: str
    device: str
    time_ns: int
    state: str
    cause: str
    seen_ns: int
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class StateChange:
    """What a text channel says from now on. Said when its text changes.

    Attributes:
        feed: The device's feed.
        device: The device's name.
        channel: The channel (its field).
        time_ns: Event time of the reading that says it.
        state: The text.
        before: The text before; empty where none is known.
        before_ns: For how long that had been so, as far as is known; 0 where none is.
        tags: What else than its name tells the device from others of its feed.
    """

    feed: str
    device: str
    channel: str
    time_ns: int
    state: str
    before: str
    before_ns: int
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Closed windows, one row for each channel and window, as columns.

    ``n + flagged`` is the number of readings the window accounts for: ``n`` usable ones went into
    the statistics, ``flagged`` ones (missing, out of range, spike) were counted only. Imputed
    readings are in neither. Statistics are NaN where ``n`` is 0.

    Of a text channel the only statistic is ``last``, the code of its last text; and a window may be
    there for the time in it that a text of before went on counting, without a reading. Of a counter
    it is the last reading, and ``counts`` say the rest.

    Attributes:
        channel: int32[k], row of the pipeline's ``ChannelTable``.
        start_ns: int64[k], event time of the window's start; the window is half-open.
        window_ns: int64[k], the window's length.
        n: int64[k].
        flagged: int64[k].
        expected: int64[k], window length over the feed's period, at least 1; 0 in windows that
            an older version closed and that are shorter than the period.
        stats: float64[k] by name: mean, min, max, std (population), last, p50, p95, p99.
        sketch_keys: k arrays of int32, DDSketch bucket keys in rising order (see
            ``headgate.core.sketch``).
        sketch_counts: k arrays of int64, readings in each of those buckets.
        signs: int64[k] or float64[k] by name, what tells how the sensor is: spikes and stuck
            (readings with these flags), jumps (sum of the squared differences of readings in a
            row), lone (the most that one reading stands off both its neighbours). They do not
            leave the pipeline; of windows read from the log there are none.
        spent: k mappings, empty ones for numbers: of a text channel, for how long of the window it
            was in each state, ns by its text's code. None at all where no row is of text channels.
        counts: arrays[k] by name, what counters have: increase (float64, the sum of the steps to
            the window's readings, each from the reading before; NaN where none is known),
            increase_ns (int64, the time that these steps took) and resets (int64, how often the
            count began anew; -1 of channels that are no counters). None where no row is of one.
    """

    channel: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    window_ns: NDArray[np.int64]
    n: NDArray[np.int64]
    flagged: NDArray[np.int64]
    expected: NDArray[np.int64]
    stats: dict[str, NDArray[np.float64]]
    sketch_keys: list[NDArray[np.int32]] = field(default_factory=list)
    sketch_counts: list[NDArray[np.int64]] = field(default_factory=list)
    signs: dict[str, NDArray[Any]] = field(default_factory=dict)
    spent: list[Mapping[float, int]] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of closed windows."""
        return len(self.channel)

    def take(self, rows: NDArray[np.intp]) -> Aggregates:
        """Some of these windows."""
        return Aggregates(
            channel=self.channel[rows],
            start_ns=self.start_ns[rows],
            window_ns=self.window_ns[rows],
            n=self.n[rows],
            flagged=self.flagged[rows],
            expected=self.expected[rows],
            stats={name: column[rows] for name, column in self.stats.items()},
            sketch_keys=[self.sketch_keys[row] for row in rows],
            sketch_counts=[self.sketch_counts[row] for row in rows],
            signs={name: column[rows] for name, column in self.signs.items()},
            spent=[self.spent[row] for row in rows] if self.spent else [],
            counts={name: column[rows] for name, column in self.counts.items()},
        )


def joined_states(parts: Sequence[Aggregates]) -> list[Mapping[float, int]]:
    """``Aggregates.spent`` of windows one after the other."""
    if not any(part.spent for part in parts):
        return []
    return [spent for part in parts for spent in part.spent or [{}] * len(part)]


#: Names of ``Aggregates.signs``.
SIGNS = ("spikes", "stuck", "jumps", "lone")

#: Names and order of ``Aggregates.stats``.
STATISTICS = ("mean", "min", "max", "std", "last", "p50", "p95", "p99")
