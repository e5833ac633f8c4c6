"""Which topics a feed's pattern matches."""

from __future__ import annotations

from connectors.formats.topics import TopicPattern


def test_topic_patterns() -> None:
    """Placeholders are whole levels; wildcards match as MQTT has them."""
    pattern = TopicPattern("plant/{line}/+/{device}/#")

    assert pattern.match("plant/l1/x/p.1/a/b") == {"line": "l1", "device": "p.1"}
    assert pattern.match("plant/l1/p.1") is None
    assert TopicPattern("a.b/{device}").match("axb/p") is None
