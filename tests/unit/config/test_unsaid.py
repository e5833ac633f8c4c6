"""What ``headgate check`` says of what no message can have over MQTT 3.1.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.load import load_config
from headgate.config.unsaid import unsaid

_OLD = 'host = "127.0.0.1"\nversion = "3.1.1"\n'
_FEED = """
[local_store]
[feed.f]
topic = "m/{device}"
channels.x = {}
"""
_ASKS = f"""{_FEED}content_types = {{ "application/cbor" = "cbor" }}
tags = {{ site = "n", batch = {{ user_property = "b" }} }}
"""
_TWO = f"""[source.a]
type = "mqtt"
{_OLD}[source.b]
type = "mqtt"
host = "127.0.0.2"
"""


def _file(folder: Path, text: str) -> Path:
    file = folder / "plant.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    "text",
    [_ASKS, f"[mqtt]\n{_OLD}{_FEED}", f'{_TWO}{_ASKS}source = ["a", "b"]'],
)
def test_what_messages_may_have_is_no_warning(tmp_path: Path, text: str) -> None:
    """Over MQTT 5, if only from one of the sources; nor what nobody asks for."""
    assert list(unsaid(load_config(_file(tmp_path, text)))) == []


def test_what_no_message_has_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Content types, and each tag; it works, and so it is no mistake."""
    file = _file(tmp_path, f"[mqtt]\n{_OLD}{_ASKS}")

    assert main(["check", "-c", str(file)]) == 0
    err = capsys.readouterr().err
    assert (
        "feed.f.content_types: has no effect: no message of mqtt has a content type, and all are "
        'read as json; set mqtt.version = "5", or leave content_types out\n'
    ) in err
    assert (
        "feed.f.tags.batch: has no effect: no message of mqtt has user properties; set "
        'mqtt.version = "5", or leave the tag out\n'
    ) in err
    assert f"{file}:9: feed.f.content_types" in err
    assert "feed.f.tags.site" not in err


def test_each_source_counts_where_it_is(tmp_path: Path) -> None:
    """One of two that the file has, which the feed is of alone."""
    config = load_config(_file(tmp_path, f'{_TWO}{_ASKS}source = "a"'))

    assert [line.partition("set ")[2].partition(",")[0] for line in unsaid(config)] == [
        'source.a.version = "5"'
    ] * 2
