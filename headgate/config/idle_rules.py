"""Rules that will never open an alarm, as far as that can be told from the configuration.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.derived import usual_age_ns
from headgate.config.named import tables_of
from headgate.config.problems import shown_key
from headgate.config.reach import may_meet
from headgate.config.rule import RuleConfig
from headgate.config.schedule import has_time, looked_at, meet, stretches_of
from headgate.config.schema import Config
from headgate.config.told import oddly_named
from headgate.core.expressions.nodes import Node
from headgate.core.expressions.parse import parse
from headgate.core.expressions.possible import can_fail, can_hold
from headgate.core.iso import iso_text
from headgate.core.units import format_duration


def idle_rules(config: Config) -> Iterator[str]:
    """What of rules never happens, a line each."""
    yield from _empty_schedules(config)
    for name, rule in config.rule.items():
        if not rule.enabled:
            continue
        for key, what in (
            *_never_looked_at(name, rule, config),
            *_odd_names(rule),
            *_idle_silencers(name, rule, config),
            *_of_condition(rule, config),
        ):
            yield f"{shown_key(('rule', name, key))}: {what}"


def bygone(config: Config, now_ns: int) -> Iterator[str]:
    """Rules and sinks whose schedules have no time left, a line each.

    Args:
        config: The configuration.
        now_ns: The time, ns since 1970 UTC.
    """
    for key, table in tables_of(config):
        during, but = getattr(table, "during", ()), getattr(table, "except_", None)
        if not during or but is None:
            continue
        times = looked_at(during, but, config.schedule)
        if times is not None and has_time(times) and not has_time(times, now_ns):
            yield (
                f"{shown_key((*key, 'during'))}: the last time of its schedules was over at "
                f"{iso_text(int(times.edges[-1]))}; give them a later one, or leave it out"
            )


def _empty_schedules(config: Config) -> Iterator[str]:
    for name, schedule in config.schedule.items():
        if has_time(stretches_of(name, config.schedule)):
            continue
        if has_time(schedule.own):
            yield (
                f"{shown_key(('schedule', name, 'except'))}: it leaves no time of this schedule; "
                "leave one out"
            )
        else:
            yield (
                f"{shown_key(('schedule', name, 'dates'))}: no date of these is on such a day, so "
                "this schedule has no time; correct dates or days"
            )


def _never_looked_at(name: str, rule: RuleConfig, config: Config) -> Iterator[tuple[str, str]]:
    times = config.looked_at.get(name)
    if times is None:
        return
    if not has_time(times):
        key = "during" if rule.during else "except"
        yield (
            key,
            "its schedules leave no time at which it is looked at; leave one of them out",
        )
        return
    begins, ends = times.parts
    longest_ns = int((ends - begins).max())
    if rule.for_ >= longest_ns:
        yield (
            "for",
            (
                f"its schedules have {format_duration(longest_ns)} without a break at most, and it "
                f"begins anew with each, so nothing ever holds for {format_duration(rule.for_)}; "
                "make it shorter"
            ),
        )


def _odd_names(rule: RuleConfig) -> Iterator[tuple[str, str]]:
    yield from (("devices", what) for each in rule.devices if (what := oddly_named(each)))


def _idle_silencers(name: str, rule: RuleConfig, config: Config) -> Iterator[tuple[str, str]]:
    """Rules that it is suppressed by, and never can be."""
    for other in rule.suppressed_by:
        silencer = config.rule[other]
        mine, its = config.looked_at.get(name), config.looked_at.get(other)
        why = ""
        if not silencer.enabled:
            why = "is switched off"
        elif not may_meet(rule.devices, silencer.devices):
            why = "is for other devices"
        elif mine is not None and its is not None and not meet(mine, its):
            why = "is looked at when this rule is not"
        if why:
            yield (
                "suppressed_by",
                (
                    f'rule "{other}" {why}, so it suppresses nothing here; leave it out, or change '
                    "that rule"
                ),
            )


def _of_condition(rule: RuleConfig, config: Config) -> Iterator[tuple[str, str]]:
    if rule.when is None:
        return
    when = parse(rule.when)
    missing = _asked_whether_missing(when)
    if missing == set(rule.names):
        yield (
            "when",
            (
                f"it is looked at when {', '.join(sorted(missing))} has a reading, and then it is "
                "not missing; name a channel, too, that comes when this one does not"
            ),
        )
    if not can_hold(when):
        yield "when", "no values make it hold, so it never opens an alarm; correct it"
    elif not can_fail(when):
        yield "when", "all values make it hold, so it says nothing; correct it"
    elif rule.clear is not None and not can_hold(parse(rule.clear), Node("not", (when,))):
        yield (
            "clear",
            "no values make it hold where when does not, so an alarm is never over; correct it",
        )
    for feed in rule.feed:
        yield from _too_young(rule, feed, config)


def _asked_whether_missing(node: Node) -> set[str]:
    """Channels of which it is asked whether they are missing."""
    return {name for part in node.walk() if part.op == "isnan" for name in part.names}


def _too_young(rule: RuleConfig, feed: str, config: Config) -> Iterator[tuple[str, str]]:
    """Where a channel's value counts no longer than until the device sends again."""
    period = config.feed[feed].period
    lasts_ns = rule.lasts_ns(usual_age_ns(config.feed[feed]))
    needs = max(rule.for_, rule.clear_for)
    if needs > lasts_ns < period:
        yield (
            "max_age",
            (
                f"a value counts for {format_duration(lasts_ns)}, and feed.{feed} has a reading "
                f"every {format_duration(period)}, so nothing ever holds for "
                f"{format_duration(needs)}; make it longer, or leave it out"
            ),
        )
