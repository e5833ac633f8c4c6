"""MQTT topics with wildcards and placeholders, and topic filters: what they are made of."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from headgate.config.tags import RESERVED_TAGS

#: ``{device}`` for a level of a topic, ``{device...}`` for all levels that are left.
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\.\.\.)?\}")


class Level(NamedTuple):
    """A level of a topic with wildcards and placeholders, or of a topic filter.

    Attributes:
        before: Its text; of one with a placeholder what stands before that.
        wild: What stands for any text, as topic filters have it: ``+`` in a level, ``#`` for all
            levels that are left; empty where nothing does.
        name: The placeholder's; empty for a wildcard.
        behind: What stands behind the placeholder.
    """

    before: str = ""
    wild: str = ""
    name: str = ""
    behind: str = ""

    @property
    def is_part(self) -> bool:
        """Whether it has a placeholder with text around it, such as ``dev-{device}``."""
        return bool(self.name and self.before + self.behind)


def levels_of(topic: str) -> list[Level]:
    """The levels of a topic with wildcards and placeholders, checked or not."""
    return list(map(_level, topic.split("/")))


def filter_levels(text: str) -> list[Level]:
    """The levels of an MQTT topic filter: braces are text in it."""
    return [Level(wild=each) if each in ("+", "#") else Level(each) for each in text.split("/")]


def names_of(topic: str) -> list[str]:
    """The placeholders of a topic, in its order."""
    return _PLACEHOLDER.findall(topic)


def topic_filter(topic: str) -> str:
    """The MQTT topic filter of a topic; a placeholder within a level is all of it.

    What stands behind a name of several levels the filter can't say: it has all below that.
    """
    levels = [level.wild or level.before for level in levels_of(topic)]
    return "/".join(levels[: levels.index("#") + 1] if "#" in levels else levels)


def checked_filter(text: str) -> str:
    """The MQTT topic filter; raises ValueError when it is none."""
    levels = filter_levels(text)
    is_odd = any({*level.before} & {*"+#"} for level in levels)
    if is_odd or Level(wild="#") in levels[:-1] or not _has_length(text):
        raise ValueError('expected an MQTT topic filter, such as "bridge/#" or "+/availability"')
    return text


def checked_topic(topic: str, *, ends_with_levels: bool = True) -> str:
    """The topic.

    Args:
        topic: As it is written.
        ends_with_levels: Whether nothing may stand behind a name of several levels.

    Raises:
        ValueError: It can be none, or its placeholders are not as they may be.
    """
    names, levels = names_of(topic), levels_of(topic)
    if len(set(names)) != len(names):
        raise ValueError("a placeholder may stand only once")
    if reserved := set(names).intersection(RESERVED_TAGS):
        raise ValueError(f"{{{min(reserved)}}} is a reserved name; choose another")
    for text, level in zip(topic.split("/"), levels, strict=True):
        _check_level(text, level)
    many = [at for at, level in enumerate(levels) if level.wild == "#"]
    if ends_with_levels and any(at < len(levels) - 1 for at in many):
        raise ValueError("'#' and names of several levels may stand only at the end")
    if len(many) > 1 or Level(wild="#") in levels[:-1]:
        raise ValueError(
            "expected one name of several levels, such as {device...}, and '#' only at the end"
        )
    if topic.startswith(("$share/", "$queue/")):
        # Messages come without these levels, so none would be of the feed.
        raise ValueError(
            f"no message has a topic that begins with {topic.partition('/')[0]!r}; write the "
            "topic without that, and give mqtt.shared_group"
        )
    if not _has_length(topic):
        raise ValueError("expected an MQTT topic of 1 to 65535 bytes")
    return topic


def _check_level(text: str, level: Level) -> None:
    is_odd = bool({*level.before, *level.behind} & {*"{}+#"})
    is_odd |= level.is_part and level.wild == "#"
    if is_odd and ("{" in text or "}" in text):
        raise ValueError(
            "expected one placeholder in a level, such as {device} or dev-{device}, of "
            f"letters, digits and _, got {text!r}"
        )
    if is_odd:
        raise ValueError(f"a wildcard must be a whole level, got {text!r}")


def _level(text: str) -> Level:
    if text in ("+", "#"):
        return Level(wild=text)
    found = _PLACEHOLDER.search(text)
    if found is None:
        return Level(text)
    wild = "#" if found[0].endswith("...}") else "+"
    return Level(text[: found.start()], wild, found[1], text[found.end() :])


def _has_length(text: str) -> bool:
    """Whether MQTT can carry a topic, or a topic filter."""
    return bool(text) and "\x00" not in text and len(text.encode()) <= 65535
