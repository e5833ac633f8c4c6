"""``train``: recorded data in, model package out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headgate.core.components import installed
from headgate.core.errors import ConfigError
from models.package import ModelPackage, write_package
from models.training import thresholds
from models.training.data import TrainingData
from models.training.faults import CONSTANT, notes_on
from models.training.kind import AlarmRule, Kind, kind_of
from models.training.progress import Progress, silent
from models.training.report import training_page
from models.training.resting import resting_on
from models.training.scoring import Fitted, score_windows
from models.training.selection import Choice, choose_kind
from models.training.thresholds import Method
from models.training.windows import Resample, Windows, cut_windows, usual_period_ns

Normalization = Literal["zscore", "minmax", "robust"]

#: Golden windows kept in a package.
_GOLDEN_WINDOWS = 16

#: The threshold where every training score is 0.
_STILL_THRESHOLD = 1.0

#: Names of channels in a note.
_TOLD_NAMES = 5

#: Steps for which a channel without a reading keeps its last value.
_HOLD_LIMIT = 3


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train. What is None is as the kind has it.

    Attributes:
        kind: Name of a kind that is installed, or ``"auto"``.
        window: Steps in a window.
        hop: A window is scored at every ``hop``-th step.
        period_ns: Length of a step; None takes the data's median.
        resample: What stands in a step in which several rows lie, live as in training.
        normalization: How channels are scaled.
        decimals: Values are rounded to so many decimals first: a recording that is finer than
            what the device will send teaches a model what it will never see. None leaves them.
        threshold: How the threshold is chosen.
        false_alarm_rate: In that method's unit.
        margin: The threshold is so many times what the method finds.
        adapt: By so much, as a part, a score may move a device's thresholds; 0 leaves them as
            trained.
        seed: Decides whatever is drawn.
        version: The package's version.
    """

    kind: str = "auto"
    window: int | None = None
    hop: int = 1
    period_ns: int | None = None
    resample: Resample = "instant"
    normalization: Normalization = "zscore"
    decimals: int | None = None
    threshold: Method | None = None
    false_alarm_rate: float | None = None
    margin: float | None = None
    adapt: float = 0.0
    seed: int = 0
    version: str = "1"


def train(
    name: str,
    feed: str,
    data: TrainingData,
    units: Mapping[str, str],
    out: Path,
    settings: TrainSettings,
    *,
    notes: Sequence[str] = (),
    has_page: bool = False,
    progress: Progress = silent,
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
        notes: What is known about the data already; goes into the package, a line each.
        has_page: Whether the package gets a page about it, for people.
        progress: Is told how far it has come.

    Raises:
        ConfigError: The data can't be used, or the package not be written.
    """
    _check(settings)
    if settings.decimals is not None:
        data = data.rounded(settings.decimals)
    choice = _chosen(data, settings)
    kind = kind_of(choice.kind)
    data, left_out = _voting(data, kind)
    cut = _Cutter(data, settings)
    period_ns, offset, scale = cut.period_ns, cut.offset, cut.scale
    windows = cut(_window(settings, kind, choice.kind))
    progress("cutting windows", len(windows), len(windows))
    fitted = kind.fit(windows, settings.seed, partial(_threshold, settings, kind.rule), progress)
    picked = np.sort(
        np.random.default_rng(settings.seed).choice(
            len(windows), min(_GOLDEN_WINDOWS, len(windows)), replace=False
        )
    )
    scored = score_windows(fitted.graph, windows, picked, progress, "scoring")
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
            "window": windows.values.shape[1],
            "hop": settings.hop,
            "resample": settings.resample,
            "hold_limit": _hold_limit(data, windows.values.shape[1]),
        },
        "state_size": len(fitted.graph.initial_state),
        "alarm": _alarm(settings, kind.rule, fitted),
        "training": {
            "kind": choice.kind,
            "chosen_because": choice.why,
            "fingerprint": data.fingerprint,
            "rows": len(data),
            "span": f"{int(data.time_ns.max() - data.time_ns.min())}ns",
            "seed": settings.seed,
            "metrics": {
                "windows": float(len(windows)),
                "score_median": float(np.median(scored.score)),
                "score_max": float(scored.score.max()),
            },
            "notes": [
                *notes,
                *left_out,
                *notes_on(
                    data,
                    period_ns,
                    _hold_limit(data, windows.values.shape[1]),
                    is_mean=settings.resample == "mean",
                ),
                *_few(settings, kind.rule, fitted),
                *resting_on(fitted, partial(_threshold, settings, kind.rule)),
                *_still(settings, kind.rule, fitted),
            ],
        },
    }
    progress("writing", 0, 1)
    write_package(
        out,
        manifest,
        fitted.graph.content,
        scored.golden,
        report=(lambda checked: training_page(checked, windows, scored)) if has_page else None,
    )
    progress("writing", 1, 1)
    return ModelPackage.load(out)


class _Cutter:
    """Cuts normalized windows from training data.

    Attributes:
        period_ns: Length of a step.
        offset: float64[channel], what is taken off each.
        scale: float64[channel], what each is then divided by.
    """

    def __init__(self, data: TrainingData, settings: TrainSettings) -> None:
        self.offset, self.scale = _constants(data, settings.normalization)
        self.period_ns = settings.period_ns or usual_period_ns(data)
        self._data = data
        self._resample = settings.resample
        self._normalized = (data.values - self.offset) / self.scale

    def __call__(self, window: int) -> Windows:
        """Windows of so many steps."""
        return cut_windows(
            self._data,
            self._normalized,
            period_ns=self.period_ns,
            window=window,
            hold_limit=_hold_limit(self._data, window),
            resample=self._resample,
        )


def _chosen(data: TrainingData, settings: TrainSettings) -> Choice:
    """The kind, and why."""
    if settings.kind != "auto":
        return Choice(settings.kind, "asked for")
    if settings.window is not None:
        return Choice("pca", "it works on windows of any length, and one was asked for")
    is_state = data.is_state
    if np.count_nonzero(~is_state) == 1:
        data = data.select(~is_state)
    return choose_kind(_Cutter(data, settings))


def _voting(data: TrainingData, kind: Kind) -> tuple[TrainingData, list[str]]:
    """The channels that the kind judges, and a note of those it does not."""
    is_state = data.is_state
    if kind.takes_states or not is_state.any() or is_state.all():
        return data, []
    names = [name for name, is_out in zip(data.names, is_state, strict=True) if is_out]
    told = ", ".join(names[:_TOLD_NAMES]) + (", …" if len(names) > _TOLD_NAMES else "")
    note = (
        f"{len(names)} of {len(data.names)} channels only take 0 and 1 ({told}): states and "
        "commands, which have no vote and are left out of the model"
    )
    return data.select(~is_state), [note]


def _hold_limit(data: TrainingData, window: int) -> int:
    # A single series taken step by step waits for nothing: what is not there has not happened.
    return 0 if len(data.names) == 1 and window == 1 else _HOLD_LIMIT


def _window(settings: TrainSettings, kind: Kind, name: str) -> int:
    if settings.window is None or settings.window == kind.window:
        return kind.window
    if not kind.has_window:
        raise ConfigError(
            f"--window: expected {kind.window}, which the kind {name} works on, got "
            f"{settings.window}; leave it out"
        )
    return settings.window


def _threshold(
    settings: TrainSettings,
    rule: AlarmRule,
    score: NDArray[np.float32],
    device: NDArray[np.int32],
) -> float:
    method = settings.threshold or rule.method
    rate = rule.rate if settings.false_alarm_rate is None else settings.false_alarm_rate
    margin = rule.margin if settings.margin is None else settings.margin
    return margin * thresholds.choose(method, score, device, rate)


def _still(settings: TrainSettings, rule: AlarmRule, fitted: Fitted) -> list[str]:
    """Says when every training score is 0: did the right columns come in?"""
    if _threshold(settings, rule, fitted.held_out, fitted.device) > 0:
        return []
    line = (
        "every score of the training data is 0, as if no channel moved: any that moves later is an "
        "anomaly; did the right columns come in?"
    )
    return [line]


def _few(settings: TrainSettings, rule: AlarmRule, fitted: Fitted) -> list[str]:
    """Says when there are too few scores for the quantile that the threshold is."""
    rate = rule.rate if settings.false_alarm_rate is None else settings.false_alarm_rate
    count = len(fitted.held_out)
    if (settings.threshold or rule.method) != "quantile" or rate <= 0 or count * rate >= 1:
        return []
    line = (
        f"{count:,} scores are few for a limit that one in {1 / rate:,.0f} may pass: the threshold "
        "rests on the highest of them; more data makes it firmer"
    )
    return [line]


def _alarm(settings: TrainSettings, rule: AlarmRule, fitted: Fitted) -> dict[str, object]:
    method = settings.threshold or rule.method
    rate = rule.rate if settings.false_alarm_rate is None else settings.false_alarm_rate
    margin = rule.margin if settings.margin is None else settings.margin
    threshold = _threshold(settings, rule, fitted.held_out, fitted.device)
    if threshold <= 0:
        # Nothing moved in training: whatever moves by its own size is abnormal.
        threshold = _STILL_THRESHOLD
    low = (
        rule.low * threshold
        if rule.low_rate is None
        else min(threshold, float(np.quantile(fitted.held_out, 1 - rule.low_rate)))
    )
    if low <= 0:
        # Most training scores are 0.
        low = rule.low * threshold
    adapting = {}
    if settings.adapt:
        adapt = thresholds.adapt(
            method,
            fitted.held_out,
            fitted.device,
            rate=rate,
            threshold=threshold,
            margin=margin,
            step=settings.adapt,
        )
        adapting = {"adapt": adapt.model_dump()}
    found_by = {
        "quantile": f"the {1 - rate:.4g} quantile",
        "events": f"what {rate:.3g} events a window reach",
        "pot": f"what a fitted tail passes at {rate:.3g} a window",
        "probability": f"the score of what happens {rate:.3g} times a window",
        "limit": f"what lies between 1 and, the more there are, the {1 - rate:.4g} quantile",
    }[method]
    return {
        "threshold": threshold,
        "threshold_low": low,
        "open_after": rule.open_after,
        "close_after": rule.close_after,
        "close_surprise": rule.close_surprise,
        # What would not have ended it had it come a little sooner is no other trouble.
        "refractory": rule.close_after,
        "quiet": rule.quiet,
        **adapting,
        "chosen_by": (
            f"{margin:g} x {found_by}, of the scores of {len(fitted.held_out)} training windows"
        ),
    }


def _check(settings: TrainSettings) -> None:
    problems = [
        f"--{name}: expected at least {least}, got {value}"
        for name, least, value in (
            ("window", 1, 1 if settings.window is None else settings.window),
            ("hop", 1, settings.hop),
            ("seed", 0, settings.seed),
        )
        if value < least
    ]
    kinds = ("auto", *installed("kinds"))
    if settings.kind not in kinds:
        problems.append(f"--kind: expected one of {', '.join(kinds)}, got {settings.kind!r}")
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
        # What overflows is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            offset, scale = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    elif normalization == "minmax":
        offset = np.nanmin(values, axis=0)
        scale = np.nanmax(values, axis=0) - offset
    else:
        low, offset, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
        scale = high - low
    endless = [
        name
        for name, *each in zip(data.names, offset, scale, strict=True)
        if not np.isfinite(each).all()
    ]
    if endless:
        raise ConfigError(
            f"training data: expected values with a spread that is a number, those in {endless} "
            "are too large; are they in the right unit?"
        )
    # A channel that stood still in training has no scale of its own. It stays in the model, scaled
    # by its size, so that the day it moves is noticed.
    size = np.maximum(np.abs(offset), 1)
    return offset, np.where(scale <= CONSTANT * size, size, scale)
