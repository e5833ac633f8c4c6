"""Play stories: ``python -m tests.simulation [--seed N] [--seeds COUNT] [--first N]``."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter

import structlog

from tests.accounts import Tally
from tests.simulation.story import Outcome, play

#: After so many stories it is told how far it is.
_TOLD = 1000

#: Stories that a process is given at a time, and how often, before another one takes its place.
_CHUNK, _CHUNKS = 20, 5


def silence() -> None:
    """Say nothing of what the gateway has to say: things go wrong here all the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def play_all(first: int, count: int, processes: int) -> tuple[list[Outcome], list[str]]:
    """Play the stories of so many seeds; what they were like, and what failed."""
    context = multiprocessing.get_context("fork")
    outcomes, failures = [], []
    # What a killed gateway had open stays open until the process ends that it was played in.
    with context.Pool(processes, silence, maxtasksperchild=_CHUNKS) as pool:
        played = pool.imap_unordered(try_to_play, range(first, first + count), chunksize=_CHUNK)
        for number, result in enumerate(played, 1):
            if isinstance(result, Outcome):
                outcomes.append(result)
            else:
                failures.append(result)
                sys.stderr.write(f"{result}\n")
            if number % _TOLD == 0:
                sys.stderr.write(f"{number} of {count} played, {len(failures)} failed\n")
    return outcomes, failures


def try_to_play(seed: int) -> Outcome | str:
    """Play the story of a seed; what it was like, or what failed."""
    try:
        return play(seed)
    except Exception as error:  # noqa: BLE001  (whatever it is, the seed gives it again)
        return f"seed {seed}: {type(error).__name__}: {error}"


def main() -> None:
    """Run the command."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets is part of a story.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, help="play one story, with everything it says")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.seed is not None:
        sys.stdout.write(f"{play(args.seed)}\n")
        return
    started = time.perf_counter()
    outcomes, failures = play_all(args.first, args.seeds, args.processes)
    for failure in failures:
        sys.stdout.write(f"{failure}\n")
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
    sys.stdout.write(f"{dict(faults)} in {time.perf_counter() - started:.0f} s\n")
    tally = Tally(
        kills=sum(outcome.kills for outcome in outcomes),
        seeds=len(outcomes),
        messages=sum(outcome.messages for outcome in outcomes),
    )
    # A run that fails says itself what it lost or doubled.
    sys.stdout.write(f"{len(failures)} failed\n" if failures else f"{tally}\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
