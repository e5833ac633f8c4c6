"""Text channels: what values are texts, in every format, and what is none."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.texts import code_of
from tests.unit.formats.sparkplug.host import STRING, Host, metric, nbirth, ndata

_NOW_NS = 1_800_000_000 * 10**9


class _Feed:
    """A feed with a text channel, and what has come of its messages."""

    def __init__(
        self,
        mode: dict[str, object] | None = None,
        *,
        max_texts: int = 250,
        **feed: Any,  # noqa: ANN401
    ) -> None:
        self.table = ChannelTable()
        channels = {"mode": {"type": "text", **(mode or {})}, "x": {}, **feed.pop("channels", {})}
        table = {"topic": "in/{device}", **feed, "channels": channels}
        self.decoder = FeedDecoder(
            "f",
            FeedConfig.model_validate(table),
            self.table,
            IngestConfig(max_texts=max_texts),
        )
        self.found: Decoded

    def read(self, payload: bytes, topic: str = "in/a") -> list[tuple[str, float | str | None]]:
        """Channel and value of each reading of a message."""
        self.found = self.decoder.decode([topic.encode()], [payload], np.array([_NOW_NS]))
        rows = zip(self.found.channel.tolist(), self.found.value.tolist(), strict=True)
        return [
            (self.table.channels[row].field, self.table.said(row, value)) for row, value in rows
        ]

    def said(self, value: object) -> float | str | None:
        """What the channel says when a record has this value."""
        ((name, text),) = self.read(json.dumps({"mode": value}).encode())
        assert name == "mode"
        return text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("running", "running"),
        ("  hand \n", "hand"),
        ('Störung: Öl 5 °C, "heiß" \\ 100 %', 'Störung: Öl 5 °C, "heiß" \\ 100 %'),
        ("工厂", "工厂"),
        ("21.50", "21.50"),
        ("x" * 256, "x" * 256),
        (5, "5"),
        (5.0, "5"),
        (-0.5, "-0.5"),
        (2**60, str(2**60)),
        (True, "true"),
        (None, None),
        ("", None),
        (" \t", None),
    ],
)
def test_a_value_is_the_text_that_it_is(value: object, text: str | None) -> None:
    """A number or truth value as JSON writes it; nothing but blanks is nothing."""
    feed = _Feed()

    assert feed.said(value) == text
    assert not feed.found.bad_fields


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (["a"], "array"),
        ({"a": 1}, "object"),
        ("x" * 257, "too_long"),
        ("a\nb", "no_text"),
        ("a\x00b", "no_text"),
        (2**300, "too_long"),
        (1e300, "too_long"),
    ],
)
def test_what_is_no_text_is_a_bad_field(value: object, kind: str) -> None:
    """Its reading is missing, and takes none of its neighbours along; strict refuses the record."""
    feed, strict = _Feed(), _Feed(strict=True)
    payload = json.dumps({"mode": value, "x": 1}).encode()

    assert feed.read(payload) == [("x", 1.0), ("mode", None)]
    assert list(feed.found.bad_fields) == [("mode", kind)]
    assert feed.found.bad_fields["mode", kind].detail.startswith("mode: expected a text, got ")
    assert feed.found.quality[1] & Quality.BAD_FIELD
    assert strict.read(payload) == []
    assert [error.reason for _, error in strict.found.refused] == ["wrong_type"]


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1e300"])
def test_a_number_too_large_to_be_written_is_a_bad_field(number: bytes) -> None:
    """Infinity is no state of a machine, and 300 digits no text that a record could hold."""
    feed = _Feed({"states": {"full": 1}})
    found = dict(feed.read(b'{"mode": %s, "x": 1}' % number))

    assert found.get("mode") is None
    assert feed.found.quality.max() & Quality.MISSING


@pytest.mark.parametrize("text", ["", " idle", "a\nb", "x" * 257])
def test_a_state_of_the_configuration_is_a_text(text: str) -> None:
    """What no device could say is refused before it makes records that can't be read."""
    with pytest.raises(ValidationError, match=r"states: expected texts of 1 to 256 characters"):
        _Feed({"states": {text: 1}})


@pytest.mark.parametrize("value", [0, 0.0, "0", "idle", "IDLE ", " Idle"])
def test_states_name_numbers(value: object) -> None:
    """A text stands for a number however the two are written, as the configuration writes it."""
    feed = _Feed({"states": {"idle": 0, "running": 1}})

    assert feed.said(value) == "idle"
    assert feed.said(7) == "7"  # what is not named says what it says


@pytest.mark.parametrize("value", ["unavailable", "UNAVAILABLE", -1, "-1", "?"])
def test_some_texts_say_that_there_is_no_reading(value: object) -> None:
    """As the configuration has them, and numbers likewise."""
    feed = _Feed({"missing": ["unavailable", "?", -1]})

    assert feed.said(value) is None
    assert not feed.found.bad_fields


def test_an_absent_text_is_no_reading() -> None:
    """Unless it is required."""
    feed = _Feed()
    assert feed.read(b'{"x": 1}') == [("x", 1.0)]

    required = _Feed({"required": True})
    assert required.read(b'{"x": 1}') == []
    assert [error.reason for _, error in required.found.refused] == ["missing_field"]


def test_so_many_texts_a_channel_of_a_device_may_say() -> None:
    """What is over is told once and missing, its neighbours are kept, and known ones go on."""
    feed = _Feed(max_texts=2)
    for text in ("a", "b"):
        assert feed.said(text) == text

    assert feed.read(b'{"x": 1, "mode": "c"}') == [("x", 1.0), ("mode", None)]
    assert [error.reason for _, error in feed.found.refused] == ["too_many_texts"]
    assert feed.decoder.is_full
    assert feed.said("b") == "b"
    assert feed.read(b'{"mode": "c"}', "in/b") == [("mode", "c")]  # another device's own


def test_a_text_that_is_not_said_for_long_makes_room() -> None:
    """The others stay."""
    feed = _Feed(max_texts=2)
    feed.said("a")
    feed.table.texts.now_ns = 10
    feed.said("b")
    feed.table.texts.forget_before(5)

    assert feed.said("c") == "c"
    assert list(feed.table.texts.known(1).values()) == ["b", "c"]


def test_the_sender_s_quality_counts() -> None:
    """A text that it does not believe in is missing."""
    feed = _Feed(quality={"path": "q"})

    assert feed.read(b'{"mode": "run", "q": false}') == [("mode", None)]


_TEXTS = [("mode", "läuft: 3"), ("x", 1.5)]


@pytest.mark.parametrize(
    ("form", "payload"),
    [
        ("json", json.dumps(dict(_TEXTS)).encode()),
        ({"type": "json", "lines": True}, json.dumps(dict(_TEXTS)).encode() + b"\n"),
        ("msgpack", msgspec.msgpack.encode(dict(_TEXTS))),
        ("cbor", cbor2.dumps(dict(_TEXTS))),
        ("line_protocol", 'm,a=b mode="läuft: 3",x=1.5 1800000000000000000'.encode()),
        ({"type": "csv", "columns": ["mode", "x"]}, "läuft: 3,1.5".encode()),
        ({"type": "csv", "header": True}, "x,mode\n1.5,läuft: 3\n".encode()),
        ("senml", json.dumps([{"n": "mode", "vs": "läuft: 3"}, {"n": "x", "v": 1.5}]).encode()),
    ],
)
def test_texts_are_read_in_every_format(form: object, payload: bytes) -> None:
    """Beside numbers, to the letter."""
    feed = _Feed(format=form)

    assert sorted(feed.read(payload)) == _TEXTS, feed.found.refused


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"ON", "ON"),
        (b'"ON"', "ON"),
        (b"0042", "0042"),
        (b"1.50", "1.50"),
        (b"true", "true"),
        (b"null", None),
        (b" hand auf\n", "hand auf"),
        (b"{", "{"),
    ],
)
def test_a_bare_value_is_a_text_as_it_stands(payload: bytes, text: str | None) -> None:
    """Also where it looks like a number, whose digits are kept."""
    feed = _Feed(format="value", topic="in/{device}/{channel}")

    assert feed.read(payload, "in/a/mode") == [("mode", text)]
    assert feed.read(b"1.50", "in/a/x") == [("x", 1.5)]


def test_names_and_values_may_be_texts() -> None:
    """As gateways of controllers list them."""
    feed = _Feed(records="v", pairs={"name": "id", "value": "v"})
    payload = b'{"v": [{"id": "mode", "v": "A-17"}, {"id": "x", "v": 1.5}]}'

    assert feed.read(payload) == [("mode", "A-17"), ("x", 1.5)]


def test_arrays_may_be_of_texts() -> None:
    """An element a time."""
    feed = _Feed(arrays={"step": "1s"}, time={"path": "t", "unit": "s"})
    payload = b'{"t": 1800000000, "mode": ["a", null, "b"], "x": [1, 2, 3]}'

    assert [value for name, value in feed.read(payload) if name == "mode"] == ["a", None, "b"]


def test_a_binary_number_has_a_name() -> None:
    """A byte that says what it does."""
    fields = {"mode": {"at": 0, "type": "u8"}, "x": {"at": 1, "type": "u16"}}
    feed = _Feed({"states": {"idle": 0, "running": 1}}, format={"type": "binary", "fields": fields})

    assert sorted(feed.read(struct.pack(">BH", 1, 7))) == [("mode", "running"), ("x", 7.0)]


def test_a_sparkplug_string_is_a_text() -> None:
    """By its alias, too."""
    host = Host({"mode": {"path": "Press/Mode", "type": "text"}, "x": {"path": "Press/X"}})
    born = [metric("Press/Mode", "idle", alias=1, datatype=STRING), metric("Press/X", 1.5, alias=2)]
    readings = host.take(nbirth(*born))
    readings += host.take(ndata(metric(None, "running", alias=1, datatype=STRING), seq=1))

    codes = [each.value for each in readings if each.field == "mode" and each.value is not None]
    assert [host.table.said(1, code) for code in codes] == ["idle", "running"]


_WORDS = ("on", "off", " on ", "ON", "", "x" * 257, "a\nb", "3", "?", "Öl")
_ANY: st.SearchStrategy[object] = st.sampled_from([*_WORDS, 0, 1, 3, 1.5, True, None, []])
_RECORD = st.fixed_dictionaries(
    {}, optional={"m": _ANY, "n": _ANY, "x": st.one_of(st.integers(0, 3), _ANY), "d": _ANY}
)


@settings(max_examples=200, deadline=None)
@example(contents=[{}], form="json", strict=False, is_named=True)
@given(
    st.lists(st.one_of(_RECORD, st.lists(_RECORD, max_size=3)), min_size=1, max_size=6),
    st.sampled_from(["json", "msgpack", "cbor"]),
    st.booleans(),
    st.booleans(),
)
def test_both_ways_say_the_same(
    contents: list[object], form: str, strict: bool, is_named: bool
) -> None:
    """The fast way and the careful one, record by record and reason by reason."""
    dumps: dict[str, Callable[[object], str | bytes]]
    dumps = {"json": json.dumps, "msgpack": msgspec.msgpack.encode, "cbor": cbor2.dumps}
    dump = dumps[form]
    payloads = [each if isinstance(each := dump(one), bytes) else each.encode() for one in contents]
    table = {
        "topic": "in" if is_named else "in/{device}",
        **({"device": "d"} if is_named else {}),
        "format": form,
        "strict": strict,
        "tags": {"site": {"path": "n"}},
        "channels": {
            "m": {"type": "text", "states": {"on": 1, "off": 0}, "missing": ["?", 3]},
            "x": {"missing": 3},
            "n": {"type": "text"},
        },
    }
    said = []
    for takes_fast_way in (True, False):
        channels = ChannelTable()
        decoder = FeedDecoder(
            "f",
            FeedConfig.model_validate(table),
            channels,
            IngestConfig(),
            takes_fast_way=takes_fast_way,
        )
        topics = [b"in" if is_named else b"in/a"] * len(payloads)
        found = decoder.decode(topics, payloads, np.full(len(payloads), _NOW_NS))
        rows = zip(
            *(each.tolist() for each in (found.owner, found.channel, found.value, found.quality)),
            strict=True,
        )
        readings = [
            (owner, channels.channels[row].key, channels.said(row, value), quality)
            for owner, row, value, quality in rows
        ]
        refused = [(at, str(error)) for at, error in found.refused]
        said.append((readings, refused, found.bad_fields))

    assert said[0] == said[1]


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_one_text_too_many_takes_the_careful_way(form: str) -> None:
    """Of many messages at once, all but the texts that are over."""
    feed = _Feed(max_texts=2, format=form)
    dump = json.dumps if form == "json" else msgspec.msgpack.encode
    contents = [dump({"mode": f"t{at % 4}", "x": at}) for at in range(8)]
    payloads = [each.encode() if isinstance(each, str) else each for each in contents]

    found = feed.decoder.decode([b"in/a"] * 8, payloads, np.full(8, _NOW_NS))

    assert [(at, error.reason) for at, error in found.refused] == [
        (at, "too_many_texts") for at in (2, 3, 6, 7)
    ]
    rows = zip(found.channel, found.value, strict=True)
    said = [feed.table.said(row, value) for row, value in rows]
    assert said == [0, "t0", 1, "t1", 2, None, 3, None, 4, "t0", 5, "t1", 6, None, 7, None]


def test_a_text_is_the_same_number_everywhere() -> None:
    """A code that would not be would make snapshots and records of before mean something else."""
    assert code_of("running") == 3_795_432_725_860_470.0
    assert code_of("running").is_integer()
    assert code_of("") != code_of(" ")
