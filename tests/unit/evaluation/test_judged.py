"""What alarms are worth against labels, and what plain ways are worth beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from headgate.evaluation.baselines import PLAIN_WAYS, alarmed
from headgate.evaluation.compare import compare
from headgate.evaluation.finished import finished
from headgate.evaluation.judged import Judged, figures, intervals
from headgate.evaluation.result import Evaluated

pytestmark = pytest.mark.slow

_ROWS, _FIT = 1000, 400


def _recording(
    alarm: NDArray[np.bool_] | None = None,
    label: NDArray[np.bool_] | None = None,
    values: NDArray[np.float64] | None = None,
    name: str = "a",
) -> Evaluated:
    rows = np.arange(_ROWS)
    label = (rows >= 600) & (rows < 700) if label is None else label
    alarm = np.zeros(_ROWS, np.bool_) if alarm is None else alarm
    values = np.random.default_rng(1).normal(size=(_ROWS, 2)) if values is None else values
    return Evaluated(
        name,
        "level",
        rows * 10**9,
        ("x", "y"),
        values,
        alarm.astype(np.float64),
        np.full(_ROWS, 0.5),
        alarm,
        label,
        _FIT,
        "asked for",
    )


def _judged(alarm: NDArray[np.bool_]) -> Judged:
    recording = _recording(alarm)
    return Judged.of(recording, alarm, alarm.astype(np.float64))


def test_false_alarms_before_and_after_a_fault_are_told_apart() -> None:
    """20 of 200 healthy rows before its end, 60 of 300 after it."""
    rows = np.arange(_ROWS)
    alarm = ((rows >= 450) & (rows < 470)) | ((rows >= 650) & (rows < 760))
    found = figures([_judged(alarm)])

    assert found["far_before"] == pytest.approx(10)
    assert found["far_after"] == pytest.approx(20)
    assert found["far"] == pytest.approx(16)
    assert found["mar"] == pytest.approx(50)
    assert found["false_alarm_hours_per_day"] == pytest.approx(24 * 80 / 500)


@pytest.mark.parametrize(("end", "count"), [(760, 0), (799, 0), (810, 1), (_ROWS, 1)])
def test_an_alarm_that_outlasts_its_event_by_far_never_ends(end: int, count: int) -> None:
    """The event has 100 rows: behind it as many are still the event's, more are not."""
    rows = np.arange(_ROWS)
    found = figures([_judged((rows >= 650) & (rows < end))])

    assert found["endless"] == count


def test_a_recording_that_was_well_has_no_volume() -> None:
    """It is left out of the mean, and counts with its false alarms."""
    never = np.zeros(_ROWS, np.bool_)
    alarm = np.arange(_ROWS) >= 990
    well = Judged.of(_recording(alarm, never), alarm, alarm.astype(np.float64))
    ill = _judged((np.arange(_ROWS) >= 600) & (np.arange(_ROWS) < 700))
    found = figures([well, ill])

    assert math.isnan(figures([well])["vus_pr"])
    assert found["vus_pr"] == figures([ill])["vus_pr"]
    assert found["false_alarms_per_day"] > 0


def test_intervals_come_from_drawing_recordings() -> None:
    """Two recordings say nothing of their spread; of equal ones there is none."""
    rows = np.arange(_ROWS)
    good, bad = _judged((rows >= 600) & (rows < 700)), _judged((rows >= 690) & (rows < 720))

    assert intervals([good, bad]) == {}
    assert intervals([good] * 5)["f1"] == (1.0, 1.0)
    low, high = intervals([good, bad] * 5)["f1"]
    assert low < figures([good, bad] * 5)["f1"] < high


@pytest.mark.parametrize("name", [*PLAIN_WAYS])
def test_plain_ways_alarm_at_the_rate_they_are_given(name: str) -> None:
    """Of the healthy scored rows, and they find an offset of a channel that is plain to see."""
    values = np.random.default_rng(2).normal(size=(_ROWS, 2))
    values[600:700, 0] += 8
    recording = _recording(values=values)
    alarm, score = alarmed(recording, PLAIN_WAYS[name], 0.05)
    healthy = ~recording.label[_FIT:]

    assert np.isfinite(score).all()
    assert alarm[_FIT:][healthy].mean() <= 0.05
    assert alarm[600:700].any()


@pytest.mark.parametrize("name", [*PLAIN_WAYS])
def test_plain_ways_know_no_later_row(name: str) -> None:
    """A score is the same whatever comes after its row."""
    values = np.random.default_rng(3).normal(size=(_ROWS, 2))
    ruined = values.copy()
    ruined[800:] = 1e6
    _, score = alarmed(_recording(values=values), PLAIN_WAYS[name], 0.05)
    _, other = alarmed(_recording(values=ruined), PLAIN_WAYS[name], 0.05)

    np.testing.assert_allclose(other[:800], score[:800], rtol=1e-9)


def test_a_plain_way_that_wins_is_told() -> None:
    """By a detector that never alarms; the kind and why it was chosen are told too."""
    values = np.random.default_rng(4).normal(size=(_ROWS, 2))
    values[600:700] += 8
    evaluation = compare("t", [_recording(values=values)])

    assert "model level: asked for" in evaluation.notes
    assert any(
        note.startswith("EWMA finds more at the same rate of false alarms")
        for note in evaluation.notes
    )


def test_what_is_finished_stays_when_one_fails() -> None:
    """All failing is a failure; each has its line."""

    def one(name: str) -> int:
        if name.startswith("bad"):
            raise ConfigError("no such column")
        return len(name)

    done, failed = finished(["a", "bad", "ccc"], one, lambda _line: None)

    assert done == [1, 3]
    assert failed == ("bad: no such column",)
    with pytest.raises(ConfigError, match="bad2: no such column"):
        finished(["bad1", "bad2"], one, lambda _line: None)
