"""Every kind of model: quiet on what it was trained on, loud on what it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from headgate.core.errors import ConfigError
from headgate.evaluation.drive import drive
from models.package import Conformal, Dspot, ModelPackage
from models.training import forest, fusion
from models.training.data import TrainingData
from models.training.kinds import BUILT_IN as KINDS
from models.training.progress import silent
from models.training.scoring import Graph, score_windows
from models.training.thresholds import adapt, choose
from models.training.train import TrainSettings, train
from models.training.windows import Windows, cut_windows

pytestmark = pytest.mark.slow

_STEP_NS = 10**9
_ROWS = 900
_EXPONENTIAL = np.random.default_rng(8).exponential(size=6000).astype(np.float32)


def _machine(rows: int, seed: int) -> TrainingData:
    """Three channels that follow one slow load, and a little noise."""
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(rows) / 17) + 0.3 * np.sin(np.arange(rows) / 5.3)
    values = load[:, None] * np.array([3.0, -1.0, 0.5]) + rng.normal(size=(rows, 3)) * 0.08
    time_ns = np.arange(rows) * _STEP_NS
    return TrainingData(("flow", "power", "level"), time_ns, np.zeros(rows, np.int32), values)


def _with_fault(data: TrainingData, first: int, last: int, by: list[float]) -> TrainingData:
    values = data.values.copy()
    values[first:last] += by
    return TrainingData(data.names, data.time_ns, data.device, values)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_fault_is_found_and_a_healthy_machine_is_left_alone(kind: str, tmp_path: Path) -> None:
    """A channel that jumps opens an anomaly within seconds, and its name comes first."""
    package = train("m", "f", _machine(_ROWS, 1), {}, tmp_path / "m", TrainSettings(kind=kind))
    healthy = drive(package, _machine(500, 2))
    # Random cuts seldom single out one channel: a forest is shown a fault of all three.
    by = [9.0, 8.0, 9.0] if kind == "forest" else [0.0, 8.0, 0.0]
    faulty = drive(package, _with_fault(_machine(500, 2), 300, 360, by))
    opened = [each for each in faulty.anomalies if each.start_ns >= 300 * _STEP_NS]

    assert healthy.is_alarmed.mean() < 0.03
    assert faulty.is_alarmed[300:310].any()
    assert opened
    assert opened[0].shares[0][0] == "power" or kind == "forest"
    assert all(0 <= share <= 1 for each in opened for _, share in each.shares)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_same_seed_gives_the_same_package(kind: str, tmp_path: Path) -> None:
    """Byte for byte, the page with its plots included."""
    made = []
    for _ in range(2):
        train("m", "f", _machine(200, 1), {}, tmp_path / "m", TrainSettings(kind=kind, seed=3))
        made.append({file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()})

    assert made[0] == made[1]


def test_a_level_that_drifts_by_nature_soon_says_nothing(tmp_path: Path) -> None:
    """A temperature that walks is followed; a pressure that never did is not forgiven."""
    rng = np.random.default_rng(4)
    walk = np.cumsum(rng.normal(size=1200)) * 0.3
    values = np.column_stack([walk, rng.normal(size=1200) * 0.2])
    data = TrainingData(
        ("temperature", "pressure"), np.arange(1200) * _STEP_NS, np.zeros(1200, np.int32), values
    )
    package = train("m", "f", data.head(400), {}, tmp_path / "m", TrainSettings(kind="level"))
    moved = values.copy()
    moved[900:, 1] += 3
    moved_data = TrainingData(data.names, data.time_ns, data.device, moved)

    assert drive(package, data).is_alarmed[400:].mean() < 0.1
    assert drive(package, moved_data).is_alarmed[905:960].all()


def test_an_alarm_is_over_when_most_of_it_has_passed(tmp_path: Path) -> None:
    """A machine that has warmed up while it was faulty has no fault; one half as faulty has."""
    rng = np.random.default_rng(7)
    temperature = 20 + np.cumsum(rng.normal(size=1200)) * 0.05
    temperature += np.clip((np.arange(1200) - 500) / 25, 0, 12)
    pressure = np.zeros(1200)
    pressure[500:900] = 30
    pressure[700:900] = 18
    values = np.column_stack([temperature, pressure]) + rng.normal(size=(1200, 2)) * 0.2
    data = TrainingData(
        ("temperature", "pressure"), np.arange(1200) * _STEP_NS, np.zeros(1200, np.int32), values
    )
    package = train("m", "f", data.head(400), {}, tmp_path / "m", TrainSettings(kind="level"))
    alarmed = drive(package, data).is_alarmed

    assert alarmed[503:900].all()
    assert not alarmed[930:].any()


def test_news_are_told_once(tmp_path: Path) -> None:
    """A value never seen opens one anomaly; the same again, right away or later, opens none."""
    rng = np.random.default_rng(5)
    values = np.sin(np.arange(1500) / 9)[:, None] + rng.normal(size=(1500, 1)) * 0.02
    for at in (1000, 1001, 1002, 1300):
        values[at] = 4.0
    data = TrainingData(("x",), np.arange(1500) * _STEP_NS, np.zeros(1500, np.int32), values)
    package = train("m", "f", data.head(400), {}, tmp_path / "m", TrainSettings())
    opened = [
        each.start_ns // _STEP_NS
        for each in drive(package, data).anomalies
        if each.revision == 0 and each.peak_score > 6
    ]

    assert package.manifest.training.kind == "novelty"
    assert opened == [1000]


def test_a_usual_value_in_the_wrong_place_is_news(tmp_path: Path) -> None:
    """A jump within the range is told at its row, the way back is not; no jump is where all are."""
    rng = np.random.default_rng(6)
    smooth = np.sin(np.arange(1500) / 30) + rng.normal(size=1500) * 0.02
    smooth[1100] = -smooth[1100]
    noise = rng.uniform(-1, 1, size=1500)
    high = []
    for name, values in (("smooth", smooth), ("noise", noise)):
        data = TrainingData(
            ("x",), np.arange(1500) * _STEP_NS, np.zeros(1500, np.int32), values[:, None]
        )
        package = train("m", "f", data.head(400), {}, tmp_path / name, TrainSettings())
        high.append(np.flatnonzero(drive(package, data).score > 4).tolist())

    assert high == [[1100], []]


def test_a_fusion_is_the_median_of_its_members(tmp_path: Path) -> None:
    """In units of their tails, each with its own state; one that is wild by itself is outvoted."""
    data = _machine(400, 1)
    package = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="fusion"))
    golden, channels = package.golden, package.manifest.channels
    windows = cut_windows(
        data,
        (data.values - [each.offset for each in channels]) / [each.scale for each in channels],
        period_ns=_STEP_NS,
        window=5,
        hold_limit=3,
    )
    none = np.empty(0, np.intp)
    members, units = [], []
    for name in fusion.MEMBERS:
        member = fusion.member(name, 0, silent)
        part = Windows(windows.values[:, -member.window :], windows.device, windows.end_ns)
        fitted = member.fit(part)
        units.append(float(np.quantile(fitted.held_out, 0.99)))
        members.append(score_windows(fitted.graph, part, none).score / units[-1])
    fused = score_windows(Graph(package.graph, golden.initial_state), windows, none).score

    assert fused == pytest.approx(np.median(members, axis=0), rel=1e-4, abs=1e-5)
    # All three take part: no member is the median throughout.
    assert all((np.abs(fused - each) > 1e-3).any() for each in members)


def test_the_forest_agrees_with_the_library_that_grew_it() -> None:
    """Depths by the graph against scikit-learn's scores."""
    rng = np.random.default_rng(6)
    windows = rng.normal(size=(300, 1, 3)).astype(np.float32)
    flat = windows.reshape(300, -1)
    grown = IsolationForest(n_estimators=100, max_samples=256, random_state=0).fit(
        flat.astype(np.float64)
    )
    graph = forest.to_graph(grown, 256, 1, 3)
    whole = Windows(windows, np.zeros(300, np.int32), np.arange(300))
    score = score_windows(graph, whole, np.empty(0, np.intp)).score

    # Theirs is -2^(-depth / usual depth), ours is 2^(1 - depth / usual depth).
    assert score == pytest.approx(-2 * grown.score_samples(flat), rel=1e-4)


def test_thresholds_that_adapt_are_asked_for(tmp_path: Path) -> None:
    """The package says from where and how fast; a device that is somewhat louder then is quiet."""
    settings = {adapt: TrainSettings(kind="pca", margin=1.2, adapt=adapt) for adapt in (0.0, 0.01)}
    fixed, adapting = (
        train("m", "f", _machine(_ROWS, 1), {}, tmp_path / f"m{adapt}", each)
        for adapt, each in settings.items()
    )
    louder = _machine(1500, 2)
    noise = np.random.default_rng(5).normal(size=louder.values.shape) * 0.14
    louder = TrainingData(louder.names, louder.time_ns, louder.device, louder.values + noise)
    late = slice(750, None)

    assert fixed.manifest.alarm.adapt is None
    rule = adapting.manifest.alarm.adapt
    assert isinstance(rule, Conformal)
    assert rule.limit * 1.6 == pytest.approx(adapting.manifest.alarm.threshold)
    assert 0.1 < rule.rate < 0.5
    assert drive(fixed, louder).is_alarmed[late].mean() > 0.05
    assert drive(adapting, louder).is_alarmed[late].mean() < 0.02


def test_a_threshold_by_peaks_adapts_by_them(tmp_path: Path) -> None:
    """DSPOT: from the threshold as it was trained, a bounded part with each score."""
    settings = TrainSettings(kind="pca", margin=1.2, threshold="pot")
    fixed, adapting = (
        train("m", "f", _machine(_ROWS, 1), {}, tmp_path / f"m{each.adapt}", each)
        for each in (settings, replace(settings, adapt=0.01))
    )
    louder = _machine(2000, 2)
    noise = np.random.default_rng(5).normal(size=louder.values.shape)
    by = np.interp(np.arange(len(louder)), [0, 1000], [0.0, 0.14])
    louder = replace(louder, values=louder.values + noise * by[:, None])
    late = slice(1000, None)
    trained, followed = drive(fixed, louder), drive(adapting, louder)

    assert isinstance(adapting.manifest.alarm.adapt, Dspot)
    assert trained.is_alarmed[late].mean() > 0.05
    assert followed.is_alarmed[late].mean() < 0.02
    assert set(trained.threshold.tolist()) == {adapting.manifest.alarm.threshold}
    assert followed.threshold[-1] > 1.1 * trained.threshold[-1]
    assert np.abs(np.diff(np.log(followed.threshold))).max() <= 0.01 * (1 + 1e-9)


def test_what_is_said_of_a_limit_and_of_peaks_is_what_the_scores_have() -> None:
    """For scores whose tail is known: exponential, around a level of 1."""
    score = np.random.default_rng(8).exponential(size=50_000).astype(np.float32)
    device = np.repeat([0, 1], 25_000).astype(np.int32)
    common = {"rate": 0.001, "margin": 1.0, "step": 0.001}
    limit = adapt("quantile", score, device, threshold=7.0, **common)
    # Higher than any score, as those over it would be cut off.
    peaks = adapt("pot", score, device, threshold=20.0, **common)

    assert isinstance(limit, Conformal)
    assert limit.limit * 1.6 == pytest.approx(7.0)
    assert limit.rate == pytest.approx(np.exp(-7 / 1.6) - np.exp(-7), rel=0.1)
    assert isinstance(peaks, Dspot)
    assert peaks.level == pytest.approx(1, rel=0.02)
    assert peaks.level + peaks.start == pytest.approx(np.log(50), rel=0.03)
    assert (peaks.shape, peaks.excess) == pytest.approx((0, 1), abs=0.1)
    assert peaks.peak_rate == pytest.approx(0.02, rel=0.06)


@pytest.mark.parametrize(
    ("score", "rate", "threshold", "message"),
    [
        (_EXPONENTIAL[:600], 0.001, 9.0, "expected 20 peaks or more .* 1,053 windows .* got 1"),
        (_EXPONENTIAL, 0.001, 2.0, "got 0 in 6,000; .* a larger --margin"),
        (_EXPONENTIAL, 0.02, 9.0, "--false-alarm-rate: expected less than 0.02"),
        (np.ones(6000, np.float32), 0.001, 9.0, "98% of them are not over their mean"),
    ],
    ids=["few", "low threshold", "rate", "constant"],
)
def test_what_leaves_no_peaks_to_adapt_by_is_told(
    score: NDArray[np.float32], rate: float, threshold: float, message: str
) -> None:
    """In one line, with what to do."""
    device = np.zeros(len(score), np.int32)
    with pytest.raises(ConfigError, match=message):
        adapt("pot", score, device, rate=rate, threshold=threshold, margin=1.0, step=0.01)


def test_a_package_that_names_no_rule_means_the_first_there_was(tmp_path: Path) -> None:
    """It was made before there was another, and is read like one of today."""
    settings = TrainSettings(kind="pca", threshold="quantile", adapt=0.01)
    package = train("m", "f", _machine(_ROWS, 1), {}, tmp_path / "m", settings)
    manifest = tmp_path / "m" / "model.toml"
    text = manifest.read_text()
    by = 'by = "conformal"\n'
    manifest.write_text(text.replace(by, ""))

    assert by in text
    assert ModelPackage.load(tmp_path / "m").manifest == package.manifest


def test_auto_says_why(tmp_path: Path) -> None:
    """One series, coupled channels, and channels that have nothing to do with each other."""
    rng = np.random.default_rng(7)
    coupled = _machine(600, 1)
    loose = TrainingData(coupled.names, coupled.time_ns, coupled.device, rng.normal(size=(600, 3)))
    single = TrainingData(("x",), coupled.time_ns, coupled.device, coupled.values[:, :1])
    few = coupled.head(100)
    found = [
        train("m", "f", data, {}, tmp_path / "m", TrainSettings()).manifest.training
        for data in (coupled, loose, single, few)
    ]

    assert [each.kind for each in found] == ["ridge", "mewma", "novelty", "mewma"]
    assert "explain each other" in found[0].chosen_because
    assert "too few" in found[3].chosen_because


def test_thresholds_hold_their_rate() -> None:
    """Each method on scores whose distribution is known."""
    rng = np.random.default_rng(8)
    score = rng.exponential(size=20_000).astype(np.float32)
    device = np.zeros(len(score), np.int32)

    assert choose("quantile", score, device, 0.01) == pytest.approx(np.log(100), rel=0.05)
    # One in ten thousand, of which there are two: the fitted tail reaches beyond them.
    assert choose("pot", score, device, 1e-4) == pytest.approx(np.log(1e4), rel=0.1)
    assert choose("probability", score, device, 1e-3) == 3
    bursts = np.zeros(1000, np.float32)
    for at, height in ((100, 5.0), (300, 4.0), (500, 3.0)):
        bursts[at : at + 10] = height
    device = np.zeros(1000, np.int32)
    # Two events are allowed: the third must stay below.
    assert choose("events", bursts, device, 0.002) == 4
    assert choose("events", bursts, device, 0.0005) == 5
