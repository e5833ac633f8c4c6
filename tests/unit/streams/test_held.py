"""What channels hold that was retained: known to who asks, and in nothing that counts readings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.stage import Selection
from streams.build import build_pipeline
from streams.pipeline import Pipeline
from streams.stages.frame.stage import Framer, FrameSpec
from streams.stages.normalize import Normalizer

_S = 10**9


def _pipeline(**more: object) -> Pipeline:
    feed = {
        "topic": "{device}",
        "retained": "state",
        "aggregates": [{"window": "4s"}],
        "channels": {"x": {"range": [0, 50]}, "y": {"spike": {}}},
        **more,
    }
    config = Config.model_validate({"local_store": {}, "feed": {"f": feed}})
    return build_pipeline(config, ChannelTable())


def _batch(pipeline: Pipeline, *readings: tuple[int, str, float], quality: int = 0) -> Batch:
    table = pipeline.channels
    rows = [table.row(Channel("f", "d", "f", field)) for _, field, _ in readings]
    times = [second * _S for second, _, _ in readings]
    values = [value for _, _, value in readings]
    return Batch.from_columns(table, times, rows, values, quality=[quality] * len(readings))


def _known(pipeline: Pipeline) -> dict[str, tuple[float, int]]:
    """By channel, what is held, and since when, s."""
    here = _every(pipeline)
    block = pipeline.snapshot(here)["held"]
    names = [pipeline.channels.channels[row].field for row in here.channels[block["channel"]]]
    seconds = (block["channel_time_ns"] // _S).tolist()
    return dict(zip(names, zip(block["channel_value"].tolist(), seconds, strict=True), strict=True))


def _every(pipeline: Pipeline) -> Selection:
    table = pipeline.channels
    return Selection(
        np.arange(len(table.devices), dtype=np.int32), np.arange(len(table), dtype=np.int32)
    )


def test_it_is_known_and_counts_as_nothing() -> None:
    """No window, no word of the device, no watermark; a reading takes its place."""
    pipeline = _pipeline()
    results = pipeline.hold(_batch(pipeline, (10, "x", 5.0), (10, "y", 7.0), (11, "x", 6.0)))

    assert _known(pipeline) == {"x": (6, 11), "y": (7, 10)}
    assert results.moved.tolist() == [0]
    assert not len(results.aggregates)
    assert not results.states
    assert not results.rejected
    assert pipeline.open_rows() == 0
    assert not pipeline.awaits_silence()
    assert not pipeline.presence(0)

    # Far behind what was held: that has moved no watermark.
    results = pipeline.process(_batch(pipeline, (1, "x", 8.0)), 0)
    assert [(each.device, each.state) for each in results.states] == [("d", "online")]
    assert not results.rejected
    assert _known(pipeline) == {"x": (8, 1), "y": (7, 10)}
    aggregates = pipeline.process(_batch(pipeline, (100, "x", 9.0)), 0).aggregates
    assert aggregates.n.tolist() == [1]


def test_what_breaks_the_range_or_is_missing_is_not_held() -> None:
    """What was held before goes on; rules that remember are not asked."""
    pipeline = _pipeline()
    pipeline.hold(_batch(pipeline, (1, "x", 5.0), (1, "y", 1.0)))
    pipeline.hold(_batch(pipeline, (2, "x", 51.0), (2, "y", 1e6)))
    missing = _batch(pipeline, (3, "y", float("nan")), quality=int(Quality.MISSING))
    pipeline.hold(missing)
    pipeline.process(_batch(pipeline, (4, "x", 99.0)), 0)

    assert _known(pipeline) == {"x": (5, 1), "y": (1e6, 2)}


def test_other_feeds_remember_nothing() -> None:
    """Nor do their readings."""
    pipeline = _pipeline(retained="once")
    pipeline.process(_batch(pipeline, (1, "x", 5.0)), 0)
    assert not _known(pipeline)


def test_it_outlives_a_restart_and_can_be_forgotten() -> None:
    pipeline, other = _pipeline(), _pipeline()
    pipeline.hold(_batch(pipeline, (1, "y", 2.0), (1, "x", 5.0)))
    _batch(other, (1, "x", 0.0), (1, "y", 0.0))
    block = pipeline.snapshot(_every(pipeline))["held"]
    here = Selection(np.array([0], np.int32), np.array([1, 0], np.int32))
    other.stages["held"].restore(here, block)
    assert _known(other) == _known(pipeline)
    other.forget(_every(other))
    assert not _known(other)


class _Model:
    """A model's windows: two channels, two steps, held for two."""

    def __init__(self) -> None:
        self.channels = ChannelTable()
        spec = FrameSpec("f", ("x", "y"), _S, 2, 1, "instant", 2)
        self.framer = Framer("m", spec, self.channels)
        self._normalizer = Normalizer("f", ("x", "y"), [0, 0], [1, 1], self.channels)

    def _rows(self, *readings: tuple[int, str, float]) -> Batch:
        rows = [self.channels.row(Channel("f", "d", "f", field)) for _, field, _ in readings]
        times = [second * _S for second, _, _ in readings]
        return Batch.from_columns(self.channels, times, rows, [value for _, _, value in readings])

    def hold(self, *readings: tuple[int, str, float]) -> None:
        self.framer.hold(self._normalizer.process(self._rows(*readings)))

    def read(self, *readings: tuple[int, str, float]) -> list[list[list[float]]]:
        frames = self.framer.process(self._normalizer.process(self._rows(*readings)))
        values: NDArray[np.float32] = frames.values
        found: list[list[list[float]]] = values.tolist()
        return found


def test_a_model_has_it_from_the_next_step_on_for_as_long_as_it_holds_a_value() -> None:
    """Also of a device of which there was nothing, and behind a gap."""
    model = _Model()
    model.hold((0, "y", 7.0))
    steps = [model.read((second, "x", float(second))) for second in range(100, 106)]

    # A step closes when the next one begins; from the fourth on nothing is held any more.
    assert steps[2] == [[[100, 7], [101, 7]]]
    assert steps[3] == [[[101, 7], [102, 7]]]
    assert steps[4:] == [[], []]
    model.hold((0, "y", 8.0), (0, "x", 99.0))
    assert model.read((106, "x", 106.0)) == []
    # The reading of the step counts, not what was held.
    assert model.read((107, "x", 107.0)) == [[[105, 8], [106, 8]]]


@pytest.mark.parametrize("cut", range(6))
def test_a_restart_anywhere_changes_nothing_of_it(cut: int) -> None:
    """What was held, and no step has yet, is part of the state."""
    story: list[tuple[str, int, str, float]] = [
        ("read", 1, "x", 1.0), ("hold", 0, "y", 5.0), ("read", 2, "x", 2.0),
        ("hold", 0, "y", 6.0), ("read", 3, "x", 3.0), ("read", 4, "x", 4.0),
    ]  # fmt: skip
    whole, first = _Model(), _Model()
    expected = [_play(whole, each) for each in story]
    found = [_play(first, each) for each in story[:cut]]
    second = _Model()
    for field in "yx":
        second.channels.row(Channel("f", "d", "f", field))
    for field in "xy":
        first.channels.row(Channel("f", "d", "f", field))
    here = [np.array(rows, np.int32) for rows in ([0], [0, 1])]
    second.framer.restore(Selection(*here), first.framer.snapshot(Selection(*here)))
    found += [_play(second, each) for each in story[cut:]]

    assert found == expected
    assert list(itertools.chain.from_iterable(expected)) == [
        [[1, 5], [2, 6]], [[2, 6], [3, 6]]
    ]  # fmt: skip


def _play(model: _Model, told: tuple[str, int, str, float]) -> list[list[list[float]]]:
    kind, *reading = told
    if kind == "hold":
        model.hold(tuple(reading))  # type: ignore[arg-type]
        return []
    return model.read(tuple(reading))  # type: ignore[arg-type]


def test_state_of_before_there_was_this_is_taken_up() -> None:
    """It has no such column."""
    model, other = _Model(), _Model()
    model.read((1, "x", 1.0), (1, "y", 2.0), (2, "x", 1.0))
    here = Selection(np.array([0], np.int32), np.array([0, 1], np.int32))
    block = model.framer.snapshot(here)
    del block["held"]
    other.read((1, "x", 1.0), (1, "y", 9.0))
    other.framer.restore(here, block)
    assert other.read((3, "x", 1.0)) == model.read((3, "x", 1.0)) == [[[1, 2], [1, 2]]]


def test_an_older_value_takes_no_newer_ones_place() -> None:
    """What a device retained at its start stays with the broker, whatever it has said since."""
    pipeline = _pipeline()
    pipeline.process(_batch(pipeline, (100, "x", 5)), 0)
    pipeline.hold(_batch(pipeline, (10, "x", 3), (20, "y", 1), (15, "y", 2)))
    assert _known(pipeline) == {"x": (5, 100), "y": (1, 20)}
    pipeline.hold(_batch(pipeline, (100, "x", 6)))
    assert _known(pipeline)["x"] == (6, 100)


def test_a_model_is_given_no_older_value() -> None:
    """Nor does a reading that comes out of order change what a channel holds."""
    pipeline = _pipeline(grace="60s")
    pipeline.process(_batch(pipeline, (100, "x", 5), (90, "x", 7)), 0)
    assert _known(pipeline)["x"] == (5, 100)
