"""``headgate check --connect``: ask the broker, the log and the sinks, and show what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.finding import Finding
    from headgate.config.schema import Config

#: Longest wait for messages, s: the command is for somebody who is looking at it.
MOST_WAIT_S = 3600.0

_WORDS = {"good": "good", "warning": "warning", "away": "AWAY", "wrong": "WRONG"}


def wait_s(text: str) -> float:
    """``--wait`` in seconds.

    Raises:
        ConfigError: It is no duration, or too long a one.
    """
    from headgate.core.clock import NS_PER_S
    from headgate.core.errors import ConfigError
    from headgate.core.units import parse_duration_ns

    try:
        seconds = parse_duration_ns(text) / NS_PER_S
    except ValueError as error:
        raise ConfigError(f"--wait: {error}") from error
    if seconds > MOST_WAIT_S:
        raise ConfigError(f'--wait: expected at most "1h", got "{text}"')
    return seconds


def ask(config: Config, seconds: float) -> tuple[list[Finding], bool]:
    """What everything that the configuration names says; and whether something is stuck."""
    from headgate.core.clock import SystemClock
    from headgate.core.logging import configure_logging
    from headgate.inspect.probe import probe

    # What client libraries say by the way is in the findings, in plain words.
    configure_logging("error", config.logging.format)
    return probe(config, SystemClock(), seconds)


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings, for programs."""
    return [
        {"about": each.about, "state": each.state, "text": each.text, **each.details}
        for each in findings
    ]


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings, a line each."""
    width = max((len(each.about) for each in findings), default=0)
    return [f"{_WORDS[each.state]:<7} {each.about:<{width}}  {each.text}" for each in findings]


def exit_code(findings: Sequence[Finding], *, is_strict: bool) -> int:
    """2 where somebody must mend something, 1 where something is away, else 0."""
    states = {each.state for each in findings}
    if "wrong" in states or (is_strict and "warning" in states):
        return 2
    return 1 if "away" in states else 0
