"""Recorded rows through the gateway's pipeline, one at a time, and what it said to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.stage import Anomaly, Scores
from models.package import ModelPackage
from models.runtime import Runtime
from models.training.data import TrainingData
from streams.infer import Inferer
from streams.pipeline import Pipeline

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
        threshold: Of the scores.
    """

    score: NDArray[np.float64]
    is_alarmed: NDArray[np.bool_]
    threshold: float
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
    channels = ChannelTable()
    names = [channel.name for channel in package.manifest.channels]
    config = _config(package, sensitivity)
    newest = np.full(1, np.nan)

    def watch(scores: Scores) -> None:
        newest[0] = scores.score[-1]

    inferer = Inferer({_MODEL: Runtime(package)}, channels)
    pipeline = Pipeline(config, channels, {_MODEL: package}, inferer, watch=watch)
    rows = np.array(
        [channels.row(Channel(_FEED, "device", _FEED, name)) for name in names], np.int32
    )
    device = np.zeros(1, np.int32)
    columns = [data.names.index(name) for name in names]
    trace = Trace(
        np.full(len(data), np.nan),
        np.zeros(len(data), np.bool_),
        package.manifest.alarm.threshold * sensitivity,
    )
    for at, (time_ns, values) in enumerate(
        zip(data.time_ns.tolist(), data.values[:, columns], strict=True)
    ):
        batch = Batch.from_columns(channels, np.full(len(rows), time_ns), rows, values)
        trace.anomalies += pipeline.process(batch, at).anomalies
        trace.score[at] = newest[0]
        if at % _TOLD_ROWS == 0:
            progress(at, len(data))
        trace.is_alarmed[at] = pipeline.is_alarmed(_MODEL, device)[0]
    return trace


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
            "local_store": {},
            "model": {_MODEL: {"package": str(package.path), "sensitivity": sensitivity}},
        }
    )
