"""``headgate notify test``: one message, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli import main
from tests.notified import config_of
from tests.receiver import Answer, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It says yes unless it is told otherwise."""
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


def _run(folder: Path, sink: str = "told") -> int:
    return main(["notify", "test", sink, "-c", str(folder / "headgate.toml")])


def test_a_message_says_that_it_is_a_test(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the sink is asked to tell."""
    config_of(tmp_path, f'type = "webhook"\nurl = "{receiver.url}"\nseverity = "critical"')

    assert _run(tmp_path) == 0
    (taken,) = receiver.taken
    said = json.loads(taken.body)
    assert (said["kind"], said["id"]) == ("test", taken.id)
    assert said["text"] == (
        "This is a test of the sink told of the gateway gateway. Nothing is wrong."
    )
    assert capsys.readouterr().out.startswith(f"told: taken, {len(taken.body)} bytes")


def test_by_apprise_it_has_a_title(receiver: Receiver, tmp_path: Path) -> None:
    """To each address."""
    address = receiver.url.replace("http://", "json://")
    (tmp_path / "urls").write_text(f"{address}/a\n{address}/b\n")
    config_of(tmp_path, 'type = "apprise"\nurls_file = "urls"')

    assert _run(tmp_path) == 0
    assert [json.loads(each.body)["title"] for each in receiver.taken] == ["[test] gateway"] * 2


@pytest.mark.parametrize("status", [401, 500])
def test_what_is_not_taken_is_told(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """In one line, once, with exit code 1."""
    receiver.answer = lambda _taken: Answer(status, body=b"wrong token")
    config_of(tmp_path, f'type = "webhook"\nurl = "{receiver.url}"')

    assert _run(tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"headgate notify: {receiver.url.removesuffix('/hook')}: {status} wrong token"
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(
    ("sink", "said"), [("toled", "toled is not in this file"), ("here", "here tells nobody")]
)
def test_a_sink_that_tells_nobody_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sink: str, said: str
) -> None:
    """With those that do."""
    config_of(tmp_path, 'type = "webhook"\nurl = "http://127.0.0.1:1"')
    with (tmp_path / "headgate.toml").open("a") as file:
        file.write('[sink.here]\ntype = "local_store"\n')

    assert _run(tmp_path, sink) == 2
    err = capsys.readouterr().err
    assert f"headgate notify: {said}; sinks that tell people: told" in err
