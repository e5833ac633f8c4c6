"""MQTT topics with placeholders, as the configuration has them."""

from __future__ import annotations

import re
from typing import Final

from headgate.config.tags import RESERVED_TAGS

#: ``{device}`` for a level of a topic, ``{device...}`` for all levels that are left.
PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\.\.\.)?\}")


def topic_filter(topic: str) -> str:
    """The MQTT topic filter of a topic; a placeholder within a level is all of it."""
    return "/".join(map(_level_filter, topic.split("/")))


def checked_topic(topic: str) -> str:
    """The topic.

    Raises:
        ValueError: It can be none, or its placeholders are not as they may be.
    """
    names = PLACEHOLDER.findall(topic)
    if len(set(names)) != len(names):
        raise ValueError("a placeholder may stand only once")
    if reserved := set(names).intersection(RESERVED_TAGS):
        raise ValueError(f"{{{min(reserved)}}} is a reserved name; choose another")
    for level in topic.split("/"):
        if "{" in level or "}" in level:
            if not _is_one_placeholder(level):
                raise ValueError(
                    "expected one placeholder in a level, such as {device} or dev-{device}, of "
                    f"letters, digits and _, got {level!r}"
                )
        elif ("+" in level or "#" in level) and level not in ("+", "#"):
            raise ValueError(f"a wildcard must be a whole level, got {level!r}")
    if "#" in topic_filter(topic)[:-1]:
        raise ValueError("'#' and names of several levels may stand only at the end")
    if topic.startswith(("$share/", "$queue/")):
        # Messages come without these levels, so none would be of the feed.
        raise ValueError(
            f"no message has a topic that begins with {topic.partition('/')[0]!r}; write the "
            "topic without that, and give mqtt.shared_group"
        )
    if not topic or "\x00" in topic or len(topic.encode()) > 65535:
        raise ValueError("expected an MQTT topic of 1 to 65535 bytes")
    return topic


def _level_filter(level: str) -> str:
    if PLACEHOLDER.search(level) is None:
        return level
    return "#" if level.endswith("...}") and level.startswith("{") else "+"


def _is_one_placeholder(level: str) -> bool:
    """Whether a level is a placeholder, or has one with text before or behind it."""
    if PLACEHOLDER.fullmatch(level):
        return True
    before, *rest = PLACEHOLDER.split(level)
    return len(rest) == 2 and "...}" not in level and not set(before + rest[1]) & set("{}+#")
