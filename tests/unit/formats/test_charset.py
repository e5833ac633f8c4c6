"""Text that is not UTF-8."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_CSV = {"type": "csv", "columns": ["unit", "x"]}


def _read(payload: bytes, **feed: object) -> tuple[list[tuple[str, float | None]], list[str]]:
    """Devices and values, and what is refused."""
    given = {"topic": "in/+", "device": "name", "channels": {"x": {}}, **feed}
    channels = ChannelTable()
    decoder = FeedDecoder("f", FeedConfig.model_validate(given), channels, IngestConfig())
    found = decoder.decode([b"in/a"], [payload], np.array([10**18]))
    readings = [
        (channels.channels[row].device, None if math.isnan(value) else value)
        for row, value in zip(found.channel.tolist(), found.value.tolist(), strict=True)
    ]
    return readings, [str(error) for _, error in found.refused]


@pytest.mark.parametrize(
    ("charset", "encoded"),
    [
        ("cp1252", "cp1252"),
        ("latin-1", "latin-1"),
        ("utf-16", "utf-16"),
        ("utf-16", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp850", "cp850"),
    ],
)
def test_text_is_read_as_the_feed_says(charset: str, encoded: str) -> None:
    """Names as they are meant, compressed or not."""
    payload = json.dumps({"name": "Öl Süd", "x": 21.5}, ensure_ascii=False).encode(encoded)
    assert _read(payload, charset=charset) == ([("Öl Süd", 21.5)], [])
    assert _read(gzip.compress(payload), charset=charset) == ([("Öl Süd", 21.5)], [])


def test_every_format_that_is_text_takes_it() -> None:
    """Units and words in it, too."""
    for payload, feed in (
        ("°C,21.5", {"format": _CSV}),
        ("21.5 °C", {"format": {"type": "value", "channel": "x"}}),
        ("env,place=Süd x=21.5", {"format": "line_protocol"}),
    ):
        given = {"topic": "in/{device}", "device": None, "channels": {"x": {"suffix": "°C"}}}
        payload_bytes = payload.encode("cp1252")
        assert _read(payload_bytes, charset="cp1252", **{**given, **feed}) == ([("a", 21.5)], [])
        (refused,) = _read(payload_bytes, **{**given, **feed})[1]
        assert "not_utf8" in refused


def test_what_is_no_such_text_is_refused() -> None:
    """With what it was taken for; a message that is long, too."""
    readings, (refused,) = _read(b"\xd8\x00", charset="utf-16-be")
    assert not readings
    assert refused.startswith("not_utf8: no utf-16-be text: ")
    long = b'{"name": "a", "x": 1, "note": "' + b"\x81" * 20_001 + b'"}'
    assert _read(long, charset="shift_jis")[1][0].startswith("not_utf8: no shift_jis text")
    long = long.replace(b"\x81", b"\xe9")
    assert _read(long, charset="latin-1") == ([("a", 1.0)], [])


@pytest.mark.parametrize(
    ("feed", "problem"),
    [
        ({"charset": "utf-7"}, "charset"),
        ({"charset": "latin-1", "format": "cbor"}, "charset: messages of cbor are no text"),
        (
            {
                "charset": "latin-1",
                "format": {"type": "binary", "fields": {"x": {"at": 0, "type": "u8"}}},
            },
            "charset: messages of binary are no text",
        ),
    ],
)
def test_what_is_no_text_has_none(feed: dict[str, object], problem: str) -> None:
    """Nor is every name one."""
    with pytest.raises(ValueError, match=problem):
        FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **feed})
