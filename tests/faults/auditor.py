"""Settles the account after a run: what was sent against what arrived, and against quarantine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.faults.plant import Expected, Identity, Ledger
from tests.faults.sinks import SinkTally
from tests.faults.states import parted, state_problem
from tests.faults.store import Store, fields_of_line, identity_of_line

#: How far scores may be off: a model gives the last bits differently for another batch size.
_SCORE_TOLERANCE = 1e-4


@dataclass
class Account:
    """What became of everything that was sent.

    Attributes:
        messages: Messages the broker acknowledged.
        readings: Readings in them.
        aggregated: Readings in the aggregate points at the store.
        quarantined: Readings in quarantine, by reason; duplicates are not in it, because their
            originals are in a point.
        lost: Readings that are nowhere.
        duplicated: Readings that a point counts twice, points that nobody expects, and points
            that were overwritten with something else.
        problems: One line for each thing that is wrong.
        points: Points that arrived as expected.
        anomalies: Anomalies among them.
        rewritten: Times that a point was written again with the same content.
        sinks: What became of the points in the log at each sink, by its name.
    """

    messages: int = 0
    readings: int = 0
    aggregated: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicated: int = 0
    problems: list[str] = field(default_factory=list)
    points: int = 0
    anomalies: int = 0
    rewritten: int = 0
    sinks: dict[str, SinkTally] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether everything is where it belongs, once, and nothing waits for any sink."""
        return not (
            self.lost
            or self.duplicated
            or self.problems
            or any(tally.lost or tally.waiting for tally in self.sinks.values())
        )

    @property
    def lost_at(self) -> dict[str, int]:
        """Points that were lost at each sink."""
        return {sink: tally.lost for sink, tally in self.sinks.items()}

    def __str__(self) -> str:
        """Some lines for a person."""
        return (
            f"messages={self.messages} readings={self.readings} aggregated={self.aggregated} "
            f"quarantined={dict(self.quarantined)} lost={self.lost} "
            f"duplicated={self.duplicated} points={self.points} anomalies={self.anomalies} "
            f"rewritten={self.rewritten}\n"
            + "".join(f"{sink}: {tally}\n" for sink, tally in self.sinks.items())
            + "\n".join(
                [*self.problems[:20], *(p for t in self.sinks.values() for p in t.problems[:20])]
            )
        )


def settle(
    ledger: Ledger,
    expected: Expected,
    store: Store,
    *,
    quarantined: Mapping[str, int] | None = None,
    refused: Iterable[str] = (),
    extra: int = 0,
) -> Account:
    """Settle the account.

    Args:
        ledger: What was sent.
        expected: The points that must come out.
        store: What has come out.
        quarantined: Readings in quarantine by reason, when not every reading may be aggregated;
            then points may differ from those expected, and only the counts must agree.
        refused: Lines that the store refused for good and that are in quarantine.
        extra: Readings that were sent beside the ledger, and must be in quarantine.
    """
    account = Account(len(ledger), ledger.readings + extra)
    account.quarantined.update(quarantined or {})
    wanted = {_text(identity): line for identity, line in expected.points.items()}
    lines = dict(store.lines)
    lines.update((identity_of_line(line), line) for line in refused)
    lines, states = parted(lines)
    problem = state_problem(states, {})
    if problem:
        account.problems.append(problem)
    account.aggregated = sum(map(_count, lines.values()))
    missing = (
        account.readings - expected.open_readings - account.aggregated - account.quarantined.total()
    )
    account.lost, account.duplicated = max(0, missing), max(0, -missing)
    for identity in sorted(lines.keys() - wanted.keys()):
        account.duplicated += 1
        account.problems.append(f"nobody expects {lines[identity]}")
    if not quarantined:
        _compare(account, wanted, lines)
    _history(account, expected, store, exact=not quarantined)
    return account


def _compare(account: Account, wanted: Mapping[str, str], lines: Mapping[str, str]) -> None:
    for identity, line in wanted.items():
        found = lines.get(identity)
        if found is None:
            account.lost += 1
            account.problems.append(f"missing: {line}")
        elif not agree(found, line):
            account.problems.append(f"expected {line}\n     got {found}")
        else:
            account.points += 1
            account.anomalies += line.startswith("anomalies,")


def _history(account: Account, expected: Expected, store: Store, *, exact: bool) -> None:
    """What was written under an identity on the way."""
    revisions = {_text(identity): lines for identity, lines in expected.revisions.items()}
    # The store goes on writing; these are as they are now.
    for identity, counter in list(store.written.items()):
        account.rewritten += counter.total() - len(counter)
        if identity.startswith("device_state,"):
            if len(counter) > 1:
                account.problems.append(f"was said otherwise: {sorted(counter)}")
            continue
        allowed = revisions.get(identity, set())
        for line in tuple(counter) if exact else ():
            if not any(agree(line, each) for each in allowed):
                account.duplicated += 1
                account.problems.append(f"was written on the way: {line}")


def agree(found: str, wanted: str) -> bool:
    """Whether two lines say the same; scores need not agree to the last bit."""
    if found == wanted:
        return True
    if not wanted.startswith("anomalies,"):
        return False
    have, want = fields_of_line(found), fields_of_line(wanted)
    return have.keys() == want.keys() and all(_near(have[name], want[name]) for name in want)


def _near(found: str, wanted: str) -> bool:
    if found == wanted:
        return True
    try:
        return math.isclose(float(found), float(wanted), rel_tol=_SCORE_TOLERANCE, abs_tol=1e-6)
    except ValueError:
        return False


def _count(line: str) -> int:
    if line.startswith("anomalies,"):
        return 0
    return sum(
        int(value.removesuffix("i"))
        for name, value in fields_of_line(line).items()
        if name.endswith(("_n", "_flagged"))
    )


def _text(identity: Identity) -> str:
    measurement, tags, time_ns = identity
    head = ",".join([measurement, *(f"{name}={value}" for name, value in tags)])
    return f"{head} {time_ns}"
