"""In which parts messages are decoded, so that none takes long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

from connectors.formats.inflate import HEADS

#: Messages are decoded so many bytes, or so many messages, at a time: between two such slices the
#: event loop has its turn, and nothing waits for longer than one takes.
SLICE_BYTES = 1 << 20

#: The first two bytes of a payload.
_HEAD = itemgetter(slice(2))

_SLICE_MESSAGES = 2048

#: A payload of this size and more is looked at before it is weighed, bytes; and what an object in
#: it weighs, in bytes of others. A message of as many records as are allowed fills a slice.
_LOOKED_AT_BYTES = 2048
_OBJECT_WEIGHS = 100


def slices(payloads: Sequence[bytes], density: int = 1) -> Iterator[tuple[int, int]]:
    """Where to cut messages that are decoded: first and end of each part, one message at least.

    A part is bounded by what it takes to decode it.

    Args:
        payloads: The messages.
        density: See ``Feed.density``; the most of all feeds.
    """
    sizes = list(map(len, payloads))
    if density > 1:
        sizes = [density * size for size in sizes]
    if not sizes:
        return
    # What is compressed does not say what it takes.
    is_odd = not HEADS.isdisjoint(map(_HEAD, payloads))
    if is_odd:
        sizes = [
            SLICE_BYTES if payload[:2] in HEADS else size
            for payload, size in zip(payloads, sizes, strict=True)
        ]
    if max(sizes) < _LOOKED_AT_BYTES:
        is_little = sum(sizes) <= SLICE_BYTES
        most = _SLICE_MESSAGES if is_little else SLICE_BYTES // _LOOKED_AT_BYTES
        yield from ((at, min(at + most, len(sizes))) for at in range(0, len(sizes), most))
        return
    first = weight = 0
    for at, size in enumerate(sizes):
        if size >= _LOOKED_AT_BYTES:
            size = max(size, _OBJECT_WEIGHS * payloads[at].count(b"{"))  # noqa: PLW2901
        if at > first and (weight + size > SLICE_BYTES or at - first == _SLICE_MESSAGES):
            yield first, at
            first, weight = at, 0
        weight += size
    yield first, len(sizes)
