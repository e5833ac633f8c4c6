"""What thresholds that follow a device bring: ``python -m benchmarks.following [--batadal DIR]``.

False alarms of scores whose distribution is known, as a multiple of the rate that was asked for;
and, where the data is, false alarms and the score of a model of BATADAL's hours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from headgate.evaluation import batadal
from headgate.evaluation.drive import drive
from models.package import Adapt
from models.training.thresholds import adapt
from models.training.train import TrainSettings, train
from streams.stages.detect.adapt import adaptation

#: Asked for: false alarms a score.
_RATE = 0.002

_STEP = 0.01

#: Scores in training; then before, and while, false alarms are counted.
_TRAINED, _BEFORE, _COUNTED = 20_000, 6000, 6000

#: Of each sort.
_DEVICES = 40

_DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]] = {
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "gamma, shape 4, mean 1": lambda rng, shape: rng.gamma(4, 0.25, shape),
    "half-normal": lambda rng, shape: np.abs(rng.normal(size=shape)),
}

#: A device's scores are so many times those trained on, and so much higher.
_SORTS = {"as trained": (1.0, 0.0), "x 1.5": (1.5, 0.0), "+ 0.8": (1.0, 0.8), "both": (1.3, 0.3)}

#: Steps that are tried on BATADAL, 0 for none.
_STEPS = (0.0, 0.005, 0.01)


def known_scores() -> Table:
    """False alarms with each rule, for each distribution and sort of device."""
    table = Table("scores", "thresholds", *_SORTS)
    for name, draw in _DRAWS.items():
        trained = draw(np.random.default_rng(1), (_TRAINED,)).astype(np.float32)
        threshold = float(np.quantile(trained, 1 - _RATE))
        times, more = (np.repeat(each, _DEVICES) for each in zip(*_SORTS.values(), strict=True))
        shape = (_BEFORE + _COUNTED, len(times))
        scores = times * draw(np.random.default_rng(2), shape) + more
        table.add_row(name, "fixed", *_parts(scores >= threshold))
        for rule in ("conformal", "dspot"):
            following = adapt(
                "pot" if rule == "dspot" else "quantile",
                trained,
                np.zeros(len(trained), np.int32),
                rate=_RATE,
                threshold=threshold,
                margin=1.0,
                step=_STEP,
            )
            table.add_row("", rule, *_parts(_alarms(following, threshold, scores)))
    return table


def _alarms(rule: Adapt, threshold: float, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    following = adaptation(rule)
    devices = np.arange(scores.shape[1])
    state = {name: np.zeros(len(devices)) for name in ("lift", *following.columns)}
    is_over = np.empty(scores.shape, np.bool_)
    for at, score in enumerate(scores):
        is_over[at] = score >= threshold * np.exp(state["lift"])
        sound = devices[~is_over[at]]
        following.follow(state, sound, score[sound])
    return is_over


def _parts(is_over: NDArray[np.bool_]) -> list[str]:
    counted = is_over[_BEFORE:].reshape(_COUNTED, len(_SORTS), _DEVICES)
    return [f"{part / _RATE:.1f}" for part in counted.mean(axis=(0, 2))]


def of_batadal(folder: Path) -> Table:
    """``pca`` fitted on a third of the healthy year: the rest of it, and the attacks."""
    healthy, attacked = (batadal.read(folder / name) for name in (batadal.TRAIN, batadal.TEST))
    spans = batadal.read_attacks(folder / batadal.ATTACKS, attacked)
    first = len(healthy) // 3
    rest = replace(
        healthy,
        time_ns=healthy.time_ns[first:],
        device=healthy.device[first:],
        values=healthy.values[first:],
    )
    table = Table("step", "false alarms in the rest", "S", "F1", "attacks found")
    for step in _STEPS:
        settings = TrainSettings(
            kind="pca",
            threshold="pot",
            false_alarm_rate=_RATE,
            margin=1.0,
            adapt=step,
            decimals=batadal.decimals(attacked.values),
        )
        with tempfile.TemporaryDirectory() as out:
            package = train("m", "f", healthy.head(first), {}, Path(out) / "m", settings)
        quiet = drive(package, rest)
        figures = batadal.figures(drive(package, attacked).is_alarmed, spans)
        events = {each.start_ns for each in quiet.anomalies}
        table.add_row(
            f"{step:g}",
            f"{len(events)}",
            *(f"{figures[name]:.3f}" for name in ("s", "f1")),
            f"{figures['detected']:.0f} of {len(spans)}",
        )
    return table


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.following", description=__doc__)
    parser.add_argument("--batadal", type=Path, metavar="DIR", help="the benchmark's folder")
    args = parser.parse_args()
    console = Console(file=sys.stdout)
    console.print(known_scores())
    if args.batadal is not None:
        console.print(of_batadal(args.batadal))


if __name__ == "__main__":
    main()
