"""Topics of feeds, and those that are passed over."""

from __future__ import annotations

import pytest

from connectors.formats.availability import AvailabilityTopics
from connectors.mqtt.config import MqttConfig
from connectors.sources.mqtt.retained import subscriptions
from headgate.config.feed import FeedConfig
from headgate.config.load import load_config
from headgate.config.overlap import topics_overlap
from headgate.config.schema import IngestConfig
from headgate.core.errors import ConfigError
from streams.ingest.topics import AVAILABILITY, FeedTopics


def _feed(topic: str) -> FeedConfig:
    return FeedConfig.model_validate({"topic": topic, "channels": {"x": {}}})


def test_a_name_of_several_levels_is_subscribed_to_with_all_of_them() -> None:
    """And placeholders before it are one level each."""
    feed = _feed("z/{line}/{device...}")
    assert feed.topic_filter == "z/+/#"
    assert feed.tag_names == ["line"]
    assert _feed("{device}/{rest...}").tag_names == ["rest"]


@pytest.mark.parametrize("topic", ["z/{device...}/x", "z/#/{device}", "{a...}/{device...}"])
def test_it_stands_at_the_end(topic: str) -> None:
    """MQTT has no filter for anything else."""
    with pytest.raises(ValueError, match="may stand only at the end"):
        _feed(topic)


def test_a_topic_of_availability_may_go_on_behind_it() -> None:
    """A device's own word stands below its name; all that is there is subscribed to, once."""
    feed = FeedConfig.model_validate(
        {
            "topic": "z/{device...}",
            "channels": {"x": {}},
            "availability": {"topic": ["z/{device...}/availability", "z/bridge/state"]},
        }
    )
    assert [each.filter for each in subscriptions({"f": feed})] == ["z/#"]
    topics = FeedTopics({"f": feed}, (), 10)
    assert topics.feed_of(b"z/hall/lamp/availability") == AVAILABILITY
    assert topics.feed_of(b"z/hall/lamp") == "f"
    said = AvailabilityTopics("f", feed, feed.availability, IngestConfig())  # type: ignore[arg-type]
    (word,) = said.read(b"z/hall/lamp/availability", b"offline", 1, 1)
    assert (word.device, word.state) == ("hall/lamp", "offline")


@pytest.mark.parametrize("topic", ["z/{a...}/{device...}", "z/#/{device}", "z/{device...}/#"])
def test_only_one_name_of_several_levels_can_be_told(topic: str) -> None:
    table = {"topic": "z/{a}/{device}", "channels": {"x": {}}, "availability": {"topic": topic}}
    with pytest.raises(ValueError, match="expected one name of several levels"):
        FeedConfig.model_validate(table)


@pytest.mark.parametrize(
    "topic",
    [
        *("z/{device..}", "z/{device....}", "z/a{device...}", "z/{device...}b"),
        *("z/{line}-{device}", "z/+{device}", "z/{device", "z/{}{device}"),
    ],
)
def test_a_level_has_one_placeholder(topic: str) -> None:
    """With two, nobody could say where one ends; names over several levels stand alone."""
    with pytest.raises(ValueError, match="expected one placeholder in a level"):
        _feed(topic)


def test_a_placeholder_may_have_text_around_it() -> None:
    """All of its level is subscribed to, for MQTT has no filter for less."""
    feed = _feed("z/{line}/dev-{device}.v1/x")
    assert feed.topic_filter == "z/+/+/x"
    assert feed.tag_names == ["line"]


@pytest.mark.parametrize(
    ("topic", "other", "is_both"),
    [
        ("z/dev-{device}", "z/gw-{device}", False),
        ("z/dev-{device}", "z/dev-a{device}", True),
        ("z/{device}-in", "z/{device}-out", False),
        ("z/dev-{device}", "z/{device}-in", True),
        ("z/dev-{device}", "z/{device}", True),
        ("z/dev-{device}", "z/dev-7/{device}", False),
        ("z/dev-{device}/a", "z/dev-7/{device}", True),
        ("z/dev-{device}/a", "z/gw-7/{device}", False),
        ("z/ab{device}ba", "z/aba/{device}", False),
        ("z/ab{device}ba/x", "z/aba/{device}", False),
        ("z/a{device}", "z/b{device}", False),
        ("z/{device}-a", "z/{device}-b", False),
        ("z/a{device}", "z/a{device}-b", True),
    ],
)
def test_levels_are_compared_with_the_text_in_them(topic: str, other: str, is_both: bool) -> None:
    """As messages are."""
    assert topics_overlap(topic, other) is topics_overlap(other, topic) is is_both


def test_feeds_that_could_claim_one_message_are_found(tmp_path: pytest.TempPathFactory) -> None:
    """A name of several levels goes over all that is below."""
    path = tmp_path / "headgate.toml"  # type: ignore[operator]
    path.write_text(
        "[local_store]\n"
        '[feed.a]\ntopic = "z/{line}/{device...}"\nchannels.x = {}\n'
        '[feed.b]\ntopic = "z/{device}/#"\nchannels.x = {}\n'
    )
    with pytest.raises(ConfigError, match=r"feed\.b\.topic: .* may match the same message"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "a#", "a/#/b", "a+/b", "#/a", "a\0"])
def test_what_is_no_filter_is_told(text: str) -> None:
    """With an example."""
    with pytest.raises(ValueError, match="expected an MQTT topic filter, such as"):
        MqttConfig.model_validate({"ignore": [text]})
    assert MqttConfig.model_validate({"ignore": ["#", "+/a/#", "/a//b"]}).ignore[2] == "/a//b"
