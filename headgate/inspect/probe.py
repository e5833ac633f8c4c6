"""Asking everything that a gateway talks to: the broker, the log and the sinks.

Nothing is changed by it: no topic is made, no point written, no file left behind. Each is asked in
a thread of its own, because client libraries may block for as long as a peer is down; what has not
answered in time is told so, and its thread is left behind.
"""
# ruff: noqa: PLC0415  (what is not configured is not loaded)

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from connectors.finding import Finding
from connectors.logs.configured import open_existing_log, topic_specs
from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError, PermanentError, TransientError
from headgate.core.telemetry import Telemetry
from headgate.core.units import format_size

#: How long the log may take to answer, s: Kafka's client tries for ten, twice.
_LOG_LIMIT_S: Final = 30.0

#: How long a look at a disk may take, s: one that is mounted over the network may hang.
_DISK_LIMIT_S: Final = 10.0

#: What is written to see that there is room at all, bytes.
_TRIAL_BYTES: Final = 4096


def probe(config: Config, clock: Clock, wait_s: float) -> tuple[list[Finding], bool]:
    """Ask all at once; what was found, and whether something was left that has not answered.

    Args:
        config: The checked configuration.
        clock: When messages arrive.
        wait_s: How long to wait for a message of each feed.
    """
    jobs: list[tuple[str, float, Callable[[], Sequence[Finding]]]] = []

    def broker() -> Sequence[Finding]:
        from connectors.mqtt.probe import BrokerProbe

        return BrokerProbe(config, clock, wait_s).run()

    # Looking a name up, connecting twice, subscribing.
    jobs.append(("mqtt", 50.0 + wait_s, broker))
    if config.log.is_embedded:
        jobs.append(("log", _DISK_LIMIT_S, lambda: [_embedded_log(config)]))
    else:
        jobs.append(("log", _LOG_LIMIT_S, lambda: [asyncio.run(_kafka(config, clock))]))
        jobs.append(("gateway.data_dir", _DISK_LIMIT_S, lambda: [_data_dir(config)]))
    if config.influxdb is not None:
        limit_s = 2 * config.influxdb.timeout / NS_PER_S + _DISK_LIMIT_S
        jobs.append(("influxdb", limit_s, lambda: [_influxdb(config, clock)]))
    if config.local_store is not None:
        jobs.append(("local_store", _DISK_LIMIT_S, lambda: [_local_store(config)]))
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
    problem = _problem_of(folder / "gateway.lock")
    if problem:
        return Finding(about, "wrong", f"{folder}: {problem}")
    return Finding(about, "good", f"{folder}: can be written")


def _embedded_log(config: Config) -> Finding:
    path = config.log_path
    problem = _problem_of(path)
    if problem:
        return Finding("log", "wrong", f"{path}: {problem}")
    # The store's room is taken by whoever writes first, on the same disk or not.
    wanted = config.log.retention_bytes - _size_of(path)
    return _with_room("log", path, wanted, "log.retention_bytes")


def _local_store(config: Config) -> Finding:
    settings = config.local_store
    assert settings is not None  # noqa: S101  (for the type checker)
    path = config.data_path(settings.path)
    problem = _problem_of(path)
    if problem:
        return Finding("local_store", "wrong", f"{path}: {problem}")
    wanted = settings.max_bytes - _size_of(path)
    return _with_room("local_store", path, wanted, "local_store.max_bytes")


def _with_room(about: str, path: Path, wanted: int, key: str) -> Finding:
    free = shutil.disk_usage(_nearest_folder(path)).free
    text = f"{path}: can be written, {format_size(free)} free"
    if free < wanted:
        text += f", less than it may grow by ({format_size(wanted)}); lower {key}, or make room"
        return Finding(about, "warning", text)
    return Finding(about, "good", text)


def _problem_of(path: Path) -> str:
    """Why a file can't be written, or made; empty when it can."""
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        return "expected a file that this user can read and write; check its owner and mode"
    folder = _nearest_folder(path)
    try:
        # Without a name: it is gone when it is closed, whatever happens.
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(_TRIAL_BYTES))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        return f"expected a folder that this user can write to, got {folder}: {error.strerror}"
    return ""


def _nearest_folder(path: Path) -> Path:
    """The folder of a file, or the nearest above it that is there: the gateway makes the rest."""
    return next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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


def _influxdb(config: Config, clock: Clock) -> Finding:
    from connectors.sinks.influxdb.sink import InfluxSink

    settings = config.influxdb
    assert settings is not None  # noqa: S101  (for the type checker)
    doubt = InfluxSink(settings, Telemetry(clock)).ask()
    if doubt:
        return Finding("influxdb", "warning", f"{settings.url}: {doubt}")
    text = f"{settings.url}: takes points for bucket {settings.bucket} of {settings.org}"
    return Finding("influxdb", "good", text)
