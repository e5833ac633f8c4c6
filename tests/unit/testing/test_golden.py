"""The golden cases of ``tests/golden``: what a gateway makes of messages, line by line."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from headgate.testing import playing
from headgate.testing.cases import (
    POINTS,
    QUARANTINED,
    TOLERANCE,
    Outcome,
    cases_in,
    compare_case,
    play_case,
)

_GOLDEN = Path(__file__).parents[2] / "golden"
_CASES = cases_in(_GOLDEN)

#: A model's last digits are the machine's own, and what is made of them is rounded to six.
_OF_MODELS = 1e-3


def _has_models(folder: Path) -> bool:
    return "[model." in (folder / "config.toml").read_text()


_every_case = pytest.mark.parametrize(
    "folder",
    # What models take is most of the time.
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] if _has_models(each) else [])
        for each in _CASES
    ],
)


@cache
def _played(folder: Path) -> Outcome:
    return play_case(folder)


def _tolerance(folder: Path) -> float:
    return _OF_MODELS if _has_models(folder) else TOLERANCE


@_every_case
def test_a_golden_case_comes_out_as_it_stands(folder: Path) -> None:
    """``headgate test tests/golden`` says the same."""
    assert compare_case(_played(folder), folder, _tolerance(folder)) == []


@_every_case
def test_any_line_that_is_another_one_is_told(folder: Path, tmp_path: Path) -> None:
    """One that is changed, one that is missing, one that is too many, of each file there is."""
    outcome, other = _played(folder), tmp_path / "other"
    for name in (POINTS, QUARANTINED):
        if not (folder / name).is_file():
            continue
        text = (folder / name).read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        changed = lines[0].replace("gateway=gateway", "gateway=other")
        changed = changed.replace('"reason": "', '"reason": "other_')
        assert changed != lines[0]
        for wrong in ([changed, *lines[1:]], lines[1:], [*lines, changed]):
            shutil.rmtree(other, ignore_errors=True)
            shutil.copytree(folder, other)
            (other / name).write_text("".join(f"{line}\n" for line in wrong))

            problems = compare_case(outcome, other, _tolerance(folder))

            assert problems, wrong
            assert all(problem.startswith(name) for problem in problems)


@pytest.mark.slow
def test_time_that_is_skipped_is_as_good_as_time_that_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between messages that are far apart, a gateway does in a moment what it would do in hours."""
    folder = _GOLDEN / "silence"
    monkeypatch.setattr(playing, "_LULL_S", 100.0)

    assert compare_case(play_case(folder), folder) == []
