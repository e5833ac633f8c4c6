"""Thresholds that follow devices: where they go, how fast, and what they never do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.package import Adapt, Conformal, Dspot
from models.training.thresholds import adapt
from streams.stages.detect.adapt import adaptation

pytestmark = pytest.mark.slow

_RATE = 0.002
#: Of each sort.
_DEVICES = 40

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


def _exponential(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.exponential(size=shape)


def _gamma(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.gamma(4, 0.25, shape)


def _half_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.abs(rng.normal(size=shape))


@cache
def _trained(draw: Draw, step: float = 0.01) -> Dspot:
    score = draw(np.random.default_rng(1), (20_000,)).astype(np.float32)
    rule = adapt(
        "pot",
        score,
        np.zeros(len(score), np.int32),
        rate=_RATE,
        threshold=float(np.quantile(score, 1 - _RATE)),
        margin=1.0,
        step=step,
    )
    assert isinstance(rule, Dspot)
    return rule


def _state(rule: Adapt, devices: int) -> dict[str, NDArray[np.float64]]:
    return {name: np.zeros(devices) for name in ("lift", *adaptation(rule).columns)}


@pytest.mark.parametrize("draw", [_exponential, _gamma, _half_normal])
def test_dspot_puts_the_threshold_where_the_stated_part_of_scores_passes(draw: Draw) -> None:
    """Whether a device is louder, or all its scores lie higher, which a factor can't tell."""
    rule = _trained(draw)
    rng = np.random.default_rng(2)
    times = np.repeat([1.0, 1.5, 1.0, 1.3], _DEVICES)
    more = np.repeat([0.0, 0.0, 0.8, 0.3], _DEVICES)
    state, device = _state(rule, len(times)), np.arange(len(times))
    following = adaptation(rule)
    threshold = np.quantile(draw(rng, (1_000_000,)), 1 - _RATE)
    passed = np.zeros(len(times))
    for at, row in enumerate(times * draw(rng, (8000, len(times))) + more):
        is_sound = row < threshold * np.exp(state["lift"])
        following.follow(state, device[is_sound], row[is_sound])
        passed += ~is_sound & (at >= 4000)

    expected = times * threshold + more
    for case in np.split(device, 4):
        found = threshold * np.exp(state["lift"][case]).mean()
        assert found == pytest.approx(expected[case[0]], rel=0.12)
        assert _RATE / 2 < passed[case].mean() / 4000 < 2 * _RATE


@pytest.mark.parametrize("name", ["conformal", "dspot"])
@settings(deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(0, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=30
    )
)
def test_a_threshold_moves_by_the_step_at_most_and_by_its_own_scores_alone(
    name: str, rows: list[list[float]]
) -> None:
    """Whatever the scores are, it stays within its bounds and is a number."""
    rule: Adapt = _trained(_gamma, 0.05)
    if name == "conformal":
        rule = Conformal(limit=0.5, rate=0.1, step=0.05, most=2)
    following, device = adaptation(rule), np.arange(3)
    together, alone = _state(rule, 3), _state(rule, 3)
    for row in np.array(rows):
        before = together["lift"].copy()
        following.follow(together, device, row)
        for at in device:
            following.follow(alone, device[[at]], row[[at]])
        # A rounding more than the step is the step.
        assert (np.abs(together["lift"] - before) <= rule.step * (1 + 1e-9)).all()
        assert (np.abs(together["lift"]) <= np.log(rule.most)).all()
    for each, column in together.items():
        assert column.tobytes() == alone[each].tobytes()
        assert np.isfinite(column).all()


def test_a_device_that_falls_silent_keeps_a_threshold() -> None:
    """Scores of 0 for ever have no peaks: the threshold falls as far as peaks would begin."""
    rule = _trained(_exponential)
    state = _state(rule, 1)
    following = adaptation(rule)
    for _ in range(12_000):
        following.follow(state, np.zeros(1, np.int64), np.zeros(1))

    # ln(1 / rate) is what it was; peaks begin at ln 50 over 0, less what was the level: 1.
    expected = np.log((np.log(50) - 1) / -np.log(_RATE))
    assert state["lift"][0] == pytest.approx(expected, abs=0.15)
