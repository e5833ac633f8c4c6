"""A Faust worker in a process of its own: one agent that writes down each record it gets.

Run as ``python -m tests.contract.faust_worker BROKER GROUP TOPIC OUTPUT [OPTIONS AS JSON]``. Each
line of the output is ``partition offset value-length value``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import faust


@dataclass(frozen=True)
class Options:
    """What the worker does besides writing records down.

    Attributes:
        ack_below: Offsets from here on are not acknowledged; None acknowledges all.
        echo_to: Topic that each record is sent to, in the same partition.
    """

    ack_below: int | None = None
    echo_to: str | None = None


def build_app(broker: str, group: str, topic: str, output: TextIO, options: Options) -> faust.App:
    """The shape that the streams lane has."""
    app = faust.App(
        group,
        broker=broker,
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        stream_wait_empty=False,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.5,
        broker_commit_interval=0.2,
        consumer_auto_offset_reset="earliest",
        worker_redirect_stdouts=False,
    )
    source = app.topic(topic, value_type=bytes, key_type=bytes, internal=False)
    target = options.echo_to and app.topic(options.echo_to, value_type=bytes, internal=False)

    @app.agent(source, concurrency=1, name="work")  # type: ignore[untyped-decorator]
    async def work(stream: faust.StreamT[bytes]) -> None:
        takes: AsyncIterator[Sequence[faust.EventT[bytes]]]
        takes = stream.noack_take(100, within=0.02)
        async for events in takes:
            if target:
                sent = [
                    await target.send(
                        key=event.message.key,
                        value=event.message.value,
                        partition=event.message.partition,
                        headers=event.message.headers,
                    )
                    for event in events
                ]
                await asyncio.gather(*sent)
            for event in events:
                message = event.message
                value = message.value
                shown = value[:40].decode(errors="replace")
                output.write(f"{message.partition} {message.offset} {len(value)} {shown}\n")
            output.flush()
            for event in events:
                if options.ack_below is None or event.message.offset < options.ack_below:
                    event.ack()

    return app


async def work_until_sigterm(
    broker: str, group: str, topic: str, output: TextIO, options: Options
) -> None:
    """Run the agent in this process's own loop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = build_app(broker, group, topic, output, options)
    # Starting ends when partitions are assigned, and a stop may come before that.
    starting = asyncio.create_task(app.start())
    await stop.wait()
    await app.stop()
    starting.cancel()
    await asyncio.wait([starting])


def main(broker: str, group: str, topic: str, path: str, options: str = "{}") -> None:
    """Read the arguments."""
    with Path(path).open("a") as output:
        parsed = Options(**json.loads(options))
        asyncio.run(work_until_sigterm(broker, group, topic, output, parsed))


if __name__ == "__main__":
    main(*sys.argv[1:])
