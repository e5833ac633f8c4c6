"""Tags that stand beside the payload, among the user properties of MQTT 5."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.formats.reader import FeedReader
from connectors.formats.topics import TaggedTopic
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.core.properties import Properties

_NOW_NS = 1_767_225_600 * 10**9
_README = Path(__file__).parents[3] / "connectors/formats/README.md"
_BATCH = {"batch": {"user_property": "batch"}}

#: A payload that is just as the feed says, and one that goes the careful way.
_PAYLOADS = (b'{"x": 1}', b'{"x": "1"}')


class _Reading:
    """What a feed makes of messages on one topic, each with user properties beside it."""

    def __init__(self, *user: tuple[tuple[bytes, bytes], ...], **feed: object) -> None:
        limits = IngestConfig(**feed.pop("limits", {}))  # type: ignore[arg-type]
        given = {"topic": "in/{device}", "channels": {"x": {}}, "tags": _BATCH, **feed}
        self.table = ChannelTable()
        self.reader = FeedReader("f", FeedConfig.model_validate(given), self.table, limits)
        said = {at: Properties(user=each) for at, each in enumerate(user) if each}
        count = len(user)
        payloads = [_PAYLOADS[at % 2] for at in range(count)]
        found = self.reader.read([b"in/a"] * count, payloads, np.full(count, _NOW_NS), None, said)
        self.refused = [(at, error.reason) for at, error in found.refused]
        self.batch: Batch = found.batch(self.table)
        self.tags = [dict(self.table.channels[row].tags) for row in found.channel]
        self.devices = len(self.table.devices)


def test_the_example_of_the_documentation_has_two_tags() -> None:
    """One is called otherwise than its property."""
    section = _README.read_text().split("## Tags that stand beside the payload\n")[1]
    (text,) = re.findall(r"```toml\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    feed = FeedConfig.model_validate(tomllib.loads(text)["feed"]["press"])
    table = ChannelTable()
    reader = FeedReader("press", feed, table, IngestConfig())
    said = Properties(b"", ((b"shift/operator", "Jörg".encode()), (b"batch", b"42")))
    found = reader.read([b"presses/p1"], [b'{"force": 5}'], np.array([_NOW_NS]), None, {0: said})

    assert not found.refused
    assert dict(table.channels[found.channel[0]].tags) == {"batch": "42", "operator": "Jörg"}


def test_each_message_has_the_tags_that_stand_beside_it() -> None:
    """Of one device, whose readings follow each other; what is not there, or empty, is no tag."""
    found = _Reading(
        ((b"batch", b"7"),),
        ((b"batch", b"7"),),
        (),
        ((b"Batch", b"8"),),
        ((b"batch", b" 8 "),),
        ((b"batch", b""), (b"other", b"9")),
        ((b"batch", b"\xff"),),
        ((b"batch", b"6"), (b"batch", b"9")),
    )

    assert not found.refused
    assert found.tags == [
        {"batch": "7"},
        {"batch": "7"},
        {},
        {},
        {"batch": "8"},
        {},
        {"batch": "\ufffd"},
        {"batch": "9"},
    ]
    assert found.devices == 1


def test_they_tell_devices_apart_where_identity_says_so() -> None:
    """Otherwise a new batch is the same device, but with ``other_tags``: there all tags tell."""
    user = [((b"batch", b"1"),), ((b"batch", b"2"),), ()]

    assert _Reading(*user).devices == 1
    assert _Reading(*user, identity=["batch"]).devices == 3
    assert _Reading(*user, other_tags="tags").devices == 3
    assert _Reading(*user, other_tags="tags", identity=[]).devices == 1


def test_they_stand_beside_all_other_tags() -> None:
    """Fixed ones, the topic's and the payload's; one user property may say two."""
    found = _Reading(
        ((b"b", b"7"),),
        ((b"b", b"8"),),
        topic="{line}/{device}",
        tags={
            "plant": "north",
            "batch": {"user_property": "b"},
            "again": {"user_property": "b"},
            "level": {"path": "x"},
        },
    )

    assert found.tags == [
        {"line": "in", "plant": "north", "batch": each, "again": each, "level": "1"}
        for each in ("7", "8")
    ]


@pytest.mark.parametrize("first", [0, 1])
def test_they_are_bounded_as_others_are(first: int) -> None:
    """In how long they are and how many there are, in both ways of decoding."""
    before: list[tuple[tuple[bytes, bytes], ...]] = [()] * first
    long = _Reading(*before, ((b"batch", b"x" * 257),), ((b"batch", b"x" * 65_535),))
    fits = _Reading(*before, ((b"batch", "é".encode() * 256),))
    user = [*before, *(((b"batch", b"%d" % at),) for at in range(4))]
    many = _Reading(*user, limits={"max_tag_values": 2})

    assert long.refused == [(first, "name_too_long"), (first + 1, "name_too_long")]
    assert not fits.refused
    assert [reason for _, reason in many.refused] == ["too_many_tag_values"] * 2
    assert many.reader.tag_values == 2


def test_made_up_values_leave_nothing_behind() -> None:
    """What is refused is not remembered, and what is remembered is bounded."""
    user = [((b"batch", b"%d" % at),) for at in range(500)]
    found = _Reading(*user, limits={"max_tag_values": 5, "max_devices": 10})
    devices = found.reader._decoders[0]._devices

    assert len(found.refused) == 495
    assert len(devices._topics) <= 20
    assert len(devices._place_of_topic) <= 20
    assert len(found.reader._tagged_topics) <= 20


def test_a_topic_with_tags_is_another_topic() -> None:
    """To whoever remembers topics, and to nobody else."""
    one, same = (TaggedTopic.of(b"in/a", (("batch", "7"),)) for _ in range(2))
    other = TaggedTopic.of(b"in/a", (("batch", "8"),))

    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same, other, b"in/a"}) == 3
    plain = b"in/a"
    assert one != plain
    assert plain != one
    assert one.decode() == "in/a"


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"b": {"user_property": "b", "path": "b"}}, "path and user_property: give one of them"),
        ({"b": {"user_property": "b", "value": "b"}}, "value and user_property: give one of them"),
        ({"b": {"user_property": ""}}, "user_property: expected a name of 1 to 256 characters"),
        ({"b": 5}, 'beside it: { user_property = "site" }'),
        ({"device": {"user_property": "b"}}, "is a reserved name"),
    ],
)
def test_what_is_none_is_refused(tags: dict[str, object], problem: str) -> None:
    """With what is expected."""
    with pytest.raises(ValidationError, match=re.escape(problem)):
        FeedConfig.model_validate({"topic": "{device}", "channels": {"x": {}}, "tags": tags})


def test_no_member_of_other_tags_is_one_of_them() -> None:
    """Whether it stands beside the message or not."""
    feed = FeedConfig.model_validate(
        {"topic": "{device}", "channels": {"x": {}}, "tags": _BATCH, "other_tags": "tags"}
    )
    reader = FeedReader("f", feed, ChannelTable(), IngestConfig())
    found = reader.read([b"a"], [b'{"x": 1, "tags": {"batch": "9"}}'], np.array([_NOW_NS]))

    assert [error.reason for _, error in found.refused] == ["bad_tag"]
