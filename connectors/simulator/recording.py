"""A fleet written to a CSV file instead of published: data to train a model on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from connectors.simulator.fleet import CHANNELS, Fleet
from headgate.core.clock import NS_PER_S


def write_csv(
    fleet: Fleet, path: Path, steps: int, *, progress: Callable[[int], None] | None = None
) -> int:
    """Write ``steps`` steps of every pump, and return the number of rows.

    Columns are ``time`` (ISO 8601, UTC, to the ms), ``device`` and the channels; a sensor that sent
    nothing is an empty cell. The same fleet gives the same bytes.

    Args:
        fleet: The pumps; they are moved on by ``steps``.
        path: The file, overwritten.
        steps: Sampling periods to write.
        progress: Called now and then with the number of steps written so far.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time", "device", *CHANNELS])
        for done in range(1, steps + 1):
            step = fleet.step()
            moment = datetime.fromtimestamp(step.time_ns // NS_PER_S, UTC)
            time = f"{moment:%Y-%m-%dT%H:%M:%S}.{step.time_ns // 1_000_000 % 1000:03}Z"
            writer.writerows(
                # NaN is the only value that differs from itself.
                [time, name, *(value if value == value else "" for value in row)]  # noqa: PLR0124
                for name, row in zip(fleet.names, step.values.tolist(), strict=True)
            )
            if progress is not None and done % 100 == 0:
                progress(done)
    return steps * len(fleet.names)
