"""``[actions]`` and ``[action.NAME]``: commands that alarms and anomalies give to devices.

What of an action can be told from its table alone is checked there. Which topics it may publish to,
and what its texts may name, can be told only beside the rest of the file (``unusable``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headgate.config.named_text import TextPart, filled, text_parts
from headgate.config.overlap import covers, topics_overlap
from headgate.config.table import Table
from headgate.config.told import AtMostConfig, ChoiceConfig, States, is_one_of
from headgate.config.topics import Level, filter_levels, levels_of
from headgate.config.values import Flag, Int, SourceName, TopicFilter, entries_of
from headgate.core.clock import NS_PER_S
from headgate.core.text import printable
from headgate.core.units import DurationNs, parse_duration_ns

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig
    from headgate.config.schema import Config

#: What the place where all of them are carried out is called, among the sinks.
ACTIONS: Final = "actions"

#: Of one file.
MAX_ACTIONS: Final = 100

#: What topics and payloads may name, besides the tags of devices.
NAMES: Final = (
    "action", "id", "gateway", "feed", "device", "rule", "model", "channel", "severity", "state",
)  # fmt: skip

#: And what payloads may name besides these.
PAYLOAD_NAMES: Final = (*NAMES, "text", "start", "time", "expires")

#: Of these what not all that it may be for has, and what to do where that is so.
_NOT_OF_ALL: Final = {
    "rule": 'say of = "alarms"',
    "model": 'say of = "anomalies"',
    "channel": "name rules with sensors",
}

#: Characters of a payload in the file, and how many tables and lists may stand in one another.
_MAX_PAYLOAD: Final = 10_000
_MAX_DEPTH: Final = 8

#: More commands a second than this are asked for by nobody in his right mind.
_MOST_A_SECOND: Final = 10

_LONGEST: Final = parse_duration_ns("10m")


def _is_payload(value: object) -> object:
    if value is not None and not isinstance(value, str | dict):
        raise ValueError('expected a text, or a table such as { stop = true, id = "{id}" }')
    return value


class ActionsConfig(Table):
    """``[actions]``: what holds for all actions."""

    #: Topic filters. A command goes to no topic that none of them has.
    topics: Annotated[tuple[TopicFilter, ...], BeforeValidator(entries_of)] = ()

    def allows(self, topic: str) -> bool:
        """Whether a command may go to this topic."""
        levels = [Level(each) for each in topic.split("/")]
        return any(covers(filter_levels(each), levels) for each in self.topics)

    def allows_some(self, topic: str) -> bool:
        """Whether one may go to some topic of this text, with names in braces."""
        wanted = _topic_like(topic)
        return any(topics_overlap(wanted, each) for each in self.topics)


class ActionConfig(ChoiceConfig):
    """``[action.NAME]``: which alarms, and the command that each gives to a device."""

    of: Annotated[
        tuple[Literal["alarms", "anomalies"], ...],
        BeforeValidator(entries_of),
        Field(min_length=1),
    ] = ("alarms",)
    states: States = ("open",)
    #: Where it goes to, with names in braces.
    topic: Annotated[str, Field(min_length=1, max_length=1000)]
    #: What is sent, with names in braces: a text, or a table that becomes a JSON object. None: a
    #: JSON object that says all that is known.
    payload: Annotated[str | dict[str, Any] | None, BeforeValidator(_is_payload)] = None
    qos: Annotated[Int, Field(ge=0, le=2)] = 1
    retain: Flag = False
    #: Whose broker it goes to. None: that of the first source of type "mqtt" in the file.
    source: SourceName | None = None
    #: Where the device answers, with names in braces. None: it does not.
    answer: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    #: How long it may take for that.
    timeout: DurationNs = parse_duration_ns("10s")
    #: What is older, or further ahead of the gateway's clock, is commanded nothing.
    max_age: DurationNs = parse_duration_ns("30s")
    #: More commands than that are not sent.
    at_most: AtMostConfig = AtMostConfig.model_validate({"count": 10, "span": "1m"})
    #: Nothing is sent, and it is told what would have been.
    dry_run: Flag = True

    @field_validator("topic", "answer")
    @classmethod
    def _is_topic(cls, text: str | None) -> str | None:
        if text is not None:
            _check_topic(text)
        return text

    @field_validator("payload")
    @classmethod
    def _can_be_filled(cls, payload: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        if isinstance(payload, dict):
            _check_json(payload)
        elif payload is not None:
            if not 1 <= len(payload) <= _MAX_PAYLOAD:
                raise ValueError(f"expected 1 to {_MAX_PAYLOAD:,} characters")
            _check_text(payload)
        return payload

    @field_validator("timeout", "max_age")
    @classmethod
    def _is_short(cls, span: int) -> int:
        if not NS_PER_S // 10 <= span <= _LONGEST:
            raise ValueError('expected "100ms" to "10m"')
        return span

    @field_validator("at_most")
    @classmethod
    def _is_few(cls, limit: AtMostConfig) -> AtMostConfig:
        if limit.count * NS_PER_S > _MOST_A_SECOND * limit.span:
            raise ValueError(f"expected {_MOST_A_SECOND} a second at most, over the whole span")
        return limit

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = self.model_fields_set
        if "alarms" in self.of and "rules" not in given:
            raise ValueError(
                'rules: missing; expected the rules whose alarms command it, such as ["overheated"]'
                ', or ["*"] for all'
            )
        if "alarms" not in self.of and "rules" in given:
            raise ValueError('rules: expected none beside of = ["anomalies"], which have no rule')
        if self.answer is None and "timeout" in given:
            raise ValueError("timeout: expected answer beside it, which it is waited for")
        if self.answer is not None and _topic_like(self.answer) == _topic_like(self.topic):
            raise ValueError("answer: expected another topic than the command's own")
        return self

    @cached_property
    def is_json(self) -> bool:
        """Whether what is sent is JSON."""
        if not isinstance(self.payload, str):
            return True
        return _is_json(text_parts(self.payload, "", ""))

    @cached_property
    def carries_id(self) -> bool:
        """Whether what is sent has the command's id in it."""
        return self.payload is None or "id" in self.payload_names

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the payload."""
        return _texts(self.payload)

    @cached_property
    def payload_names(self) -> frozenset[str]:
        """What the payload names."""
        return frozenset(part.name for text in self.texts for part in _parts(text) if part.name)

    @cached_property
    def topic_names(self) -> frozenset[str]:
        """What the topics of commands and answers name."""
        texts = (self.topic, *_texts(self.answer))
        return frozenset(part.name for text in texts for part in _parts(text) if part.name)

    def filled_topic(self, text: str, values: Mapping[str, str]) -> str:
        """A topic with these values put in.

        Raises:
            ValueError: It is none that may be published to, in a sentence.
        """
        return filled(_parts(text), values, _level)

    def filled_payload(self, values: Mapping[str, str]) -> str:
        """What is sent, unless it is all that is known; each value stays a value.

        Raises:
            ValueError: With these values it can't be made, in a sentence.
        """
        if isinstance(self.payload, str):
            written = _in_json if self.is_json else printable
            return filled(_parts(self.payload), values, written)
        return json.dumps(_filled_json(self.payload, values), ensure_ascii=False)

    def source_in(self, config: Config) -> str | None:
        """The source whose broker it goes to; None where there is none of type "mqtt"."""
        return next(
            (
                name
                for name, chosen in config.source.items()
                if chosen.name == "mqtt" and self.source in (None, name)
            ),
            None,
        )

    def feeds_in(self, config: Config) -> dict[str, FeedConfig]:
        """By name, the feeds whose devices it may command."""
        there = {name: feed for name, feed in config.feed.items() if is_one_of(name, self.feeds)}
        ruled = {feed for _, rule in self.rules_in(config) for feed in rule.feed}
        is_modelled = "anomalies" in self.of
        return {
            name: feed
            for name, feed in there.items()
            if name in ruled or (is_modelled and feed.models)
        }

    def rules_in(self, config: Config) -> list[tuple[str, Any]]:
        """The rules whose alarms it is for."""
        rules = config.rule.items() if "alarms" in self.of else ()
        return [
            (name, rule)
            for name, rule in rules
            if any(fnmatchcase(name, pattern) for pattern in self.rules)
        ]

    def unusable(self, config: Config) -> Iterator[tuple[str, str]]:
        found = list(super().unusable(config))
        yield from found
        source = self.source_in(config)
        if source is None:
            yield "source", 'expected a source of type "mqtt", whose broker commands go to'
            return
        if found:
            return  # what it is for is not known
        yield from self._names_nobody_knows(config)
        if not config.actions.allows_some(self.topic):
            allowed = ", ".join(config.actions.topics) or "none"
            what = f'[actions] topics allow none of "{self.topic}"; they are: {allowed}'
            yield "topic", f"{what}; put the topics that commands may go to there"
        if feed := reader_of(self.topic, source, config):
            yield "topic", _read_by(feed, "reads", config)
        for name, other in config.action.items():
            if self.answer and other.source_in(config) == source and self._hears(other):
                yield (
                    "answer",
                    (
                        f"expected a topic that no command goes to, found one of action.{name}, "
                        f'"{other.topic}"; take another one'
                    ),
                )
        # With an id no reading is taken for an answer.
        if self.answer and not self.carries_id and (feed := reader_of(self.answer, source, config)):
            what = "reads, since the payload has no {id} by which an answer is told from a reading"
            yield "answer", _read_by(feed, what, config)

    def _hears(self, other: ActionConfig) -> bool:
        """Whether another's command, or its own, may come where its answers are expected."""
        return topics_overlap(_topic_like(self.answer or ""), _topic_like(other.topic))

    def _names_nobody_knows(self, config: Config) -> Iterator[tuple[str, str]]:
        # Where nothing comes of any, names are checked all the same.
        feeds = self.feeds_in(config) or config.feed
        known = [tags_of(feed) for feed in feeds.values()]
        tags = None if None in known else [each for each in known if each is not None]
        texts = {"topic": (self.topic,), "answer": _texts(self.answer)}
        for key, found in (*texts.items(), ("payload", _texts(self.payload))):
            names = PAYLOAD_NAMES if key == "payload" else NAMES
            for name in dict.fromkeys(each.name for text in found for each in _parts(text)):
                if name and name not in names and tags is not None:
                    yield from ((key, what) for what in _unknown(name, names, tags))
                elif name in _NOT_OF_ALL and (what := self._missing(name, key, config)):
                    yield key, what

    def _missing(self, name: str, key: str, config: Config) -> str:
        """What has nothing to stand for this name; empty where that is no mistake."""
        have: dict[str, bool] = {
            f'alarms of rule "{rule}"': name == "rule"
            or (name == "channel" and bool(table.sensors))
            for rule, table in self.rules_in(config)
        }
        if "anomalies" in self.of:
            have["anomalies"] = name == "model"
        missing = [which for which, has in have.items() if not has]
        # In a payload it may be empty; a topic there is none without it.
        if not missing or (key == "payload" and len(missing) < len(have)):
            return ""
        which, only = ("some", "") if key == "payload" else ("each", " only")
        return (
            f'"{name}": expected a name that {which} of what it is for has, and {missing[0]} have '
            f"none; leave it out, or {_NOT_OF_ALL[name]}{only}"
        )


def reader_of(topic: str, source: str, config: Config) -> str | None:
    """A feed that would read what is published there; None where there is none."""
    wanted = _topic_like(topic)
    levels = levels_of(wanted)
    for name, feed in config.feeds_of(source).items():
        passed_over = (*config.sources[source].ignore, *feed.ignore)
        is_ignored = any(covers(filter_levels(each), levels) for each in passed_over)
        if topics_overlap(wanted, feed.topic) and not is_ignored:
            return name
    return None


def _read_by(feed: str, what: str, config: Config) -> str:
    return (
        f'expected a topic that no feed {what}, found one of feed.{feed}, "'
        f'{config.feed[feed].topic}"; put it into ignore there, or of the source'
    )


def topic_filter_of(topic: str) -> str:
    """The MQTT topic filter of a topic with names in braces."""
    return "/".join("+" if level.wild else level.before for level in levels_of(_topic_like(topic)))


def tags_of(feed: FeedConfig) -> frozenset[str] | None:
    """The tags that alarms of a feed's devices may have; None where that may be any."""
    if feed.other_tags is not None:
        return None
    telling = feed.telling
    of_payload = feed.tags if telling is None else telling
    return frozenset({*feed.tag_names, *feed.record_keys, *of_payload} - {"device"})


def _unknown(name: str, names: Sequence[str], tags: Sequence[Collection[str]]) -> Iterator[str]:
    """What is wrong with a name that is none of those that all have."""
    common = sorted(frozenset.intersection(*map(frozenset, tags))) if tags else []
    if name not in common:
        known = ", ".join([*names, *common])
        yield f'no "{printable(name[:40])}" to put in; there are {known}'


def _check_topic(text: str) -> None:
    parts = _parts(text)
    plain = "".join(part.plain for part in parts)
    if set(plain) & set("+#\0"):
        raise ValueError(
            'expected one topic, without "+" and "#": nobody can publish to several at once'
        )
    if not plain.isprintable():
        raise ValueError("expected printable characters: brokers refuse others in topics")
    if plain.startswith("$") and text.startswith("$"):
        raise ValueError('expected a topic that does not begin with "$", which are the broker\'s')


def _check_text(text: str) -> None:
    """Refuse a payload's text that is none, or that is to be JSON and is none."""
    parts = _parts(text)
    if _is_json(parts):
        try:
            json.loads(filled(parts, _Anything()))
        except ValueError as error:
            raise ValueError(
                f"expected JSON, as it begins like that: {error}; names stand in quotes, and "
                'braces that are meant are written twice: {{"device": "{device}"}}; or give a '
                "table: "
                '{ device = "{device}" }'
            ) from None


def _check_json(value: object, depth: int = 0) -> None:
    """Refuse what can't be sent as JSON, or nests without end."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"expected tables and lists {_MAX_DEPTH} deep at most")
    if isinstance(value, dict):
        for key, each in value.items():
            _parts(key)
            _check_json(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check_json(each, depth + 1)
    elif isinstance(value, str):
        _parts(value)
    elif not isinstance(value, bool | int | float) or not math.isfinite(value):
        raise ValueError(f"expected texts, numbers, true, false, lists and tables, got {value}")


class _Anything(dict[str, str]):
    """Has a harmless value for each name."""

    def __missing__(self, _name: str) -> str:
        return "a"


def _parts(text: str) -> tuple[TextPart, ...]:
    known = f"a tag of the feed's devices, or one of {', '.join(PAYLOAD_NAMES)}"
    parts = text_parts(text, known, "plant/{device}/set")
    for part in parts:
        if '"' in part.name:
            raise ValueError(
                "expected names in braces; braces that are meant are written twice: "
                '{{"device": "{device}"}}; or give a table: { device = "{device}" }'
            )
        if part.form:
            raise ValueError(f'expected no form behind "{part.name[:40]}", which is no number')
    return parts


def _is_json(parts: Sequence[TextPart]) -> bool:
    """Whether a payload of these parts is to be JSON: an object, a list or a text."""
    return filled(parts, _Anything()).lstrip().startswith(("{", "[", '"'))


def _texts(value: object) -> tuple[str, ...]:
    """All texts of a payload."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, dict):
        return tuple(text for key, each in value.items() for text in (key, *_texts(each)))
    inner = value if isinstance(value, list) else ()
    return tuple(text for each in inner for text in _texts(each))


def _filled_json(value: object, values: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return filled(_parts(value), values)
    if isinstance(value, dict):
        found = {filled(_parts(key), values): _filled_json(value[key], values) for key in value}
        if len(found) < len(value):
            raise ValueError("two keys of a table in its payload are the same with names put in")
        return found
    return [_filled_json(each, values) for each in value] if isinstance(value, list) else value


def _in_json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _level(value: str) -> str:
    """A value as it may stand in a level of a topic; raises ValueError where it can't."""
    if not value:
        raise ValueError("nothing stands there for a name in its topic")
    if not value.isprintable():
        raise ValueError(f'"{printable(value)}" has characters that brokers refuse in topics')
    if found := sorted(set(value) & set("/+#")):
        shown = " and ".join(f'"{printable(each)}"' for each in found)
        raise ValueError(f'"{printable(value)}" has {shown}, which would lead to other topics')
    return value


def _topic_like(text: str) -> str:
    """A topic with names in braces, with a placeholder in each level that has some."""
    levels: list[str] = [""]
    names = [0]
    for part in _parts(text):
        first, *rest = part.plain.split("/")
        levels[-1] += first
        levels += rest
        names += [0] * len(rest)
        if part.name:
            levels[-1] += "{x}"
            names[-1] += 1
    # Of a level with several it is told only that something stands there.
    return "/".join("+" if many > 1 else each for each, many in zip(levels, names, strict=True))
