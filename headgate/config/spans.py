"""Spans of derived channels and rules that hold very many readings, or more than are kept.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headgate.config.feed import FeedConfig
from headgate.config.lines import KeyPath
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
        for key, expressions in _looked_at(name, config):
            spans = _spans(expressions)
            total += sum(min(_rows(feed, span), MAX_SPAN_ROWS) for span in spans)
            longest = max(spans, key=lambda span: span.span_ns, default=None)
            if longest is not None and _rows(feed, longest) > MAX_SPAN_ROWS:
                most = format_duration(MAX_SPAN_ROWS * feed.period)
                yield (
                    f"{shown_key(key)}: a span of "
                    f"{format_duration(longest.span_ns)} has {_rows(feed, longest):,} readings at "
                    f"the feed's period, {format_duration(feed.period)}, and one with more than "
                    f"{MAX_SPAN_ROWS:,} has no value; make it {most} at most, or correct period"
                )
        if total > MANY_ROWS:
            yield (
                f"{shown_key(('feed', name))}: the spans of its derived channels and rules hold "
                f"{total:,} readings of each device, at a period of "
                f"{format_duration(feed.period)}, more than "
                f"{MANY_ROWS:,}: {total * _ROW_BYTES // 1000:,} kB of memory, and all of them are "
                f"written every {format_duration(config.streams.snapshot_interval)} "
                "(streams.snapshot_interval); make spans shorter or fewer, or correct period"
            )


def _looked_at(feed: str, config: Config) -> Iterator[tuple[KeyPath, list[Node]]]:
    """The expressions of each of a feed's derived channels and rules, and its key."""
    for channel, derived in config.feed[feed].derived.items():
        yield ("feed", feed, "derived", channel, "value"), [derived.expression]
    for name, rule in config.rule.items():
        if rule.when and feed in rule.feed:
            yield ("rule", name, "when"), [rule.condition, rule.over]


def _spans(expressions: Iterable[Node]) -> list[Node]:
    """The functions of a span in some expressions, one of those that share it."""
    spans = (part for each in expressions for part in each.walk() if part.op in _OVER)
    return list({(part.args, part.span_ns): part for part in spans}.values())


def _rows(feed: FeedConfig, span: Node) -> int:
    return span.span_ns // feed.period
