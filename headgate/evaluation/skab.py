"""The Skoltech Anomaly Benchmark, v0.9, by its outlier protocol.

Each file is a testbed with eight channels at 1 Hz. A model is fitted on the first 400 rows, all
later rows are scored, and rows are counted over all files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from headgate.evaluation.baselines import PLAIN_WAYS
from headgate.evaluation.compare import compare
from headgate.evaluation.drive import drive
from headgate.evaluation.finished import finished
from headgate.evaluation.judged import Judged, figures
from headgate.evaluation.result import Evaluated, Evaluation, spread_of
from models.training.data import TrainingData, read_csv
from models.training.train import TrainSettings, train

#: Rows at the beginning of each file that are fitted on.
FIT_ROWS = 400

CHANNELS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)

#: Rows between which most files have their fault: what a clock would say without any data.
_CLOCK = (572, 972)

_COLUMNS = ("f1", "far", "mar", "mcc", "far_before", "far_after", "endless", "vus_pr")


def evaluate(
    folder: Path,
    settings: TrainSettings,
    say: Callable[[str], None] = lambda _line: None,
) -> Evaluation:
    """Evaluate on all labelled files below a folder.

    Args:
        folder: With the files in folders of their own, as published.
        settings: How to train each file's model.
        say: Takes a line about what is being done.

    Raises:
        ConfigError: There are no such files.
    """
    paths = [path for path in sorted(folder.glob("*/*.csv")) if "anomaly" in _header(path)]
    if not paths:
        raise ConfigError(
            f"--data: expected SKAB's labelled files in folders of {folder} or of its folder skab, "
            "found none"
        )
    by_name = {f"{path.parent.name}/{path.stem}": path for path in paths}
    recordings, failed = finished(by_name, lambda name: _recording(by_name[name], settings), say)
    compared = compare(f"SKAB, {len(recordings)} files", recordings)
    shown = ("headgate", *PLAIN_WAYS, "all ones")
    return replace(
        compared,
        columns=_COLUMNS,
        rows={name: compared.rows[name] for name in shown} | {"clock only": _by_clock(recordings)},
        spread={
            # A single file has no row of its own beside that of all.
            name: spread_of(
                [
                    compared.rows.get(f"headgate, {each.name}", compared.figures)[name]
                    for each in recordings
                ]
            )
            for name in _COLUMNS[:4]
        },
        failed=failed,
    )


def read(path: Path) -> tuple[TrainingData, NDArray[np.bool_]]:
    """A file's rows, and bool[n] labels."""
    data = read_csv([path], time_column="datetime", channels=(*CHANNELS, "anomaly"))
    names = tuple(name.replace(" ", "_") for name in CHANNELS)
    values, label = data.values[:, :-1], data.values[:, -1] > 0
    return TrainingData(names, data.time_ns, data.device, values), label


def _recording(path: Path, settings: TrainSettings) -> Evaluated:
    data, label = read(path)
    with tempfile.TemporaryDirectory(prefix="headgate-evaluate-") as folder:
        package = train("skab", "testbed", data.head(FIT_ROWS), {}, Path(folder) / "m", settings)
        trace = drive(package, data)
    return Evaluated.of(f"{path.parent.name}/{path.stem}", package, data, label, trace, FIT_ROWS)


def _by_clock(recordings: Sequence[Evaluated]) -> dict[str, float]:
    """Of a detector that reads nothing but the row's number."""
    found = []
    for each in recordings:
        rows = np.arange(len(each.label))
        alarm = (rows >= _CLOCK[0]) & (rows < _CLOCK[1])
        found.append(Judged.of(each, alarm, alarm.astype(np.float64)))
    return figures(found)


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return file.readline().strip().split(";")
