"""Asking everything that a gateway talks to: the sources, the log and the sinks.

Nothing is changed by it: no topic is made, no point written, no file left behind. Each is asked in
a thread of its own, because client libraries may block for as long as a peer is down; what has not
answered in time is told so, and its thread is left behind.
"""
# ruff: noqa: PLC0415  (what is not configured is not loaded)

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from connectors.finding import Finding
from connectors.logs.configured import open_existing_log, topic_specs
from connectors.room import DISK_LIMIT_S, file_with_room, writing_problem
from connectors.sinks.configured import sink_component, sink_context
from connectors.sinks.sink import Probe, SinkContext
from connectors.sources.configured import source_component, source_key
from headgate.config.chosen import Chosen
from headgate.config.schema import Config
from headgate.core.clock import Clock
from headgate.core.errors import ConfigError, PermanentError, TransientError
from headgate.core.telemetry import Telemetry

#: How long the log may take to answer, s: Kafka's client tries for ten, twice.
_LOG_LIMIT_S: Final = 30.0


def probe(config: Config, clock: Clock, wait_s: float) -> tuple[list[Finding], bool]:
    """Ask all at once; what was found, and whether something was left that has not answered.

    Args:
        config: The checked configuration.
        clock: When messages arrive.
        wait_s: How long to wait for a message of each feed.
    """
    jobs = _jobs(config, clock, wait_s)
    started = [(about, limit_s, _started(about, call)) for about, limit_s, call in jobs]
    found: list[Finding] = []
    is_stuck = False
    for about, limit_s, answer in started:
        try:
            found += answer.result(limit_s)
        except TimeoutError:
            is_stuck = True
            found.append(Finding(about, "away", f"no answer within {limit_s:g} s"))
        except ConfigError as error:
            found += [Finding(about, "wrong", problem) for problem in error.problems]
        except PermanentError as error:
            found.append(Finding(about, "wrong", str(error)))
        except TransientError as error:
            found.append(Finding(about, "away", str(error)))
    return found, is_stuck


def _jobs(
    config: Config, clock: Clock, wait_s: float
) -> list[tuple[str, float, Callable[[], Sequence[Finding]]]]:
    """What to ask, how long that may take, s, and how."""
    jobs: list[tuple[str, float, Callable[[], Sequence[Finding]]]] = []

    for name, chosen in config.source.items():
        looked = source_component(chosen).probe
        if looked is not None:
            key = source_key(config, name)
            ask = partial(looked.ask, chosen.table, name, key, config, clock, wait_s)
            jobs.append((key, looked.limit_s + wait_s, ask))
    if config.log.is_embedded:
        jobs.append(("log", DISK_LIMIT_S, lambda: [_embedded_log(config)]))
    else:
        jobs.append(("log", _LOG_LIMIT_S, lambda: [asyncio.run(_kafka(config, clock))]))
        jobs.append(("gateway.data_dir", DISK_LIMIT_S, lambda: [_data_dir(config)]))
    for name, chosen in config.sink.items():
        asked = sink_component(chosen).probe
        if asked is not None:
            context = sink_context(config, name, clock, Telemetry(clock))
            jobs.append((context.key, asked.limit_s(chosen.table), _asking(asked, chosen, context)))
    return jobs


def _asking(asked: Probe, chosen: Chosen, context: SinkContext) -> Callable[[], Sequence[Finding]]:
    return lambda: [asked.ask(chosen.table, context)]


def _started(about: str, call: Callable[[], Sequence[Finding]]) -> Future[Sequence[Finding]]:
    """Call in a thread that nobody waits for at the end."""
    future: Future[Sequence[Finding]] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  (it is raised where it is waited for)
            future.set_exception(error)

    threading.Thread(target=work, name=about, daemon=True).start()
    return future


def _data_dir(config: Config) -> Finding:
    about, folder = "gateway.data_dir", config.gateway.data_dir
    problem = writing_problem(folder / "gateway.lock")
    if problem:
        return Finding(about, "wrong", f"{folder}: {problem}")
    return Finding(about, "good", f"{folder}: can be written")


def _embedded_log(config: Config) -> Finding:
    log = config.log
    return file_with_room("log", config.log_path, log.retention_bytes, "log.retention_bytes")


async def _kafka(config: Config, clock: Clock) -> Finding:
    from connectors.logs.kafka.log import KafkaLog

    servers = config.log.url.removeprefix("kafka://")
    # As one who only looks, it keeps nothing in the gateway's folder.
    log = await open_existing_log(config, clock)
    assert isinstance(log, KafkaLog)  # noqa: S101  (for the type checker)
    try:
        there, missing = await log.check_topics(topic_specs(config))
    finally:
        await log.stop()
    if not missing:
        return Finding("log", "good", f"Kafka at {servers}: all {there} topics are there")
    topics = f"{there} topics are there, {missing} can be made"
    return Finding("log", "good", f"Kafka at {servers}: {topics}")
