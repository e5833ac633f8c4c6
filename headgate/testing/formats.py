"""The laws of a payload format, that a test of two lines holds one to.

::

    def test_my_format_keeps_the_laws() -> None:
        hold_format("mine")

They are tried with the component's own examples and with whatever becomes of these when bytes are
lost, changed and added.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import FormatExample
from headgate.config.feed import Feed
from headgate.config.schema import Ingest
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.components import component

#: When the messages arrive, ns since 1970 UTC.
_NOW_NS = 1_800_000_000 * 10**9

#: One reading: device, channel, event time in ns, value (None: missing).
_Reading = tuple[str, str, int, float | None]


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of one message: its readings in order, and the reason of its refusal."""

    readings: tuple[_Reading, ...]
    reason: str


def hold_format(name: str, *, seed: int = 0, changes: int = 300) -> None:
    """Hold a format to all the laws there are.

    Args:
        name: What the configuration calls it.
        seed: Of what is done to the examples' bytes.
        changes: How many payloads are made of each example.

    Raises:
        AssertionError: It breaks one; the message says which, and with which payload.
    """
    examples: Sequence[FormatExample] = component("formats", name).examples
    assert examples, f"{name}: a format needs an example"
    for example in examples:
        _hold(example, list(changed(example.payload, random.Random(seed), changes)))


def changed(payload: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """Payloads that a payload turns into when bytes are lost, changed or added."""
    yield from (b"", payload[:1], payload[:-1], payload + payload, bytes(len(payload)))
    for _ in range(count):
        bytes_ = bytearray(payload)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(len(bytes_) + 1)
            some = chance.randbytes(chance.choice((1, 1, 2, 5)))
            bytes_[at : at + chance.choice((0, 1, len(some)))] = some
        yield bytes(bytes_)


def _hold(example: FormatExample, payloads: Sequence[bytes]) -> None:
    good = decode(example, [example.payload])[0]
    wanted = [(device, channel, value) for device, channel, value in example.readings]
    found = [(device, channel, value) for device, channel, _, value in good.readings]
    assert found == wanted, f"the example gives {found}, not {wanted}"
    assert not good.reason, f"the example is refused: {good.reason}"
    if example.times_ns:
        times_ns = tuple(time_ns for _, _, time_ns, _ in good.readings)
        assert times_ns == example.times_ns, f"the example's times are {times_ns}"
    alone = [decode(example, [payload])[0] for payload in payloads]
    # Each between two good ones, many at once: what one holds is nothing to the others.
    mixed = [example.payload]
    for payload in payloads:
        mixed += [payload, example.payload]
    together = decode(example, mixed)
    for at, payload in enumerate(payloads):
        assert together[2 * at + 1] == alone[at], f"is another thing among others: {payload!r}"
        assert together[2 * at + 2] == good, f"a neighbour is another thing beside {payload!r}"
    carefully = decode(example, mixed, is_typed=False)
    for payload, one, other in zip(mixed, together, carefully, strict=True):
        assert one == other, f"the fast way says {one}, the careful way {other}, of {payload!r}"


def decode(
    example: FormatExample, payloads: Sequence[bytes], *, is_typed: bool = True
) -> list[_Result]:
    """What comes of payloads on the example's topic, in one go; never raises for what they hold."""
    table = ChannelTable()
    feed = Feed.model_validate(dict(example.feed))
    decoder = FeedDecoder("feed", feed, table, Ingest(), takes_fast_way=is_typed)
    topics = [example.topic.encode()] * len(payloads)
    decoded: Decoded = decoder.decode(topics, payloads, np.full(len(payloads), _NOW_NS))
    readings: list[list[_Reading]] = [[] for _ in payloads]
    columns = (decoded.owner, decoded.time_ns, decoded.channel, decoded.value, decoded.quality)
    for owner, time_ns, row, value, quality in zip(
        *(each.tolist() for each in columns), strict=True
    ):
        channel = table.channels[row]
        number = None if quality & int(Quality.MISSING) else value
        readings[owner].append((channel.device, channel.field, time_ns, number))
    reasons = {position: error.reason for position, error in decoded.refused}
    return [_Result(tuple(each), reasons.get(at, "")) for at, each in enumerate(readings)]
