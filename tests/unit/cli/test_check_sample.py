"""What ``headgate check --sample`` prints of a message."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
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


@pytest.mark.parametrize(
    ("keys", "message", "verdicts"),
    [
        (
            'quality.path = "q"\nchannels.x = {}',
            '{"x": 1, "q": "OK"}',
            ["""feed.f.quality: q = 'OK': not good; good = [true, "GOOD", 192]"""],
        ),
        (
            'quality.path = "q"\nchannels.x = {}',
            '{"x": 1, "q": "good"}',
            ["quality: q = 'good': good"],
        ),
        (
            'quality.path = "q.code"\nchannels.x = {}',
            '{"x": 1, "q": {"code": null}}',
            ["feed.f.quality: nothing at q.code, which is good"],
        ),
        (
            'records = "r"\nquality = { path = "q", good = 0xC0, mask = 0xC0 }\nchannels.x = {}',
            '{"r": [{"x": 1, "q": 200}, {"x": 2, "q": 68}, {"x": 2}]}',
            ["feed.f.quality: q = 68: not good; good = 192, mask = 0xc0"],
        ),
        (
            """channels.x = { quality = { path = "xq", good = 0 } }
channels.y = { quality = { path = "yq", good = 0 } }
arrays = { step = "1s" }""",
            '{"x": [1, 2], "y": [1, 2], "xq": [0, 4], "yq": [null, 0]}',
            [
                "feed.f.channels.x.quality: xq = 4: not good; good = 0",
                "feed.f.channels.y.quality: yq = 0: good",
            ],
        ),
    ],
)
def test_what_is_said_of_values_is_shown_with_what_is_good(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keys: str,
    message: str,
    verdicts: list[str],
) -> None:
    """Of several records, what makes one missing."""
    feed = f'[feed.f]\ntopic = "in/{{device}}"\n{keys}'
    lines = _printed(tmp_path, capsys, feed, message.encode())

    told = [line for line in lines if line.startswith("quality    ")]
    assert len(told) == len(verdicts)
    assert all(line.endswith(verdict) for line, verdict in zip(told, verdicts, strict=True))


def test_a_message_of_which_no_value_comes_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one of which no reading does."""
    feed = "[feed.f]\ntopic = 'in/{device}'\nchannels = { x = {}, y = {} }\nquality.path = 'q'\n"
    result = "result     no value comes of it: each reading is missing"

    assert result in _printed(tmp_path, capsys, feed, b'{"x": 1, "y": 2, "q": "OK"}')
    assert result in _printed(tmp_path, capsys, feed, b'{"x": null}')
    assert result not in _printed(tmp_path, capsys, feed, b'{"x": 1, "y": null}')


_PARTS = """type = "binary"
encoding = "hex"
parts.x = { code = 1, type = "u8" }"""

_BROKEN = '{"x": 1, "a key that is long": 5 5}'


@pytest.mark.parametrize(
    ("keys", "payload"),
    [
        ("", _BROKEN.encode()),
        ("", gzip.compress(_BROKEN.encode(), mtime=0)),
        ('compression = "zlib"', zlib.compress(_BROKEN.encode())),
        ('charset = "utf-16"', _BROKEN.encode("utf-16")),
        ('format = { type = "json", inside = "in" }', json.dumps({"in": _BROKEN}).encode()),
        (
            'format = { type = "json", inside = "in" }',
            json.dumps({"in": base64.b64encode(_BROKEN.encode()).decode()}).encode(),
        ),
        ('format = { type = "json", embedded = ["in"] }', json.dumps({"in": _BROKEN}).encode()),
    ],
)
def test_a_place_is_shown_in_what_it_is_counted_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: str, payload: bytes
) -> None:
    """However the message is packed."""
    feed = f'[feed.f]\ntopic = "in/{{device}}"\n{keys}\nchannels.x = {{}}\n'
    lines = _printed(tmp_path, capsys, feed, payload)

    assert '             at ey that is long": 5  ▶ 5}' in lines


@pytest.mark.parametrize(
    ("keys", "payload"),
    [
        (f"[feed.f.format]\n{_PARTS}", b"01050205060708"),
        (f'[feed.f.format]\ninside = "in"\n{_PARTS}', b'{"in": "01050205060708"}'),
        ('format = { type = "json", lines = true }', f'{{"x": 1}}\n{_BROKEN}\n'.encode()),
    ],
)
def test_a_place_in_a_part_of_a_message_is_none_in_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: str, payload: bytes
) -> None:
    feed = f'[feed.f]\ntopic = "in/{{device}}"\nchannels.x = {{}}\n{keys}\n'
    lines = _printed(tmp_path, capsys, feed, payload)

    assert any(line.startswith("refused    not_") and "byte" in line for line in lines)
    assert not any(line.startswith("             at ") for line in lines)
