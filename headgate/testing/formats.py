"""The laws of a payload format, that a test of two lines holds one to.

::

    def test_my_format_keeps_the_laws() -> None:
        hold_format("mine")

They are tried with the component's own examples and with whatever becomes of these when bytes are
lost, changed, added and repeated, and when they are compressed.
"""

from __future__ import annotations

import gc
import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import FormatExample
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.components import component

#: When the messages arrive, ns since 1970 UTC.
_NOW_NS = 1_800_000_000 * 10**9

#: Messages that are decoded together.
_TOGETHER = 200

#: What one message may take in memory: so many times its size, and always this much, bytes.
_MAX_RATIO, _FREE_BYTES = 16, 9 << 20

#: Functions, of Python or of C, that may be called for one of them.
_MAX_CALLS = 700_000

#: How large the large ones are, bytes; how many are made of an example at most; and one of so many
#: of all is one.
_LARGE, _MOST_LARGE, _ONE_IN = 200_000, 20, 500

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zlib": zlib.compress,
    "zstd": zstd.compress,
}

#: Bytes of which one means a lot somewhere: the largest, the first of compressed data, brackets,
#: quotes, ends of lines, and what begins things without a length, or of a huge one, in CBOR and
#: MessagePack.
_ODD = b"\xff\x00\x7f\x80\x1f\x28\x78[{\"'\n,=:\\ \x9f\xbf\x5f\x7f\x9b\xbb\x5b\x7b\xdd\xdf\xdb\xc6"

#: One reading: device, channel, event time in ns, value (None: missing).
_Reading = tuple[str, str, int, float | None]


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of one message: its readings in order, and the reason of its refusal."""

    readings: tuple[_Reading, ...]
    reason: str


def hold_format(name: str, *, seed: int = 0, changes: int = 2000) -> None:
    """Hold a format to all the laws there are.

    Args:
        name: What the configuration calls it.
        seed: Of what is done to the examples' bytes.
        changes: How many payloads are made of the examples, all together.

    Raises:
        AssertionError: It breaks one; the message says which, and with which payload.
    """
    examples: Sequence[FormatExample] = component("formats", name).examples
    assert examples, f"{name}: a format needs an example"
    for example in examples:
        chance = random.Random(seed)
        count = -(-changes // len(examples))
        good = _hold_example(example)
        payloads: list[bytes] = []
        for payload in changed(example.payload, chance, count):
            payloads.append(payload)
            if len(payloads) == _TOGETHER:
                _hold_changed(example, good, payloads)
                payloads = []
        _hold_changed(example, good, payloads)
        for payload in _large(example.payload, chance, min(count // _ONE_IN + 6, _MOST_LARGE)):
            _hold_cost(example, payload)


def changed(payload: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """Payloads that a payload turns into when bytes are lost, changed, added or repeated."""
    yield from (b"", payload[:1], payload[:-1], payload + payload, bytes(len(payload)))
    for kind, compress in _COMPRESS.items():
        yield compress(payload)
        yield compress(payload)[:-3]
        yield compress(compress(payload))
        yield kind.encode()
    for _ in range(count - 5 - 4 * len(_COMPRESS)):
        is_compressed = chance.random() < 0.05
        whole = chance.choice(list(_COMPRESS.values()))(payload) if is_compressed else payload
        bytes_ = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(len(bytes_) + 1)
            what = chance.random()
            if what < 0.6:
                some = chance.randbytes(chance.choice((1, 1, 2, 5)))
                bytes_[at : at + chance.choice((0, 1, len(some)))] = some
            elif what < 0.75:
                bytes_[at : at + chance.choice((0, 1))] = bytes((chance.choice(_ODD),)) * (
                    chance.choice((1, 1, 2, 4, 8, 300))
                )
            elif what < 0.9:
                # A part of it once more, some times, or elsewhere.
                end = chance.randrange(at, len(bytes_) + 1)
                to = chance.randrange(len(bytes_) + 1)
                bytes_[to:to] = bytes_[at:end] * chance.choice((1, 1, 2, 20))
            else:
                del bytes_[at : at + chance.choice((1, 2, 4, 16))]
            del bytes_[20_000:]
        yield bytes(bytes_)


def _large(payload: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """Payloads that a part of a payload makes that is repeated very often."""
    yield (payload * (_LARGE // max(1, len(payload))))[:_LARGE]
    for kind, compress in _COMPRESS.items():
        yield compress(bytes(64 << 20) if kind != "zlib" else payload * 100_000)
    for _ in range(count):
        at = chance.randrange(len(payload))
        end = min(len(payload), at + chance.choice((1, 1, 2, 3, 8, len(payload))))
        unit = payload[at:end]
        if chance.random() < 0.3:
            unit = bytes((chance.choice(_ODD),)) * chance.choice((1, 2))
        yield payload[:at] + unit * (_LARGE // len(unit)) + payload[at:]


def _hold_example(example: FormatExample) -> _Result:
    """What comes of an example, which is what it says; also when it is compressed."""
    good = decode(example, [example.payload])[0]
    wanted = [(device, channel, value) for device, channel, value in example.readings]
    found = [(device, channel, value) for device, channel, _, value in good.readings]
    assert found == wanted, f"the example gives {found}, not {wanted}"
    assert not good.reason, f"the example is refused: {good.reason}"
    if example.times_ns:
        times_ns = tuple(time_ns for _, _, time_ns, _ in good.readings)
        assert times_ns == example.times_ns, f"the example's times are {times_ns}"
    is_told = FeedConfig.model_validate(dict(example.feed)).may_begin_anyhow
    for kind, compress in _COMPRESS.items():
        for compression in (kind,) if is_told else (kind, "auto"):
            (inside,) = decode(example, [compress(example.payload)], compression=compression)
            assert inside == good, f"compressed by {kind} the example gives {inside}"
    return good


def _hold_changed(example: FormatExample, good: _Result, payloads: Sequence[bytes]) -> None:
    """Each by itself, among others, and by both ways."""
    alone = _Decoding(example)
    mixed = [example.payload]
    for payload in payloads:
        mixed += [payload, example.payload]
    # Each between two good ones, many at once: what one holds is nothing to the others.
    together = decode(example, mixed)
    carefully = decode(example, mixed, is_typed=False)
    tracemalloc.start()
    try:
        for at, payload in enumerate(payloads):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            (one,) = alone.results([payload])
            taken = tracemalloc.get_traced_memory()[1] - before
            assert taken < _room(payload), f"takes {taken} bytes: {payload!r:.300}"
            assert together[2 * at + 1] == one, f"is another thing among others: {payload!r}"
            assert together[2 * at + 2] == good, f"a neighbour is another beside {payload!r}"
    finally:
        tracemalloc.stop()
    for payload, one, other in zip(mixed, together, carefully, strict=True):
        assert one == other, f"the fast way says {one}, the careful way {other}, of {payload!r}"


def _hold_cost(example: FormatExample, payload: bytes) -> None:
    """What a large one takes: little memory, few calls."""
    gc.collect()
    tracemalloc.start()
    try:
        decoding = _Decoding(example)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        decoding.decode([payload])
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert taken < _room(payload), f"takes {taken} bytes: {len(payload)}, {payload!r:.300}"
    count = _calls(lambda: decoding.decode([payload]))
    assert count < _MAX_CALLS, f"takes {count} calls: {len(payload)}, {payload!r:.300}"


def _room(payload: bytes) -> int:
    """What a payload may take in memory, bytes."""
    return max(_MAX_RATIO * len(payload), _FREE_BYTES)


def _calls(work: Callable[[], object]) -> int:
    """How many functions, of Python or of C, are called in the course of it."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def decode(
    example: FormatExample,
    payloads: Sequence[bytes],
    *,
    is_typed: bool = True,
    compression: str = "",
) -> list[_Result]:
    """What comes of payloads on the example's topic, in one go; never raises for what they hold."""
    return _Decoding(example, is_typed=is_typed, compression=compression).results(payloads)


class _Decoding:
    """A decoder of an example's feed."""

    def __init__(
        self, example: FormatExample, *, is_typed: bool = True, compression: str = ""
    ) -> None:
        self._table = ChannelTable()
        self._topic = example.topic.encode()
        table = {**example.feed, **({"compression": compression} if compression else {})}
        feed = FeedConfig.model_validate(table)
        self._decoder = FeedDecoder(
            "feed", feed, self._table, IngestConfig(), takes_fast_way=is_typed
        )

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """Readings and refusals."""
        topics = [self._topic] * len(payloads)
        return self._decoder.decode(topics, payloads, np.full(len(payloads), _NOW_NS))

    def results(self, payloads: Sequence[bytes]) -> list[_Result]:
        """By message."""
        decoded = self.decode(payloads)
        readings: list[list[_Reading]] = [[] for _ in payloads]
        columns = (
            decoded.owner,
            decoded.time_ns,
            decoded.channel,
            decoded.value,
            decoded.quality,
        )
        for owner, time_ns, row, value, quality in zip(
            *(each.tolist() for each in columns), strict=True
        ):
            channel = self._table.channels[row]
            number = None if quality & int(Quality.MISSING) else value
            readings[owner].append((channel.device, channel.field, time_ns, number))
        reasons = {position: error.reason for position, error in decoded.refused}
        for _, error in decoded.refused:
            assert error.reason, "a refusal without a reason"
            assert len(error.detail) < 1000, f"a refusal of so many words: {error.detail:.300}"
        return [_Result(tuple(each), reasons.get(at, "")) for at, each in enumerate(readings)]
