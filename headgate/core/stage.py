"""The contract between the stages of ``streams`` and the runner.

A stage is pure and synchronous: no I/O, no wall clock, no logging. The same readings give the
same results whatever batches they are cut into. A stage that remembers something is a
``StatefulStage``; what it remembers belongs to devices, so that a device's state can be written
down, moved and restored on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.core.batch import Batch
from headgate.core.channels import Tags

#: Arrays of one stage's state. Every array has its own length; names are the stage's own.
StateBlock = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Readings that a stage does not pass on, and why.

    Attributes:
        reason: Short fixed word, a counter's label: ``"late"``, ``"duplicate"``, ``"conflict"`` …
        batch: The readings as the stage received them.
    """

    reason: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class Output:
    """What a row-preserving stage made of a batch.

    Every reading that went in is in ``main`` or in exactly one of ``rejected``; a stage that says
    so may hold it instead, as part of its state, and pass it on or reject it later. ``main`` may
    hold further readings that the stage made up; those carry ``Quality.IMPUTED``.
    """

    main: Batch
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The devices, and their channels, that a snapshot is about.

    Attributes:
        devices: int32[d], device rows of the pipeline's ``ChannelTable``, each once.
        channels: int32[c], all channel rows of those devices, each once.
    """

    devices: NDArray[np.int32]
    channels: NDArray[np.int32]


class StatefulStage(Protocol):
    """State that belongs to devices.

    State arrays are indexed by device row or channel row and grow on demand when a row is met
    that is not there yet. In a ``StateBlock`` rows are *positions in the selection* (0 … d-1 or
    0 … c-1), never table rows: a restored process numbers devices and channels anew.

    A block is checked before it is restored (``streams.blocks``), by its names: ``PREFIXdevice``
    and ``PREFIXchannel`` hold positions, and the arrays ``PREFIX…`` beside one have as many rows;
    ``…_ns`` are times. Types, and shapes without the rows, are always those of ``snapshot``.
    """

    def snapshot(self, selection: Selection) -> StateBlock:
        """Copy out what is remembered of these devices. Does not change the stage."""
        ...

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; the selection lists the same devices in the same order.

        Whatever was remembered of these devices is replaced. A restored stage goes on exactly
        as the one that made the snapshot would have.
        """
        ...

    def forget(self, selection: Selection) -> None:
        """Drop what is remembered of these devices, as if they had never been seen."""
        ...


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


#: What can be wrong with a sensor, worst first; ``streams.symptoms`` says what each is.
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


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Closed windows, one row for each channel and window, as columns.

    ``n + flagged`` is the number of readings the window accounts for: ``n`` usable ones went into
    the statistics, ``flagged`` ones (missing, out of range, spike) were counted only. Imputed
    readings are in neither. Statistics are NaN where ``n`` is 0.

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
        )


#: Names of ``Aggregates.signs``.
SIGNS = ("spikes", "stuck", "jumps", "lone")

#: Names and order of ``Aggregates.stats``.
STATISTICS = ("mean", "min", "max", "std", "last", "p50", "p95", "p99")
