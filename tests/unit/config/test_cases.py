"""Each folder of ``tests/cases/config`` is a file that a user may write, and what we answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.load import load_config
from headgate.core.errors import ConfigError

_CASES = sorted((Path(__file__).parents[2] / "cases" / "config").iterdir())


@pytest.mark.parametrize("folder", _CASES, ids=lambda folder: folder.name)
def test_the_answer_is_the_one_in_error_txt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word, every problem at once; an empty ``error.txt`` means that the file is good."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HEADGATE_NOT_SET", raising=False)
    answer = ""

    try:
        load_config(Path("headgate.toml"))
    except ConfigError as error:
        answer = "".join(f"{problem}\n" for problem in error.problems)

    assert answer.replace(str(folder), "FOLDER") == (folder / "error.txt").read_text()


def test_there_are_cases() -> None:
    """An empty folder would make the test above pass without testing."""
    assert len(_CASES) > 15


def test_no_answer_repeats_a_secret() -> None:
    """Whatever somebody puts where a secret's name belongs."""
    answers = "".join((folder / "error.txt").read_text() for folder in _CASES)

    assert "hunter2" not in answers
    assert "battery" not in answers
    assert "secret-token" not in answers
