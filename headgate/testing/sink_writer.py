"""Writes batches to a sink until it is killed, again and again.

Run as ``python -m headgate.testing.sink_writer CONFIG SINK``. For each line on its standard input,
the number of a batch, it starts a process that writes this one and those behind it. It says
``pid N`` first, ``ack N`` after each batch that the sink has acknowledged, ``ended`` at the end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from itertools import count
from pathlib import Path

from connectors.sinks.configured import configured_sinks, open_sinks
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.clock import SystemClock
from headgate.core.errors import TransientError
from headgate.core.logging import configure_logging
from headgate.core.telemetry import Telemetry
from headgate.testing.sinks import batch


async def _write(config: Config, name: str, first: int) -> None:
    clock = SystemClock()
    (sink,) = [each for each in open_sinks(config, clock, Telemetry(clock)) if each.name == name]
    await sink.start()
    kinds = configured_sinks(config)[name]
    for number in count(first):
        while True:
            try:
                assert await sink.write(batch(number, kinds)) == []
            except TransientError:
                await asyncio.sleep(0.05)  # not connected yet
            else:
                break
        os.write(1, f"ack {number}\n".encode())


def main() -> None:
    """See above."""
    config, name = load_config(Path(sys.argv[1])), sys.argv[2]
    configure_logging("error", "json")  # by default it would be among what is said here
    # What they need is loaded once, and no thread started, before the first fork.
    open_sinks(config, SystemClock(), Telemetry(SystemClock()))
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                asyncio.run(_write(config, name, int(line)))
            except BaseException:  # noqa: BLE001  (nothing of the parent's may run in the child)
                traceback.print_exc()
            finally:
                os._exit(1)
        os.write(1, f"pid {pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"ended\n")


if __name__ == "__main__":
    main()
