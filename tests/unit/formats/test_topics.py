"""Which topics a feed's pattern matches."""

from __future__ import annotations

from connectors.formats.topics import IgnoredTopics, TopicPattern, TopicPatterns


def test_topic_patterns() -> None:
    """Placeholders are whole levels; wildcards match as MQTT has them."""
    pattern = TopicPattern("plant/{line}/+/{device}/#")

    assert pattern.match("plant/l1/x/p.1/a/b") == {"line": "l1", "device": "p.1"}
    assert pattern.match("plant/l1/p.1") is None
    assert TopicPattern("a.b/{device}").match("axb/p") is None


def test_the_first_of_several_patterns_that_matches_is_found() -> None:
    """Whatever stands in a placeholder, also bytes that are no text."""
    patterns = TopicPatterns(["plant/{line}/{device}", "plant/#", "+/{device}", "a.b/ü/{device}"])

    assert patterns.first(b"plant/1/p") == 0
    assert patterns.first(b"plant/1/p/x") == 1
    assert patterns.first(b"plant/1") == 1
    assert patterns.first(b"other/\xff\n") == 2
    assert patterns.first("a.b/ü/p".encode()) == 3
    assert patterns.first("axb/ü/p".encode()) is None
    assert patterns.first(b"plants") is None


def test_names_over_several_levels() -> None:
    """All that are left, of which there must be one."""
    pattern = TopicPattern("z/{line}/{device...}")
    assert pattern.match("z/a/hall/press 1") == {"line": "a", "device": "hall/press 1"}
    assert pattern.match("z/a/press") == {"line": "a", "device": "press"}
    assert pattern.match("z/a/") is None
    assert pattern.match("z/a") is None
    patterns = TopicPatterns(["z/{line}/{device...}", "y/{device}"])
    assert [patterns.first(each) for each in (b"z/a/b/c", b"y/b", b"y/b/c", b"z/a")] == [
        *(0, 1, None, None)
    ]


def test_placeholders_with_text_around_them() -> None:
    """The text must be there, and is no part of the name."""
    pattern = TopicPattern("z/{line}/dev-{device}.v1")
    assert pattern.match("z/a/dev-7.v1") == {"line": "a", "device": "7"}
    for topic in ("z/a/7.v1", "z/a/dev-7", "z/a/dev-7xv1", "z/a/dev-7/x.v1"):
        assert pattern.match(topic) is None, topic
    patterns = TopicPatterns(["z/gw-{device}", "z/dev-{device}"])
    assert [patterns.first(each) for each in (b"z/dev-1", b"z/gw-1", b"z/x-1")] == [1, 0, None]


def test_topics_to_be_ignored_are_mqtts_filters() -> None:
    """With the level above, without the broker's own topics, and whatever else is in them."""
    ignored = IgnoredTopics(["bridge/#", "+/+/availability", "{x/y", "a.b", "ü"])
    for topic in ("bridge", "bridge/", "bridge/a/b", "a//availability", "{x/y", "a.b", "ü"):
        assert topic.encode() in ignored, topic
    for topic in ("bridges", "a/bridge", "a/availability", "1/y", "axb", "$SYS/a/availability"):
        assert topic.encode() not in ignored, topic
    assert b"$SYS/a" not in IgnoredTopics(["#"])
    assert b"$SYS/a" in IgnoredTopics(["$SYS/#"])
    assert b"a/b\xff" in IgnoredTopics(["#"])
    assert b"" not in IgnoredTopics([])
