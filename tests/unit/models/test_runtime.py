"""Running a model: the same answers whatever a run's size, and wherever its values stand."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.package import ModelPackage
from models.runtime import BareModel, Runtime
from models.training.data import TrainingData
from models.training.train import TrainSettings, train

pytestmark = pytest.mark.slow

_STEP_NS = 10**9


def _package(out: Path, kind: str, channels: int = 3, window: int | None = None) -> ModelPackage:
    rng = np.random.default_rng(1)
    values = np.sin(np.arange(400) / 9)[:, None] + rng.normal(size=(400, channels)) * 0.1
    names = tuple(f"c{at}" for at in range(channels))
    data = TrainingData(names, np.arange(400) * _STEP_NS, np.zeros(400, np.int32), values)
    return train("m", "f", data, {}, out, TrainSettings(kind=kind, window=window))


# The sizes cross what is copied and what is bound in place, and what there is room for.
@pytest.mark.parametrize(
    ("kind", "channels", "window", "sizes"),
    [
        ("ridge", 3, None, [1, 5, 1400, 64, 1, 1401]),
        ("novelty", 1, None, [1, 2, 9, 1]),
        ("pca", 3, 40, [1, 30, 300, 8, 1]),
    ],
)
def test_a_run_gives_what_a_plain_session_gives(
    tmp_path: Path, kind: str, channels: int, window: int | None, sizes: list[int]
) -> None:
    """To the last bit, with the state that each step leaves to the next."""
    package = _package(tmp_path / "m", kind, channels, window)
    runtime = Runtime(package)
    plain = BareModel(package.graph, is_stateful=package.manifest.state_size > 0)
    rng = np.random.default_rng(2)
    steps = package.manifest.framing.window
    ours = theirs = np.tile(runtime.initial_state, (max(sizes), 1))
    for size in sizes * 3:
        windows = rng.normal(size=(size, steps, channels)).astype(np.float32)
        answer, expected = runtime.run(windows, ours[:size]), plain.run(windows, theirs[:size])

        assert (answer.score == expected.score).all()
        assert (answer.share == expected.share).all()
        assert (answer.state == expected.state).all()
        ours, theirs = ours.copy(), theirs.copy()
        ours[:size], theirs[:size] = answer.state, expected.state


def test_the_state_of_one_run_may_go_into_the_next_as_it_is(tmp_path: Path) -> None:
    """It stands where the next run writes to, and is read first."""
    package = _package(tmp_path / "m", "level")
    runtime = Runtime(package)
    plain = BareModel(package.graph, is_stateful=True)
    rng = np.random.default_rng(3)
    ours = theirs = np.tile(runtime.initial_state, (4, 1))
    for _ in range(40):
        windows = rng.normal(size=(4, 1, 3)).astype(np.float32)
        ours, theirs = runtime.run(windows, ours).state, plain.run(windows, theirs).state

    assert (ours == theirs).all()


def test_the_state_of_one_run_may_go_into_several(tmp_path: Path) -> None:
    """Where there are more windows than go into a run, the first must not overwrite the rest."""
    runtime = Runtime(_package(tmp_path / "m", "level"), max_batch=8)
    rng = np.random.default_rng(3)
    first, second = (rng.normal(size=(8, 1, 3)).astype(np.float32) for _ in range(2))
    for _ in range(40):
        state = runtime.run(first).state
    expected = Runtime(runtime.package).run(second, state.copy()).state
    runtime.max_batch = 3

    assert (runtime.run(second, state).state == expected).all()


def test_what_is_no_number_is_told_of_the_run_that_it_is_in(tmp_path: Path) -> None:
    """And of no other, though all write to the same place."""
    runtime = Runtime(_package(tmp_path / "m", "level"))
    windows = np.random.default_rng(8).normal(size=(16, 1, 3)).astype(np.float32)
    broken = windows.copy()
    broken[12] = np.nan

    assert not runtime.run(broken).are_numbers
    assert all(runtime.run(windows[:size]).are_numbers for size in (1, 2, 4, 8, 16))


def test_an_accelerator_is_given_what_it_reads_at_every_run(tmp_path: Path) -> None:
    """It copies what is bound to its own memory then: a buffer that is kept would be read once."""
    elsewhere = ["AzureExecutionProvider", "CPUExecutionProvider"]
    if elsewhere[0] not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no second provider")
    package = _package(tmp_path / "m", "level")
    runtime, plain = Runtime(package), BareModel(package.graph, is_stateful=True)
    assert runtime.room_for_state(4) is not None
    runtime._use(onnxruntime.InferenceSession(package.graph, providers=elsewhere))
    ours = theirs = np.tile(runtime.initial_state, (4, 1))
    for seed in range(5):
        windows = np.random.default_rng(seed).normal(size=(4, 1, 3)).astype(np.float32)
        ours, theirs = runtime.run(windows, ours).state, plain.run(windows, theirs).state

    assert runtime.room_for_state(4) is None
    assert (ours == theirs).all()


def test_nothing_is_kept_of_what_was_scored(tmp_path: Path) -> None:
    """Large inputs are read where they are, and given up after the run, whatever its size."""
    runtime = Runtime(_package(tmp_path / "m", "pca", window=40))
    rng = np.random.default_rng(6)
    watched = []
    for size in range(20, 300, 20):
        windows = rng.normal(size=(size, 40, 3)).astype(np.float32)
        watched.append(weakref.ref(windows))
        runtime.run(windows)
    del windows

    assert [each() for each in watched] == [None] * len(watched)


def test_more_sizes_than_are_kept_bound_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are bound anew."""
    monkeypatch.setattr("models.runtime._MOST_BOUND", 3)
    runtime = Runtime(_package(tmp_path / "m", "ridge"))
    windows = np.random.default_rng(7).normal(size=(9, 2, 3)).astype(np.float32)
    expected = runtime.run(windows).share
    for size in (1, 2, 3, 4, 5, 6, 1, 9):
        share = runtime.run(windows[:size]).share

        assert share == pytest.approx(expected[:size], rel=1e-4, abs=1e-6)
        assert len(runtime._bound._batches) <= 3


@pytest.mark.parametrize(
    "windows",
    [
        np.zeros((4, 1, 1), np.float32),
        np.zeros((4, 3, 2), np.float32),
        np.zeros((4, 2, 3)),
    ],
    ids=["one value", "turned", "double"],
)
def test_windows_of_another_shape_or_type_are_refused(
    windows: NDArray[np.float32], tmp_path: Path
) -> None:
    """Nothing is stretched or cast to fit."""
    runtime = Runtime(_package(tmp_path / "m", "ridge"))

    with pytest.raises(ValueError, match=r"expected float32 windows of \(2, 3\)"):
        runtime.run(windows)
    with pytest.raises(ValueError, match="numbers of state"):
        runtime.run(np.zeros((4, 2, 3), np.float32), np.tile(runtime.initial_state, (1, 1)))


def test_scores_stay_as_they_were_said(tmp_path: Path) -> None:
    """Buffers are used again; what was handed out is not among them."""
    runtime = Runtime(_package(tmp_path / "m", "pca"))
    rng = np.random.default_rng(4)
    first, second = (rng.normal(size=(6, 5, 3)).astype(np.float32) for _ in range(2))
    answer = runtime.run(first)
    score, share = answer.score.copy(), answer.share.copy()
    runtime.run(second)

    assert (answer.score == score).all()
    assert (answer.share == share).all()


def test_windows_that_lie_apart_in_memory_are_taken_as_they_are(tmp_path: Path) -> None:
    """Every second one of an array, few and many."""
    runtime = Runtime(_package(tmp_path / "m", "pca"))
    windows = np.random.default_rng(5).normal(size=(2400, 5, 3)).astype(np.float32)
    for count in (10, 2400):
        apart = runtime.run(windows[:count:2]).score
        whole = runtime.run(windows[:count]).score

        assert apart == pytest.approx(whole[::2], rel=1e-5)
