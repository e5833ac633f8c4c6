"""Of what a sink or an action chooses, what can never come, as far as the configuration tells.

Each answer is a key of its table and what is wrong, with what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from headgate.core.results import severity_rank

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig
    from headgate.config.rule import RuleConfig
    from headgate.config.schema import Config
    from headgate.config.told import ChoiceConfig

#: What stands for other letters in a pattern.
_WILD: Final = re.compile(r"\*|\?|\[.+?\]")


def _says_texts(feed: FeedConfig) -> bool:
    others = feed.other_channels
    return any(each.is_text for each in (*feed.channels.values(), *([others] if others else [])))


#: By kind of finding that is of no rule: whether a feed's devices have it; what a feed has then;
#: what to do.
_OF_FEEDS: Final[Mapping[str, tuple[Callable[[FeedConfig], bool], str, str]]] = {
    "anomalies": (lambda feed: bool(feed.models), "has models", "give one models"),
    "sensor_health": (
        lambda feed: feed.sensor_health,
        "has its sensors looked at",
        "take sensor_health = false out of one",
    ),
    "device_state": (
        lambda feed: feed.device_state,
        "has it looked at whether devices are away",
        "take device_state = false out of one",
    ),
    "channel_state": (
        _says_texts,
        "has channels that say texts",
        'give one a channel of type = "text"',
    ),
}

#: Kinds that are of rules, and those that have a severity.
_RULED: Final = frozenset({"alarms", "commands"})
_SEVERE: Final = frozenset({"alarms", "anomalies", "commands"})


def out_of_reach(choice: ChoiceConfig, config: Config) -> Iterator[tuple[str, str]]:
    """What of a choice is for nothing that could come: keys, and what is wrong with each.

    Args:
        choice: What is of interest.
        config: The whole configuration, which fits together.
    """
    there = [config.feed[name] for name in _named(config.feed, choice.feeds)]
    if "alarms" in choice.of:
        yield from _rules_without_alarms(choice, config)
    if "commands" in choice.of and all(each.dry_run for each in config.action.values()):
        what = (
            "all actions of this file are dry runs" if config.action else "this file has no action"
        )
        yield "of", f'{what}, so no command ever fails; leave "commands" out, or send some'
    for kind in choice.of:
        if kind in _OF_FEEDS:
            has, what, remedy = _OF_FEEDS[kind]
            if not any(map(has, there)):
                yield (
                    "of",
                    (
                        f'no feed that it is for {what}, so none of "{kind}" ever comes; '
                        f"{remedy}, or leave it out here"
                    ),
                )
    yield from _feeds_without_any(choice, config)
    yield from _without_effect(choice)


def may_meet(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some name could be of both of two lists of patterns."""
    return any(_may_meet(mine, others) for mine in one for others in other)


def _may_meet(one: str, other: str) -> bool:
    if not _WILD.search(one):
        return fnmatchcase(one, other)
    if not _WILD.search(other):
        return fnmatchcase(other, one)
    # Of two patterns it is told by what they begin and end with only.
    mine, others = _WILD.split(one), _WILD.split(other)
    begins = mine[0].startswith(others[0]) or others[0].startswith(mine[0])
    return begins and (mine[-1].endswith(others[-1]) or others[-1].endswith(mine[-1]))


def _named(names: Mapping[str, object], patterns: Sequence[str]) -> list[str]:
    return [each for each in names if any(fnmatchcase(each, pattern) for pattern in patterns)]


def _rules_without_alarms(choice: ChoiceConfig, config: Config) -> Iterator[tuple[str, str]]:
    if not config.rule:
        key = "rules" if "rules" in choice.model_fields_set else "of"
        yield key, "this file has no rule, so no alarm ever comes; add a [rule.NAME]"
        return
    feeds = _named(config.feed, choice.feeds)
    for pattern in choice.rules:
        names = _named(config.rule, [pattern])
        found = [_no_alarm(config.rule[name], choice, feeds) for name in names]
        if all(found) and found:
            # What is furthest from being told: of others there is one that is nearer.
            key = max((each for each in found if each is not None), key=[*_WHY].index)
            shown = ", ".join(names[:3]) + (" and others" if names[3:] else "")
            what, remedy = _WHY[key]
            its = "its rule" if not names[1:] else "none of its rules"
            is_none = bool(names[1:])
            value = f' "{getattr(choice, key)}"' if key == "severity" else ""
            said = what[is_none].format(value=value)
            yield key, f"{its} ({shown}) {said}, so no alarm of it ever comes; {remedy}"


#: Why alarms of rules don't come, by key, in the order in which these are looked at: of one rule,
#: and of several; and what to do.
_WHY: Final[Mapping[str, tuple[tuple[str, str], str]]] = {
    "rules": (
        ("is switched off", "is switched on"),
        "take enabled = false out of it, or name others",
    ),
    "feeds": (
        ("is for none of these feeds", "is for any of these feeds"),
        "name the feeds of its rules, or leave feeds out",
    ),
    "devices": (
        ("is for none of these devices", "is for any of these devices"),
        "name devices of its rules, or leave devices out",
    ),
    "severity": (
        ("is not as severe as{value}", "is as severe as{value}"),
        "make it less, or the rules more",
    ),
}


def _no_alarm(rule: RuleConfig, choice: ChoiceConfig, feeds: Sequence[str]) -> str | None:
    """The key for which no alarm of a rule comes; None where some may."""
    if not rule.enabled:
        return "rules"
    if not {*rule.feed} & {*feeds}:
        return "feeds"
    if not may_meet(rule.devices, choice.devices):
        return "devices"
    # That of a model's anomaly may be any.
    is_any = rule.model is not None and rule.severity is None
    is_less = severity_rank(rule.given_severity) < severity_rank(choice.severity)
    return "severity" if is_less and not is_any else None


def _feeds_without_any(choice: ChoiceConfig, config: Config) -> Iterator[tuple[str, str]]:
    """Feeds that are named, and of which nothing comes, while of others something does."""
    ruled = {feed for name in _named(config.rule, choice.rules) for feed in config.rule[name].feed}
    commanded = {name for each in config.action.values() for name in each.feeds_in(config)}
    of_rules = {"alarms": ruled, "commands": commanded}
    every = {
        name
        for name, feed in config.feed.items()
        if any(
            _OF_FEEDS[kind][0](feed) if kind in _OF_FEEDS else name in of_rules[kind]
            for kind in choice.of
        )
    }
    if not every & {*_named(config.feed, choice.feeds)}:
        return  # that is told of the rules, or of what it is for
    for pattern in choice.feeds:
        if not every & {*_named(config.feed, [pattern])}:
            yield (
                "feeds",
                (
                    f'"{pattern}": nothing that it is for ever comes of such a feed; leave it '
                    "out, or name the rules that are for it"
                ),
            )


def _without_effect(choice: ChoiceConfig) -> Iterator[tuple[str, str]]:
    given = choice.model_fields_set
    kinds = " and ".join(f'"{each}"' for each in choice.of)
    if "rules" in given and not _RULED & {*choice.of}:
        yield (
            "rules",
            (
                f'only alarms are of rules, and it is for {kinds}; put "alarms" into of, or leave '
                "rules out"
            ),
        )
    if "severity" in given and not _SEVERE & {*choice.of}:
        yield (
            "severity",
            f"it is for {kinds}, which have no severity, so all of them are chosen; leave it out",
        )
