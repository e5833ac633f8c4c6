"""The hostile benchmark's messages are refused for the reason that its table says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.hostile import GOOD, REFUSED, goals, tables
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9

#: As those of the scene that they are sent to.
_PLANT = {
    "topic": "plant/{line}/{device}/telemetry",
    "time": {"path": "t", "unit": "ms"},
    "channels": {"a": {}, "b": {}},
}
_NAMED = {
    "topic": "named/{line}",
    "device": "name",
    "time": {"path": "t", "unit": "ms"},
    "channels": {"a": {}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_kind_is_refused_for_its_reason(name: str) -> None:
    """The good one is not refused."""
    is_named = REFUSED[name](0, 0)[0].startswith("named")
    feed = FeedConfig.model_validate(_NAMED if is_named else _PLANT)
    limits = IngestConfig(max_devices=3, max_tag_values=2)
    decoder = FeedDecoder("plant", feed, ChannelTable(), limits)
    messages = [REFUSED[name](number, _NOW_NS // 1_000_000) for number in range(5)]
    decoded = decoder.decode(
        [topic.encode() for topic, _ in messages],
        [payload for _, payload in messages],
        np.full(len(messages), _NOW_NS),
    )
    reasons = {error.reason for _, error in decoded.refused}

    assert reasons == (set() if name == GOOD else {name})


def test_goals_name_the_worst_and_spread_is_in_the_tables() -> None:
    """Of whatever was measured; of nothing there are neither."""
    spread = {"cpu_ms": [1.0, 3.0], "memory_mb": [4.0, 4.0]}
    part = {
        "messages": {
            "numbers": {"cpu_ms": 2.0, "memory_mb": 4.0, "spread": spread},
            "records": {"cpu_ms": 51.0, "memory_mb": 3.0, "spread": spread},
        },
        "decoding": {
            "decimal": {"cpu_ms": 12.0},
            "spread": {"decimal": {"cpu_ms": [11.0, 13.0]}},
        },
        "refused": {
            "bad_time": {"cpu_us": 9.0, "ratio": 2.0},
            "spread": {"bad_time": {"cpu_us": [9.0, 9.0], "ratio": [2.0, 2.0]}},
        },
        "delays": {
            "alone": {"p50": 1.0, "p99": 2.0, "longest": 3.0, "ratio": 1.0},
            "spread": {"alone": {key: [1.0, 2.0] for key in ("p50", "p99", "longest", "ratio")}},
        },
    }
    found = {row["goal"]: row["met"] for row in goals(part)}

    assert found == {
        "one message: CPU ms (records)": False,
        "10,000 records of texts: CPU ms (decimal)": True,
        "one message: memory, x 1 MiB (numbers)": True,
        "refused message, x a good one (bad_time)": True,
        "p99 beside an attack, x alone (alone)": True,
    }
    assert [table.row_count for table in tables(part)] == [2, 1, 1, 1]
    assert not goals({})
    assert not tables({})
