"""Tags that are fixed, or that stand in the payload, and whose device a reading is by them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.unit.formats.decoding import Decoding

_FEED = {
    "tags": {"plant": "north-7", "site": {}, "fw": {"path": "meta.fw"}},
    "channels": {"temp": {}},
}


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("record", "tags"),
    [
        ({"site": "north", "meta": {"fw": "1.2"}}, {"site": "north", "fw": "1.2"}),
        ({"site": " north ", "meta": {"fw": ""}}, {"site": "north"}),
        ({"site": 7, "meta": {}}, {"site": "7"}),
        ({"site": None, "meta": {"fw": 1.5}}, {"fw": "1.5"}),
        ({"site": True, "meta": {"fw": 2.0}}, {"site": "true", "fw": "2"}),
        ({}, {}),
    ],
)
def test_fields_and_fixed_texts_are_tags(
    record: dict[str, object], tags: dict[str, str], is_typed: bool
) -> None:
    """Texts, numbers and truth values; what is not there is no tag."""
    found = Decoding({**record, "temp": 25}, is_typed=is_typed, **_FEED)
    assert not found.refused
    assert dict(found.tags[0]) == {"plant": "north-7", **tags}
    assert found.labels == ["a"]


@pytest.mark.parametrize("is_typed", [True, False])
def test_they_tell_no_devices_apart_unless_asked_to(is_typed: bool) -> None:
    """A device that gets new firmware is the same device."""
    content = [{"site": site, "temp": 1} for site in ("north", "south")]
    assert Decoding(content, is_typed=is_typed, **_FEED).labels == ["a"]
    found = Decoding(content, is_typed=is_typed, identity=["site"], **_FEED)
    assert found.labels == ["a site=north", "a site=south"]


def test_placeholders_go_on_telling_devices_apart() -> None:
    """Whatever other tags there are."""
    feed = {"topic": "{line}/{device}", "channels": {"x": {}}}
    assert FeedConfig.model_validate(feed).telling is None
    assert FeedConfig.model_validate({**feed, "tags": {"plant": "north"}}).telling == ("line",)
    assert FeedConfig.model_validate({**feed, "tags": {"p": {}}, "identity": ["p"]}).telling == (
        "p",
    )


_OTHERS = {"other_tags": "meta.tags", "tags": {"disk": {"path": "meta.tags.device"}}}


def test_tags_need_not_be_listed() -> None:
    """Each tells devices apart, also those that are listed; what is no text is written as one."""
    some = [{"device": "sda", "slot": 7, "on": True, "none": None}, {"device": "sda", "slot": 8}]
    content = [{"meta": {"tags": tags}, "temp": 1} for tags in some]

    found = Decoding(content, channels={"temp": {}}, **_OTHERS)

    assert not found.refused
    assert found.labels == ["a disk=sda on=true slot=7", "a disk=sda slot=8"]


def test_they_may_stand_around_and_be_none() -> None:
    content = {
        "meta": {"tags": {"site": "north"}},
        "d": [{"temp": 1}, {"meta": {"tags": {}}, "temp": 2}, {"meta": {"tags": None}, "temp": 3}],
    }
    found = Decoding(content, records="d", channels={"temp": {}}, **_OTHERS)
    assert found.labels == ["a site=north", "a"]


def test_of_those_that_are_not_listed_some_may_tell_devices_apart() -> None:
    content = [{"meta": {"tags": {"site": "n", "fw": fw}}, "temp": 1} for fw in ("1", "2")]
    found = Decoding(content, channels={"temp": {}}, identity=["site"], **_OTHERS)
    assert found.labels == ["a site=n"]
    assert [dict(tags)["fw"] for tags in found.tags] == ["1", "2"]


def test_part_of_the_name_is_no_tag_and_tags_are_no_channels() -> None:
    feed = {"topic": "in/+", "device": "tags.host", "other_tags": "tags", "other_channels": True}
    found = Decoding({"tags": {"host": "h", "slot": 7}, "x": 1}, **feed)
    assert [reading[:2] for reading in found.readings] == [("h", "x")]
    assert found.labels == ["h slot=7"]


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["a"], "meta.tags: expected an object, got an array"),
        (
            {"gateway": "x"},
            'meta.tags.gateway: another tag is called so; tags.NAME = { path = "meta',
        ),
        ({"disk": "x"}, "meta.tags.disk: another tag is called so"),
        ({"": "x"}, "meta.tags: expected a tag's name, got ''"),
        ({"k" * 257: "x"}, "meta.tags: expected a tag's name"),
        ({"site": {"a": 1}}, "site: expected a text or number, got an object"),
        ({f"t{number}": 1 for number in range(65)}, "meta.tags: 65 tags; 64 are the most"),
    ],
)
def test_what_can_be_none_of_them_is_refused(tags: object, told: str) -> None:
    """With what to do where something can be done."""
    content = [{"meta": {"tags": tags}, "temp": 1}, {"temp": 2}]
    found = Decoding(content, channels={"temp": {}}, **_OTHERS)
    assert [value for *_, value in found.readings] == [2]
    (refused,) = found.refused
    assert refused.startswith("bad_tag: 1 of 2 records; the first, number 1: ")
    assert told in refused


def test_their_names_are_bounded() -> None:
    """Those that are known go on; what is forgotten makes room."""
    feed = FeedConfig.model_validate(
        {"topic": "t", "device": "d", "channels": {"x": {}}, **_OTHERS}
    )
    channels = ChannelTable()
    decoder = FeedDecoder("f", feed, channels, IngestConfig())

    def refused(number: int) -> list[str]:
        tags = {f"t{number}-{each}": "v" for each in range(50)}
        payload = json.dumps({"d": "a", "meta": {"tags": tags}, "x": 1}).encode()
        found = decoder.decode([b"t"], [payload], np.zeros(1, np.int64))
        return [str(error) for _, error in found.refused]

    assert not any(refused(number) for number in range(20))
    assert refused(20) == ["too_many_tag_values: 't20-0': 1000 tags are known"]
    assert decoder.is_full
    assert not refused(7)
    remaining = channels.only(np.arange(len(channels)) >= 10)
    decoder.keep(remaining)
    assert not refused(20)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"format": "senml"}, "other_tags: in senml no object has tags; leave it out"),
        ({"availability": {"topic": "up/{device}"}}, "availability: with other_tags a topic does"),
    ],
)
def test_where_they_can_not_be_they_are_a_mistake(keys: dict[str, object], problem: str) -> None:
    feed = {"topic": "t/{device}", "channels": {"x": {}}, "other_tags": "tags", **keys}
    with pytest.raises(ValueError, match=problem):
        FeedConfig.model_validate(feed)


def test_they_may_stand_around_the_records() -> None:
    """At any level, the nearest counts."""
    content = {"site": "north", "d": [{"s": [{"temp": 1}]}, {"site": "west", "s": [{"temp": 2}]}]}
    found = Decoding(content, records="d.s", **_FEED)
    assert [dict(tags)["site"] for tags in found.tags] == ["north", "west"]


def _refusals(payloads: Sequence[object], limits: IngestConfig, *, is_typed: bool) -> list[str]:
    feed = FeedConfig.model_validate({"topic": "in/{device}", **_FEED})
    decoder = FeedDecoder("f", feed, ChannelTable(), limits, takes_fast_way=is_typed)
    raw = [json.dumps(payload).encode() for payload in payloads]
    found = decoder.decode([b"in/a"] * len(raw), raw, np.zeros(len(raw), np.int64))
    return [str(error) for _, error in found.refused]


@pytest.mark.parametrize("is_typed", [True, False])
def test_their_values_are_bounded(is_typed: bool) -> None:
    """In number and length, and none is an object."""
    limits = IngestConfig(max_tag_values=2)
    payloads = [{"site": site, "temp": 1} for site in ("a", "b", "c", "a", {"x": 1}, "s" * 300)]
    many, kind, length = _refusals(payloads, limits, is_typed=is_typed)
    assert many == "too_many_tag_values: site: ingest.max_tag_values is 2"
    assert kind == "bad_tag: site: expected a text or number, got an object of 1"
    assert length.startswith("name_too_long: tag site")


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"gateway": "x"}, "tags.gateway: is a reserved name"),
        ({"device": {}}, "tags.device: is a reserved name"),
        ({"line": {}}, "the placeholder {line} is this tag already"),
        ({"x": {"value": "a", "path": "b"}}, "give one of them"),
        ({"x": 7}, 'expected a text, such as "north"'),
        ({"x": ""}, "1 to 256 characters"),
    ],
)
def test_tags_are_checked(tags: dict[str, object], problem: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match=problem):
        FeedConfig.model_validate({"topic": "{line}/{device}", "channels": {"x": {}}, "tags": tags})


def test_a_name_in_the_payload_takes_the_place_of_that_in_the_topic() -> None:
    """What the configuration says of the device's name is meant."""
    found = Decoding({"id": "p07", "temp": 1}, device="id", channels={"temp": {}})
    assert found.labels == ["p07"]
    assert found.tags == [()]
