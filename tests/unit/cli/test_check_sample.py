"""What ``headgate check --sample`` prints of a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli import main


def _printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], feeds: str, payload: bytes
) -> list[str]:
    file, sample = tmp_path / "plant.toml", tmp_path / "sample"
    file.write_text(f'sink.s = "local_store"\n{feeds}')
    sample.write_bytes(payload)
    main(["check", "-c", str(file), "--sample", str(sample), "--topic", "in/a"])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("number", "shown"),
    [("123456.789", "123456.789"), ("1900123456", "1900123456"), ("3.0", "3"), ("1e30", "1e+30")],
)
def test_a_number_is_shown_as_it_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str, shown: str
) -> None:
    """With all its digits."""
    feed = "[feed.f]\ntopic = 'in/{device}'\nchannels.x = {}\n"
    lines = _printed(tmp_path, capsys, feed, f'{{"x": {number}}}'.encode())

    assert any(line.startswith(f"reading    a x = {shown} at ") for line in lines)


def test_of_many_feeds_those_are_shown_that_could_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are counted; of a few each says why not."""

    def feeds(count: int) -> str:
        names = ["in/{device}", "+/{device}", *(f"other/{at}/{{device}}" for at in range(count))]
        return "".join(
            f"[feed.f{at}]\ntopic = '{topic}'\nchannels.x = {{}}\n"
            for at, topic in enumerate(names)
        )

    many = _printed(tmp_path, capsys, feeds(8), b'{"x": 1}')
    few = _printed(tmp_path, capsys, feeds(2), b'{"x": 1}')

    assert [line for line in many if line.startswith("feed ")] == [
        "feed       f0 (in/{device}): takes it",
        "feed       f1 (+/{device}): no: feed.f0 takes it, whose topic is more specific",
        "feed       no: 8 others; --json prints all",
    ]
    assert sum(line.startswith("feed ") for line in few) == 4
