"""What the models find on recorded faults of a real testbed, without a gateway around them.

The data is SKAB's (a water-circulation testbed, 1 Hz, labelled); the test is skipped where it is
absent. Each file has a model of its own, fitted on the file's first 400 rows; the rest is scored.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable
from headgate.core.stage import Frames
from models.package import ModelPackage
from models.runtime import Runtime
from models.training.data import TrainingData, read_csv
from models.training.train import TrainSettings, train
from models.training.windows import cut_windows
from streams.detect import Detector, DetectSpec
from streams.infer import Inferer
from tests.data import data_dir

_FIT_ROWS = 400
_CHANNELS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)


def _spans(package: ModelPackage, data: TrainingData) -> list[tuple[int, int]]:
    """Start and end of each anomaly that the stages find in a recording, ns."""
    manifest = package.manifest
    framing, alarm = manifest.framing, manifest.alarm
    constants = [(channel.offset, channel.scale) for channel in manifest.channels]
    offset, scale = np.array(constants).T
    # The times go through the same windows as the values, so that each window knows its end.
    clock = (data.time_ns - data.time_ns[0])[:, None] / framing.period
    windows = cut_windows(
        data,
        np.hstack([(data.values - offset) / scale, clock]),
        period_ns=framing.period,
        window=framing.window,
        hold_limit=framing.hold_limit,
    )
    end_ns = data.time_ns[0] + windows[:, -1, -1].round().astype(np.int64) * framing.period
    channels = ChannelTable()
    channels.row(Channel("f", "d", "f", "x"))
    scores = Inferer({"m": Runtime(package)}).process(
        [Frames("m", np.zeros(len(windows), np.int32), end_ns, windows[:, :, :-1])]
    )
    spec = DetectSpec(
        tuple(channel.name for channel in manifest.channels),
        alarm.threshold,
        alarm.threshold_low,
        alarm.open_after,
        alarm.close_after,
        framing.period * framing.hop,
    )
    detector = Detector("m", spec, channels)
    found = detector.process(scores[0]) + detector.close_silent(np.zeros(1, np.int32))
    return [(each.start_ns, each.end_ns) for each in found if not each.is_open]


def _f1(predicted: NDArray[np.bool_], actual: NDArray[np.bool_]) -> float:
    hits = int((predicted & actual).sum())
    return hits / (hits + int((predicted != actual).sum()) / 2)


def _labels(path: Path) -> NDArray[np.bool_]:
    with path.open(newline="") as file:
        return np.array([float(row["anomaly"]) > 0 for row in csv.DictReader(file, delimiter=";")])


def test_faults_of_a_real_testbed_are_found(tmp_path: Path) -> None:
    """Over all files, rows within anomalies are right more often than by chance or by all-ones."""
    folder = data_dir("skab")
    alarms, labels = [], []
    for path in sorted(folder.glob("[vo]*/*.csv")):
        fit, whole = (
            read_csv([path], time_column="datetime", channels=_CHANNELS, first_rows=rows)
            for rows in (_FIT_ROWS, None)
        )
        package = train("m", "f", fit, {}, tmp_path / "m", TrainSettings())
        alarm = np.zeros(len(whole), np.bool_)
        for start_ns, end_ns in _spans(package, whole):
            alarm |= (whole.time_ns >= start_ns) & (whole.time_ns <= end_ns)
        alarms.append(alarm[_FIT_ROWS:])
        labels.append(_labels(path)[_FIT_ROWS:])
    alarm, actual = np.concatenate(alarms), np.concatenate(labels)
    rng = np.random.default_rng(0)
    chance = max(_f1(rng.permutation(alarm), actual) for _ in range(20))
    ours, all_ones = _f1(alarm, actual), _f1(np.ones_like(actual), actual)

    assert ours > max(chance, all_ones)
    assert ours > 0.75
