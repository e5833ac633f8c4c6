"""Text that is not UTF-8."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from connectors.formats.charset import with_charset
from connectors.formats.compressed import with_compression
from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import Format
from connectors.formats.json.format import JsonFormat
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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


@pytest.mark.parametrize("charset", ["latin-1", "cp1252", "cp850", "koi8-r", "utf-16", "shift_jis"])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, zstd.compress])
def test_compressed_messages_are_read_in_any_charset(
    charset: str, pack: Callable[[bytes], bytes]
) -> None:
    """Also where the bytes of a compressed one are text, too."""
    for payload, form in (
        ("21.5", {"type": "value", "channel": "x"}),
        ("a,21.5", _CSV),
        ("m x=21.5", "line_protocol"),
    ):
        feed = {"topic": "in/{device}", "device": None, "format": form, "charset": charset}
        assert _read(pack(payload.encode(charset)), **feed) == ([("a", 21.5)], [])
        (refused,) = _read(pack(payload.encode(charset))[:-5], **feed)[1]
        assert refused.startswith("compressed: ")


def test_bzip2_is_no_text_in_any_charset() -> None:
    feed = {"topic": "in/{device}", "device": None, "format": _CSV, "charset": "latin-1"}
    (refused,) = _read(bz2.compress(b"a,21.5"), **feed)[1]
    assert refused == "compressed: bzip2 data; gzip, zlib and zstd are read"


@pytest.mark.parametrize("beginning", ["HK", "x^", "BZh", "8O", "xÚ"])
def test_a_text_may_begin_as_compressed_data_does(beginning: str) -> None:
    """Such as lines of a data logger; long ones, too."""
    lines = f"{beginning}°C,21.5\r\n"
    feed = {"topic": "in/{device}", "device": None, "format": _CSV, "charset": "cp1252"}
    assert _read(lines.encode("cp1252"), **feed) == ([("a", 21.5)], [])
    assert _read((lines * 800).encode("cp1252"), **feed) == ([("a", 21.5)] * 800, [])


def test_a_text_is_looked_at_before_it_is_read_however_it_begins() -> None:
    payload = "HK°C" + ",1" * 400_000
    feed = {"topic": "in/{device}", "device": None, "format": _CSV, "charset": "cp1252"}
    (refused,) = _read(payload.encode("cp1252"), **feed)[1]
    assert refused.startswith("too_many_records")


class _Conversation:
    """What is said to it."""

    def __init__(self) -> None:
        self.skipped: list[bytes] = []

    def skip(self, topic: bytes) -> None:
        self.skipped.append(topic)


class _Whole(JsonFormat):
    """A format with all that a format may have."""

    def __init__(self, feed: FeedConfig) -> None:
        super().__init__(feed, IngestConfig())
        self.conversation = _Conversation()

    def fields(self, record: dict[str, Any]) -> dict[str, Any]:
        return record


@pytest.mark.parametrize(
    "around", [{"charset": "utf-16"}, {"compression": "gzip"}, {"compression": "auto"}]
)
def test_what_is_around_a_format_has_all_that_it_has(around: dict[str, str]) -> None:
    """But for fast ways, which may be left out; see ``Format`` for what is optional."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **around})
    form = _Whole(feed)
    wrapped: Any = with_compression(with_charset(form, feed), feed, IngestConfig())
    assert wrapped is not form
    record = {"x": 1}
    assert wrapped.fields(record) is record
    assert wrapped.conversation is form.conversation
    members = {name for name in dir(Format) if not name.startswith("_")}
    assert all(hasattr(wrapped, name) for name in members)


@pytest.mark.parametrize(
    ("around", "payload"),
    [
        ({"charset": "utf-16-be", "compression": "none"}, b"\xd8\x00"),
        ({"compression": "gzip"}, b"\x1f\x8b"),
        ({"charset": "latin-1"}, b"\x1f\x8b\x00\x01"),
    ],
)
def test_what_can_not_be_unwrapped_is_skipped(around: dict[str, str], payload: bytes) -> None:
    """A format that remembers messages is told that one was missed."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **around})
    form = _Whole(feed)
    wrapped = with_compression(with_charset(form, feed), feed, IngestConfig())
    with pytest.raises(DataError):
        wrapped.read(b"in/a", payload)
    assert form.conversation.skipped == [b"in/a"]


def test_line_protocol_has_each_field_once() -> None:
    """In whatever charset."""
    feed = {"format": "line_protocol", "device": "tags.host", "other_channels": True}
    readings, refused = _read("m,host=Süd x=1,y=2".encode("cp1252"), charset="cp1252", **feed)
    assert (readings, refused) == ([("Süd", 1.0), ("Süd", 2.0)], [])


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
