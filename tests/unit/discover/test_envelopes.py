"""JSON that stands in JSON as a text, with an envelope around it or other values beside it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from headgate.discover.plan import plan
from tests.unit.discover.reading import config_of, decoded_by
from tests.unit.discover.traffic import NOW_S, heard

_Made = Callable[[int], Any]


def _text(value: object) -> str:
    return json.dumps(value)


def _coded(value: object) -> str:
    return b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    ("message", "form", "keys"),
    [
        (
            lambda at: {"payload": _text({"temp": 20.5 + at})},
            {"type": "json", "inside": "payload"},
            {"channels": {"temp": {}}},
        ),
        (
            lambda at: {"type": True, "payload": _coded({"temp": 20.5 + at})},
            {"type": "json", "inside": "payload"},
            {"channels": {"temp": {}}},
        ),
        (
            lambda at: {"a": {"b.c": _text([{"t": NOW_S + 10 * at, "temp": at}])}},
            {"type": "json", "inside": 'a."b.c"'},
            {"time": {"path": "t", "unit": "s"}, "channels": {"temp": {}}},
        ),
        (
            lambda at: {"ts": NOW_S + 10 * at, "payload": _text({"temp": 20.5 + at})},
            {"type": "json", "embedded": ["payload"]},
            {
                "time": {"path": "ts", "unit": "s"},
                "channels": {"temp": {"path": "payload.temp"}},
            },
        ),
        (
            lambda at: {"device": "ab"[at % 2], "payload": _text({"temp": 20.5 + at})},
            {"type": "json", "embedded": ["payload"]},
            {"device": "device", "channels": {"temp": {"path": "payload.temp"}}},
        ),
        (
            lambda at: {"rssi": -97, "list": [{"b": _text({"p": at})}]},
            {"type": "json", "embedded": ["list.b"]},
            {"channels": {"rssi": {}, "p": {"path": "list.0.b.p"}}},
        ),
        (
            lambda at: {"a": _text({"p": at}), "b": _text({"q": at + 1})},
            {"type": "json", "embedded": ["a", "b"]},
            {"channels": {"p": {"path": "a.p"}, "q": {"path": "b.q"}}},
        ),
        (lambda at: _text({"p": at}), "json", {"channels": {"p": {}}}),
        (lambda at: {"a": "[220]", "b": "{}", "c": at}, "json", {"channels": {"c": {}}}),
    ],
)
def test_json_in_json_is_read(message: _Made, form: object, keys: dict[str, Any]) -> None:
    """By the gateway's own decoder, all of it."""
    sent = [(at * 10.0, "m/d1/up", _text(message(at)).encode(), False) for at in range(8)]
    traffic = heard(iter(sent))
    found = plan(traffic)
    (feed,) = found.feeds.values()

    assert feed.table.get("format", "json") == form
    assert {key: feed.table[key] for key in keys} == keys
    assert decoded_by(config_of(found), traffic)[:2] == (8, 8)


def test_json_in_lines_of_json_is_read() -> None:
    """There is no envelope around several."""
    lines = [
        f"{_text({'b': _text({'p': at})})}\n{_text({'b': _text({'p': 1})})}" for at in range(6)
    ]
    sent = [(at * 10.0, "m/d1/up", line.encode(), False) for at, line in enumerate(lines)]
    traffic = heard(iter(sent))
    found = plan(traffic)
    (feed,) = found.feeds.values()

    assert feed.table["format"] == {"type": "json", "lines": True, "embedded": ["b"]}
    assert decoded_by(config_of(found), traffic)[:2] == (6, 6)
