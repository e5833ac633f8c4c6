"""What ``headgate check`` says of periods, windows and silence that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.load import load_config
from headgate.config.pacing import misfits

_FEED = '[feed.meter]\ntopic = "plant/{device}"\nchannels.energy = {}\n'


def _warnings(folder: Path, text: str) -> list[str]:
    file = folder / "plant.toml"
    file.write_text(f"{text}\n[local_store]\n")
    return list(misfits(load_config(file)))


@pytest.mark.parametrize(
    "text",
    [
        _FEED,
        f'{_FEED}period = "10s"',
        f'{_FEED}period = "20s"\naggregates = [{{ window = "1m" }}]',
        f'[streams]\nsilent_after = "1m"\n{_FEED}period = "20s"\naggregates = []',
    ],
)
def test_what_fits_is_no_warning(tmp_path: Path, text: str) -> None:
    """The defaults above all, and a silence that the period makes longer by itself."""
    assert _warnings(tmp_path, text) == []


def test_a_window_without_readings_is_one(tmp_path: Path) -> None:
    """Each window that is shorter than the period; the longer ones are not."""
    feed = f'{_FEED}period = "1h"\naggregates = [{{ window = "10s" }}, {{ window = "1h" }}]'

    (warning,) = _warnings(tmp_path, feed)
    assert warning.startswith("feed.meter.aggregates: a window of 10s is shorter than the feed's ")
    assert "use windows of 1h or longer" in warning


def test_a_silence_without_effect_is_one(tmp_path: Path) -> None:
    """When somebody has asked for it."""
    text = f'[streams]\nsilent_after = "10s"\n{_FEED}period = "5s"'

    (warning,) = _warnings(tmp_path, text)
    assert warning.startswith("streams.silent_after: 10s has no effect on feed meter")
    assert "at least 15s" in warning


def test_a_time_without_a_place_is_one(tmp_path: Path) -> None:
    """Its unit says nothing; where a key or the format has the time there is a place."""
    (warning,) = _warnings(tmp_path, f'{_FEED}time = {{ unit = "s", max_ahead = "1h" }}')
    assert warning.startswith("feed.meter.time: without path readings get the time at which they")
    assert "max_ahead and unit have no effect" in warning

    for more in (
        'time = { path = "ts", unit = "s" }',
        'records = "{time}"\ntime = { unit = "s" }',
        'format = "line_protocol"\ntime = { unit = "s" }',
    ):
        assert not _warnings(tmp_path, _FEED + more)


def test_check_says_so_with_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a warning; with --strict it is a failure."""
    (tmp_path / "data").mkdir(mode=0o700)
    file = tmp_path / "plant.toml"
    file.write_text(f'{_FEED}period = "1m"\naggregates = [{{ window = "10s" }}]\n[local_store]\n')
    file.chmod(0o600)

    assert main(["check", "-c", str(file)]) == 0
    assert f"warning: {file}:5: feed.meter.aggregates: a window of 10s" in capsys.readouterr().err
    assert main(["check", "--strict", "-c", str(file)]) == 2
