"""One anomaly an event: when it opens, what it says, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable
from headgate.core.results import Anomaly, Scores
from models.package import Adapt, Conformal, Dspot
from streams.process.state import selection_of
from streams.stages.detect.stage import Detector, DetectSpec

pytestmark = pytest.mark.slow

_STEP_NS = 1_000_000_000
_SPEC = DetectSpec(
    channel_names=("flow", "temp"),
    threshold=1.0,
    threshold_low=0.8,
    open_after=2,
    close_after=3,
    step_ns=_STEP_NS,
)


def _table(devices: int = 3) -> ChannelTable:
    table = ChannelTable()
    for device in range(devices):
        table.row(Channel("pump", f"p{device}", "pump", "flow"))
    return table


def _scores(device: list[int], step: list[int], score: list[float]) -> Scores:
    values = np.array(score, np.float32)
    share = np.stack([np.full(len(score), 0.25), np.full(len(score), 0.75)], axis=1)
    return Scores(
        "m",
        np.array(device, np.int32),
        np.array(step, np.int64) * _STEP_NS,
        values,
        share.astype(np.float32),
    )


def _run(score: list[float], step: list[int] | None = None) -> list[Anomaly]:
    detector = Detector("m", _SPEC, _table())
    steps = list(range(len(score))) if step is None else step
    return detector.process(_scores([0] * len(score), steps, score))


def _seconds(time_ns: int) -> int:
    return time_ns // _STEP_NS


def test_one_high_score_opens_nothing() -> None:
    """It takes open_after in a row."""
    assert _run([0.1, 9.0, 0.1, 9.0, 0.1]) == []


def test_an_event_is_one_anomaly_with_start_end_and_peak() -> None:
    """It starts at the first high score and ends at the last that was not low."""
    opened, closed = _run([0.1, 1.2, 1.5, 1.9, 0.9, 0.5, 0.9, 0.1, 0.1, 0.1, 0.1])

    assert (opened.is_open, opened.revision) == (True, 0)
    assert _seconds(opened.start_ns) == 1
    assert not closed.is_open
    assert (_seconds(closed.start_ns), _seconds(closed.end_ns)) == (1, 6)
    assert (_seconds(closed.peak_ns), round(closed.peak_score, 4)) == (3, 1.9)
    assert closed.shares == (("temp", 0.75), ("flow", 0.25))
    assert closed.revision == 1


def test_getting_worse_is_told_under_the_same_identity() -> None:
    """Each higher severity is a revision of the same anomaly."""
    found = _run([1.1, 1.1, 2.5, 2.4, 9.0, 9.9])

    assert [(each.severity, each.revision) for each in found] == [
        ("minor", 0),
        ("major", 1),
        ("critical", 2),
    ]
    assert len({(each.device, each.model, each.start_ns) for each in found}) == 1


def test_the_step_that_opened_it_is_told() -> None:
    """Its start lies open_after steps before; the delay of detection counts from here."""
    opened, _ = _run([0.1, 1.2, 1.5, 0.1, 0.1, 0.1])

    assert (_seconds(opened.start_ns), _seconds(opened.opened_ns)) == (1, 2)


def test_trouble_soon_after_an_anomaly_is_the_same_anomaly() -> None:
    """Within the refractory time it goes on, with its start and peak; later it is another."""
    spec = replace(_SPEC, refractory=6)
    again = [2.0, 2.0, 0.1, 0.1, 0.1, 0.1, 1.5, 1.5, 0.1, 0.1, 0.1]
    later = [0.1] * 7 + [1.5, 1.5]
    scores = _scores([0] * 20, list(range(20)), again + later)

    found = Detector("m", spec, _table()).process(scores)

    assert [(each.is_open, _seconds(each.start_ns), each.revision) for each in found] == [
        (True, 0, 0),
        (False, 0, 1),
        (True, 0, 2),
        (False, 0, 3),
        (True, 18, 0),
    ]
    assert [_seconds(each.end_ns) for each in found[:4]] == [1, 1, 7, 7]
    assert {(each.peak_score, _seconds(each.opened_ns)) for each in found[:4]} == {(2.0, 1)}


class _Sensors:
    """The second sensor is faulty from a step on, of one device."""

    def __init__(self, device: int, since: int) -> None:
        self._device, self._since_ns = device, since * _STEP_NS

    def faulty(self, devices: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_faulty = (devices == self._device) & (time_ns >= self._since_ns)
        return np.stack([np.zeros_like(is_faulty), is_faulty], axis=1)


def test_an_anomaly_of_a_faulty_sensor_is_labelled_so() -> None:
    """As soon as it is known, and for as long as it lasts; other devices' are the process's."""
    detector = Detector("m", _SPEC, _table(), _Sensors(device=0, since=4))
    steps = [step for step in range(12) for _ in range(2)]
    scores = [2.0 if step < 8 else 0.1 for step in steps]

    found = detector.process(_scores([0, 1] * 12, steps, scores))

    assert [
        (each.verdict, each.faulty, each.revision) for each in found if each.device == "p0"
    ] == [
        ("process", (), 0),
        ("sensor", ("temp",), 1),
        ("sensor", ("temp",), 2),
    ]
    assert {each.verdict for each in found if each.device == "p1"} == {"process"}


def test_a_faulty_sensor_that_has_no_part_in_it_changes_no_verdict() -> None:
    """But it is named."""
    detector = Detector("m", _SPEC, _table(), _Sensors(device=0, since=0))
    scores = _scores([0, 0], [0, 1], [2.0, 2.0])
    scores.share[:] = (0.75, 0.25)

    (opened,) = detector.process(scores)

    assert (opened.verdict, opened.faulty) == ("process", ("temp",))


_ADAPT = Conformal(limit=0.5, rate=0.05, step=0.02, most=4)
#: Of exponential scores with the mean 0.2, of which one in e^5 reaches 1, and one in e^2 0.4. Peaks
#: are those between the two.
_DSPOT = Dspot(
    rate=float(np.exp(-5)),
    step=0.02,
    start=0.2,
    shape=0.0,
    level=0.2,
    peak_rate=float((np.exp(-2) - np.exp(-5)) / (1 - np.exp(-5))),
    excess=float(0.2 * (1 - 3 / (np.exp(3) - 1))),
)


def test_thresholds_follow_a_device_that_is_louder_than_those_trained_on() -> None:
    """Once they have, as many of its scores reach the limit as did in training."""
    rng = np.random.default_rng(4)
    louder = (0.45 * rng.exponential(size=4000)).tolist()
    steps = list(range(4000))
    plain = replace(_SPEC, open_after=1)
    found = [
        sum(
            each.revision == 0 and _seconds(each.start_ns) > 2000
            for each in Detector("m", spec, _table()).process(_scores([0] * 4000, steps, louder))
        )
        for spec in (plain, replace(plain, adapt=_ADAPT))
    ]

    # exp(-1 / 0.45) of the scores, and 0.05 ** 2: twice the limit, which one in twenty reaches.
    assert found[0] > 100
    assert 0 < found[1] < 20


def test_dspot_follows_a_device_that_becomes_louder() -> None:
    """By twice and more; the few anomalies that are left are a quarter of those without at most."""
    rng = np.random.default_rng(4)
    loudness = np.interp(np.arange(6000), [0, 3000], [0.2, 0.45])
    scores = _scores(
        [0] * 6000, list(range(6000)), (loudness * rng.exponential(size=6000)).tolist()
    )
    plain = replace(_SPEC, open_after=1)
    found = [
        sum(
            each.revision == 0 and _seconds(each.start_ns) > 4000
            for each in Detector("m", spec, _table()).process(scores)
        )
        for spec in (plain, replace(plain, adapt=_DSPOT))
    ]

    assert found[0] > 100
    assert 0 < found[1] < found[0] / 4


def test_thresholds_stay_where_they_are_for_scores_as_in_training() -> None:
    """Whatever the threshold lies at: what is over it neither counts now nor counted then."""
    rng = np.random.default_rng(6)
    scores = rng.exponential(size=20_000)
    for threshold in (3.0, 6.0):
        limit = threshold / 1.6
        below = scores[scores < threshold]
        adapt = Conformal(limit=limit, rate=float((below >= limit).mean()), step=0.01)
        spec = replace(_SPEC, threshold=threshold, threshold_low=limit, open_after=1, adapt=adapt)
        detector = Detector("m", spec, _table())
        detector.process(_scores([0] * 20_000, list(range(20_000)), scores.tolist()))

        selection = selection_of(_table(), np.array([0], np.int32))
        assert abs(float(detector.snapshot(selection)["lift"][0])) < 0.25


def test_thresholds_move_at_a_bounded_rate_and_stand_still_in_an_anomaly() -> None:
    """A fault can't be got used to, however long it lasts; its threshold is the one it passed."""
    spec = replace(_SPEC, adapt=_ADAPT)
    scores = [0.6] * 20 + [3.0] * 500 + [0.1] * 5
    steps = list(range(len(scores)))

    opened, closed = Detector("m", spec, _table()).process(_scores([0] * 525, steps, scores))

    lift = np.exp(20 * _ADAPT.step * (1 - _ADAPT.rate))
    # Once the limit has passed 0.6 the thresholds fall again.
    assert 1 < opened.threshold <= lift
    assert closed.threshold == opened.threshold
    assert _seconds(closed.end_ns) == 519


def test_dspot_stands_still_in_an_anomaly_too() -> None:
    """And moves by no more than the step with a score before it."""
    scores = [0.6] * 20 + [3.0] * 500 + [0.1] * 5
    detector = Detector("m", replace(_SPEC, adapt=_DSPOT), _table())

    opened, closed = detector.process(_scores([0] * 525, list(range(525)), scores))

    assert 1 < opened.threshold <= np.exp(20 * _DSPOT.step)
    assert closed.threshold == opened.threshold


@pytest.mark.parametrize("rule", [_ADAPT, _DSPOT], ids=["conformal", "dspot"])
@pytest.mark.parametrize("sensitivity", [0.7, 1.0, 1.5])
def test_sensitivity_is_not_adapted_away(rule: Adapt, sensitivity: float) -> None:
    """The thresholds of a device like those trained on stay so many times what they were."""
    scores = 0.2 * np.random.default_rng(9).exponential(size=8000)
    rule = rule.model_copy(update={"step": 0.01})
    if isinstance(rule, Conformal):
        rule = rule.model_copy(update={"rate": float(np.exp(-rule.limit / 0.2))})
    spec = replace(_SPEC, open_after=1, adapt=rule, sensitivity=sensitivity)
    detector = Detector("m", spec, _table())
    found = detector.process(_scores([0] * 8000, list(range(8000)), scores.tolist()))

    threshold = [each.threshold for each in found if _seconds(each.start_ns) > 1000]
    assert threshold
    assert np.median(threshold) == pytest.approx(sensitivity, rel=0.15)


def test_state_of_an_older_version_is_taken_up() -> None:
    """An event that was open stays open."""
    old, new = (Detector("m", _SPEC, _table()) for _ in range(2))
    old.process(_scores([0, 0], [0, 1], [2.0, 2.0]))
    selection = selection_of(_table(), np.arange(3, dtype=np.int32))
    block = {
        name: column
        for name, column in old.snapshot(selection).items()
        if name not in ("closed_ns", "faulty", "is_of_sensors", "is_past", "lift", "opened_ns")
    }
    new.restore(selection, block)

    (closed,) = new.process(_scores([0] * 3, [2, 3, 4], [0.1] * 3))

    assert (closed.is_open, _seconds(closed.end_ns), closed.verdict) == (False, 1, "process")
    assert closed.opened_ns == closed.start_ns


def test_a_gap_in_the_scores_ends_an_anomaly() -> None:
    """Nothing is known of the time without scores, so nothing is said to last through it."""
    found = _run([1.5, 1.5, 1.5, 1.5], [0, 1, 60, 61])

    assert [(each.is_open, _seconds(each.start_ns)) for each in found] == [
        (True, 0),
        (False, 0),
        (True, 60),
    ]


def test_a_silent_device_has_its_anomaly_closed() -> None:
    """And only that device."""
    detector = Detector("m", _SPEC, _table())
    detector.process(_scores([0, 1, 0, 1], [0, 0, 1, 1], [2.0] * 4))
    closed = detector.close_silent(np.array([1, 2], np.int32))

    assert [(each.device, each.is_open) for each in closed] == [("p1", False)]


_STREAM = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from([0.1, 0.79, 0.8, 0.99, 1.0, 2.0, 6.0]), st.integers(1, 7)
    ),
    max_size=60,
)


def _as_columns(
    stream: list[tuple[int, float, int]],
) -> tuple[list[int], list[int], list[float]]:
    clock = [0, 0, 0]
    device, step, score = [], [], []
    for row, value, pause in stream:
        clock[row] += 1 if pause < 6 else pause
        device.append(row)
        step.append(clock[row])
        score.append(value)
    return device, step, score


def _by_device(anomalies: list[Anomaly]) -> dict[str, list[Anomaly]]:
    found: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        found.setdefault(anomaly.device, []).append(anomaly)
    return found


@pytest.mark.parametrize(
    "spec",
    [
        _SPEC,
        replace(_SPEC, refractory=4, close_surprise=0.2),
        replace(_SPEC, adapt=Conformal(limit=0.8, rate=0.2, step=0.1, most=2)),
        replace(_SPEC, adapt=_DSPOT.model_copy(update={"step": 0.1})),
    ],
    ids=["plain", "refractory", "conformal", "dspot"],
)
@given(stream=_STREAM, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_any_cut_gives_the_same_anomalies(
    spec: DetectSpec, stream: list[tuple[int, float, int]], cuts: list[int]
) -> None:
    """However the scores are cut into batches, and whatever is restored between two of them."""
    device, step, score = _as_columns(stream)
    sensors = _Sensors(device=1, since=9)
    whole = Detector("m", spec, _table(), sensors).process(_scores(device, step, score))
    table = _table()
    detector = Detector("m", spec, table, sensors)
    parts: list[Anomaly] = []
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for first, last in pairwise(bounds):
        rows = slice(first, last)
        parts += detector.process(_scores(device[rows], step[rows], score[rows]))
        selection = selection_of(table, np.array([2, 0, 1], np.int32))
        restored = Detector("m", spec, table, sensors)
        restored.restore(selection, detector.snapshot(selection))
        detector = restored

    assert _by_device(parts) == _by_device(whole)


@given(_STREAM)
def test_events_of_a_device_follow_each_other(stream: list[tuple[int, float, int]]) -> None:
    """Every anomaly opens before it closes, and the next starts after the last has ended."""
    device, step, score = _as_columns(stream)
    detector = Detector("m", _SPEC, _table())
    found = detector.process(_scores(device, step, score))
    found += detector.close_silent(np.arange(3, dtype=np.int32))
    for events in _by_device(found).values():
        ends = -1
        for anomaly in events:
            if anomaly.revision == 0:
                assert anomaly.start_ns > ends
            assert anomaly.start_ns <= anomaly.peak_ns <= anomaly.end_ns
            assert anomaly.peak_score >= _SPEC.threshold
            ends = anomaly.end_ns
        assert not events[-1].is_open
