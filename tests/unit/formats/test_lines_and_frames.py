"""The formats ``csv`` and ``binary``, JSON in lines, and payloads that are compressed."""

from __future__ import annotations

import base64
import gzip
import json
import math
import struct
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.unit.formats.test_cost import calls, peak_bytes

_NOW_NS = 1_800_000_000 * 10**9
_T = 1_799_999_990


class Decoding:
    """What comes of one payload."""

    def __init__(self, payload: bytes, **feed: Any) -> None:  # noqa: ANN401  (a table of the file)
        is_typed = feed.pop("is_typed", True)
        table = ChannelTable()
        config = FeedConfig.model_validate({"topic": "in/{device}", **feed})
        limits = IngestConfig.model_validate({"max_records": 5, "max_payload": "20KiB"})
        decoder = FeedDecoder("f", config, table, limits, takes_fast_way=is_typed)
        found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
        self.readings = [
            (table.channels[row].field, None if math.isnan(value) else value)
            for row, value in zip(found.channel.tolist(), found.value.tolist(), strict=True)
        ]
        self.devices = [table.channels[row].device for row in found.channel.tolist()]
        self.refused = [str(error) for _, error in found.refused]
        self.bad = {key: each.count for key, each in found.bad_fields.items()}


_CSV = {
    "format": {"type": "csv", "columns": ["t", "x", "", "y.z"]},
    "time": {"path": "t", "unit": "s"},
    "channels": {"x": {}, "y": {"path": "y.z"}},
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n \n"])
@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_lines_of_values(end: str, before: str) -> None:
    """Numbers of any kind, quotes, places that are empty or of no interest."""
    text = f'{before}{_T},1.5,"a, b",2{end}"{_T}", -3e2 ,,{end}\0'
    found = Decoding(text.encode(), **_CSV)
    assert found.readings == [("x", 1.5), ("y", 2.0), ("x", -300.0)]
    assert not found.refused


@pytest.mark.parametrize("strict", [True, False])
def test_words_are_told_and_numbers_are_numbers(strict: bool) -> None:
    """In a strict feed too: all that a line has is text."""
    found = Decoding(f"{_T},on,,2\n".encode(), **_CSV, strict=strict)
    assert found.readings == ([] if strict else [("x", None), ("y", 2.0)])
    assert Decoding(f"{_T},1,,2\n".encode(), **_CSV, strict=strict).readings[0] == ("x", 1.0)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (f"{_T},1,,2\n{_T},1,2\n{_T},3,,4", "not_csv: 1 of 3 records; the first, number 2: "),
        (f'{_T},1,,"2', "not_csv: line 1: "),
        ("\n\n", "empty"),
        ("", "empty"),
        (f"{_T},1,,2\n" * 6, "too_many_records: 6 records"),
        ("x,1,,2", "bad_time"),
        (f"{_T},,,", "no_channels"),
    ],
)
def test_lines_that_are_none_are_refused(text: str, refusal: str) -> None:
    """By themselves, where the rest of the message can be read."""
    found = Decoding(text.encode(), **_CSV)
    assert [each.startswith(refusal) for each in found.refused] == [True], found.refused
    assert len(found.readings) == (4 if "1 of 3" in refusal else 0)


def test_what_is_no_text_is_no_line() -> None:
    """UTF-16, or any bytes."""
    assert Decoding("1,2".encode("utf-16"), **_CSV).refused[0].startswith("not_utf8")


def test_the_first_line_may_say_what_is_in_the_others() -> None:
    """In whatever order, with whatever else."""
    feed = {"topic": "in/+", "device": "id", "channels": {"x": {}}}
    form = {"type": "csv", "header": True, "delimiter": "\t"}
    found = Decoding(b"other\t x \tid\n1\t2\ta 1\n\t3\tb\n", **feed, format=form)
    assert list(zip(found.devices, found.readings, strict=True)) == [
        ("a 1", ("x", 2.0)),
        ("b", ("x", 3.0)),
    ]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "columns, header and assign: give one"),
        ({"header": True, "columns": ["x"]}, "columns, header and assign: give one"),
        ({"columns": ["x", "x"]}, "columns: a name stands there twice"),
        ({"columns": ["x"], "delimiter": ", "}, "delimiter: expected one character"),
        ({"columns": ["x"], "delimiter": '"'}, "delimiter: expected one character"),
    ],
)
def test_mistakes_about_lines_are_told(keys: dict[str, object], told: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValueError, match=told):
        Decoding(b"", format={"type": "csv", **keys}, channels={"x": {}})


@pytest.mark.parametrize(
    ("good", "word", "is_good"),
    [
        ([True, "GOOD"], "true", True),
        ([True, "GOOD"], "False", False),
        ([True, "GOOD"], "good", True),
        ([192], "192", True),
        ([192], "0", False),
        (["192"], "192", True),
        ([192], "x", False),
    ],
)
def test_how_good_a_line_is_may_be_a_number(good: list[object], word: str, is_good: bool) -> None:
    """Or a truth value, though all that stands in a line is text."""
    feed = {**_CSV, "channels": {"x": {}}, "quality": {"path": "y.z", "good": good}}
    found = Decoding(f"{_T},5,,{word}".encode(), **feed)
    assert found.readings == [("x", 5.0 if is_good else None)]


def _frame(field: Mapping[str, object], payload: bytes, **form: object) -> Decoding:
    form = {"type": "binary", "fields": {"x": {"at": 1, **field}}, **form}
    return Decoding(payload, format=form, channels={"x": {}})


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize(
    ("kind", "layout", "value"),
    [
        ("u8", "B", 200),
        ("i8", "b", -100),
        ("u16", "H", 50_000),
        ("i16", "h", -200),
        ("u32", "I", 3_000_000_000),
        ("i32", "i", -2_000_000_000),
        ("u64", "Q", 2**53),
        ("i64", "q", -(2**53)),
        ("f16", "e", 0.5),
        ("f32", "f", 20.5),
        ("f64", "d", math.pi),
    ],
)
def test_bytes_are_what_python_packs(kind: str, layout: str, value: float, order: str) -> None:
    """Of each type and order."""
    packed = struct.pack((">" if order == "big" else "<") + layout, value)
    assert _frame({"type": kind}, b"\xff" + packed, order=order).readings == [("x", value)]
    own = {"type": kind, "order": order}
    assert _frame(own, b"\xff" + packed + b"more").readings == [("x", value)]


def test_three_bytes_and_single_bits() -> None:
    """As sensors have them."""
    assert _frame({"type": "i24"}, b"\0\xff\xff\xfe").readings == [("x", -2.0)]
    assert _frame({"type": "u24", "order": "little"}, b"\0\x01\0\x01").readings == [("x", 65537.0)]
    for bit, bits, value in ((0, 1, 0.0), (1, 1, 1.0), (4, 4, 12.0), (0, 8, 198.0)):
        field = {"type": "u8", "bit": bit, "bits": bits}
        assert _frame(field, b"\0\xc6").readings == [("x", value)]


@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("hex", b"00FF38"),
        ("hex", b'"0x00 ff 38"\n'),
        ("hex", b"0x00, 0XFF, 0x38"),
        ("base64", base64.b64encode(b"\0\xff\x38")),
        ("base64", b'"' + base64.b64encode(b"\0\xff\x38") + b'"\r\n'),
    ],
)
def test_bytes_may_be_written_as_text(encoding: str, payload: bytes) -> None:
    """With what stands around them."""
    assert _frame({"type": "i16"}, payload, encoding=encoding).readings == [("x", -200.0)]


def test_several_records_behind_a_head() -> None:
    """Each of the same size."""
    found = _frame({"type": "u8"}, b"head" + b"\0\x01\0\x02\0\x03", skip=4, size=2)
    assert found.readings == [("x", 1.0), ("x", 2.0), ("x", 3.0)]


def test_a_float_that_is_none_is_told() -> None:
    """Missing, and a bad field."""
    found = _frame({"type": "f32"}, b"\0" + struct.pack(">f", math.nan))
    assert found.readings == [("x", None)]
    assert found.bad == {("x", "not_finite"): 1}


@pytest.mark.parametrize(
    ("payload", "form", "refusal"),
    [
        (b"", {}, "empty"),
        (b"\0", {}, "not_binary: expected at least 3 bytes, got 1"),
        (b"\0\0\0\0\0", {"size": 4}, "not_binary: expected records of 4 bytes, got 5"),
        (b"\0\0", {"skip": 4}, "not_binary: expected at least 3 bytes, got 0"),
        (b"\0" * 24, {"size": 4}, "too_many_records: 6 records"),
        (b"AAAAA", {"encoding": "base64"}, "not_binary: no base64 text"),
        (b"AA$A", {"encoding": "base64"}, "not_binary: no base64 text"),
    ],
)
def test_frames_that_are_none_are_refused(
    payload: bytes, form: dict[str, object], refusal: str
) -> None:
    """With what was expected."""
    found = _frame({"type": "u16"}, payload, **form)
    assert [each.startswith(refusal) for each in found.refused] == [True], found.refused


@pytest.mark.parametrize(
    ("field", "form", "told"),
    [
        ({"type": "u12"}, {}, "type"),
        ({"type": "f32", "bit": 1}, {}, "bit is of whole numbers"),
        ({"type": "u8", "bits": 2}, {}, "bits: how many from which on"),
        ({"type": "u8", "bit": 7, "bits": 2}, {}, "u8 has no more than 8"),
        ({"type": "u32"}, {"size": 4}, "size: expected at least 5"),
    ],
)
def test_mistakes_about_frames_are_told(
    field: dict[str, object], form: dict[str, object], told: str
) -> None:
    """When the configuration is read."""
    with pytest.raises(ValueError, match=told):
        _frame(field, b"", **form)


_LINES = {"format": {"type": "json", "lines": True}, "channels": {"x": {}}}


def test_a_message_may_be_several_objects_in_lines() -> None:
    """A bad one among them is refused by itself."""
    found = Decoding(b'{"x":1}\n\n{"x":}\r\n{"x":NaN}\n["x"]\n{"x":5}\0', **_LINES)
    assert found.readings == [("x", 1.0), ("x", None), ("x", 5.0)]
    assert found.refused[0].startswith("not_json: 2 of 5 records; the first, number 2: ")
    assert Decoding(b'[{"x":1},{"x":2}]', **_LINES).readings == [("x", 1.0), ("x", 2.0)]
    assert Decoding(b'{"x":1}\n' * 6, **_LINES).refused[0].startswith("too_many_records: 6")


@pytest.mark.parametrize("bad", [b'{"s":"\xff"}', b"[" * 5000, b"x ray", b"BZh", b"\0 \xff"])
def test_one_bad_line_takes_no_other_down(bad: bytes) -> None:
    """Wherever it stands, and whatever is wrong with it."""
    good = [b'{"x":1}', b'{"x":2}']
    for at in range(3):
        found = Decoding(b"\n".join([*good[:at], bad, *good[at:]]), **_LINES)
        assert found.readings == [("x", 1.0), ("x", 2.0)]
        assert len(found.refused) == 1


def test_gzip_may_be_of_several_parts() -> None:
    """As it is where it was appended to; zlib with any window is read as well."""
    parts = gzip.compress(b'[{"x":1},') + gzip.compress(b'{"x":2}]')
    assert len(Decoding(parts, channels={"x": {}}).readings) == 2
    small = zlib.compressobj(wbits=9)
    payload = small.compress(b'{"x":1}') + small.flush()
    assert Decoding(payload, channels={"x": {}}).readings == [("x", 1.0)]


def test_gzip_of_very_many_parts_is_refused() -> None:
    """Each part is looked for in all that is left."""
    payload = gzip.compress(b"") * 800 + gzip.compress(b'{"x":1}')
    assert Decoding(payload, channels={"x": {}}).refused == [
        "compressed: more behind the end of gzip data"
    ]


def test_a_blank_may_stand_between_values() -> None:
    """The first of them may be empty."""
    form = {"type": "csv", "columns": ["a", "x"], "delimiter": " "}
    assert Decoding(b" 5\n1 6\n", format=form, channels={"x": {}}).readings == [
        ("x", 5.0),
        ("x", 6.0),
    ]


def test_text_that_begins_as_something_compressed_is_text() -> None:
    """Two letters are enough for that."""
    form = {
        "format": {"type": "value", "channel": "x"},
        "channels": {"x": {"states": {"x ray": 1}}},
    }
    assert Decoding(b"x ray", **form).readings == [("x", 1.0)]


def test_what_is_no_channel_stays_a_text_in_a_line() -> None:
    """Names with zeros before them, times to the nanosecond, patterns, names of pairs."""
    feed = {"topic": "in/+", "device": "id", "time": {"path": "t", "unit": "ns"}}
    form = {"type": "csv", "columns": ["id", "t", "x"]}
    found = Decoding(
        f"007,{_T}000000001,1\n7,{_T}000000002,2".encode(), format=form, **feed, channels={"x": {}}
    )
    assert found.devices == ["007", "7"]
    assert not found.refused
    pairs = {"pairs": {"name": "n", "value": "v"}, "channels": {"x": {"path": "40001"}}}
    form = {"type": "csv", "columns": ["n", "v"]}
    assert Decoding(b"40001,5\n40002,6", format=form, **pairs).readings == [("x", 5.0)]
    pairs["channels"]["x"]["decimal"] = ","  # type: ignore[index]
    semicolons = {**form, "delimiter": ";"}
    assert Decoding(b"40001;1.000", format=semicolons, **pairs).readings == [("x", 1000.0)]


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        (b'\x1e{"x":1}\n\x1e{"x":2}\n', [1.0, 2.0]),
        (b'\x1e{"x":1}\n', [1.0]),
        (b'{"x":1},\n{"x":2}', [1.0, 2.0]),
        (b'[{"x":1},{"x":2}]\n[{"x":3}]\n[]', [1.0, 2.0, 3.0]),
    ],
)
def test_lines_may_be_a_sequence_or_arrays(payload: bytes, values: list[float]) -> None:
    """With the separator of JSON text sequences, or the comma that is between elements."""
    found = Decoding(payload, **_LINES)
    assert [value for _, value in found.readings] == values
    assert not found.refused


def test_lines_that_end_as_on_windows_are_counted_once() -> None:
    """As many are allowed as of others."""
    form = {"type": "csv", "columns": ["x"]}
    assert len(Decoding(b"12.5\r\n" * 5, format=form, channels={"x": {}}).readings) == 5


def test_a_name_that_stands_twice_is_told() -> None:
    """Its values would take each other's place."""
    found = Decoding(b"x,x\n1,2", format={"type": "csv", "header": True}, channels={"x": {}})
    assert found.refused == ["not_csv: a name stands twice in the first line"]


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"type": "csv", "columns": ["a", "", "b"]}, "one of format.columns: a, b; give its path"),
        ({"type": "binary", "fields": {"a": {"at": 0, "type": "u8"}}}, "one of format.fields: a;"),
    ],
)
def test_a_channel_that_is_no_field_is_told(form: dict[str, object], told: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValueError, match=rf"channels\.x: expected {told}"):
        Decoding(b"", format=form, channels={"x": {}})


def test_lines_are_read_only_by_choice() -> None:
    """A message is one value otherwise."""
    assert Decoding(b'{"x":1}\n{"x":2}', channels={"x": {}}).refused[0].startswith("not_json")


@pytest.mark.parametrize(
    ("kind", "compress"),
    [("gzip", gzip.compress), ("zlib", zlib.compress), ("zstd", zstd.compress)],
)
def test_compressed_json_is_read(kind: str, compress: object) -> None:
    """As what is in it; lines too, and what is wrong with it is told."""
    assert callable(compress)
    assert Decoding(compress(b'{"x":7.5}'), channels={"x": {}}).readings == [("x", 7.5)]
    assert Decoding(compress(b'{"x":7.5}') + b"\0\n", channels={"x": {}}).readings
    given: dict[str, Any] = {"channels": {"x": {}}, "compression": kind}
    assert Decoding(compress('{"x":7.5,"y":"é"}'.encode()), **given).readings == [("x", 7.5)]
    assert Decoding(b'{"x":7.5}', **given).refused[0].startswith(f"compressed: {kind} data that is")
    assert Decoding(compress(b'{"x":7.5,"y":"\xff"}'), **given).refused[0].startswith("not_utf8")
    lines = Decoding(compress(b'{"x":1}\n{"x":2}'), **_LINES)
    assert lines.readings == [("x", 1.0), ("x", 2.0)]
    assert Decoding(compress(b'{\n"x":1\n}'), **_LINES).readings == [("x", 1.0)]
    for content, refusal in (
        (compress(b"no"), "not_json"),
        (compress(b'{"x":1}')[:-6], "compressed"),
        (compress(b'{"x":1}') + b"!", "compressed: more behind the end of"),
        (compress(b""), "empty"),
        (compress(b"\n"), "empty"),
        (compress(compress(b'{"x":1}')), "compressed"),
        (compress(b"[" + b"1," * 20_000 + b"1]"), "too_large: "),
        (compress(json.dumps([{"x": 1}] * 6).encode()), "too_many_records"),
    ):
        found = Decoding(content, channels={"x": {}})
        assert [each.startswith(refusal) for each in found.refused] == [True], found.refused


def _decoder(form: object) -> FeedDecoder:
    feed = {"topic": "in/{device}", "format": form, "channels": {"x": {}}}
    return FeedDecoder("f", FeedConfig.model_validate(feed), ChannelTable(), IngestConfig())


def test_a_window_beyond_all_need_is_refused() -> None:
    """Zstd takes it at once, whatever is in it."""
    options = {int(zstd.CompressionParameter.window_log): 27}
    compressor = zstd.ZstdCompressor(options=options)
    payload = compressor.compress(b'{"x":7.5}') + compressor.flush()
    (refusal,) = Decoding(payload, channels={"x": {}}).refused
    assert refusal.startswith("compressed: zstd data that is damaged")


_MIB = 1 << 20
_HOSTILE: dict[str, tuple[object, bytes]] = {
    "a bomb": ("json", gzip.compress(b'{"x":1,"y":"' + b"a" * (64 * _MIB) + b'"}')),
    "another bomb": ("cbor", zstd.compress(b"\x9a\x10\x00\x00\x00" + bytes(64 * _MIB))),
    "many objects, compressed": ("json", gzip.compress(b"[" + b"{}," * 300_000 + b"{}]")),
    "lines": ({"type": "json", "lines": True}, b"{}\n" * (_MIB // 3)),
    "short lines": ({"type": "json", "lines": True}, b"1\n" * (_MIB // 2)),
    "commas": ({"type": "csv", "columns": ["x"]}, b"," * _MIB),
    "values": ({"type": "csv", "columns": ["x"]}, b"ab," * (_MIB // 3)),
    "lines of one": ({"type": "csv", "columns": ["x"]}, b"1\n" * (_MIB // 2)),
    "a quote": ({"type": "csv", "columns": ["x"]}, b'"' + b"a" * (_MIB - 1)),
    "quotes": ({"type": "csv", "columns": ["x"]}, b'"' * _MIB),
    "names": ({"type": "csv", "header": True}, b"n," * (_MIB // 2)),
    "wide lines with names": (
        {"type": "csv", "header": True},
        b",".join(b"%d" % n for n in range(9000)) + b"\n" + (b"12345," * 8999 + b"1\n") * 18,
    ),
    "lines of two": ({"type": "json", "lines": True}, b"11\n" * (_MIB // 3)),
    "small frames": (
        {"type": "binary", "size": 1, "fields": {"x": {"at": 0, "type": "u8"}}},
        bytes(_MIB),
    ),
    "hexadecimal": (
        {"type": "binary", "encoding": "hex", "fields": {"x": {"at": 0, "type": "u8"}}},
        b"0 " * (_MIB // 2),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _HOSTILE)
def test_one_message_costs_little(name: str) -> None:
    """At most 16 times what a message may be as large as, and few calls."""
    form, payload = _HOSTILE[name]

    def work() -> None:
        found = _decoder(form).decode([b"in/d"], [payload], np.array([_NOW_NS]))
        assert len(found.refused) <= 1

    assert peak_bytes(work) < 16 * _MIB
    assert calls(work) < 600_000


@pytest.mark.parametrize(
    ("payload", "refusal"),
    [
        (b'{"p": {"q": {"x": 7.5}}}', ""),
        (b'{"p": {"q": "{\\"x\\": 7.5}"}}', ""),
        (b'{"p": {"q": "eyJ4IjogNy41fQ=="}}', ""),
        (b'{"p": {"q": "eyJ4Ijog\\r\\nNy41fQ==\\n"}}', ""),
        (b'{"p": {}}', 'missing_records: no message at "p.q"'),
        (b'{"p": {"q": null}}', "missing_records"),
        (b'{"p": {"q": "?"}}', 'not_json: "p.q" is neither JSON nor base64'),
        (b'{"p": {"q": "AAAA"}}', "empty"),
        (b'{"p": {"q": 7}}', "not_object"),
        (
            b'{"p": {"q": "%s"}}' % base64.b64encode(b'[{"x":1}' + b',{"x":1}' * 9 + b"]"),
            "too_many",
        ),
    ],
)
def test_a_message_may_stand_in_an_envelope(payload: bytes, refusal: str) -> None:
    """As it is, as a text, or in base64."""
    found = Decoding(payload, format={"type": "json", "inside": "p.q"}, channels={"x": {}})
    assert found.readings == ([] if refusal else [("x", 7.5)])
    assert [each.startswith(refusal) for each in found.refused] == [True] * bool(refusal)


def test_values_may_have_their_names_before_them() -> None:
    """In any order, some of them; a line that has none, or one twice, is refused by itself."""
    form = {"type": "csv", "delimiter": ";", "assign": "="}
    channels = {"temp": {}, "hum": {}, "door": {"states": {"open": 1}}}
    found = Decoding(b"hum=40; temp = 21.5 ;other=x\ndoor=open;\n", format=form, channels=channels)
    assert found.readings == [("temp", 21.5), ("hum", 40.0), ("door", 1.0)]
    found = Decoding(b"temp=1\ntemp=1;temp=2\ntemp\n", format=form, channels=channels)
    assert found.readings == [("temp", 1.0)]
    assert found.refused[0].startswith("not_csv: 2 of 3 records; the first, number 2: a name")
    with pytest.raises(ValueError, match="columns, header and assign: give one of them"):
        Decoding(b"", format={**form, "header": True}, channels=channels)
