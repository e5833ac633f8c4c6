"""What an older version left in its log, and what it made of it; and what today's makes of it."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headgate.core.channels import ChannelTable
from headgate.core.log import Record
from headgate.core.records import decode_aggregates, decode_anomalies
from headgate.core.results import Aggregates, Anomaly
from streams.results import Results

_ROOT = Path(__file__).parents[1]

#: By the version that told devices apart by their names alone: 40 records of pumps p01 and p02, and
#: its state at the 23rd.
_WRITTEN = _ROOT / "tests/cases/state-1"


class Stats(tuple[float, ...]):
    """Statistics of a window: the same but for the last bits, in which processors differ."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stats) and np.allclose(self, other, 1e-12, 0, equal_nan=True)

    __hash__ = None  # type: ignore[assignment]  # what is about the same has no common hash


@dataclass
class Made:
    """What came out, by what identifies it in a sink."""

    windows: dict[tuple[str, int, int], tuple[Any, ...]] = field(default_factory=dict)
    repeated: int = 0
    anomalies: list[Anomaly] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, results: Results, table: ChannelTable) -> None:
        self.add_windows(results.aggregates, table)
        self.anomalies += results.anomalies
        for part in results.rejected:
            self.rejected[part.reason] += len(part.batch)

    def add_windows(self, aggregates: Aggregates, table: ChannelTable) -> None:
        for row, channel in enumerate(aggregates.channel.tolist()):
            at = (
                table.channels[channel].key,
                int(aggregates.start_ns[row]),
                int(aggregates.window_ns[row]),
            )
            stats = Stats(float(values[row]) for values in aggregates.stats.values())
            self.repeated += at in self.windows
            self.windows[at] = (int(aggregates.n[row]), int(aggregates.flagged[row]), stats)

    def readings(self, window_ns: int) -> int:
        """Readings in the windows of one length."""
        return sum(
            n + flagged
            for (_, _, length_ns), (n, flagged, _) in self.windows.items()
            if length_ns == window_ns
        )


@dataclass
class Before:
    """What an older version had written, and what it made of it.

    Attributes:
        config: Its configuration, the model's package where it is here.
        cut: The offset below which its state is complete.
        state: Its records of the topic ``state``.
        readings: Values of its records of the topic ``readings``.
        before: What it made of those below the cut.
        after: What it made of the others, and when all devices had fallen silent.
    """

    config: dict[str, Any]
    cut: int
    state: list[Record]
    readings: list[bytes]
    before: Made
    after: Made

    @classmethod
    def of(cls, name: str) -> Before:
        told = json.loads(gzip.decompress((_WRITTEN / f"{name}.json.gz").read_bytes()))
        told["config"]["model"]["pump"]["package"] = str(_ROOT / "models/zoo/pump")
        made = {}
        for part in ("before", "after"):
            made[part] = Made(rejected=Counter(told["rejected"][part]))
            for text in told["aggregates"][part]:
                table = ChannelTable()
                made[part].add_windows(decode_aggregates(base64.b64decode(text), table), table)
            for text in told["anomalies"][part]:
                made[part].anomalies += decode_anomalies(base64.b64decode(text))
        return cls(
            told["config"],
            told["cut"],
            [
                Record(base64.b64decode(value), key.encode(), (("schema", b"state/1"),))
                for key, value in told["state"]
            ],
            [base64.b64decode(text) for text in told["readings"]],
            made["before"],
            made["after"],
        )
