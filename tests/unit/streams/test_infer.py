"""Windows of all devices in one run, each building upon its device's one before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable
from headgate.core.results import Frames
from models.runtime import Answer, Runtime
from models.training.data import TrainingData
from models.training.train import TrainSettings, train
from streams.process.state import selection_of
from streams.stages.infer import Inferer


class _Counting:
    """Counts a device's windows, and adds up what it is shown.

    A 7 breaks its score, and an 8 what it would remember.
    """

    fingerprint = "counting"

    def __init__(self, max_batch: int = 100) -> None:
        self.max_batch = max_batch
        self.batches: list[int] = []

    @property
    def initial_state(self) -> NDArray[np.float32]:
        """Begins with ten."""
        return np.array([0, 10], np.float32)

    def room_for_state(self, windows: int) -> NDArray[np.float32] | None:
        """Has no such place."""
        return None

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """The sum so far as the score."""
        assert state is not None
        self.batches.append(len(values))
        shown = values[:, -1, 0]
        after = state + np.stack([np.ones_like(shown), shown], axis=1)
        score = np.where(shown == 7, np.nan, after[:, 1]).astype(np.float32)
        after[shown == 8] = np.inf
        return Answer(score, np.ones((len(values), 1), np.float32), after)


class _Wide(_Counting):
    """The same, and remembers much of each device."""

    @property
    def initial_state(self) -> NDArray[np.float32]:
        """Begins with ten in every number."""
        return np.full(5000, 10, np.float32)

    def run(self, values: NDArray[np.float32], state: NDArray[np.float32] | None = None) -> Answer:
        """The sum so far as the score."""
        assert state is not None
        score, share, after, _ = super().run(values, state[:, :2])
        return Answer(score, share, np.tile(after[:, 1:], (1, state.shape[1])))


def _table(devices: int) -> ChannelTable:
    table = ChannelTable()
    for device in range(devices):
        table.row(Channel("f", f"d{device}", "f", "x"))
    return table


def _frames(device: list[int], value: list[float]) -> Frames:
    values = np.array(value, np.float32)[:, None, None]
    return Frames("m", np.array(device, np.int32), np.arange(len(device)), values)


def test_each_window_builds_upon_its_devices_last() -> None:
    """The k-th window of every device is one run, however the rest is mixed."""
    model = _Counting()
    inferer = Inferer({"m": model}, _table(3))
    (scores,) = inferer.process([_frames([0, 1, 0, 2, 0, 1], [1, 2, 3, 4, 5, 6])])

    assert scores.score.tolist() == [11, 12, 14, 14, 19, 18]
    assert model.batches == [3, 2, 1]
    (later,) = inferer.process([_frames([1], [1])])
    assert later.score.tolist() == [19]


_BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 8)), min_size=1, max_size=12), max_size=4
)


@given(_BATCHES, st.integers(1, 4))
def test_batches_and_runs_of_any_size_give_what_one_window_after_the_other_gives(
    batches: list[list[tuple[int, int]]], max_batch: int
) -> None:
    """Devices in any order, some unknown so far; what is not a number is not remembered."""
    inferer = Inferer({"m": _Counting(max_batch)}, _table(5))
    remembered = dict.fromkeys(range(5), 10.0)
    for batch in batches:
        expected = []
        for device, value in batch:
            score = remembered[device] + value
            if value != 7:
                expected.append(score)
            if value not in {7, 8}:
                remembered[device] = score
        (scores,) = inferer.process([_frames([at for at, _ in batch], [v for _, v in batch])])

        assert scores.score.tolist() == expected


def test_numbers_whose_squares_are_none_are_remembered() -> None:
    """A huge one is a number all the same, and so is what stands beside it."""
    inferer = Inferer({"m": _Counting()}, _table(2))
    inferer.process([_frames([0, 1], [2e30, 1])])
    (scores,) = inferer.process([_frames([0, 1], [2e30, 1])])

    assert scores.score.tolist() == [np.float32(4e30), 12]


def test_a_window_without_a_score_leaves_no_trace() -> None:
    """Neither in the scores nor in what is remembered."""
    inferer = Inferer({"m": _Counting()}, _table(2))
    (scores,) = inferer.process([_frames([0, 0, 1, 0], [1, 7, 2, 3])])

    assert scores.score.tolist() == [11, 12, 14]
    assert scores.device.tolist() == [0, 1, 0]


@pytest.mark.parametrize("order", ["as they came", "the other way round"])
def test_much_state_of_neighbours_is_read_where_it_stands(order: str) -> None:
    """In runs of a few devices, of which one gets no number; then by itself, whatever stands by."""
    model = _Wide(max_batch=3)
    inferer = Inferer({"m": model}, _table(8))
    first = list(range(8)) if order == "as they came" else list(range(7, -1, -1))
    for device in first:
        inferer.process([_frames([device], [1])])
    (scores,) = inferer.process([_frames(list(range(8)), [1, 2, 3, 4, 7, 6, 5, 9])])
    (again,) = inferer.process([_frames(list(range(8)), [0] * 8)])

    assert model.batches[8:] == [3, 3, 2, 3, 3, 2]
    assert scores.score.tolist() == [12, 13, 14, 15, 17, 16, 20]
    assert scores.device.tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert again.score.tolist() == [12, 13, 14, 15, 11, 17, 16, 20]


def test_what_is_remembered_moves_and_is_forgotten_with_its_device() -> None:
    """Through a snapshot into another process, where the devices have other numbers."""
    table = _table(3)
    old = Inferer({"m": _Counting()}, table)
    old.process([_frames([0, 1, 1], [1, 2, 3])])
    # The third device has sent nothing yet, and has nothing to take along.
    block = old.memories["m"].snapshot(selection_of(table, np.array([1, 2, 0], np.int32)))
    other = _table(4)
    new = Inferer({"m": _Counting()}, other)
    new.memories["m"].restore(selection_of(other, np.array([3, 0, 2], np.int32)), block)
    (scores,) = new.process([_frames([3, 0, 2, 1], [0, 0, 0, 0])])

    assert scores.score.tolist() == [15, 10, 11, 10]
    new.memories["m"].forget(selection_of(other, np.array([3], np.int32)))
    (scores,) = new.process([_frames([3, 2], [0, 0])])
    assert scores.score.tolist() == [10, 11]


def _batches(rng: np.random.Generator, rows: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Devices in every order, few and many, once and repeatedly."""
    some = [np.sort(rng.choice(rows, count, replace=False)) for count in (1, 20, 200)]
    return [
        rows[7:12],
        rows,
        *some,
        *(each[::-1] for each in some),
        rng.choice(rows, 40),
        rng.choice(rows, 400),
        rows[:3],
    ]


@pytest.mark.parametrize("max_batch", [1000, 64])
def test_a_real_model_says_the_same_in_any_batch(max_batch: int, tmp_path: Path) -> None:
    """Whatever stands together, and with devices of another feed in between."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(400, 3))
    data = TrainingData(("a", "b", "c"), np.arange(400) * 10**9, np.zeros(400, np.int32), values)
    package = train("m", "f", data, {}, tmp_path / "m", TrainSettings(kind="level"))
    table = ChannelTable()
    for at in range(400):
        feed = "other" if at % 4 == 3 else "f"
        table.row(Channel(feed, f"d{at}", feed, "a"))
    rows = np.array([at for at in range(400) if at % 4 != 3], np.int32)
    together = Inferer({"m": Runtime(package, max_batch=max_batch)}, table)
    alone = Inferer({"m": Runtime(package)}, table)
    for device in _batches(rng, rows):
        windows = rng.normal(size=(len(device), 1, 3)).astype(np.float32)
        # One sees what is no number, and remembers nothing of it.
        windows[len(device) // 2] = np.nan if len(device) > 1 else 0
        end_ns = np.arange(len(device))
        (found,) = together.process([Frames("m", device, end_ns, windows)])
        expected = [
            scores
            for at in range(len(device))
            for scores in alone.process(
                [Frames("m", device[at : at + 1], end_ns[:1] + at, windows[at : at + 1])]
            )
        ]

        score = np.concatenate([each.score for each in expected])
        np.testing.assert_allclose(found.score, score, rtol=1e-5)
        assert found.device.tolist() == [int(row) for each in expected for row in each.device]
        assert found.time_ns.tolist() == [int(at) for each in expected for at in each.time_ns]
    everyone = selection_of(table, rows)
    kept, wanted = (each.memories["m"].snapshot(everyone) for each in (together, alone))
    np.testing.assert_array_equal(kept["device"], wanted["device"])
    ours, theirs = (each["state"].astype(np.float64) for each in (kept, wanted))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
