"""What derived channels and rules cost a reading: the pipeline with them and without, in turn.

``python -m benchmarks.derived`` prints a line for each set of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping

import numpy as np

from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S, SystemClock
from headgate.core.telemetry import Telemetry
from streams.build import build_pipeline
from streams.pipeline import Pipeline

_START_NS = 1_700_000_000 * NS_PER_S
_CHANNELS = 8

#: By what is measured, its derived channels.
SETS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "three of one time": {"p": "c0 * c1", "q": "c2 / c3", "r": "sqrt(abs(c4 - c5))"},
    "three over time": {"p": "rate(c0)", "q": "since(c1 > 0)", "r": "previous(c2)"},
    "three over a minute": {
        "p": 'mean(c0, "1m")',
        "q": 'max(c1, "1m")',
        "r": '(c2 - mean(c2, "1m")) / std(c2, "1m")',
    },
}

_LIMITS = (("quiet", 9.0), ("one in a million", 4.75), ("one in 700", 3.0))

#: By what is measured, the rules of it: a hundred limits, which are never passed, by one reading in
#: a million, and by one in seven hundred, whose devices then have alarms for a while.
RULES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    f"100 rules{how}, {name}": {
        f"r{at}": {
            "when": f"c{at % _CHANNELS} > {limit}",
            "for": "1s",
            "clear": f"c{at % _CHANNELS} < 1",
            **more,
        }
        for at in range(100)
    }
    for how, more in (("", {}), (" by schedule", {"during": "shifts"}))
    for name, limit in _LIMITS
}

#: What those by schedule are looked at in.
_SCHEDULES = {"shifts": {"times": ["06:00-14:00", "14:30-06:00"], "zone": "Europe/Berlin"}}


class Plant:
    """Devices that send all their channels once a second, and a pipeline that takes them.

    Args:
        devices: How many.
        derived: Their feed's derived channels.
        rules: What is looked for in them.
    """

    def __init__(
        self,
        devices: int,
        derived: Mapping[str, str],
        rules: Mapping[str, Mapping[str, object]],
    ) -> None:
        channels: dict[str, object] = {f"c{at}": {} for at in range(_CHANNELS)}
        feed = {"topic": "{device}", "channels": channels, "derived": derived}
        of_feed = {name: {**rule, "feed": "f"} for name, rule in rules.items()}
        tables = {"feed": {"f": feed}, "rule": of_feed, "schedule": _SCHEDULES}
        config = Config.model_validate({"local_store": {}, **tables})
        self._table = ChannelTable()
        self._rows = np.array(
            [
                self._table.row(Channel("f", f"d{device}", "f", name))
                for device in range(devices)
                for name in channels
            ],
            np.int32,
        )
        telemetry = Telemetry(SystemClock())
        self._pipeline: Pipeline = build_pipeline(config, self._table, telemetry)
        self._noise = np.random.default_rng(0)
        self._second = 0

    def run(self, seconds: int, devices_at_once: int) -> float:
        """CPU seconds that a pipeline takes for so many seconds of all devices.

        Args:
            seconds: How many.
            devices_at_once: Whose messages are in one batch.
        """
        spent = 0.0
        step = devices_at_once * _CHANNELS
        for _ in range(seconds):
            value = self._noise.normal(size=len(self._rows))
            time_ns = np.full(step, _START_NS + self._second * NS_PER_S)
            self._second += 1
            for begin in range(0, len(self._rows), step):
                rows = slice(begin, begin + step)
                batch = Batch.from_columns(
                    self._table, time_ns[: len(self._rows[rows])], self._rows[rows], value[rows]
                )
                start = time.process_time()
                self._pipeline.process(batch, 0)
                spent += time.process_time() - start
        return spent


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=1000, help="devices in a batch")
    parser.add_argument("--seconds", type=int, default=60, help="of each set and turn")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    plants = {name: Plant(args.devices, derived, {}) for name, derived in SETS.items()}
    plants |= {name: Plant(args.devices, {}, rules) for name, rules in RULES.items()}
    for plant in plants.values():
        # Spans are full, windows have closed.
        plant.run(70, args.at_once)
    readings = args.seconds * args.devices * _CHANNELS
    taken: dict[str, list[float]] = {name: [] for name in plants}
    for _ in range(args.turns):
        for name, plant in plants.items():
            taken[name].append(plant.run(args.seconds, args.at_once) / readings * 1e6)
    for name, each in taken.items():
        middle, low, high = statistics.median(each), min(each), max(each)
        print(f"{name}: {middle:.2f} us/reading ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    main()
