"""MQTT topics with placeholders, as the configuration has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from headgate.config.tags import RESERVED_TAGS

#: ``{device}`` for a level of a topic, ``{device...}`` for all levels that are left.
PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\.\.\.)?\}")


def topic_filter(topic: str) -> str:
    """The MQTT topic filter of a topic; a placeholder within a level is all of it.

    What stands behind a name of several levels the filter can't say: it has all below that.
    """
    levels = [_level_filter(level) for level in topic.split("/")]
    return "/".join(levels[: levels.index("#") + 1] if "#" in levels else levels)


def checked_topic(topic: str, *, ends_with_levels: bool = True) -> str:
    """The topic.

    Args:
        topic: As it is written.
        ends_with_levels: Whether nothing may stand behind a name of several levels.

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
    _check_levels(topic.split("/"), ends_with_levels=ends_with_levels)
    if topic.startswith(("$share/", "$queue/")):
        # Messages come without these levels, so none would be of the feed.
        raise ValueError(
            f"no message has a topic that begins with {topic.partition('/')[0]!r}; write the "
            "topic without that, and give mqtt.shared_group"
        )
    if not topic or "\x00" in topic or len(topic.encode()) > 65535:
        raise ValueError("expected an MQTT topic of 1 to 65535 bytes")
    return topic


def _check_levels(levels: Sequence[str], *, ends_with_levels: bool) -> None:
    """Refuse what stands for several levels where it may not."""
    many = [at for at, level in enumerate(levels) if _level_filter(level) == "#"]
    if ends_with_levels and any(at < len(levels) - 1 for at in many):
        raise ValueError("'#' and names of several levels may stand only at the end")
    if len(many) > 1 or "#" in levels[:-1]:
        raise ValueError(
            "expected one name of several levels, such as {device...}, and '#' only at the end"
        )


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
