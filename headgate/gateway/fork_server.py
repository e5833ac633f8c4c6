"""Forks the lanes from a process that has loaded what they need, so that they share its memory.

What the three lanes load is the same for the most part, and most of it is never written to: forked
from one process they have it once. The supervisor loads it before it has an event loop, and forks
the fork server, which does nothing but wait for the supervisor to ask for a lane. It has one thread
and no event loop, has no file of the gateway's open, and has made no session of a model, so nothing
is half done or shared by mistake in what it forks.

The lanes are the supervisor's own children, as if it had started them itself: it ends them and
learns how they ended, they end with it, and they go on when the fork server is killed. Then, or
where a package keeps a thread of its own, lanes are started as interpreters of their own.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NoReturn

import structlog

from headgate.config.schema import Config
from headgate.core.components import BUILT_IN, installed
from headgate.gateway.process import (
    close_all_files_but,
    count_threads,
    die_with_parent,
    rename_process,
)
from headgate.gateway.report import STATUS_FD

_PR_SET_CHILD_SUBREAPER = 36

#: Asks for a child that has ended, at once, and leaves it to whoever waits for it.
_HAS_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT

#: Forking a process may take so long on a small box with much to do, s.
_FORK_DEADLINE_S = 10.0

_MESSAGE_BYTES = 1024

#: Stands for the exit code of a process of which that can't be told.
_UNKNOWN_CODE = 255

#: The lanes, and what they load no sooner than when they need it: none of it is found otherwise,
#: and any of it may be missing in another version of what it belongs to.
_MODULES = (
    "headgate.gateway.lane",
    "streams.forward.lane",
    "streams.ingest.lane",
    "streams.process.lane",
    "connectors.mqtt.connection",
    "encodings.ascii",
    "encodings.idna",
    "numpy.ma",
    "faust.app",
    "faust.app.router",
    "faust.assignor.partition_assignor",
    "faust.events",
    "faust.fixups.django",
    "faust.tables.globaltable",
    "faust.tables.manager",
    "faust.tables.sets",
    "faust.topics",
    "faust.transport.conductor",
    "faust.transport.utils",
    "faust.worker",
)


_logger = structlog.get_logger()


class ForkServerGoneError(Exception):
    """The fork server is not there, or can't be used; the text says why."""


class ForkedProcess:
    """A process that is this one's child, but that another has forked.

    Has what is needed of ``asyncio.subprocess.Process``. To be made in the event loop.

    Args:
        pid: Its id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        # Dies with the supervisor: it may have to end while lanes still run.
        Thread(target=self._watch, name=f"wait-{pid}", daemon=True).start()

    async def wait(self) -> int:
        """Wait until it ends; its exit code, or less than 0 the signal that ended it."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def _watch(self) -> None:
        # Its number is kept until the event loop knows, so that no signal meets anybody else.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        try:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            # It had ended before anybody knew whose it is, and was taken for an orphan.
            self.returncode = _UNKNOWN_CODE
        if not self._ended.done():
            self._ended.set_result(self.returncode)


class ForkServer:
    """The supervisor's end.

    Args:
        connection: To the process.
        pid: Its id.
    """

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection = connection
        self._connection.settimeout(0)
        self.pid = pid
        self._why_gone = ""
        self._one_at_a_time = asyncio.Lock()

    async def start(self, name: str, status_fd: int) -> ForkedProcess:
        """Fork a lane.

        Args:
            name: Which.
            status_fd: What it reports on; stays open here.

        Raises:
            OSError: There is no room for one more process.
            ForkServerGoneError: Nothing can be forked any more.
        """
        async with self._one_at_a_time:
            if self._why_gone:
                raise ForkServerGoneError(self._why_gone)
            waits, goes = os.pipe()
            try:
                process = await self._ask(name, [status_fd, waits])
                os.write(goes, b"!")
            finally:
                os.close(waits)
                os.close(goes)
        return process

    async def _ask(self, name: str, files: list[int]) -> ForkedProcess:
        try:
            socket.send_fds(self._connection, [name.encode()], files)
            answer = await self._hear(_FORK_DEADLINE_S)
        except (ConnectionError, EOFError) as error:
            self.close("its process has ended")
            raise ForkServerGoneError(self._why_gone) from error
        except OSError as error:
            # A timeout is one as well.
            self.close(f"its process does not answer: {error}")
            raise ForkServerGoneError(self._why_gone) from error
        kind, _, text = answer.decode().partition(" ")
        if kind != "pid":
            raise OSError(text)
        return ForkedProcess(int(text))

    def close(self, why: str = "it was ended") -> None:
        """End the process; the lanes go on. May be called again."""
        if self._why_gone:
            return
        self._why_gone = why
        self._connection.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def look(self) -> None:
        """See whether the process is still there."""
        with suppress(ChildProcessError):
            if not self._why_gone and os.waitid(os.P_PID, self.pid, _HAS_ENDED) is not None:
                self.close("its process has ended")

    async def _hear(self, within_s: float) -> bytes:
        loop = asyncio.get_running_loop()
        said = await asyncio.wait_for(loop.sock_recv(self._connection, _MESSAGE_BYTES), within_s)
        if not said:
            raise EOFError
        return said


def end_orphans(known: Iterable[int | None]) -> None:
    """Let go of processes that have ended and nobody else waits for.

    Whatever a lane had started becomes the supervisor's when the lane ends.

    Args:
        known: Ids of those that somebody waits for.
    """
    waited_for = set(known)
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, _HAS_ENDED)) is not None:
            if ended.si_pid in waited_for:
                return
            os.waitpid(ended.si_pid, 0)


def start_fork_server(config: Config, config_file: Path, workers: int) -> ForkServer | None:
    """Load what lanes need, and fork the fork server; this process must have no event loop yet.

    Args:
        config: The checked configuration, which the lanes get.
        config_file: Where it came from.
        workers: How many streams lanes there are.

    Returns:
        None where lanes can't be forked: elsewhere than on Linux, or beside threads.
    """
    if sys.platform != "linux":
        return None
    # Whoever is nobody's child any more becomes this process's: so do the lanes, see below.
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1) != 0:
        _logger.info(
            "Lanes are not forked and take more memory: this process can't be made the parent of "
            "what others fork for it."
        )
        return None
    # One that started the gateway may have ignored it, and then nobody learns how a child ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _load(config)
    threads = count_threads()
    if threads > 1:
        _logger.info(
            "Lanes are not forked and take more memory: something that was loaded keeps a thread.",
            threads=threads,
        )
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run_to_the_end(lambda: _Server(theirs, supervisor, config, config_file, workers).run())
    theirs.close()
    return ForkServer(ours, pid)


def _load(config: Config) -> None:
    if not sys.flags.safe_path:
        # A file called streams.py in the current folder must not stand in for ours.
        del sys.path[0]
        os.environ["PYTHONSAFEPATH"] = "1"
    for module in _modules(config):
        # What can't be loaded is the matter of the lane that needs it.
        with suppress(Exception):
            importlib.import_module(module)
    # Collecting garbage writes to every object that is looked at, and what is written to is not
    # shared any more.
    gc.collect()
    gc.freeze()


class _Server:
    """The fork server's end, in its own process."""

    def __init__(
        self,
        connection: socket.socket,
        supervisor: int,
        config: Config,
        config_file: Path,
        workers: int,
    ) -> None:
        self._connection = connection
        self._supervisor = supervisor
        self._config = config
        self._config_file = config_file
        self._workers = workers

    def run(self) -> NoReturn:
        die_with_parent()
        # A terminal's ^C goes to the whole process group; the lanes are told by the supervisor.
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        rename_process(["headgate", "fork-server", "-c", str(self._config_file)])
        close_all_files_but(self._connection.fileno())
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        gc.disable()
        while True:
            name, files, _, _ = socket.recv_fds(self._connection, _MESSAGE_BYTES, 2)
            if not name:
                os._exit(0)
            answer = _fork_away(lambda: self._become(name.decode(), *files))  # noqa: B023  (at once)
            for file in files:
                os.close(file)
            self._connection.send(answer)

    def _become(self, name: str, status_fd: int, waits: int) -> NoReturn:
        """Be a lane, in a process that was forked for it."""
        self._connection.close()
        os.setsid()
        _await_parent(self._supervisor)
        if not os.read(waits, 1):
            # The supervisor has given up, and may have started the lane otherwise.
            os._exit(1)
        os.close(waits)
        os.environ[STATUS_FD] = str(status_fd)
        command = ["headgate", "lane", name, "-c", str(self._config_file)]
        rename_process([*command, "--workers", str(self._workers)])
        gc.enable()
        from headgate.gateway.lane import run_lane  # noqa: PLC0415  (the supervisor does without)

        run_lane(name, self._config, self._config_file, self._workers)


def _modules(config: Config) -> Iterator[str]:
    """Names of the modules that lanes with this configuration load."""
    yield from _MODULES
    if config.model:
        yield "models.runtime"
    yield from _modules_in(
        "connectors.logs.embedded" if config.log.is_embedded else "connectors.logs.kafka"
    )
    if config.action:
        yield from _modules_in("connectors.actions")
    formats = {
        one.format.name
        for feed in config.feed.values()
        for one in (feed, *feed.by_content_type.values())
    }
    for group, names in (
        ("sources", {one.name for one in config.source.values()}),
        ("formats", formats),
        ("sinks", {one.name for one in config.sink.values()}),
    ):
        for name in sorted(names):
            found = installed(group)[name]
            # What others have made is loaded when a lane makes it, as they expect.
            if found.origin == BUILT_IN:
                yield from _modules_in(found.place.partition(":")[0].rpartition(".")[0])


def _modules_in(package: str) -> Iterator[str]:
    """Names of the modules that lie in a package itself."""
    folder = importlib.import_module(package).__path__
    yield from (f"{package}.{module.name}" for module in pkgutil.iter_modules(folder))


def _fork_away(become: Callable[[], NoReturn]) -> bytes:
    """Fork a process that is not this one's child but the supervisor's; the answer to give.

    It is forked by a process that ends at once, and becomes the child of the next above that takes
    in such orphans.
    """
    hear, tell = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(hear)
        os.close(tell)
        return f"no {error}".encode()
    if middle == 0:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(tell, f"no {error}".encode())
            os._exit(1)
        if pid == 0:
            os.close(hear)
            os.close(tell)
            _run_to_the_end(become)
        os.write(tell, f"pid {pid}".encode())
        os._exit(0)
    os.close(tell)
    os.waitpid(middle, 0)
    # By now the lane is the supervisor's.
    answer = os.read(hear, _MESSAGE_BYTES)
    os.close(hear)
    return answer or b"no process: the one in between ended"


def _await_parent(supervisor: int) -> None:
    """Wait until this process is the supervisor's child, a moment; end with it, if it has ended."""
    middle = os.getppid()
    while os.getppid() == middle != supervisor:
        os.sched_yield()
    if os.getppid() != supervisor:
        os._exit(1)


def _run_to_the_end(body: Callable[[], NoReturn]) -> NoReturn:
    """Run what a forked process is for; nothing of its parent's is gone on with after it."""
    try:
        body()
    except BaseException:  # noqa: BLE001  (this process ends, whatever it was)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)
