"""What the pipeline makes of some readings, with a restart. Run as ``python windows.py CONFIG``.

A line a window: the device, usable readings, flagged ones, and their mean.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from headgate.config.load import load_config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.stage import Snapshot
from streams.build import build_pipeline
from streams.heirs import heirs_of
from streams.pipeline import Pipeline
from streams.process.state import selection_of

_S = 10**9
_START_NS = 1_750_000_000 * _S

#: Pressure of two devices, second by second; the first one's leaps once.
_PRESSURE = {"p1": (3.0, 3.1, 3.2, 9.0, 3.3, 3.4, 3.5, 3.6), "p2": (5.0,) * 8}


def _batch(pipeline: Pipeline, device: str, second: int) -> Batch:
    row = pipeline.channels.row(Channel("pump", device, "pump", "pressure"))
    return Batch.from_columns(
        pipeline.channels,
        [_START_NS + second * _S],
        [row],
        [_PRESSURE[device][second]],
        origin=Origin("readings", 0, second),
    )


def main(config_file: str) -> None:
    """Second by second, as another process from the fourth one on."""
    config = load_config(Path(config_file))
    pipeline = build_pipeline(config, ChannelTable())
    results = []
    for second in range(8):
        if second == 4:
            table = pipeline.channels
            every = selection_of(table, np.arange(len(table.devices), dtype=np.int32))
            keys, state = table.keys(every.channels), pipeline.snapshot(every)
            written = Snapshot(1, table.devices, keys, pipeline.fingerprints, state)
            pipeline = build_pipeline(config, ChannelTable())
            _batch(pipeline, "p2", 0)
            pipeline.restore(heirs_of(written, pipeline.channels), written)
        for device in _PRESSURE:
            results += [(pipeline, pipeline.process(_batch(pipeline, device, second), 0))]
    results.append((pipeline, pipeline.advance(10**12)))
    for made_by, result in results:
        windows = result.aggregates
        for at, row in enumerate(windows.channel.tolist()):
            device = made_by.channels.channels[row].device
            mean = windows.stats["mean"][at]
            sys.stdout.write(f"{device} {windows.n[at]} {windows.flagged[at]} {mean:.2f}\n")


if __name__ == "__main__":
    main(sys.argv[1])
