"""What is told of a mistake leads to its mend, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.load import load_config
from headgate.core.errors import ConfigError


def _told(tmp_path: Path, feed: str) -> str:
    file = tmp_path / "plant.toml"
    file.write_text(f'sink.s = "local_store"\n[feed.f]\ntopic = "in/{{device}}"\n{feed}\n')
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("key", ["tint", "pair"])
def test_a_key_that_is_like_none_gets_the_list(tmp_path: Path, key: str) -> None:
    """``bit`` and ``path`` share some letters with them, and mean something else."""
    told = _told(tmp_path, f'channels.x = {{ {key} = "q" }}')

    assert f"channels.x.{key}: unknown key; allowed here: " in told


def test_a_format_that_is_like_none_is_none(tmp_path: Path) -> None:
    """XML is no SenML."""
    told = _told(tmp_path, 'format = "xml"\nchannels.x = {}')

    assert "did you mean" not in told
    assert "expected one of " in told


def test_the_path_of_records_is_a_path(tmp_path: Path) -> None:
    """At an empty one nothing would ever stand."""
    told = _told(tmp_path, 'records = ""\nchannels.x = {}')

    assert "feed.f.records: expected the path of the records; " in told


def test_what_a_feed_may_have_in_place_of_channels_is_told(tmp_path: Path) -> None:
    assert "channels: missing; this key is required, or other_channels" in _told(tmp_path, "")
