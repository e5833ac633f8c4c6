"""Messages of many records are decoded column by column as they would be record by record."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.examples import tried
from tests.unit.formats.test_typed import FEEDS, SHAPES, payloads_of_any_kind

pytestmark = pytest.mark.slow

_NOW_NS = 1_800_000_000 * 10**9
_MORE: list[dict[str, Any]] = [
    {
        "topic": "in",
        "device": "n.id",
        "tags": {"t": {}},
        "time": {"path": "n.t", "pattern": "%Y-%m-%dT%H:%M:%SZ", "zone": "Europe/Berlin"},
        "channels": {
            "x": {"decimal": ",", "suffix": ["C", "°C"], "missing": [7, "nan"]},
            "y": {"states": {"nan": 3}, "required": True, "scale": 1e300},
        },
    },
    {
        "channels": {
            "x": {
                "unit": "K",
                "suffix": {"°C": "°C", "K": "K", "mK": "mK", "no unit": "K"},
                "missing": [7, 1],
            },
            "y": {
                "unit": "A",
                "to": "mA",
                "suffix": {"C": "A"},
                "states": {"7 °C": 5},
                "decimal": ",",
            },
        }
    },
    {
        "strict": True,
        "other_channels": {
            "unit": "K",
            "suffix": ["C", "mK"],
            "units": {"y": {"unit": "K", "to": "°F"}},
        },
        "channels": {"x": {"unit": "degF", "suffix": {"C": "C", "°C": "°C", "−": "°F"}}},
    },
    {"strict": True, "channels": {"x": {"base": 16}, "y": {"decimal": "."}, "t": {}}},
    {"pairs": {"name": "id", "value": "x"}, "channels": {"a": {}, "b": {"decimal": ","}}},
    {
        "time": {
            "path": "t",
            "or_path": ["n.t"],
            "pattern": ["%Y%m%d", "%Y-%m-%dT%H:%M:%SZ"],
            "date_only": True,
        },
        "channels": {
            "x": {"or_path": ["n.id", "y"], "power_of_ten": "t", "missing": [7]},
            "y": {"to": "degC", "unit": "degF", "default": 1},
        },
    },
    {"channels": {"x": {"power_of_ten": "y", "decimal": ","}}},
    {"quality": {"path": "y"}, "channels": {"x": {}, "t": {}}},
    {
        "quality": {"path": "n.id", "good": ["o*", 1], "mask": 3},
        "channels": {
            "x": {"quality": {"path": "y", "good": [0, True, "1*"], "mask": 6}},
            "t": {"bit": 1, "bits": 3, "missing": [7, 1], "base": 16},
            "y": {"bit": 0, "default": 3, "states": {"on": 5}},
        },
    },
    {
        "pairs": {"name": "id", "value": "x"},
        "channels": {"a": {"power_of_ten": "y"}, "b": {"quality": {"path": "t", "good": 1}}},
    },
    {
        "arrays": {},
        "time": {"path": "t", "unit": "s"},
        "channels": {"x": {"power_of_ten": "n.t"}, "y": {"quality": {"path": "x", "good": "1*"}}},
    },
    {"arrays": {}, "time": {"path": "t", "unit": "s"}, "channels": {"x": {}, "y": {}}},
    {"other_channels": {"decimal": ","}, "time": {"path": "t", "unit": "s"}, "channels": {"x": {}}},
]
_MORE += [
    {
        "time": {"path": "t", "unit": "s"},
        "channels": {
            "id": {"type": "text"},
            "x": {"decimal": ","},
            "y": {"type": "text", "required": True, "missing": [7, "on"], "states": {"go": 1}},
        },
    },
    {
        "strict": True,
        "topic": "in",
        "device": "id",
        "channels": {"x": {"type": "text"}, "n": {}, "y": {"type": "text", "path": ["y", "t"]}},
    },
    {"pairs": {"name": "id", "value": "x"}, "channels": {"a": {"type": "text"}, "b": {}}},
]
_FEEDS = [*FEEDS, *SHAPES, *_MORE]

_CELLS = st.one_of(
    st.sampled_from(
        ["1,5", "1.234,5", "1'000", "-7 C", " 7 °C", "0x1f", "+.5", ",5", "1 234", "1,2,3", "−4"]
    ),
    st.sampled_from(["7 mK", "-1 mK", "1 °C", "21.5 K", "3 no unit", "true C", "7 °C"]),
    st.sampled_from(
        [
            "",
            " ",
            "nan",
            "true",
            " False ",
            "[1.5]",
            "[x]",
            "on",
            "1e999",
            "9" * 70,
            "1e5",
            ",5e3",
            "\u0661",
            "1_0",
        ]
    ),
    st.floats(),
    st.integers(-(2**1100), 2**1100),
    st.none(),
    st.booleans(),
)
_RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "t": st.sampled_from([1_750_000_000, 1_750_000_001.5, "1750000002", "x", None, 5, [1, 2]]),
        "x": _CELLS | st.lists(_CELLS, max_size=3),
        "y": _CELLS | st.sampled_from(["GOOD", [True, False]]),
        "id": st.sampled_from(["a", "b", 1, "\x01", None]),
        "n": st.fixed_dictionaries(
            {
                "id": st.sampled_from(["a", "b", 7]),
                "t": st.sampled_from(["2025-01-01T00:00:00Z", "x"]),
            }
        ),
    },
)
_MESSAGES = st.one_of(
    payloads_of_any_kind,
    st.lists(_RECORDS, max_size=6).map(lambda records: json.dumps(records).encode()),
)


def _decoded(
    feed: FeedConfig, payloads: list[bytes], topic: bytes, least_columns: int
) -> list[object]:
    """All that comes of messages."""
    table = ChannelTable()
    limits = IngestConfig(max_devices=3, max_texts=3)
    decoder = FeedDecoder(
        "f", feed, table, limits, takes_fast_way=False, least_columns=least_columns
    )
    decoded = decoder.decode([topic] * len(payloads), payloads, np.full(len(payloads), _NOW_NS))
    return [
        decoded.owner.tolist(),
        decoded.time_ns.tolist(),
        [table.channels[row].key for row in decoded.channel.tolist()],
        decoded.value.view(np.int64).tolist(),
        decoded.quality.tolist(),
        [(position, str(error)) for position, error in decoded.refused],
        list(decoded.bad_fields.items()),
        None if decoded.later_ns is None else decoded.later_ns.tolist(),
        table.devices,
        [dict(table.texts.known(row)) for row in range(len(table.channels))],
        decoder.is_full,
        bool(decoder.zoneless),
        decoder.take_repeated(),
    ]


@pytest.mark.parametrize("number", range(len(_FEEDS)))
@tried(200)
@given(payloads=st.lists(_MESSAGES, max_size=3))
def test_columns_are_as_records(number: int, payloads: list[bytes]) -> None:
    """The same readings to the last bit and in one order, refusals, bad fields and devices."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", **_FEEDS[number]})
    topic = b"in" if feed.topic == "in" else b"in/a"

    assert _decoded(feed, payloads, topic, 1) == _decoded(feed, payloads, topic, 10**9)
