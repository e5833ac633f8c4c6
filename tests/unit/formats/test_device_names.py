"""What a device is called: parts of the topic, of the payload, or of both."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9


def _devices(messages: list[tuple[str, object]], **feed: object) -> tuple[list[str], list[str]]:
    """The devices that these messages make, and why others were refused."""
    table = ChannelTable()
    decoder = FeedDecoder(
        "f",
        FeedConfig.model_validate({"channels": {"x": {}}, **feed}),
        table,
        IngestConfig(max_devices=10),
    )
    decoded = decoder.decode(
        [topic.encode() for topic, _ in messages],
        [orjson.dumps(payload) for _, payload in messages],
        np.full(len(messages), _NOW_NS),
    )
    refused = [f"{error.reason}: {error.detail}" for _, error in decoded.refused]
    return [device.label for device in table.devices], refused


def test_a_name_may_be_made_of_placeholders() -> None:
    """Which stay tags; what is in the payload does not matter."""
    found, refused = _devices(
        [("hall/a b/p/1", {"x": 1}), ("hall//ü/1", {"x": 1}), ("hall/a b/p/1", {"x": 2})],
        topic="hall/{line}/{device}/{unit}",
        device="{line}/{device}",
    )

    assert found == ["a b/p line=a b unit=1", "/ü line= unit=1"]
    assert refused == []


def test_a_name_may_be_made_of_several_fields() -> None:
    """Numbers and texts alike; a part that is not there is named."""
    messages: list[tuple[str, object]] = [
        ("in", {"model": "Prologue-TH", "id": 5, "x": 1}),
        ("in", {"model": "Schrader", "id": 5, "x": 1}),
        ("in", {"model": "Smoke", "x": 1}),
        ("in", {"model": "Smoke", "id": [1], "x": 1}),
        ("in", {"model": "Schrader", "id": "5", "x": 1}),
    ]

    found, refused = _devices(messages, topic="in", device="{model}-{id}")
    assert found == ["Prologue-TH-5", "Schrader-5"]
    assert refused == [
        "bad_device: id: expected a device's name, got nothing",
        "bad_device: id: expected a device's name, got an array of 1",
    ]
    assert _devices(messages, topic="in", device=["model", "id"])[0] == [
        "Prologue-TH/5",
        "Schrader/5",
    ]


@pytest.mark.parametrize("records", [None, "all"])
def test_a_name_may_be_made_of_topic_and_payload(records: str | None) -> None:
    """A placeholder comes before a field of its name, and a path may lead out of the record."""
    payload: dict[str, object] = {"meta": {"serial": 7}, "line": "z", "x": 1}

    found, refused = _devices(
        [("hall/a", {**payload, "all": [{"x": 1}]})],
        topic="hall/{line}",
        device="{line}.{meta.serial}!",
        records=records,
    )

    assert found == ["a.7! line=a"]
    assert refused == []


@pytest.mark.parametrize("records", [None, "all"])
def test_two_devices_never_get_one_name(records: str | None) -> None:
    """Where parts that differ would make the same name the second is refused."""
    messages: list[tuple[str, object]] = [
        ("in", {"model": "A-1", "id": 2, "x": 1, "all": [{"x": 1}]}),
        ("in", {"model": "A", "id": "1-2", "x": 1, "all": [{"x": 1}]}),
        ("in", {"model": "A-1", "id": 2, "x": 1, "all": [{"x": 1}]}),
    ]

    found, refused = _devices(messages, topic="in", device="{model}-{id}", records=records)

    assert found == ["A-1-2"]
    (only,) = refused
    assert only.startswith("bad_device: 'A-1-2' is made of ('A-1', '2') already")


@pytest.mark.parametrize(
    ("feed", "first", "second"),
    [
        ({"topic": "in/{line}/{n}"}, ("in/A-1/2", {"x": 1}), ("in/A/1-2", {"x": 1})),
        ({"topic": "in/{line}"}, ("in/A-1", {"n": 2, "x": 1}), ("in/A", {"n": "1-2", "x": 1})),
    ],
)
def test_names_that_a_topic_is_part_of_are_of_one_device_each(
    feed: dict[str, str], first: tuple[str, object], second: tuple[str, object]
) -> None:
    """Where the tags do not tell the two apart; where they do both are taken."""
    name = {"device": "{line}-{n}", **feed}
    found, refused = _devices([first, second, first], identity=[], **name)
    assert found == ["A-1-2"]
    (only,) = refused
    assert only.startswith("bad_device: 'A-1-2' is made of ('A-1")

    found, refused = _devices([first, second, first], **name)
    assert len(found) == 2
    assert not refused


def test_devices_of_one_name_count_as_what_they_are() -> None:
    """Each line's is a further device, unless the name alone tells them apart."""
    messages: list[tuple[str, object]] = [(f"hall/{n}/p", {"x": 1}) for n in range(12)]

    found, refused = _devices(messages, topic="hall/{line}/{device}")
    assert len(found) == 10
    assert {each.split(":")[0] for each in refused} == {"too_many_devices"}
    assert _devices(messages, topic="hall/{line}/{device}", identity=[]) == (["p"], [])


def test_all_messages_may_be_of_one_device() -> None:
    """Where neither topic nor payload has a name; tags tell no others apart."""
    messages: list[tuple[str, object]] = [("boiler/a", {"x": 1}), ("boiler/b", [{"x": 2}])]
    name = {"device": {"value": "Boiler 7"}, "identity": [], "topic": "boiler/{part}"}

    assert _devices(messages, **name) == (["Boiler 7"], [])
    feed = FeedConfig.model_validate(
        {"topic": "t", "device": {"value": "b"}, "channels": {"x": {}}}
    )
    assert feed.topic_filter == "t"
    assert feed.device_name.paths == []


@pytest.mark.parametrize(
    "feed",
    [{"topic": "t/{device}"}, {"topic": "t/{device...}"}, {"topic": "t", "records": "{device}"}],
)
def test_a_name_that_is_said_twice_is_a_mistake(feed: dict[str, object]) -> None:
    """One would count for nothing, and nobody could tell which."""
    given = {"device": {"value": "boiler"}, "channels": {"x": {}}, **feed}
    with pytest.raises(ValueError, match=r"whatever \{device\} is; put \+ in its place"):
        FeedConfig.model_validate(given)


@pytest.mark.parametrize("device", [{}, {"value": ""}, {"value": 7}, {"name": "x"}, 7, []])
def test_a_name_that_is_none_is_a_mistake(device: object) -> None:
    """Of any kind."""
    with pytest.raises(ValueError, match="device"):
        FeedConfig.model_validate({"topic": "t", "device": device, "channels": {"x": {}}})
