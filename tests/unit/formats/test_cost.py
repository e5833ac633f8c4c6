"""What one message can cost at most, counted: bytes of memory, calls, refusals."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.topics import TaggedTopic
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.unit.formats.texts import TEXTS, decoder_of, topic_of_texts

pytestmark = pytest.mark.slow

_NOW_NS = 1_800_000_000 * 10**9
_MAX_PAYLOAD = 1 << 20
_LIMITS = IngestConfig()

#: The most that one message may take, in its own size.
_MAX_RATIO = 16

#: Calls that one message may take, of functions of Python or C: for each record of 10,000 a few.
_MAX_CALLS = 60 * _LIMITS.max_records


def calls(work: Callable[[], object]) -> int:
    """How many functions, of Python or of C, are called in the course of it."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # others may have asked to be called when it runs
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that it holds at once."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


def _array(unit: bytes, head: bytes = b"[", tail: bytes = b"]") -> bytes:
    """Many of the same, as large as a message may be."""
    room = _MAX_PAYLOAD - len(head) - len(tail)
    return head + b",".join([unit] * (room // (len(unit) + 1))) + tail


def _numbered(unit: bytes, head: bytes = b"[", tail: bytes = b"]") -> bytes:
    """Many that are all different."""
    room = _MAX_PAYLOAD - len(head) - len(tail)
    return head + b",".join(unit % n for n in range(room // (len(unit) + 5))) + tail


_HOSTILE = {
    "numbers": _array(b"1"),
    "larger numbers": _array(b"999"),
    "fractions": _array(b"1.5"),
    "too large": _array(b"1e999"),
    "long numbers": _array(b"9" * 4000),
    "extreme numbers": _array(b"1e-320"),
    "a text of one letter": b'{"x":"' + b"e" * (_MAX_PAYLOAD - 8) + b'"}',
    "literals": _array(b"nan"),
    "literals in records": _array(b'{"x":nan}'),
    "empty objects": _array(b"{}"),
    "empty objects, one bad": _array(b"{}", tail=b",1]"),
    "as many as are allowed": b"[" + b",".join([b"{}"] * 10_000) + b"]",
    "few of them, in blanks": b"[" + b",".join([b"{}" + b" " * 100] * 10_000) + b"]",
    "small objects": _array(b'{"x":1}'),
    "small objects of text": _array(b'{"x":"a"}'),
    "objects in objects": _array(b'{"n":{}}'),
    "objects of other keys": _numbered(b'{"%x":1}'),
    "keys": _numbered(b'"%x":1', b"{", b"}"),
    "keys and more": _numbered(b'"%x":1.5', b'{"x":"unavailable",', b"}"),
    "the same key": _array(b'"x":1', b"{", b"}"),
    "empty arrays": _array(b"[]"),
    "arrays of one": _array(b"[1]"),
    "arrays of arrays": _array(b"[[1]]"),
    "deep": b"[" * _MAX_PAYLOAD,
    "deep and closed": b"[" * (_MAX_PAYLOAD // 2) + b"]" * (_MAX_PAYLOAD // 2),
    "deep objects": b'{"x":' * (_MAX_PAYLOAD // 5),
    "many deep": _array(b"[" * 100 + b"]" * 100),
    "texts": _array(b'"ab"'),
    "empty texts": _array(b'""'),
    "a text": b'{"x":"' + b"a" * (_MAX_PAYLOAD - 8) + b'"}',
    "a wide text": b'{"x":"' + b"a" * (_MAX_PAYLOAD - 20) + "😀".encode() + b'"}',
    "escapes": b'{"x":"' + b"\\n" * (_MAX_PAYLOAD // 2 - 8) + b'"}',
    "a key": b'{"' + b"a" * (_MAX_PAYLOAD - 8) + b'":1}',
    "a waveform": _array(b"0.25", b'{"x":1,"wave":[', b"]}"),
    "a waveform beside a bad field": _array(b"0.25", b'{"x":"","wave":[', b"]}"),
    "a waveform where a number should be": _array(b"0.25", b'{"x":[', b"]}"),
    "records": b"[" + b",".join([b'{"t":1750000000000,"x":1.5,"n":{"y":2}}'] * 10_000) + b"]",
    "records without a time": b"[" + b",".join([b'{"t":5,"x":1.5,"n":{"y":2}}'] * 10_000) + b"]",
    "records of other devices": _numbered(b'{"id":"%x","t":1750000000000,"x":1}'),
    "quotes": b'"' * _MAX_PAYLOAD,
    "commas": b"," * _MAX_PAYLOAD,
    "backslashes": b'["' + b"\\" * _MAX_PAYLOAD,
    "blanks": b" " * _MAX_PAYLOAD,
    "zeros": b"\0" * _MAX_PAYLOAD,
    "ones": b"\xff" * _MAX_PAYLOAD,
}
_FEEDS: dict[str, dict[str, object]] = {
    "plain": {"time": {"path": "t"}, "channels": {"x": {}, "y": {"path": "n.y"}}},
    "wide": {"channels": {f"x{number}": {} for number in range(100)}},
    "by path": {"records": "list", "channels": {"x": {}}},
    "by name": {"topic": "in", "device": "id", "channels": {"x": {}}},
    "below arrays": {"records": "list.s", "channels": {"x": {}}},
    "in any array": {"records": "n", "channels": {"x": {}}},
    "under keys": {"topic": "in", "records": "{device}", "channels": {"x": {"path": "value"}}},
    "rows": {"records": "list", "channels": {"x": {"path": "0", "default": 0}}},
    "not listed": {"other_channels": {"states": {"on": 1}}, "channels": {}},
    "tagged": {"tags": {"x": {}, "y": {"path": "n.y"}}, "channels": {"x": {}}},
}

#: What the payload stands in, where its feed looks for it.
_INSIDE = {
    "by path": b'{"list":%s}',
    "below arrays": b'{"list":[{"s":1},{"s":%s}]}',
    "rows": b'{"list":%s}',
}
_NAMED = ("by name", "under keys")

#: The first of the feeds meets every kind, any other one in so many of them, and other ones each.
#: In ``make test-all`` all meet all.
_ONE_IN = 4


def _met() -> Iterator[object]:
    for at, kind in enumerate(_HOSTILE):
        for place, feed in enumerate(_FEEDS):
            is_usual = place == 0 or (at + place) % _ONE_IN == 0
            yield pytest.param(kind, feed, marks=() if is_usual else pytest.mark.thorough)


@pytest.mark.parametrize(("kind", "feed"), [*_met()])
def test_one_message_is_bounded(kind: str, feed: str) -> None:
    """In memory, in calls, and in what it leaves behind, whatever it is full of."""
    payload = _INSIDE.get(feed, b"%s") % _HOSTILE[kind]
    decoder = decoder_of(_LIMITS, **_FEEDS[feed])
    topic = b"in" if feed in _NAMED else b"in/d"
    found: list[Decoded] = []

    def work() -> None:
        found.append(decoder.decode([topic], [payload], np.array([_NOW_NS])))

    assert calls(work) < _MAX_CALLS
    assert peak_bytes(work) < max(_MAX_RATIO * len(payload), 8 << 20)
    assert len(found[-1].refused) <= 1
    assert len(found[-1].value) <= 200_000
    assert all(len(error.detail) < 500 for _, error in found[-1].refused)


#: Calls that one record of such a message may take.
_MAX_TEXT_CALLS = 50


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_are_read_many_at_once(kind: str) -> None:
    """Records whose numbers or times are texts take a few calls each, be they good or bad.

    Their devices are known: what a new one takes is another matter.
    """
    feed, payload = TEXTS[kind]
    decoder = decoder_of(_LIMITS, **feed)
    topic = topic_of_texts(feed)
    decoder.decode([topic], [payload], np.array([_NOW_NS]))
    found: list[Decoded] = []

    def work() -> None:
        found.append(decoder.decode([topic], [payload], np.array([_NOW_NS])))

    assert calls(work) < _MAX_TEXT_CALLS * _LIMITS.max_records
    assert peak_bytes(work) < max(_MAX_RATIO * len(payload), 8 << 20)
    assert len(found[-1].value) >= 10_000 or found[-1].refused


_GOOD = b'{"t": 1750000000000, "x": 1.5}'

#: Kinds of refusal: feed, limits by the devices that are known, topic and payload.
_REFUSALS: dict[str, tuple[dict[str, object], Callable[[int], IngestConfig], bytes, bytes]] = {
    "too_many_devices": ({}, lambda known: IngestConfig(max_devices=known), b"in/new", _GOOD),
    "too_many_channels": ({}, lambda known: IngestConfig(max_channels=known), b"in/new", _GOOD),
    "too_many_tag_values": (
        {"topic": "{line}/{device}", "identity": []},
        lambda _: IngestConfig(max_tag_values=1),
        b"other/0",
        _GOOD,
    ),
    "name_too_long": ({}, lambda _: _LIMITS, b"in/" + b"d" * 300, _GOOD),
    "bad_device": ({}, lambda _: _LIMITS, b"in/", _GOOD),
    "not_json": ({}, lambda _: _LIMITS, b"in/0", b"{"),
    "not_utf8": ({}, lambda _: _LIMITS, b"in/0", b"\xff"),
    "empty": ({}, lambda _: _LIMITS, b"in/0", b""),
    "bad_time": ({}, lambda _: _LIMITS, b"in/0", b'{"t": 1, "x": 1.5}'),
    "no_channels": ({}, lambda _: _LIMITS, b"in/0", b'{"t": 1750000000000}'),
    "not_object": ({}, lambda _: _LIMITS, b"in/0", b"[1]"),
}


def _calls_of_refusals(reason: str, known: int, times: int, good: int = 0) -> int:
    """Calls that so many messages take that are refused, among so many devices.

    Good messages stand before and behind them; the calls that those take alone are left out.
    """
    feed, limits, topic, payload = _REFUSALS[reason]
    decoder = decoder_of(limits(known), **{"time": {"path": "t"}, **feed})
    good_topics = [b"in/0"] * good
    topics = [b"in/%d" % number for number in range(known)]
    decoder.decode(topics, [_GOOD] * known, np.full(known, _NOW_NS))
    found: list[Decoded] = []

    def decode(refused: int) -> None:
        some = [*good_topics, *[topic] * refused, *good_topics]
        payloads = [*[_GOOD] * good, *[payload] * refused, *[_GOOD] * good]
        found.append(decoder.decode(some, payloads, np.full(len(some), _NOW_NS)))

    count = calls(lambda: decode(times)) - calls(lambda: decode(0))

    assert {error.reason for _, error in found[0].refused} == {reason}
    assert len(found[0].refused) == times
    assert len(found[0].value) == 2 * good
    return count


@pytest.mark.parametrize("reason", _REFUSALS)
def test_a_refusal_costs_the_same_among_few_and_many_devices(reason: str) -> None:
    """And little for each message, whatever the reason."""
    few, many = _calls_of_refusals(reason, 4, 1), _calls_of_refusals(reason, 4000, 1)

    assert many == few
    assert _calls_of_refusals(reason, 4, 101) - few < 100 * 35


@pytest.mark.parametrize("reason", _REFUSALS)
def test_a_refusal_sends_no_good_message_the_slow_way(reason: str) -> None:
    """A good one beside it takes no more calls than a look at whether it is text."""
    few, many = (_calls_of_refusals(reason, 4, 1, good) for good in (10, 1010))

    assert many - few <= 2 * 1000 * 3


@pytest.mark.parametrize("number", [b"1e-320", b"1E308", b"1.5e+300", b"100e299"])
def test_numbers_that_are_slow_to_read_are_counted_first(number: bytes) -> None:
    """The parser takes a hundred times as long for them: a MiB of them would be a second."""
    decoder = decoder_of(_LIMITS, **_FEEDS["plain"])
    topics, times = [b"in/d"], np.array([_NOW_NS])

    def refusals(count: int) -> list[str]:
        wave = b",".join([number] * count).ljust(9000)
        decoded = decoder.decode(topics, [b'{"t":1750000000000,"x":1,"w":[%s]}' % wave], times)
        return [error.detail for _, error in decoded.refused]

    assert refusals(1000) == []
    (detail,) = refusals(1001)
    assert detail.startswith("1001 numbers with exponents of three digits")


def test_numbers_of_usual_size_are_not_counted_so() -> None:
    """Exponents of one or two digits, and keys that look like some."""
    decoder = decoder_of(_LIMITS, **_FEEDS["plain"])
    usual = b",".join([b"1e-05", b"2E+12", b'"e12a"', b"0.000123", b"7e9"] * 2000)
    payload = b'{"t":1750000000000,"x":1,"w":[%s]}' % usual
    decoded = decoder.decode([b"in/d"], [payload], np.array([_NOW_NS]))

    assert not decoded.refused
    assert len(decoded.value) == 1


@pytest.mark.parametrize("beside", [False, True])
def test_names_that_are_long_by_their_blanks_are_not_remembered(beside: bool) -> None:
    """One device with one channel takes as little whatever stands around what it says."""
    tag = {"user_property": "line"} if beside else {}
    feed = {"topic": "in/{device}", "tags": {"line": tag}, "channels": {"x": {}}}
    decoder = FeedDecoder("f", FeedConfig.model_validate(feed), ChannelTable(), IngestConfig())
    tracemalloc.start()
    for blanks in range(50_000, 50_100):
        padded = "a" + " " * blanks
        line = b"" if beside else b', "line": "%s"' % padded.encode()
        topic = TaggedTopic.of(b"in/d", (("line", padded),)) if beside else b"in/d"
        found = decoder.decode([topic], [b'{"x": 1%s}' % line], np.array([1_800_000_000 * 10**9]))
        assert len(found.value) == 1
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 1_000_000
