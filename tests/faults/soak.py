"""Break the gateway for as long as you like: ``python -m tests.faults.soak --minutes 30``.

Faults of all kinds come at random moments, as the seed says, each kind once before any comes by
its weight; in between the plant publishes without a pause. The last line is the account. It always
ends, with a code: 0 settled, 1 not settled or something broke, 130 interrupted.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.faults.rig import LANES, Rig
from tests.faults.store import Mode
from tests.kafka.jars import fetch
from tests.kafka.server import KafkaServer
from tests.kafka.server import start as start_kafka
from tests.mosquitto import Mosquitto
from tests.processes import kill_below
from tests.victoria import Victoria

_MODES: tuple[Mode, ...] = ("slow", "reset", "silent", "429", "500", "503", "401", "413")

#: How often each kind of fault comes, among all.
_WEIGHTS = {"kill": 30, "kill all": 3, "stand still": 3, "store": 6, "broker": 2, "kafka": 2}

#: What is under way at the end comes through within this, and all parts start within that, s.
_SETTLE_S, _STARTING_S = 300, 240


class Soak:
    """A rig, and what happens to it.

    Args:
        rig: Started.
        kafka: The server, when the log is Kafka.
        longest_s: Longest that a fault lasts.
        patience_s: Longest that a recovery may take.
        only: Kinds of faults.
    """

    def __init__(
        self,
        rig: Rig,
        kafka: KafkaServer | None,
        longest_s: float,
        patience_s: float,
        only: Collection[str] = tuple(_WEIGHTS),
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._rig = rig
        self._kafka = kafka
        self._longest_s = longest_s
        self._patience_s = patience_s
        kinds: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "kill all": rig.kill_all,
            "stand still": self._stand_still,
            "store": self._store,
            "broker": self._broker,
            "kafka": self._kafka_away,
        }
        if kafka is None:
            del kinds["kafka"]
        self._kinds = {kind: fault for kind, fault in kinds.items() if kind in only}
        # The heaviest and rarest are to be seen in a short run too.
        self._first = rig.random.sample(list(self._kinds), len(self._kinds))

    @property
    def has_had_each(self) -> bool:
        """Whether every kind of fault has come."""
        return not self._first

    def step(self) -> None:
        """One fault, and the gateway's recovery from it."""
        draw = self._rig.random
        time.sleep(draw.uniform(0.1, 1.5))
        if self._first:
            kind = self._first.pop()
        else:
            (kind,) = draw.choices(list(self._kinds), [_WEIGHTS[each] for each in self._kinds])
        self.faults[kind] += 1
        self._kinds[kind]()
        elapsed_s = self._rig.recover(within_s=self._patience_s)
        if kind not in ("kill", "kill all"):
            # Only of kills it is said how soon the gateway is back.
            self._rig.recoveries_s.remove(elapsed_s)

    def _lasts_s(self) -> float:
        return self._rig.random.uniform(0.5, self._longest_s)

    def _kill(self) -> None:
        self._rig.kill(self._rig.random.choice(LANES))

    def _stand_still(self) -> None:
        lane = self._rig.random.choice(LANES)
        self._rig.signal(lane, signal.SIGSTOP)
        time.sleep(self._lasts_s())
        self._rig.signal(lane, signal.SIGCONT)

    def _store(self) -> None:
        if self._rig.random.random() < 0.3:
            self._rig.store.close()
            time.sleep(self._lasts_s())
            self._rig.store.open()
        else:
            self._rig.store.mode = self._rig.random.choice(_MODES)
            time.sleep(self._lasts_s())
            self._rig.store.mode = "ok"

    def _broker(self) -> None:
        self._rig.broker.stop()
        time.sleep(self._lasts_s())
        self._rig.broker.start()

    def _kafka_away(self) -> None:
        assert self._kafka is not None
        if self._rig.random.random() < 0.5:
            self._kafka.pause()
            time.sleep(self._lasts_s())
            self._kafka.resume()
        else:
            self._kafka.kill()
            time.sleep(1)
            self._kafka.launch()


def run(args: argparse.Namespace) -> bool:
    """Break it for as long as was asked; whether the account is settled.

    Raises:
        AssertionError: A part did not come back, or was not done in time.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-soak-")))
        kafka = None
        if args.log == "kafka":
            (folder / "kafka").mkdir()
            kafka = start_kafka(fetch(), folder / "kafka")
            stack.callback(kafka.stop)
        broker = Mosquitto(folder / "mosquitto", lines="autosave_on_changes false")
        stack.callback(broker.stop)
        broker.start()
        victoria = Victoria(folder)
        stack.callback(victoria.stop)
        victoria.start()
        url = "sqlite:///log.db" if kafka is None else f"kafka://{kafka.address}"
        rig = stack.enter_context(
            Rig(folder / "rig", broker, url, seed=args.seed, behind=victoria.url)
        )
        rig.start()
        soak = Soak(rig, kafka, args.longest, args.patience, args.only or tuple(_WEIGHTS))
        rig.plant.start()
        deadline = time.perf_counter() + 60 * args.minutes
        while time.perf_counter() < deadline or not soak.has_had_each:
            soak.step()
        account = rig.settle(within_s=_SETTLE_S)
        times = sorted(rig.recoveries_s) or [0.0]
        sys.stdout.write(f"{account}\n{dict(soak.faults)}\n")
        sys.stdout.write(
            f"recovery after a kill, s: median {times[len(times) // 2]:.1f}, "
            f"p99 {times[min(len(times) - 1, int(0.99 * len(times)))]:.1f}, "
            f"longest {times[-1]:.1f}\n"
        )
        sys.stdout.write(f"{rig.tally}\n")
    return account.is_settled


def main() -> None:
    """Run the command; its code is 0 when the account is settled, 1 otherwise, whatever broke."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.perf_counter()))
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--only", choices=list(_WEIGHTS), action="append", help="these faults")
    parser.add_argument("--longest", type=float, default=10, help="seconds a fault lasts at most")
    parser.add_argument("--patience", type=float, default=120, help="seconds a recovery may take")
    args = parser.parse_args()
    sys.stdout.write(f"seed={args.seed}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, _interrupt)
    code = 1
    # Whatever hangs, and wherever: what it has started must not outlive it, nor it its time.
    limit_s = 60 * args.minutes + _STARTING_S + 8 * args.patience + _SETTLE_S
    guard = threading.Timer(limit_s, _end_now, (1, f"not done within {limit_s:.0f} s"))
    guard.daemon = True
    guard.start()
    try:
        code = 0 if run(args) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001  (told whole; the code says that it failed)
        traceback.print_exc()
    _end_now(code)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _end_now(code: int, why: str = "") -> NoReturn:
    """End this process, and all that it has started and that has not ended."""
    if why:
        sys.stderr.write(f"{why}\n")
        faulthandler.dump_traceback()
    left = kill_below()
    if left:
        sys.stderr.write(f"{left} processes had to be killed at the end\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by returning: Python would wait for threads.
    os._exit(code)


if __name__ == "__main__":
    main()
