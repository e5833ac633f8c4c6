"""What Hypothesis draws for the stages: readings as devices really send them, and ways to cut them.

Times repeat, come out of order and leave gaps; values repeat, jump, go missing and out of range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.results import Aggregates

START_NS = 1_700_000_000 * NS_PER_S
FIELDS = ("level", "flow", "speed")
#: Feed, name and tags: two pumps of one name are in different lines.
DEVICES = (
    ("pump", "p1", (("line", "a"),)),
    ("tank", "p2", ()),
    ("pump", "p1", (("line", "b"),)),
)

#: ``feed.pump`` uses every cleaning rule, ``feed.tank`` none; both have windows of two lengths
#: that share no pane.
FEEDS = {
    "pump": FeedConfig.model_validate(
        {
            "topic": "{device}",
            "grace": "3s",
            "channels": {
                "level": {
                    "range": (-50, 50),
                    "stuck_after": "4s",
                    "gap": {"fill": "linear", "limit": "3s"},
                },
                "flow": {
                    "spike": {"window": 5, "threshold": 3.0, "min_scale": 0.5},
                    "gap": {"limit": "2s"},
                },
                "speed": {"spike": {"window": 4, "threshold": 2.0}},
            },
            "aggregates": [{"window": "5s"}, {"window": "30s"}],
        }
    ),
    "tank": FeedConfig.model_validate(
        {
            "topic": "{device}",
            "grace": "3s",
            "channels": {name: {} for name in FIELDS},
            "aggregates": [{"window": "20s"}],
        }
    ),
}

#: Mostly onward by one period; sometimes back, standing still, or over a gap.
_STEPS_S = [*8 * [1], 0, -1, -3, 3, 6, 41]

_VALUES = st.one_of(
    st.just(1.0),
    st.integers(-3, 3).map(float),
    st.floats(-100, 100, width=32),
    st.sampled_from([math.nan, 0.0, -0.0, 1e12, -60.0, 60.0]),
)


def table(*, is_reversed: bool = False) -> ChannelTable:
    """All channels of all devices; reversed, the same under other numbers."""
    channels = ChannelTable()
    names = [
        Channel(feed, device, "m", name, tags=tags)
        for feed, device, tags in DEVICES
        for name in FIELDS
    ]
    for channel in reversed(names) if is_reversed else names:
        channels.row(channel)
    return channels


@st.composite
def arrivals(draw: DrawFn, *, messages: int = 60) -> Batch:
    """Readings of three devices in arrival order, each message a record of the log."""
    message = st.tuples(
        st.integers(0, len(DEVICES) - 1),
        st.sampled_from(_STEPS_S),
        st.sampled_from([0, 0, 0, 250_000_000, 999_999_999]),
        st.lists(_VALUES, min_size=3, max_size=3),
        st.sampled_from([7, 7, 7, 7, 1, 2, 3, 5, 6]),
    )
    rows = []
    clock_s = [0] * len(DEVICES)
    size = draw(st.integers(0, messages))
    drawn = draw(st.lists(message, min_size=size, max_size=size))
    for device, step_s, jitter_ns, values, present in drawn:
        clock_s[device] = max(0, clock_s[device] + step_s)
        time_ns = START_NS + clock_s[device] * NS_PER_S + jitter_ns
        rows.append(
            [
                (time_ns, 3 * device + place, value)
                for place, value in enumerate(values)
                if present >> place & 1
            ]
        )
    flat = [row for message_rows in rows for row in message_rows]
    batch = Batch.from_columns(
        table(), [row[0] for row in flat], [row[1] for row in flat], [row[2] for row in flat]
    )
    source = np.repeat(np.arange(len(rows)), [len(each) for each in rows]).astype(np.int32)
    origin = tuple(Origin("readings", 0, offset) for offset in range(len(rows)))
    return Batch(
        batch.channels,
        batch.time_ns,
        batch.channel,
        batch.value,
        batch.quality,
        origin,
        source,
    )


@st.composite
def orders_within_grace(draw: DrawFn, *, grace_ns: int = 3 * NS_PER_S) -> tuple[Batch, Batch]:
    """The same readings, no two alike in channel and time, in two orders that leave none late."""
    steps = draw(
        st.dictionaries(
            st.tuples(st.integers(0, 8), st.integers(0, 60)), _VALUES, min_size=1, max_size=80
        )
    )
    times = np.array([START_NS + half * NS_PER_S // 2 for _, half in steps], np.int64)
    batch = Batch.from_columns(
        table(), times, [channel for channel, _ in steps], list(steps.values())
    )
    delays = st.lists(st.integers(0, grace_ns // 1000), min_size=len(steps), max_size=len(steps))
    # Who is delayed by no more than the grace never meets a watermark that has passed him.
    first, second = (
        batch.take(np.argsort(times + 1000 * np.array(draw(delays)), kind="stable"))
        for _ in range(2)
    )
    return first, second


def cuts(size: int) -> SearchStrategy[list[int]]:
    """Places to cut ``size`` rows at."""
    return st.lists(st.integers(0, size), max_size=6).map(sorted)


def windows(parts: Sequence[Aggregates], channels: ChannelTable) -> dict[Any, Any]:
    """Closed windows by identity, every number as it is to the last bit; none may come twice."""
    found: dict[Any, Any] = {}
    for part in parts:
        for row in range(len(part)):
            identity = (
                channels.channels[part.channel[row]].key,
                int(part.start_ns[row]),
                int(part.window_ns[row]),
            )
            assert identity not in found
            found[identity] = (
                int(part.n[row]),
                int(part.flagged[row]),
                int(part.expected[row]),
                {name: repr(float(column[row])) for name, column in part.stats.items()},
                part.sketch_keys[row].tolist(),
                part.sketch_counts[row].tolist(),
                sorted(part.spent[row].items()) if part.spent else [],
                {name: repr(column[row].item()) for name, column in part.counts.items()},
            )
    return found
