"""Figures of merit against what they are by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.evaluation.metrics import Confusion, delays, events, false_alarms, vus_pr

_LABEL = np.array([0, 0, 1, 1, 1, 0, 0, 0, 1, 0], np.bool_)
_ALARM = np.array([0, 1, 0, 1, 1, 1, 0, 0, 0, 0], np.bool_)


def test_rows_are_counted_once() -> None:
    """Each is a hit, a miss, a false alarm, or quiet for good reason."""
    counts = Confusion.of(_ALARM, _LABEL)

    assert counts == Confusion(tp=2, fp=2, fn=2, tn=4)
    assert counts.precision == counts.recall == counts.f1 == 0.5
    assert counts.far == pytest.approx(100 * 2 / 6)
    assert counts.mar == 50
    assert counts.mcc == pytest.approx((2 * 4 - 2 * 2) / math.sqrt(4 * 4 * 6 * 6))
    assert counts + counts == Confusion(4, 4, 4, 8)


def test_nothing_alarmed_and_nothing_labelled_divide_by_nothing() -> None:
    """All figures are 0 then, not an error."""
    none = np.zeros(3, np.bool_)
    counts = Confusion.of(none, none)

    assert (counts.f1, counts.precision, counts.recall, counts.mcc) == (0, 0, 0, 0)
    assert counts.specificity == 1
    assert vus_pr(np.zeros(3), none) == 0


def test_events_delays_and_false_alarms() -> None:
    """Runs of rows; a false alarm touches no label at all."""
    assert events(_LABEL) == [(2, 4), (8, 8)]
    assert delays(_ALARM, _LABEL) == [1, None]
    assert false_alarms(_ALARM, _LABEL) == 1
    assert false_alarms(np.array([1, 0, 0, 1, 0, 0, 1, 0, 0, 0], np.bool_), _LABEL) == 2


def test_the_volume_is_one_for_a_perfect_score_and_the_share_of_labels_for_none() -> None:
    """Without a buffer it is the average precision."""
    label = np.zeros(1000, np.bool_)
    label[400:500] = True

    assert vus_pr(label.astype(float), label, widest=0) == pytest.approx(1)
    assert vus_pr(np.zeros(1000), label, widest=0) == pytest.approx(0.1)
    assert vus_pr(np.full(1000, -np.inf), label, widest=0) == pytest.approx(0.1)
    late = np.roll(label, 10).astype(float)
    assert vus_pr(late, label, widest=0) < vus_pr(late, label, widest=40)
    # A slope around the event forgives being ten rows late, but not all of it.
    assert vus_pr(late, label, widest=40) < vus_pr(label.astype(float), label, widest=40)


def test_average_precision_by_hand() -> None:
    """Positives at ranks 1 and 3 of four: (1/1 + 2/3) / 2, in one event that both are in."""
    score = np.array([4.0, 2.0, 3.0, 1.0])
    label = np.array([1, 1, 0, 0], np.bool_)

    assert vus_pr(score, label, widest=0) == pytest.approx((1 + 2 / 3) / 2)
