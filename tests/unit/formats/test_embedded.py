"""Texts in JSON that are JSON themselves, with what stands around them."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from headgate.config.schema import IngestConfig
from tests.unit.formats.decoding import Decoding
from tests.unit.formats.texts import decoder_of

_NOW_MS = 1_800_000_000_000

_LORA: dict[str, Any] = {
    "topic": "in/+",
    "device": "name",
    "time": {"path": "t"},
    "format": {"type": "json", "embedded": ["object"]},
    "channels": {"level": {"path": "object.level"}, "rssi": {}},
}


def _uplink(text: object, **more: object) -> dict[str, object]:
    return {"name": "silo", "t": _NOW_MS, "rssi": -97, "object": text, **more}


def test_a_text_counts_as_what_it_holds() -> None:
    """Device, time and other channels stand around it; an object, null or nothing is as it is."""
    found = Decoding(
        [
            _uplink('{"level": 4.5}'),
            _uplink({"level": 5.5}, name="tank"),
            _uplink(" ", name="mute"),
            {"name": "bare", "t": _NOW_MS, "rssi": -90},
        ],
        **_LORA,
    )
    assert [each[::3] for each in found.readings if each[1] == "level"] == [
        ("silo", 4.5),
        ("tank", 5.5),
    ]
    assert [each[0] for each in found.readings if each[1] == "rssi"] == [
        "silo",
        "tank",
        "mute",
        "bare",
    ]
    assert not found.refused


def test_a_text_that_is_none_is_one_bad_record() -> None:
    """Its neighbours in the array are kept; where it is alone the message says what is wrong."""
    found = Decoding([_uplink('{"level": 4.5}'), _uplink("{'level': 4}"), _uplink("x")], **_LORA)
    assert [each[1::2] for each in found.readings] == [("level", 4.5), ("rssi", -97.0)]
    assert found.refused[0].startswith("not_json: 2 of 3 records; the first, number 2: ")
    assert 'the text at "object"' in found.refused[0]
    (refused,) = Decoding(_uplink('{"level": }'), **_LORA).refused
    assert refused.startswith('not_json: the text at "object"')


def test_a_bad_text_that_is_in_no_record_refuses_its_message() -> None:
    """Where it can't be told which record it is of, nothing of it is taken for good."""
    feed = {
        "format": {"type": "json", "embedded": ["items.data"]},
        "channels": {"v": {}, "w": {"path": "items.1.data.w"}},
    }
    items = [{"data": '{"w": 0}'}, {"data": "{bad"}]
    found = Decoding({"v": 0, "items": items}, **feed)
    assert not found.readings
    assert [each.split(":")[0] for each in found.refused] == ["not_json"]
    under = {**feed, "records": "items", "channels": {"w": {"path": "data.w"}}}
    found = Decoding({"items": items}, **under)
    assert [each[1::2] for each in found.readings] == [("w", 0.0)]
    assert found.refused[0].startswith("not_json: 1 of 2 records; the first, number 2")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("data", {"data": json.dumps([{"x": 7.5}])}),
        ("a.b", {"a": {"b": '{"x": 7.5}'}}),
        ('"a.b"', {"a.b": '{"x": 7.5}'}),
        ("a.b", {"a.b": '{"x": 7.5}'}),
        ("list.1", {"list": ["-", '{"x": 7.5}']}),
        ("messages.body", {"messages": [{"body": '{"x": 7.5}'}]}),
    ],
)
def test_wherever_it_stands(path: str, content: object) -> None:
    """Under keys, at places, in each element."""
    records = {"data": "data", "list.1": "list.1", "messages.body": "messages.body"}.get(path)
    form = {"type": "json", "embedded": [path]}
    feed = {"format": form, "records": records or path, "channels": {"x": {}}}
    assert [each[1::2] for each in Decoding(content, **feed).readings] == [("x", 7.5)]


def test_texts_in_texts() -> None:
    """Are read in the order in which they are said."""
    feed = {
        "format": {"type": "json", "embedded": ["a", "a.b"]},
        "channels": {"x": {"path": "a.b.x"}},
    }
    content = {"a": json.dumps({"b": json.dumps({"x": 7.5})})}
    assert [each[1::2] for each in Decoding(content, **feed).readings] == [("x", 7.5)]


@pytest.mark.parametrize(
    "inner", ["[[],[],[],[]]", '{"a":{},"b":{}}', "[[[[[[[[]]]]]]]]", "[1,1,1]", '{"a":"","b":""}']
)
@pytest.mark.parametrize("count", [1, 1000, 30_000])
def test_what_texts_hold_is_bounded(inner: str, count: int) -> None:
    """As if it stood there itself: sixteen times the message at most, be it one text or many."""
    texts = [inner] * count if count > 1 else "[" + ",".join([inner] * 30_000) + "]"
    payload = json.dumps({"t": _NOW_MS, "object": texts}).encode()
    decoder = decoder_of(IngestConfig(), **_LORA)
    tracemalloc.start()
    try:
        found = decoder.decode([b"in/a"], [payload], np.array([_NOW_MS * 10**6]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.refused) == 1
    assert peak_bytes < 16 * len(payload)
