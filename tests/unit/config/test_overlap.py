"""Which of several feeds takes a topic, and what is subscribed to for all of them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.topics import FeedPatterns, IgnoredTopics, TopicPattern
from connectors.sources.mqtt.retained import subscriptions
from headgate.config.feed import FeedConfig
from headgate.config.overlap import are_tied, most_specific_first, rank, topics_overlap, united

_LEVELS = st.sampled_from(["a", "b", "a1", "+", "{device}", "a{device}", "{device}1"])
_TOPICS = st.lists(_LEVELS, min_size=1, max_size=4).map("/".join)
_FILTERS = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(st.sampled_from(["a", "b", "+", "$S"]), min_size=1, max_size=3),
    st.sampled_from([[], ["#"]]),
)
_NAMES = st.lists(st.sampled_from(["a", "b", "a1", "b1", "$S", ""]), min_size=1, max_size=4)


def _feed(topic: str, **more: object) -> FeedConfig:
    return FeedConfig.model_validate({"topic": topic, "channels": {"x": {}}, **more})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("plant/pump1/data", "plant/#"),
        ("x/status", "{device}/+"),
        ("plant/pump1/+", "plant/+/data"),
        ("plant/dev-{device}", "plant/{device}"),
        ("plant/dev-a{device}", "plant/dev-{device}"),
        ("plant/{device}/+", "plant/{device...}"),
        ("plant/{device}", "plant/{device}/#"),
        ("$SYS/{device}", "{device...}"),
    ],
)
def test_the_more_specific_topic_comes_first(first: str, second: str) -> None:
    assert topics_overlap(first, second)
    assert most_specific_first({"b": second, "a": first}) == ["a", "b"]
    assert not are_tied(first, second)


@pytest.mark.parametrize(
    ("topic", "other", "is_tie"),
    [
        ("p/{device}/+", "p/+/{device}", True),
        ("p/{device...}", "p/#", True),
        ("p/a-{device}", "p/{device}-b", True),
        ("p/a-{device}", "p/b-{device}", False),
        ("p/{device}/a", "p/+/b", False),
    ],
)
def test_only_topics_that_are_alike_are_tied(topic: str, other: str, is_tie: bool) -> None:
    assert are_tied(topic, other) is are_tied(other, topic) is is_tie


@given(_TOPICS, _TOPICS, st.lists(_NAMES, min_size=1, max_size=30))
def test_a_topic_that_another_one_covers_comes_first(
    topic: str, other: str, names: list[list[str]]
) -> None:
    """Whatever is matched by the lesser one is matched by both, or else they only cross."""
    mine, others = TopicPattern(_once(topic)), TopicPattern(_once(other))
    of_one = {"/".join(name) for name in names if mine.match("/".join(name)) is not None}
    of_other = {"/".join(name) for name in names if others.match("/".join(name)) is not None}
    if of_one & of_other:
        assert topics_overlap(topic, other)
    if rank(topic) == rank(other) and of_one & of_other:
        assert are_tied(topic, other)


def _once(topic: str) -> str:
    """The topic with each placeholder under a name of its own."""
    for number in range(topic.count("{device}")):
        topic = topic.replace("{device}", f"{{d{number}}}", 1)
    return topic


@given(st.lists(_FILTERS, min_size=1, max_size=5), _NAMES)
def test_what_is_subscribed_to_has_all_and_meets_nothing_twice(
    filters: list[str], name: list[str]
) -> None:
    """And what is wanted by nothing else stays as it is."""
    found = united(dict.fromkeys(filters, None))
    topic = "/".join(name).encode()
    of_found = [each for each in found if topic in IgnoredTopics([each])]
    assert len(of_found) == 1 or not any(topic in IgnoredTopics([each]) for each in filters)
    assert sum(map(len, found.values())) == len(set(filters))
    for each, other in combinations(found, 2):
        assert not (topic in IgnoredTopics([each]) and topic in IgnoredTopics([other]))


def test_filters_that_cross_become_one_that_has_both() -> None:
    """And those that are apart stay so, $SYS beside all the rest too."""
    filters = ["p/+/data", "p/pump1/+", "$SYS/a", "#", "q/x"]
    assert set(united(dict.fromkeys(filters[:3], None))) == {"p/+/+", "$SYS/a"}
    assert set(united(dict.fromkeys(filters, None))) == {"#", "$SYS/a"}
    assert set(united({"a/#": 1, "a": 2, "a/b/c": 3})) == {"a/#"}


def test_a_subscription_is_what_any_of_its_feeds_wants() -> None:
    """The better quality of service; retained messages, where one of them takes them."""
    feeds = {
        "all": _feed("p/#", device="id", qos=0, retained="ignore"),
        "one": _feed("p/{device}/x", qos=2, retained="reading"),
        "other": _feed("q/{device}", availability={"topic": "q/{device}/there"}),
    }
    found = {each.filter: each for each in subscriptions(feeds)}
    assert found.keys() == {"p/#", "q/+", "q/+/there"}
    assert (found["p/#"].qos, found["p/#"].retain_handling) == (2, 0)
    assert found["p/#"].parts == ("p/#", "p/+/x")


def test_what_a_feed_passes_over_the_next_one_takes() -> None:
    """Where none is left it is passed over, by the one that would have had it."""
    feeds = {
        "all": _feed("p/#", device="id", ignore=["p/none/#"]),
        "some": _feed("p/{device}/#", ignore=["p/none/#", "p/+/x"]),
    }
    patterns = FeedPatterns(feeds, ["p/off"])
    assert patterns.order == ["some", "all"]
    assert patterns.whose(b"p/a/b") == ("some", None, "some")
    assert patterns.whose(b"p/a/x") == ("all", None, "some")
    assert patterns.whose(b"p/none/x") == (None, "some", "some")
    assert patterns.whose(b"p/off") == (None, "", "some")
    assert patterns.whose(b"q") == (None, None, None)
