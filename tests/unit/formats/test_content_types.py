"""Messages in several formats on one topic, each by its content type."""

from __future__ import annotations

import json
import random
import re
import struct
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.reader import FeedReader
from headgate.config.content_types import canonical_bytes
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.properties import Properties

_NOW_NS = 1_767_225_600 * 10**9
_README = Path(__file__).parents[3] / "connectors/formats/README.md"


def _cbor(at: int, temp: float) -> bytes:
    """``{"at": …, "temp": …}``, written by hand."""
    return b"\xa2\x62at\x1b" + struct.pack(">Q", at) + b"\x64temp\xfb" + struct.pack(">d", temp)


def _example() -> FeedConfig:
    section = _README.read_text().split("## Several formats on one topic\n")[1].split("\n## ")[0]
    (text,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    return FeedConfig.model_validate(tomllib.loads(text)["feed"]["node"])


def _said(types: Mapping[int, bytes]) -> dict[int, Properties]:
    return {at: Properties(content_type) for at, content_type in types.items()}


def _reader(feed: FeedConfig, **limits: int) -> tuple[FeedReader, ChannelTable]:
    table = ChannelTable()
    return FeedReader("f", feed, table, IngestConfig(**limits)), table


def _feed(**given: object) -> FeedConfig:
    return FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **given})


def _rows(found: Decoded, table: ChannelTable) -> list[tuple[int, str, str, int, float]]:
    """Owner, device, channel, time and value of each reading."""
    names = [table.channels[row] for row in found.channel]
    return [
        (owner, each.device, each.field, time_ns, value)
        for owner, each, time_ns, value in zip(
            found.owner.tolist(), names, found.time_ns.tolist(), found.value.tolist(), strict=True
        )
    ]


def test_the_example_of_the_documentation_reads_four_formats() -> None:
    """In the order in which they came, of one device; each with the time that it says."""
    reader, table = _reader(_example())
    ms = _NOW_NS // 10**6
    payloads = [
        b'{"at": %d, "temp": 1}' % ms,
        _cbor(ms + 1, 2),
        b'[{"n": "temp", "t": 1767225600.002, "v": 3}]',
        b"%d,4" % (ms + 3),
        b'{"at": %d, "temp": 5}' % (ms + 4),
        _cbor(ms + 5, 6),
        b'{"at": %d, "temp": 7}' % (ms + 6),
    ]
    types = {
        1: b"application/cbor",
        2: b"application/senml+json",
        3: b"text/csv; header=absent",
        5: b"APPLICATION/CBOR",
        6: b"application/json",
    }
    found = reader.read(
        [b"nodes/n1"] * 7, payloads, np.full(7, _NOW_NS + 10**9), None, _said(types)
    )

    assert not found.refused
    assert _rows(found, table) == [
        (at, "n1", "temp", (ms + at) * 10**6, at + 1.0) for at in range(7)
    ]
    assert len(table.devices) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_mixed_run_is_what_each_format_reads_by_itself(seed: int) -> None:
    """Readings, refusals and bad fields, whatever stands beside what."""
    rng = random.Random(seed)
    feed = _feed(
        time={"path": "t", "unit": "s"},
        channels={"x": {}, "y": {}},
        content_types={"a/msgpack": "msgpack", "a/senml": "senml", "a/json": "json"},
    )
    count = rng.randrange(1, 40)
    topics = [b"in/d%d" % rng.randrange(4) for _ in range(count)]
    payloads, types = [], {}
    for at in range(count):
        kind = rng.choice(["", "a/msgpack", "a/senml", "a/json", "a/other"])
        record = {"t": 1767225600 + at, "x": rng.choice([at, "bad", None]), "y": 2 * at}
        if kind == "a/senml":
            payload = json.dumps([{"n": "x", "t": record["t"], "v": at}]).encode()
        elif kind == "a/msgpack":
            payload = msgspec.msgpack.encode(record)
        else:
            payload = json.dumps(record).encode()
        payloads.append(payload if rng.random() < 0.8 else b"\xc1" + payload)
        if kind:
            types[at] = kind.encode()
    arrival_ns = np.full(count, _NOW_NS + 3600 * 10**9)
    reader, table = _reader(feed)
    found = reader.decode(topics, payloads, arrival_ns, _said(types))

    rows, refused, bad = [], [], 0
    for at in range(count):
        own = feed.by_content_type.get(types.get(at, b"").decode(), feed)
        alone = ChannelTable()
        decoder = FeedDecoder("f", own, alone, IngestConfig())
        one = decoder.decode([topics[at]], [payloads[at]], arrival_ns[:1])
        rows += [(at, *row[1:]) for row in _rows(one, alone)]
        refused += [(at, error.reason) for _, error in one.refused]
        bad += sum(each.count for each in one.bad_fields.values())
    assert str(_rows(found, table)) == str(rows)
    assert [(at, error.reason) for at, error in found.refused] == refused
    assert sum(each.count for each in found.bad_fields.values()) == bad


def test_bad_fields_are_told_by_the_first_message_that_has_one() -> None:
    """Also where messages of another format have some, too."""
    feed = _feed(content_types={"a/msgpack": "msgpack"})
    reader, _ = _reader(feed)
    packed = msgspec.msgpack.encode({"x": "no"})
    payloads = [b'{"x": 1}', packed, b'{"x": "none"}', packed]
    found = reader.decode(
        [b"in/a"] * 4, payloads, np.full(4, _NOW_NS), _said({1: b"a/msgpack", 3: b"a/msgpack"})
    )
    bad = found.bad_fields["x", "text"]

    assert (bad.count, bad.position) == (3, 1)
    assert "'no'" in bad.detail


def test_readings_that_have_no_time_follow_each_other_in_whatever_format() -> None:
    """One device's never have the same time; those that have one keep it, and no mark."""
    feed = _feed(content_types={"a/msgpack": "msgpack", "a/senml": "senml"})
    reader, table = _reader(feed)
    payloads, types = [], {}
    for at in range(30):
        payload = msgspec.msgpack.encode({"x": at}) if at % 3 == 1 else b'{"x": %d}' % at
        if at % 3 == 1:
            types[at] = b"a/msgpack"
        if at % 3 == 2:
            types[at] = b"a/senml"
            payload = b'[{"n": "x", "t": %d, "v": %d}]' % (1767200000 + at, at)
        payloads.append(payload)
    found = reader.read([b"in/a"] * 30, payloads, np.full(30, _NOW_NS), None, _said(types))
    has_own = found.owner % 3 == 2

    assert found.value.tolist() == list(range(30))
    assert (found.time_ns[has_own] // 10**9 == 1767200000 + found.owner[has_own]).all()
    assert (np.diff(found.time_ns[~has_own]) > 0).all()
    arrival = np.uint16(Quality.ARRIVAL_TIME)
    assert ((found.quality & arrival != 0) == ~has_own).all()
    assert not (found.quality & np.uint16(Quality.ESTIMATED_TIME)).any()
    assert len(table.devices) == 1


def test_two_devices_of_one_name_are_found_out_across_formats() -> None:
    """A name that is made of other parts is refused, whatever says it."""
    feed = FeedConfig.model_validate(
        {
            "topic": "in",
            "device": "{a}-{b}",
            "channels": {"x": {}},
            "content_types": {"a/msgpack": "msgpack"},
        }
    )
    reader, _ = _reader(feed)
    other = msgspec.msgpack.encode({"a": "p", "b": "q-r", "x": 1})
    payloads = [b'{"a": "p-q", "b": "r", "x": 1}', other]
    found = reader.decode([b"in"] * 2, payloads, np.full(2, _NOW_NS), _said({1: b"a/msgpack"}))

    assert [(at, error.reason) for at, error in found.refused] == [(1, "bad_device")]


def test_a_bare_value_beside_objects_with_times_is_of_its_arrival() -> None:
    """And marked so; what else it can not have beside it is told."""
    value = {"type": "value", "channel": "x"}
    feed = _feed(time={"path": "t"}, content_types={"text/plain": value})
    reader, table = _reader(feed)
    payloads = [b'{"t": %d, "x": 1}' % (_NOW_NS // 10**6 - 5000), b"2.5"]
    arrival_ns = np.array([_NOW_NS, _NOW_NS + 1])
    types = _said({1: b"text/plain"})
    found = reader.read([b"in/d"] * 2, payloads, arrival_ns, properties=types)

    assert not found.refused
    assert _rows(found, table) == [
        (0, "d", "x", _NOW_NS - 5 * 10**9, 1.0),
        (1, "d", "x", _NOW_NS + 1, 2.5),
    ]
    assert [bool(each & Quality.ARRIVAL_TIME) for each in found.quality.tolist()] == [False, True]
    with pytest.raises(ValueError, match="quality: a message that is one value says nothing"):
        _feed(quality={"path": "q"}, content_types={"text/plain": value})


def test_values_of_a_tag_are_bounded_across_formats() -> None:
    """Two values are two, whichever format says each."""
    feed = _feed(tags={"site": {}}, content_types={"a/msgpack": "msgpack"})
    reader, _ = _reader(feed, max_tag_values=1)
    other = msgspec.msgpack.encode({"site": "b", "x": 1})
    payloads = [b'{"site": "a", "x": 1}', other]
    found = reader.decode([b"in/d"] * 2, payloads, np.full(2, _NOW_NS), _said({1: b"a/msgpack"}))

    assert [(at, error.reason) for at, error in found.refused] == [(1, "too_many_tag_values")]
    assert reader.is_full
    assert reader.tag_values == 1


def test_what_a_content_type_means_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever parameters it has; and what is remembered of made-up ones is bounded."""
    looked_up = []

    def counted(content_type: bytes) -> tuple[bytes, ...]:
        looked_up.append(content_type)
        return canonical_bytes(content_type)

    monkeypatch.setattr("connectors.formats.reader.canonical_bytes", counted)
    reader, table = _reader(_feed(content_types={"a/msgpack": "msgpack"}))
    packed = msgspec.msgpack.encode({"x": 2})

    def read(types: list[bytes]) -> Decoded:
        count = len(types)
        said = _said(dict(enumerate(types)))
        return reader.read([b"in/a"] * count, [packed] * count, np.full(count, _NOW_NS), None, said)

    for _ in range(2):
        found = read([b"A/MsgPack; v=1"] * 3)
        assert [value for *_, value in _rows(found, table)] == [2, 2, 2]
    assert looked_up == [b"A/MsgPack; v=1"]
    read([b"a/msgpack; v=%d" % number for number in range(2500)])
    read([b"a/msgpack; v=" + b"1" * 60_000] * 2)
    assert len(reader._places_as_sent) <= 1000
    assert max(map(len, reader._places_as_sent)) < 1000


def test_what_is_forgotten_is_forgotten_of_every_format() -> None:
    """Afterwards all of them know the same devices again."""
    feed = _feed(content_types={"a/msgpack": "msgpack", "a/senml": "senml"})
    reader, table = _reader(feed)
    packed = msgspec.msgpack.encode({"x": 2})
    topics, payloads = [b"in/a", b"in/b"], [b'{"x": 1}', packed]
    reader.read(topics, payloads, np.full(2, _NOW_NS), None, _said({1: b"a/msgpack"}))
    remaining = table.only(np.array([False, True]))
    reader.keep(remaining)
    found = reader.read(
        topics, payloads, np.full(2, _NOW_NS + 10**9), None, _said({1: b"a/msgpack"})
    )

    assert [row[1:3] for row in _rows(found, remaining.table)] == [("a", "x"), ("b", "x")]
    assert len(remaining.table.devices) == 2
