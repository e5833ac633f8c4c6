"""Stories in which everything goes wrong, and what would be noticed if it were.

Four hundred here; ``make test-all`` plays many times as many.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.log import TopicPartition
from headgate.testing.memory_log import MemoryStore
from streams.ingest.lane import IngestLane
from streams.process.events import Event
from streams.process.worker import Worker
from tests.accounts import NoteAccount, Tally
from tests.simulation.__main__ import try_to_play
from tests.simulation.story import play

_SEEDS = int(os.environ.get("HEADGATE_SEEDS", "400"))


@pytest.mark.timeout(1500)
def test_whatever_goes_wrong_every_reading_is_accounted_for_once(note_account: NoteAccount) -> None:
    """``python -m tests.simulation --seed N`` gives a run again."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", str(_SEEDS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[:4000] + run.stderr[-4000:]
    tally = Tally.parse(run.stdout.splitlines()[-1])
    note_account(tally)

    assert tally.seeds == _SEEDS
    assert tally.kills > _SEEDS


def test_a_seed_gives_the_same_run_again() -> None:
    """To the last message."""
    assert [play(seed) for seed in range(20, 40)] == [play(seed) for seed in range(20, 40)]


def _acknowledge_at_once(self: Worker, events: Sequence[Event]) -> None:
    for event in events:
        event.ack()


#: What of the gateway is replaced, and by what, so that it breaks a promise.
_REPLACED: dict[str, tuple[str, object]] = {
    "does not know what it has in hand": (
        "headgate.core.in_flight.RecordsInFlight.take",
        lambda *_arguments: None,
    ),
    "counts again what is retained": (
        "connectors.sources.mqtt.retained.RetainedMessages.sift",
        lambda _self, received: received,
    ),
    "forgets over a restart what was retained": (
        "connectors.sources.mqtt.retained.RetainedMessages._note",
        lambda _self, _digests: None,
    ),
    "drops what it refuses": (
        "streams.ingest.refusals.Refusals.refuse",
        lambda *_arguments: None,
    ),
    "gives what waited the time at which it came": (
        "connectors.formats.arrivals.ArrivalTimes.settle",
        lambda _self, decoded, *_arguments: decoded,
    ),
    "takes devices of one name in two lines for one": (
        "headgate.config.schema.Config.identities",
        {"press": (), "bench": ()},
    ),
}


@pytest.fixture
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A gateway that breaks a promise."""
    word: str = request.param
    if word == "acknowledges before the snapshot":
        due = Worker._due

        def acknowledging(self: Worker, events: Sequence[Event]) -> list[Event]:
            found = due(self, events)
            _acknowledge_at_once(self, found)
            return found

        monkeypatch.setattr(Worker, "_due", acknowledging)
    elif word == "applies again what a snapshot holds":
        monkeypatch.setattr(
            "streams.process.recovery.StateKeeper.without_applied", lambda _self, batch: batch
        )
    elif word == "acknowledges before the append":
        append = IngestLane._append

        async def append_later(self: IngestLane, records: Any) -> None:  # noqa: ANN401
            for intake in self.intakes:
                intake.source._connection._broker.in_flight.clear()  # type: ignore[attr-defined]
            await append(self, records)

        monkeypatch.setattr(IngestLane, "_append", append_later)
    elif word == "lets age delete what no sink has had":
        expire = MemoryStore.expire

        def asking_nobody(self: MemoryStore, at: TopicPartition, now_ms: int) -> None:
            if "readings" not in at.topic and self.specs[at.topic].readers:
                self.specs[at.topic] = replace(self.specs[at.topic], readers=())
            expire(self, at, now_ms)

        monkeypatch.setattr(MemoryStore, "expire", asking_nobody)
    else:
        monkeypatch.setattr(*_REPLACED[word])
    return word


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "broken",
    [
        "acknowledges before the snapshot",
        "applies again what a snapshot holds",
        "acknowledges before the append",
        "lets age delete what no sink has had",
        *_REPLACED,
    ],
    indirect=True,
)
def test_a_gateway_that_breaks_a_promise_is_found_out(broken: str) -> None:
    """A simulation that notices nothing of this would prove nothing."""
    # One that is found out is enough: it takes its whole patience.
    assert any(isinstance(result, str) for result in map(try_to_play, range(200))), broken
