"""What ``headgate check`` says of feeds that get no message, for all of it is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.load import load_config
from headgate.config.passed_over import passed_over


def _told(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "headgate.toml"
    file.write_text(f"[local_store]\n{text}")
    return list(passed_over(load_config(file)))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[feed.f]\nignore = ["plant/#"]\ntopic = "plant/{device}"', "feed.f.ignore"),
        ('[feed.f]\nignore = ["x", "+/+"]\ntopic = "plant/{device}"', "feed.f.ignore"),
        ('[feed.f]\nignore = ["#"]\ntopic = "plant/{device...}"', "feed.f.ignore"),
        ('[feed.f]\nignore = ["plant/+/#"]\ntopic = "plant/dev-{device}"', "feed.f.ignore"),
        ('[mqtt]\nignore = ["plant/+"]\n[feed.f]\ntopic = "plant/{device}"', "mqtt.ignore"),
        (
            '[feed.f]\navailability.topic = "plant/{device}"\ntopic = "plant/dev-{device}"',
            "feed.f.availability",
        ),
        (
            (
                '[feed.f]\npreset = "esphome"\ntopic = "{device}/sensor/{channel}/state"\n'
                'ignore = ["+/sensor/#"]'
            ),
            "feed.f.ignore",
        ),
    ],
)
def test_what_takes_all_of_a_feeds_messages_is_told(tmp_path: Path, text: str, key: str) -> None:
    (line,) = _told(tmp_path, f"{text}\nchannels.x = {{}}\n")

    assert line.startswith(f"{key}: ")
    assert "has every topic of" in line


@pytest.mark.parametrize(
    "text",
    [
        '[feed.f]\nignore = ["plant/+/log", "other/#", "+"]\ntopic = "plant/{device}"',
        '[feed.f]\nignore = ["plant/+"]\ntopic = "plant/{device...}"',
        '[feed.f]\nignore = ["plant/pump"]\ntopic = "plant/{device}"',
        '[feed.f]\nignore = ["+/a"]\ntopic = "$plant/{device}"',
        '[feed.f]\ntopic = "plant/{device}"\navailability.topic = "plant/dev-{device}"',
        '[feed.f]\ntopic = "a/{device}"\navailability.topic = "a/{device...}/state"',
    ],
)
def test_what_leaves_some_of_them_is_not(tmp_path: Path, text: str) -> None:
    assert _told(tmp_path, f"{text}\nchannels.x = {{}}\n") == []


def test_topics_of_other_feeds_availability_count_too(tmp_path: Path) -> None:
    """They come before all feeds."""
    feeds = (
        '[feed.f]\ntopic = "plant/{device}/data"\navailability.topic = "plant/{device}/state"\n'
        'channels.x = {}\n[feed.g]\ntopic = "plant/{device}/state"\nchannels.x = {}\n'
    )
    (line,) = _told(tmp_path, feeds)

    assert line.startswith('feed.f.availability: "plant/{device}/state" has every topic of feed.g')


def test_check_warns_of_it_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(
        '[local_store]\n[feed.f]\ntopic = "plant/{device}"\nignore = ["plant/#"]\nchannels.x = {}\n'
    )

    assert main(["check", "-c", str(file), "--strict"]) == 2
    told = f'warning: {file}:4: feed.f.ignore: "plant/#" has every topic of the feed'
    assert told in capsys.readouterr().err
