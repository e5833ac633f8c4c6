"""What the tests put the gateway through, and what it lost: a table and a line at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

#: How the name of a sink's count begins.
_LOST_AT = "lost_at_"


@dataclass
class Tally:
    """What one run was put through, and what came of it.

    Attributes:
        kills: Processes that were killed.
        seeds: Runs that a seed decided.
        messages: Messages in the ledger.
        lost: Readings and points that are missing.
        duplicated: What is there twice, or unexpectedly.
        lost_at: Points of the log that are missing at a sink, by its name, of each one that was
            held to account.
    """

    kills: int = 0
    seeds: int = 0
    messages: int = 0
    lost: int = 0
    duplicated: int = 0
    lost_at: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.kills + other.kills,
            self.seeds + other.seeds,
            self.messages + other.messages,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            {
                sink: self.lost_at.get(sink, 0) + other.lost_at.get(sink, 0)
                for sink in sorted({*self.lost_at, *other.lost_at})
            },
        )

    def __str__(self) -> str:
        """The line that a run ends with."""
        return (
            f"kills={self.kills} seeds={self.seeds} messages={self.messages} "
            f"lost={self.lost} duplicated={self.duplicated}"
            + "".join(f" {_LOST_AT}{sink}={lost}" for sink, lost in self.lost_at.items())
        )

    @classmethod
    def parse(cls, line: str) -> Tally:
        """From such a line."""
        given = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
        lost_at = {
            name.removeprefix(_LOST_AT): given.pop(name)
            for name in list(given)
            if name.startswith(_LOST_AT)
        }
        return cls(**given, lost_at=lost_at)


#: Notes what became of a run.
NoteAccount = Callable[[Tally], None]

#: The property of a test's report, which reaches the process that prints from any other.
_ACCOUNT = "account"


@pytest.fixture
def note_account(request: pytest.FixtureRequest) -> NoteAccount:
    """Takes what became of a test's run into the table at the end."""

    def note(tally: Tally) -> None:
        request.node.user_properties.append((_ACCOUNT, str(tally)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each account."""
    accounts = _accounts(terminalreporter)
    if accounts:
        terminalreporter.section("accounts after faults")
    for node, tally in accounts.items():
        terminalreporter.line(f"{node}  {tally}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line: all accounts together."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    accounts = _accounts(reporter)
    if accounts:
        reporter.line(str(sum(accounts.values(), Tally())))


def _accounts(reporter: pytest.TerminalReporter) -> dict[str, Tally]:
    """By the test's name."""
    return {
        report.nodeid: Tally.parse(value)
        for reports in reporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == _ACCOUNT
    }
