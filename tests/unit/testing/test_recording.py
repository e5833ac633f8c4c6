"""Recorded messages: what a line may be, and when a message arrives of which no line says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headgate.config.schema import Config
from headgate.core.errors import ConfigError
from headgate.core.iso import iso_text
from headgate.core.properties import Properties
from headgate.testing.recording import dated, read_recording

_TIMED = '{"topic": "timed/a", "payload": {"t": %d, "x": 1}}'
_USER = ((b"n", b"1"), (b"m", "é".encode()))
_BARE = '{"topic": "bare/a", "payload": "1"}'


def _config(**more: object) -> Config:
    feeds: dict[str, Any] = {
        "timed": {
            "topic": "timed/{device}",
            "time": {"path": "t", "unit": "s"},
            "channels": {"x": {}},
        },
        "bare": {
            "topic": "bare/{device}",
            "format": {"type": "value", "channel": "x"},
            "period": "5s",
            "channels": {"x": {}},
        },
        "aged": {
            "topic": "aged/{device}",
            "time": {"path": "age", "unit": "s", "epoch": "arrival"},
            "period": "7s",
            "channels": {"x": {}},
        },
    }
    return Config.model_validate({"feed": feeds, "local_store": {}, **more})


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "in.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("more", "properties"),
    [
        ("", Properties()),
        (', "content_type": "text/csv"', Properties(b"text/csv")),
        (', "user_properties": {"n": "1", "m": "é"}', Properties(b"", _USER)),
        (
            ', "properties": {"content-type": "a/b; c=d", "user-properties": {"n": "0", "n": "1"}}',
            Properties(b"a/b; c=d", _USER[:1]),
        ),
        (', "properties": {"message-expiry-interval": 5}', Properties()),
        (', "properties": null', Properties()),
    ],
)
def test_a_line_may_have_what_is_said_beside_its_message(
    more: str, properties: Properties, tmp_path: Path
) -> None:
    """In keys of its own, or as mosquitto_sub writes it."""
    (found,) = read_recording(_file(tmp_path, f'{{"topic": "a", "payload": "1"{more}}}'))

    assert found.properties == properties


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        ('{"topic": "a", "payload": "on"}', b"on"),
        ('{"topic": "a", "payload": "\\"on\\""}', b'"on"'),
        ('{"topic": "a", "payload": {"t": 1.50,  "big": 12345678901234567890}}',
         b'{"t": 1.50,  "big": 12345678901234567890}'),
        ('{"topic": "a", "payload": 21.50}', b"21.50"),
        ('{"topic": "a", "payload": null, "payloadlen": 0}', b""),
        ('{"topic": "a", "payload": null, "payloadlen": 4}', b"null"),
        ('{"topic": "a", "payload": "on", "payloadlen": 4}', b'"on"'),
        ('{"topic": "a", "payload": "é", "payloadlen": 2}', "é".encode()),
        ('{"topic": "a", "payload_hex": "ff00"}', b"\xff\x00"),
        ('{"topic": "a", "payload_base64": "/wA="}', b"\xff\x00"),
        ('{"topic": "a", "payload_file": "raw.bin"}', b"\x00raw"),
    ],
)  # fmt: skip
def test_a_payload_stands_in_its_line_in_one_of_four_ways(
    line: str, payload: bytes, tmp_path: Path
) -> None:
    """As text or JSON, byte for byte as it is written; as digits; or in a file of its own."""
    (tmp_path / "raw.bin").write_bytes(b"\x00raw")

    (found,) = read_recording(_file(tmp_path, line))

    assert found.payload == payload


def test_lines_of_mosquitto_sub_are_read_as_it_writes_them(tmp_path: Path) -> None:
    """Of ``-F %j``: the offset stands behind a Z, and means the offset."""
    (found,) = read_recording(
        _file(
            tmp_path,
            '{"tst":"2026-01-01T01:00:00.250001Z+0100","topic":"a/b","qos":1,"retain":1,"mid":7,'
            '"payloadlen":2,"properties":{"content-type":"x"},"payload":"{}"}',
            "",
        )
    )

    assert (found.topic, found.payload, found.is_retained) == (b"a/b", b"{}", True)
    assert found.arrived_ns is not None
    assert iso_text(found.arrived_ns) == "2026-01-01T00:00:00.250001000Z"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "expected an object with a topic and a payload"),
        ("[]", "expected an object with a topic and a payload"),
        ('{"payload": "1"}', "missing required field `topic`"),
        ('{"topic": "a", "paylod": "1"}', "unknown field `paylod`"),
        ('{"topic": "a"}', "expected one of payload, payload_base64, payload_hex"),
        ('{"topic": "a", "payload": 1, "payload_hex": ""}', "got payload_hex and payload"),
        ('{"topic": "a/+", "payload": 1}', "topic: expected the topic of a message"),
        ('{"topic": "", "payload": 1}', "topic: expected the topic of a message"),
        ('{"topic": "a", "payload": 1, "time": "noon"}', "time: expected ISO 8601"),
        ('{"topic": "a", "payload": 1, "time": "2026-01-01", "tst": 1}', "give one of them"),
        *(
            (
                f'{{"topic": "a", "payload": 1, {given}}}',
                "time: expected one from 1970 to 2199",
            )
            for given in [
                '"tst": 1e300',
                '"tst": 1e12',
                '"tst": -5',
                '"time": "9999-12-31T23:59:59Z"',
                '"time": "0001-01-01T00:00:00Z"',
                '"time": "2200-01-01T00:00:00Z"',
                '"tst": "1969-12-31T23:59:59Z"',
            ]
        ),
        ('{"topic": "a", "payload": 1, "time": "0001-01-01T00:00:00+01:00"}', "time: expected "),
        ('{"topic": "a", "payload": "x", "payloadlen": 6}', "expected 6 bytes, as payloadlen says"),
        ('{"topic": "a", "payload_hex": "f"}', "payload_hex: "),
        ('{"topic": "a", "payload_base64": "?"}', "payload_base64: "),
        ('{"topic": "a", "payload_file": "none"}', "payload_file: expected a readable file"),
    ],
)
def test_a_line_that_is_wrong_is_told_with_its_number(line: str, told: str, tmp_path: Path) -> None:
    """All of them at once."""
    path = _file(tmp_path, _BARE, line, line)

    with pytest.raises(ConfigError) as raised:
        read_recording(path)

    assert [problem.partition(": ")[0] for problem in raised.value.problems] == [
        f"{path}:2",
        f"{path}:3",
    ]
    assert told in raised.value.problems[0]


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    """As ``mosquitto_sub -F %j`` writes them."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"topic": "a", "payload": "\xff"}')

    with pytest.raises(ConfigError, match=r"expected UTF-8.*payload_hex"):
        read_recording(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_messages_is_told(content: str, tmp_path: Path) -> None:
    """So is one that is not there."""
    path = _file(tmp_path, content)
    with pytest.raises(ConfigError, match="expected a message a line, found none"):
        read_recording(path)
    path.unlink()
    with pytest.raises(ConfigError, match="expected a readable file"):
        read_recording(path)


def _times(config: Config, folder: Path, *lines: str) -> list[str]:
    messages = dated(config, read_recording(_file(folder, *lines)))
    return [iso_text(each.arrived_ns).removesuffix(".000000000Z") for each in messages]


def test_messages_arrive_when_their_readings_are(tmp_path: Path) -> None:
    """Never before those before them; what is refused, with them; what has no time, at its pace."""
    assert _times(
        _config(),
        tmp_path,
        '{"topic": "nobody", "payload": "x"}',
        _TIMED % 4_102_444_800,  # the year 2100
        _TIMED % 4_102_444_790,
        '{"topic": "timed/a", "payload": "x"}',
        _BARE,
        _BARE,
        '{"topic": "aged/a", "payload": {"age": 3, "x": 1}}',
        '{"topic": "aged/a", "payload": {"age": 3, "x": 1}}',
    ) == [
        "2100-01-01T00:00:00",
        "2100-01-01T00:00:00",
        "2100-01-01T00:00:00",
        "2100-01-01T00:00:00",
        "2100-01-01T00:00:00",
        "2100-01-01T00:00:05",
        "2100-01-01T00:00:05",
        "2100-01-01T00:00:12",
    ]


def test_messages_without_any_time_arrive_at_the_pace_of_their_feed(tmp_path: Path) -> None:
    """From a day on that is always the same."""
    assert _times(_config(), tmp_path, _BARE, _BARE, _BARE) == [
        "2025-01-01T00:00:00",
        "2025-01-01T00:00:05",
        "2025-01-01T00:00:10",
    ]


def test_a_message_before_the_one_before_it_is_told(tmp_path: Path) -> None:
    """Also where the time of that one was not given."""
    path = _file(
        tmp_path,
        _TIMED % 1_767_225_600,
        '{"topic": "bare/a", "payload": "1", "time": "2025-12-31T23:59:30Z"}',
    )
    with pytest.raises(ConfigError, match=r"in.jsonl:2: time: expected none before.* 30 s more"):
        dated(_config(), read_recording(path))


def test_a_source_that_is_not_configured_is_told(tmp_path: Path) -> None:
    """With those that are."""
    path = _file(tmp_path, '{"topic": "bare/a", "payload": "1", "source": "north"}')
    with pytest.raises(ConfigError, match=r"in.jsonl:1: source: expected one of mqtt, got north"):
        dated(_config(), read_recording(path))
