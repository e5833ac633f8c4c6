"""Spans of derived channels that hold very many readings, or more than are kept.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.feed import FeedConfig
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.core.expressions.nodes import MAX_SPAN_ROWS, OVER_SPAN, Node
from headgate.core.units import format_duration

#: Readings that the spans of one feed may hold of a device, all together, before they are warned
#: of: 320 kB of memory for each device, and 75 to 220 kB of them in each snapshot.
MANY_ROWS = 20_000

#: What a reading takes in memory, bytes: its time, and its value.
_ROW_BYTES = 16

_OVER = frozenset(f"{each} over" for each in OVER_SPAN)


def long_spans(config: Config) -> Iterator[str]:
    """What is long in a configuration, as its feeds' periods say, a line each."""
    for name, feed in config.feed.items():
        total = 0
        for channel in feed.derived:
            spans = _spans(feed, channel)
            total += sum(min(_rows(feed, span), MAX_SPAN_ROWS) for span in spans)
            longest = max(spans, key=lambda span: span.span_ns, default=None)
            if longest is not None and _rows(feed, longest) > MAX_SPAN_ROWS:
                most = format_duration(MAX_SPAN_ROWS * feed.period)
                yield (
                    f"{shown_key(('feed', name, 'derived', channel, 'value'))}: a span of "
                    f"{format_duration(longest.span_ns)} has {_rows(feed, longest):,} readings at "
                    f"the feed's period, {format_duration(feed.period)}, and one with more than "
                    f"{MAX_SPAN_ROWS:,} has no value; make it {most} at most, or correct period"
                )
        if total > MANY_ROWS:
            yield (
                f"{shown_key(('feed', name, 'derived'))}: spans hold {total:,} readings of each "
                f"device, at a period of {format_duration(feed.period)}, more than "
                f"{MANY_ROWS:,}: {total * _ROW_BYTES // 1000:,} kB of memory, and all of them are "
                f"written every {format_duration(config.streams.snapshot_interval)} "
                "(streams.snapshot_interval); make spans shorter or fewer, or correct period"
            )


def _spans(feed: FeedConfig, channel: str) -> list[Node]:
    """The functions of a span in a derived channel's expression, one of those that share it."""
    expression = feed.derived[channel].expression
    spans = (part for part in expression.walk() if part.op in _OVER)
    return list({(part.args, part.span_ns): part for part in spans}.values())


def _rows(feed: FeedConfig, span: Node) -> int:
    return span.span_ns // feed.period
