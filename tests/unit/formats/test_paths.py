"""Paths into payloads, and quotes in them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_RECORD = {
    "values": {"Boiler.Temp": 1, "ns=2;s=Line 1/Oven.PV": 2, "Boiler": {"Temp": 3}},
    "a.b": 4,
    "a": {"b": 5},
    "list": [{"x.y": 6}],
    "7": 7,
    "bars[0]": 8,
    "bars": [0, 9],
}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ('"a.b"', ("a.b",)),
        ('a."b.c".d', ("a", "b.c", "d")),
        ('"a b"."c/d"', ("a b", "c/d")),
        ("$.a.b", ("a", "b")),
        ("$.axes[0].x", ("axes", "0", "x")),
        ("axes[2][0]", ("axes", "2", "0")),
        ("$['a.b']['c d']", ("a.b", "c d")),
        ('a["b.c"].d', ("a", "b.c", "d")),
        ("[1].x", ("1", "x")),
        ('"a[0]".b', ("a[0]", "b")),
        ("temp [C]", ("temp [C]",)),
        ("$", ("$",)),
    ],
)
def test_quotes_hold_a_part_together(path: str, parts: tuple[str, ...]) -> None:
    """Whatever is in it."""
    assert parts_of(path) == parts


@pytest.mark.parametrize("path", ['"a', 'a"b', '"a"b', '""', 'a."b".', '"a"..b', '."a"'])
def test_what_is_no_path_is_a_mistake(path: str) -> None:
    """Of any key that is a path."""
    feed = {"topic": "in/{device}", "channels": {"x": {}}}
    for more in (
        {"channels": {"x": {"path": path}}},
        {"records": path},
        {"time": {"path": path}},
        {"topic": "in", "device": path},
    ):
        with pytest.raises(ValueError, match="expected a path such as"):
            FeedConfig.model_validate({**feed, **more})


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ('values."Boiler.Temp"', 1),
        ('values."ns=2;s=Line 1/Oven.PV"', 2),
        ("values.Boiler.Temp", 3),
        ('values."Boiler".Temp', 3),
        ("a.b", 4),
        ('"a.b"', 4),
        ('a."b"', 5),
        ('list.0."x.y"', 6),
        ("7", 7),
        ("$.a['b']", 5),
        ("list[0]['x.y']", 6),
        ('"bars[0]"', 8),
        ("bars[0]", 8),
        ("$.bars[1]", 9),
    ],
)
def test_both_ways_find_it(path: str, value: int, is_typed: bool) -> None:
    """Without quotes a key that holds the whole path comes first."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {"path": path}}})
    decoder = FeedDecoder("f", feed, ChannelTable(), IngestConfig(), takes_fast_way=is_typed)
    found = decoder.decode([b"in/a"], [json.dumps(_RECORD).encode()], np.array([10**18]))
    assert found.value.tolist() == [value]


@pytest.mark.parametrize(
    "path",
    [
        "a[*].b",
        "a[]",
        "$.a[*]",
        "$..a",
        "a.*.b",
        "a[-1].b",
        "a[0:2]",
        "a[:]",
        "a[?(@.b=='c')].d",
        "",
    ],
)
def test_one_value_has_one_place(path: str) -> None:
    """What JSONPath means several by is said by ``records``."""
    with pytest.raises(ValueError, match="expected a path"):
        FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {"path": path}}})


@pytest.mark.parametrize("path", ["data.rows", "$.data.rows", "$.data.rows[*]", "data['rows'][]"])
def test_records_may_be_written_as_jsonpath_has_them(path: str) -> None:
    """With or without all of their elements named."""
    feed = FeedConfig.model_validate(
        {"topic": "in/{device}", "records": path, "channels": {"x": {}}}
    )
    found = FeedDecoder("f", feed, ChannelTable(), IngestConfig()).decode(
        [b"in/a"], [b'{"data": {"rows": [{"x": 1}, {"x": 2}]}}'], np.array([10**18])
    )
    assert found.value.tolist() == [1, 2]
