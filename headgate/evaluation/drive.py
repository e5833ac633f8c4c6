"""Recorded rows through the gateway's pipeline, one at a time, and what it said to each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.results import Anomaly, Scores
from models.package import ModelPackage
from models.runtime import Runtime
from models.training.data import TrainingData
from streams.pipeline import Pipeline
from streams.stages.infer import Inferer

_FEED, _MODEL = "feed", "model"

#: Rows between two words of progress.
_TOLD_ROWS = 256


@dataclass
class Trace:
    """What the pipeline said to n rows of one device.

    Attributes:
        score: float64[n], the newest score once the row had been worked on; NaN before the first.
        is_alarmed: bool[n], whether an anomaly was open then. Row t knows rows up to t only.
        anomalies: As they were emitted.
        threshold: float64[n], of the scores, once the row had been worked on.
    """

    score: NDArray[np.float64]
    is_alarmed: NDArray[np.bool_]
    threshold: NDArray[np.float64]
    anomalies: list[Anomaly] = field(default_factory=list)


def drive(
    package: ModelPackage,
    data: TrainingData,
    *,
    sensitivity: float = 1.0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Trace:
    """Send one device's rows through a pipeline that has this one model.

    Args:
        package: The model.
        data: Rows of one device, with the model's channels.
        sensitivity: As in the configuration: multiplies the threshold.
        progress: Called with the rows that are done, and how many there are.
    """
    return drive_together(package, [data], sensitivity=sensitivity, progress=progress)[0]


def drive_together(
    package: ModelPackage,
    recordings: Sequence[TrainingData],
    *,
    sensitivity: float = 1.0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Trace]:
    """Send the rows of several devices through one pipeline: a row of each at a time.

    No device's scores or alarms depend on the others' but for rounding; it only takes less time.

    Args:
        package: The model of all.
        recordings: Rows of one device each, one recording at least, with the model's channels.
        sensitivity: As in the configuration: multiplies the threshold.
        progress: Called with the rows that are done, and how many there are.
    """
    channels = ChannelTable()
    names = [channel.name for channel in package.manifest.channels]
    config = _config(package, sensitivity)
    newest = np.full(len(recordings), np.nan)

    def watch(scores: Scores) -> None:
        # Of several scores of a device the last one stays.
        newest[scores.device] = scores.score

    inferer = Inferer({_MODEL: Runtime(package)}, channels)
    pipeline = Pipeline(config, channels, {_MODEL: package}, inferer, watch=watch)
    # The devices' rows in the table are their places among the recordings.
    rows = np.array(
        [
            [channels.row(Channel(_FEED, f"device-{at}", _FEED, name)) for name in names]
            for at in range(len(recordings))
        ],
        np.int32,
    )
    lengths = np.array([len(each) for each in recordings], np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([each.time_ns for each in recordings])
    values = np.concatenate(
        [each.values[:, [each.names.index(name) for name in names]] for each in recordings]
    )
    score = np.full(len(times), np.nan)
    threshold = np.zeros(len(times))
    is_alarmed = np.zeros(len(times), np.bool_)
    anomalies: list[Anomaly] = []
    for at in range(int(lengths.max())):
        devices = np.flatnonzero(lengths > at).astype(np.int32)
        row = first[devices] + at
        batch = Batch.from_columns(
            channels,
            np.repeat(times[row], len(names)),
            rows[devices].ravel(),
            values[row].ravel(),
        )
        anomalies += pipeline.process(batch, at).anomalies
        score[row] = newest[devices]
        threshold[row] = pipeline.threshold(_MODEL, devices)
        is_alarmed[row] = pipeline.is_alarmed(_MODEL, devices)
        if at % _TOLD_ROWS == 0:
            progress(int(np.minimum(lengths, at).sum()), len(times))
    return [
        Trace(
            score[begin:end],
            is_alarmed[begin:end],
            threshold[begin:end],
            [each for each in anomalies if each.device == f"device-{device}"],
        )
        for device, (begin, end) in enumerate(itertools.pairwise(first.tolist()))
    ]


def _config(package: ModelPackage, sensitivity: float) -> Config:
    period = f"{package.manifest.framing.period}ns"
    return Config.model_validate(
        {
            "feed": {
                _FEED: {
                    "topic": "recording/{device}",
                    "period": period,
                    "grace": "0s",
                    "aggregates": [],
                    "channels": {
                        channel.name: {"unit": channel.unit}
                        for channel in package.manifest.channels
                    },
                    "models": [_MODEL],
                }
            },
            "sink": {"none_is_opened": "local_store"},
            "model": {_MODEL: {"package": str(package.path), "sensitivity": sensitivity}},
        }
    )
