"""The file sink writes whole lines, once they are safe, and puts files aside in their order."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from connectors.sinks.file.config import FileConfig
from connectors.sinks.file.rotation import put_aside
from connectors.sinks.file.sink import FileSink
from connectors.sinks.points import Point
from headgate.core.clock import Clock, SystemClock
from headgate.core.errors import TransientError
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock

_DAY_S = 24 * 3600


def _sink(path: Path, clock: Clock | None = None, **table: object) -> FileSink:
    settings = FileConfig.model_validate({"path": str(path), **table})
    clock = clock or SystemClock()
    return FileSink(settings, path, "out", clock, Telemetry(clock))


def _point(number: int) -> Point:
    return Point("aggregates", "m 1", (("device", "d"),), {"x": 1.5, "n": number}, number)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def test_lines_are_what_the_format_says(tmp_path: Path) -> None:
    """Line protocol, or a JSON object; for the gateway's user only."""
    protocol, objects = _sink(tmp_path / "new" / "a"), _sink(tmp_path / "b", format="json")
    for sink in (protocol, objects):
        assert await sink.write([_point(1), _point(2)]) == []
        await sink.write([_point(1)])
        await sink.stop()

    assert _lines(tmp_path / "new" / "a") == [_point(number).line() for number in (1, 2, 1)]
    first = json.loads(_lines(tmp_path / "b")[0])
    assert first == {
        "kind": "aggregates",
        "measurement": "m 1",
        "tags": {"device": "d"},
        "time_ns": 1,
        "fields": {"x": 1.5, "n": 1},
    }
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


async def test_every_write_is_synced_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file each time, and its folder when the name is new."""
    synced: list[tuple[str, int]] = []
    sync = os.fsync

    def noted(file: int) -> None:
        sync(file)
        state = os.fstat(file)
        is_folder = state.st_ino == tmp_path.stat().st_ino
        synced.append(("folder", 0) if is_folder else ("file", state.st_size))

    monkeypatch.setattr(os, "fsync", noted)
    sink = _sink(tmp_path / "a", max_bytes="20B")
    size = len(_point(1).line()) + 1
    for turn in (1, 2):
        await sink.write([_point(turn)])
    await sink.stop()

    assert synced == [("folder", 0), ("file", size), ("folder", 0), ("folder", 0), ("file", size)]


@pytest.mark.parametrize("torn", ["m x=1", "x" * 200_000])
async def test_half_a_line_that_a_crash_left_is_cut_off(tmp_path: Path, torn: str) -> None:
    """However long it is; whole lines stay, and a file of one half line is empty."""
    for name, whole in (("a", f"{_point(1).line()}\n"), ("b", "")):
        (tmp_path / name).write_text(whole + torn)
        sink = _sink(tmp_path / name)
        await sink.write([_point(2)])
        await sink.stop()

        assert (tmp_path / name).read_text() == f"{whole}{_point(2).line()}\n"


async def test_a_file_that_is_full_is_put_aside_and_the_oldest_is_deleted(tmp_path: Path) -> None:
    """By number; no line is lost but those of deleted files, and strangers' files stay."""
    path = tmp_path / "a.lp"
    size = len(_point(10).line()) + 1
    (tmp_path / "a.lp.bak").touch()
    deleted = 0.0
    for half in (range(10, 16), range(16, 22)):
        sink = _sink(path, max_bytes=f"{2 * size}B", keep=3)
        for number in half:
            await sink.write([_point(number)])
        await sink.stop()
        deleted += sink._telemetry.evicted_points.labels("out")._value.get()

    kept = {number: _lines(file) for number, file in sorted(put_aside(path).items())}
    assert kept == {
        number: [_point(8 + 2 * number).line(), _point(9 + 2 * number).line()]
        for number in (3, 4, 5)
    }
    assert _lines(path) == [_point(20).line(), _point(21).line()]
    assert deleted == 4
    assert (tmp_path / "a.lp.bak").exists()

    sink = _sink(path, max_bytes=f"{2 * size}B")
    await sink.write([_point(number) for number in range(30, 40)])
    await sink.stop()
    assert len(_lines(path)) == 10  # one write is never divided


async def test_a_file_that_is_old_is_put_aside_whatever_restarts_there_were(tmp_path: Path) -> None:
    """Since its first line, by the clock; one that was set back makes none younger than now."""
    path, clock = tmp_path / "a.lp", ManualClock()
    for number in range(5):
        sink = _sink(path, clock)
        await sink.write([_point(number)])
        await sink.stop()
        clock.advance(0.3 * _DAY_S)

    assert {number: len(_lines(file)) for number, file in put_aside(path).items()} == {1: 4}
    assert len(_lines(path)) == 1

    clock.step_wall(-30 * _DAY_S)
    sink = _sink(path, clock)
    for _ in range(3):
        await sink.write([_point(1)])
        clock.advance(0.6 * _DAY_S)
    await sink.stop()
    assert sorted(put_aside(path)) == [1, 2]


async def test_a_file_that_somebody_took_away_is_begun_again(tmp_path: Path) -> None:
    """Nothing is written to where nobody looks."""
    path = tmp_path / "a.lp"
    sink = _sink(path)
    await sink.write([_point(1)])
    path.rename(tmp_path / "taken")
    await sink.write([_point(2)])
    path.unlink()
    await sink.write([_point(3)])
    await sink.stop()

    assert _lines(tmp_path / "taken") == [_point(1).line()]
    assert _lines(path) == [_point(3).line()]


async def test_a_full_disk_is_to_be_tried_again_and_leaves_no_half_line(tmp_path: Path) -> None:
    """Here the limit is the process's own; a part of the lines did fit."""
    path = tmp_path / "a.lp"
    sink = _sink(path)
    await sink.write([_point(1)])
    kept = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 10, hard))
    try:
        with pytest.raises(TransientError, match=r"a\.lp: File too large"):
            await sink.write([_point(2)])
        assert path.read_bytes() == kept
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await sink.write([_point(2)])
    await sink.stop()

    assert _lines(path) == [_point(1).line(), _point(2).line()]


async def test_what_can_not_be_synced_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed sync nobody knows what is on the disk, so nothing of it stays."""
    path = tmp_path / "a.lp"
    sink = _sink(path)
    await sink.write([_point(1)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _failing)
        with pytest.raises(TransientError, match="Input/output error"):
            await sink.write([_point(2)])
    assert _lines(path) == [_point(1).line()]
    await sink.write([_point(2)])
    await sink.stop()

    assert _lines(path) == [_point(1).line(), _point(2).line()]


def _failing(_file: int) -> None:
    raise OSError(5, "Input/output error")
