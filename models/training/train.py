"""``train``: recorded data in, model package out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from models.package import Golden, ModelPackage, write_package
from models.runtime import run_graph
from models.training import pca
from models.training.data import TrainingData
from models.training.windows import cut_windows, usual_period_ns

Normalization = Literal["zscore", "minmax", "robust"]

#: Fits windows and returns the graph's bytes; by the kind's name.
KINDS: Mapping[str, Callable[[NDArray[np.float32]], bytes]] = {
    "pca": lambda windows: pca.to_onnx(pca.fit(windows), windows.shape[1], windows.shape[2]),
}

#: Golden windows kept in a package.
_GOLDEN_WINDOWS = 16

#: Steps for which a channel without a reading keeps its last value.
_HOLD_LIMIT = 3

#: A channel whose spread is below this, relative to its size, did not move in training.
_CONSTANT = 1e-9


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train.

    Attributes:
        kind: One of ``KINDS``.
        window: Steps in a window.
        hop: A window is scored at every ``hop``-th step.
        period_ns: Length of a step; None takes the data's median.
        normalization: How channels are scaled.
        false_alarm_rate: Part of the training windows that may score over the threshold before
            ``margin`` is applied.
        margin: The threshold is so many times that quantile: data to come differs from the
            training data by more than the training data differs from itself.
        open_after: Scores in a row over the threshold that open an anomaly.
        close_after: Scores in a row under the lower threshold that close it.
        low: The lower threshold as a part of the threshold.
        seed: Picks the golden windows.
        version: The package's version.
    """

    kind: str = "pca"
    window: int = 5
    hop: int = 1
    period_ns: int | None = None
    normalization: Normalization = "zscore"
    false_alarm_rate: float = 0.01
    margin: float = 1.6
    open_after: int = 3
    close_after: int = 5
    low: float = 0.8
    seed: int = 0
    version: str = "1"


def train(
    name: str,
    feed: str,
    data: TrainingData,
    units: Mapping[str, str],
    out: Path,
    settings: TrainSettings,
) -> ModelPackage:
    """Train a model and write its package.

    The same data, settings and seed give the same package, byte for byte.

    Args:
        name: The model's name.
        feed: The feed it is for.
        data: Healthy data.
        units: Units by channel name.
        out: The package's folder.
        settings: How to train.

    Raises:
        ConfigError: The data can't be used, or the package not be written.
    """
    _check(settings)
    offset, scale = _constants(data, settings.normalization)
    period_ns = settings.period_ns or usual_period_ns(data)
    windows = cut_windows(
        data,
        (data.values - offset) / scale,
        period_ns=period_ns,
        window=settings.window,
        hold_limit=_HOLD_LIMIT,
    )
    graph = KINDS[settings.kind](windows)
    score, share = run_graph(graph, windows)
    limit = float(np.quantile(score, 1 - settings.false_alarm_rate))
    threshold = settings.margin * limit
    picked = np.sort(
        np.random.default_rng(settings.seed).choice(
            len(windows), min(_GOLDEN_WINDOWS, len(windows)), replace=False
        )
    )
    manifest: dict[str, object] = {
        "name": name,
        "version": settings.version,
        "feed": feed,
        "normalization": settings.normalization,
        "channels": [
            {
                "name": channel,
                "unit": units.get(channel, ""),
                "offset": float(offset[position]),
                "scale": float(scale[position]),
            }
            for position, channel in enumerate(data.names)
        ],
        "framing": {
            "period": f"{period_ns}ns",
            "window": settings.window,
            "hop": settings.hop,
            "resample": "instant",
            "hold_limit": _HOLD_LIMIT,
        },
        "alarm": {
            "threshold": threshold,
            "threshold_low": settings.low * threshold,
            "open_after": settings.open_after,
            "close_after": settings.close_after,
            "chosen_by": (
                f"{settings.margin:g} x the {1 - settings.false_alarm_rate:.4g} quantile of the "
                f"scores of {len(windows)} training windows"
            ),
        },
        "training": {
            "kind": settings.kind,
            "fingerprint": data.fingerprint,
            "rows": len(data),
            "span": f"{int(data.time_ns.max() - data.time_ns.min())}ns",
            "seed": settings.seed,
            "metrics": {
                "windows": float(len(windows)),
                "score_median": float(np.median(score)),
                "score_max": float(score.max()),
            },
        },
    }
    write_package(out, manifest, graph, Golden(windows[picked], score[picked], share[picked]))
    return ModelPackage.load(out)


def _check(settings: TrainSettings) -> None:
    problems = [
        f"--{name}: expected at least {least}, got {value}"
        for name, least, value in (
            ("window", 1, settings.window),
            ("hop", 1, settings.hop),
            ("seed", 0, settings.seed),
        )
        if value < least
    ]
    if settings.kind not in KINDS:
        problems.append(f"--kind: expected one of {', '.join(KINDS)}, got {settings.kind!r}")
    if settings.period_ns is not None and settings.period_ns <= 0:
        problems.append(f"--period: expected more than 0s, got {settings.period_ns}ns")
    if problems:
        raise ConfigError(problems)


def _constants(
    data: TrainingData, normalization: Normalization
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offset and scale of each channel."""
    values = np.where(np.isfinite(data.values), data.values, np.nan)
    empty = [
        name for name, column in zip(data.names, values.T, strict=True) if np.isnan(column).all()
    ]
    if empty:
        raise ConfigError(f"training data: expected values in every channel, found none in {empty}")
    if normalization == "zscore":
        offset, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    elif normalization == "minmax":
        offset = np.nanmin(values, axis=0)
        scale = np.nanmax(values, axis=0) - offset
    else:
        low, offset, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
        scale = high - low
    # A channel that stood still in training has no scale of its own. It stays in the model with
    # its own unit, so that the day it moves is noticed.
    is_constant = scale <= _CONSTANT * np.maximum(np.abs(offset), 1)
    return offset, np.where(is_constant, 1.0, scale)
