"""A plan as a configuration: TOML with comments, for people to go on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.formats.topics import TopicPattern
from headgate.config.chosen import TYPE
from headgate.config.preset import Preset, presets
from headgate.core.text import printable
from headgate.discover.feeds import Proposed
from headgate.discover.plan import Plan, Share
from headgate.discover.toml import toml_key, toml_value

#: Reasons that are told of one feed, and kinds of topics that are passed over.
_TOLD = 3
_TOLD_PASSED = 40

#: Keys of a feed in the order they stand in.
_ORDER = (
    "topic", "format", "content_types", "retained", "records", "pairs", "arrays", "quality",
    "device", "time", "availability", "period", "aggregates",
)  # fmt: skip


def configuration(plan: Plan, mqtt: Mapping[str, Any], heard: str) -> str:
    """The file.

    Args:
        plan: What was recognized.
        mqtt: The broker: the keys of ``[mqtt]``.
        heard: Where and for how long was listened, for people.
    """
    lines = _lines(plan, mqtt, heard)
    return "".join(f"{printable(line) if line.startswith('#') else line}\n" for line in lines)


def summary(plan: Plan) -> str:
    """How much of what was heard is decoded, for people."""
    passed = sum(each.messages for each in plan.passed)
    rest = f", {passed:,} passed over" if passed else ""
    unkept = f", {plan.unkept:,} beyond what is kept" if plan.unkept else ""
    return (
        f"{plan.heard:,} messages heard{rest}{unkept}; of the others "
        f"{100 * plan.part:.1f} % are decoded by {len(plan.feeds)} feeds"
    )


def share_text(share: Share) -> str:
    """What a feed makes of its messages, for people."""
    return (
        f"{share.devices:,} devices; decodes {100 * share.part:.1f} % of {round(share.heard):,} "
        "messages"
    )


def _lines(plan: Plan, mqtt: Mapping[str, Any], heard: str) -> Iterator[str]:
    yield f"# Written by `headgate discover`: {heard}."
    yield f"# {summary(plan)}."
    yield "# Look through it, name what you want, take out what you don't, then: headgate check"
    yield ""
    yield "[mqtt]"
    for key, value in mqtt.items():
        yield f"{key} = {toml_value(value)}"
    if plan.ignore:
        yield "# What feeds below would get and is no measurement."
        yield "ignore = ["
        for each in plan.ignore:
            yield f"  {toml_value(each)},"
        yield "]"
    yield ""
    yield "[sink.local_store]"
    yield 'type = "local_store"'
    for name, proposed in plan.feeds.items():
        yield ""
        yield from _feed(name, proposed, plan.shares.get(name, Share()))
    if plan.passed:
        yield ""
        yield "# Passed over:"
        most = sorted(plan.passed, key=lambda passed: (-passed.messages, passed.example))
        for passed in most[:_TOLD_PASSED]:
            yield f"# {passed.example} ({passed.messages:,}): {passed.why}"
    for why, count in plan.lost.most_common():
        yield f"# {count:,} messages: {why}"


def _feed(name: str, proposed: Proposed, share: Share) -> Iterator[str]:
    yield f"# {share_text(share)}, such as {proposed.example}"
    for why, _ in share.why.most_common(_TOLD):
        yield f"# refused: {why}"
    for comment in proposed.comments:
        yield f"# {comment}"
    for each in _presets_of(proposed):
        yield f'# preset = "{each.name}" reads such topics in a line: {each.about}'
    yield f"[feed.{toml_key(name)}]"
    for key in _ORDER:
        if key in proposed.table:
            yield f"{key} = {toml_value(proposed.table[key])}"
    yield ""
    yield f"[feed.{toml_key(name)}.channels]"
    for channel, table in proposed.table["channels"].items():
        note = proposed.notes.get(channel, "")
        yield f"{toml_key(channel)} = {toml_value(table)}{f'  # {printable(note)}' if note else ''}"


def _presets_of(proposed: Proposed) -> Iterator[Preset]:
    """Presets that a feed's topics and format are those of."""
    form = _format_of(proposed.table)
    for each in presets().values():
        topic = each.feed["topic"]
        # What begins with any name is everybody's.
        is_own = not topic.startswith("{") and _format_of(each.feed) == form
        if is_own and TopicPattern(topic).match(proposed.example) is not None:
            yield each


def _format_of(feed: Mapping[str, Any]) -> str:
    """The name of a feed's format."""
    given = feed.get("format", "json")
    return str(given[TYPE] if isinstance(given, Mapping) else given)
