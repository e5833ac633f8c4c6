"""Formats that content types tell apart, and what the broker keeps of topics that hold states."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import cbor2
import msgspec
import pytest

from headgate.discover.plan import Plan, plan
from headgate.discover.traffic import Traffic
from headgate.discover.written import configuration
from tests.unit.discover.traffic import NOW_S

_JSON, _CBOR, _PACK = "application/json", "application/cbor", "application/msgpack"

#: What writes each of them.
_WRITE: dict[str, Any] = {
    _JSON: lambda value: json.dumps(value).encode(),
    _CBOR: cbor2.dumps,
    _PACK: msgspec.msgpack.encode,
    "": lambda value: json.dumps(value).encode(),
}

#: Topic, what it says of its format, and what writes it if that is another one.
_Said = tuple[str, str, str]


def _heard(said: list[_Said], rounds: int = 12) -> Traffic:
    traffic = Traffic()
    for at in range(rounds):
        for number, (topic, content_type, written) in enumerate(said):
            record = {"t": NOW_S + at, "flow": 20.5 + at, "temperature": 40.25 + number}
            payload = _WRITE[written](record)
            arrived_ns = (NOW_S + at) * 10**9 + number
            traffic.add(topic.encode(), payload, arrived_ns, content_type=content_type)
    return traffic


def _feeds(found: Plan) -> dict[str, dict[str, Any]]:
    """The feeds as they are read back."""
    feeds: dict[str, dict[str, Any]] = tomllib.loads(configuration(found, {}, "a test"))["feed"]
    return feeds


@pytest.mark.parametrize(
    ("said", "form", "types"),
    [
        # One topic with both.
        ([("plant/a", _JSON, _JSON), ("plant/a", _CBOR, _CBOR)], None, {_CBOR: "cbor"}),
        # Devices with one each, and levels behind them.
        (
            [
                (f"plant/d{at}/data", kind, kind)
                for at in range(6)
                for kind in [(_JSON, _CBOR)[at % 2]]
            ],
            None,
            {_CBOR: "cbor"},
        ),
        (
            [("p/a", _JSON, _JSON), ("p/b", _CBOR, _CBOR), ("p/c", _PACK, _PACK)],
            None,
            {_CBOR: "cbor", _PACK: "msgpack"},
        ),
        # What says nothing has no other way to be told.
        ([("p/a", "", ""), ("p/b", _CBOR, _CBOR), ("p/c", _CBOR, _CBOR)], None, {_CBOR: "cbor"}),
        ([("p/a", "", ""), ("p/a", _CBOR, _CBOR), ("p/a", _CBOR, _CBOR)], None, {_CBOR: "cbor"}),
        # All of one format: there is nothing to tell apart, whatever they say.
        ([("p/a", _CBOR, _CBOR), ("p/b", "x/cbor", _CBOR)], "cbor", None),
        ([("p/a", "Text/Plain; charset=utf-8", _JSON), ("p/b", "", "")], None, None),
        # One that names several sizes of letters, with parameters.
        (
            [("p/a", "", ""), ("p/b", "Application/CBOR; v=1", _CBOR)],
            None,
            {_CBOR: "cbor"},
        ),
    ],
)
def test_one_feed_reads_what_content_types_tell_apart(
    said: list[_Said], form: str | None, types: dict[str, str] | None
) -> None:
    """On one topic, and on those of several devices; all of it is decoded."""
    found = plan(_heard(said))
    (feed,) = _feeds(found).values()

    assert feed.get("format") == form
    assert feed.get("content_types") == types
    assert feed["channels"].keys() == {"flow", "temperature"}
    assert feed["time"]["path"] == "t"
    assert found.part == 1
    assert sum(each.devices for each in found.shares.values()) == len({topic for topic, *_ in said})


def test_types_that_mean_this_and_that_tell_nothing() -> None:
    """What calls itself octets may be anything."""
    octets = "application/octet-stream"
    found = plan(_heard([("p/a", octets, _JSON), ("q/b/c", octets, _CBOR)]))

    assert len(found.feeds) == 2
    assert all("content_types" not in feed for feed in _feeds(found).values())
    assert found.part == 1


def test_a_type_of_what_can_not_be_read_is_told() -> None:
    """The rest of the topic is read."""
    traffic = _heard([("p/a", _JSON, _JSON)], 20)
    for at in range(5):
        traffic.add(b"p/a", b"\xff\xfe\x00binary", (NOW_S + at) * 10**9, content_type="image/png")
    found = plan(traffic)

    (share,) = found.shares.values()
    assert "content_types" not in next(iter(_feeds(found).values()))
    assert 0.75 < share.part < 0.85
    assert share.why


def _states() -> Iterator[tuple[str, list[bytes], bool]]:
    """Topic, what is said on it, and whether the broker keeps it."""
    for device in ("press", "mill", "saw"):
        yield f"hall/{device}/door", [b"open", b"closed", b"open", b"closed"], True
        yield f"hall/{device}/lamp", [b"ON", b"OFF", b"ON", b"OFF"], True
        yield f"air/room/{device}/temperature", [b"20.5", b"21.5", b"22.5", b"23.5"], True
        yield f"line/1/of/{device}/belt", [b"on", b"off", b"on", b"off"], False


def test_what_the_broker_keeps_of_states_is_their_state() -> None:
    """Not so of what is measured, and of what it does not keep."""
    traffic = Traffic()
    for topic, values, is_kept in _states():
        if is_kept:
            traffic.add(topic.encode(), values[-1], NOW_S * 10**9, is_retained=True)
        for at, value in enumerate(values):
            traffic.add(topic.encode(), value, (NOW_S + 60 * at) * 10**9)
    found = plan(traffic)
    retained = {
        each["topic"].split("/")[0]: each.get("retained") for each in _feeds(found).values()
    }

    assert retained == {"hall": "state", "air": None, "line": None}


def test_states_that_are_only_kept_are_told_as_well() -> None:
    """Nothing changed while it was listened."""
    traffic = Traffic()
    for device in ("press", "mill", "saw"):
        word = b"open" if device == "saw" else b"closed"
        traffic.add(f"hall/{device}/door".encode(), word, NOW_S * 10**9, is_retained=True)
    (feed,) = _feeds(plan(traffic)).values()

    assert feed["retained"] == "state"
    assert "period" not in feed
