"""Records of gateways and servers: names and values in other words, and what only looks like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from headgate.discover.plan import Plan, plan
from tests.unit.discover.traffic import heard

_Made = Callable[[int], object]


def _plan(*sent: tuple[str, _Made]) -> Plan:
    messages = [
        (at * 10.0, topic, json.dumps(made(at)).encode(), False)
        for at in range(8)
        for topic, made in sent
    ]
    return plan(heard(iter(messages)))


def _ua(node: str, value: float) -> dict[str, object]:
    return {"NodeId": node, "Value": {"Value": value, "StatusCode": {"Code": 0}}}


@pytest.mark.parametrize(
    ("message", "keys", "comments"),
    [
        (
            lambda at: {"seq": at, "vals": [{"id": "101", "qc": 3, "val": 20.5 + at}]},
            {"records": "vals", "pairs": {"name": "id", "value": "val"}, "channels": {"101": {}}},
            ["qc says 3: if it says how good values are, give quality = "],
        ),
        (
            lambda at: [_ua("Temp", 20.5 + at), _ua("Press", 2.5)],
            {
                "pairs": {"name": "NodeId", "value": "Value.Value"},
                "channels": {"Press": {}, "Temp": {}},
            },
            [],
        ),
        (
            lambda at: [{"TagName": "a", "Value": at}, {"TagName": "b", "Value": 2}],
            {"pairs": {"name": "TagName", "value": "Value"}, "channels": {"a": {}, "b": {}}},
            [],
        ),
    ],
)
def test_names_and_values_are_known_by_other_words(
    message: _Made, keys: dict[str, Any], comments: list[str]
) -> None:
    """In large letters, and with the value in an object with what is said of it."""
    found = _plan(("plc/p1/data", message))
    (feed,) = found.feeds.values()

    assert {key: feed.table.get(key) for key in keys} == keys
    told = [each for each in feed.comments if "quality" in each]
    assert [each[: each.index("{")] for each in told] == comments
    assert found.part == 1


@pytest.mark.parametrize("names", [("id", "data"), ("name", "state"), ("Id", "Value")])
def test_a_name_beside_an_object_of_values_is_a_device(names: tuple[str, str]) -> None:
    """The object has more than a value."""
    name, inside = names
    found = _plan(("hub/up", lambda at: {name: f"d{at % 2}", inside: {"temp": at, "hum": 48}}))
    (feed,) = found.feeds.values()

    assert feed.table["device"] == name
    assert feed.table["channels"] == {key: {"path": f"{inside}.{key}"} for key in ("temp", "hum")}


def test_feeds_stay_whose_topics_overlap_where_each_gets_its_own() -> None:
    """The more specific topic takes a message: that any device could be called so is no reason."""
    sent: list[tuple[str, _Made]] = [
        ("db/a", lambda at: {"temp": 20.5 + at}),
        ("energy/growatt", lambda at: {"pv": 230 + at, "grid": -5}),
        ("water/m1", lambda at: {"total_m3": 6.3 + at, "flow_c": 8}),
        ("352094081/data", lambda at: {"sp": 31 + at % 3, "alt": at}),
    ]
    found = _plan(*sent)

    assert [each.topic for each in found.feeds.values()] == [
        "db/{device}",
        "energy/{device}",
        "water/{device}",
        "{device}/data",
    ]
    assert found.passed == []
    assert found.part == 1
