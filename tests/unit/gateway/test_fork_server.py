"""What lanes are forked from, and what becomes of processes that were forked."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.gateway.fork_server import ForkedProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere lanes are not forked")

_ASK = """
import json, sys
from pathlib import Path
from headgate.gateway.process import load_small
load_small()
from headgate.config.load import load_config
from headgate.gateway import fork_server
config = load_config(Path(sys.argv[1]))
fork_server._load(config)
missing = [name for name in json.loads(sys.argv[2]) if name not in sys.modules]
threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(json.dumps([missing, threads[1:]]))
"""

#: What takes a lane long to load, or much memory, and that it loads late.
_LATE = (
    "connectors.mqtt.bulk_client",
    "faust.app.base",
    "faust.transport.consumer",
    "faust.worker",
    "pyarrow",
)


@pytest.mark.parametrize(
    ("config", "late"),
    [
        (
            '[sink.local_store]\ntype = "local_store"\n',
            ["connectors.logs.embedded.engine", "connectors.sinks.local_store.store", "sqlite3"],
        ),
        (
            '[log]\nurl = "kafka://127.0.0.1"\n[sink.file]\ntype = "file"\npath = "points.lp"\n',
            ["connectors.logs.kafka.log", "connectors.sinks.file.sink", "aiokafka.consumer"],
        ),
        (
            '[sink.local_store]\ntype = "local_store"\n[model.pump]\npackage = "PUMP"\n',
            ["models.runtime", "onnxruntime"],
        ),
    ],
)
def test_all_that_lanes_need_is_loaded_and_keeps_no_thread(
    tmp_path: Path, config: str, late: list[str]
) -> None:
    """With a thread nothing could be forked, and what a lane loads later it has for itself."""
    file = tmp_path / "headgate.toml"
    pump = Path(__file__).parents[3] / "models" / "zoo" / "pump"
    feed = '[feed.a]\ntopic = "z/{device}"\nchannels.x = {}\nformat = "cbor"\n'
    file.write_text(config.replace("PUMP", str(pump)) + feed)
    late = [*_LATE, *late, "connectors.formats.cbor.format"]

    told = subprocess.run(
        [sys.executable, "-c", _ASK, str(file), json.dumps(late)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [[], []]


def _run(script: str, *arguments: str) -> str:
    """What a script prints, in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def _minimal(folder: Path) -> str:
    file = folder / "headgate.toml"
    file.write_text('[feed.a]\ntopic = "z/{device}"\nchannels.x = {}\n[local_store]\n')
    return str(file)


_CANNOT = """
import sys
from pathlib import Path
from headgate.gateway.process import load_small
load_small()
from headgate.config.load import load_config
from headgate.gateway import fork_server
fork_server._PR_SET_CHILD_SUBREAPER = 9999
file = Path(sys.argv[1])
assert fork_server.start_fork_server(load_config(file), file, 1) is None
assert "faust" not in sys.modules
"""


def test_where_a_process_takes_in_no_orphans_nothing_is_forked_and_nothing_loaded(
    tmp_path: Path,
) -> None:
    """Lanes would be nobody's children, and nobody would learn how they end."""
    assert "can't be made the parent" in _run(_CANNOT, _minimal(tmp_path))


_NO_WORD = """
import os, signal, socket, sys
from pathlib import Path
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from headgate.gateway.process import load_small
load_small()
from headgate.config.load import load_config
from headgate.gateway.fork_server import start_fork_server
file = Path(sys.argv[1])
server = start_fork_server(load_config(file), file, 1)
server._connection.settimeout(30)
status, waits = os.open(os.devnull, os.O_WRONLY), os.pipe()
socket.send_fds(server._connection, [b"forward"], [status, waits[0]])
signal.alarm(30)
kind, pid = server._connection.recv(99).decode().split()
assert kind == "pid", (kind, pid)
os.close(waits[1])
print(os.waitstatus_to_exitcode(os.waitpid(int(pid), 0)[1]), end=" ")
os.kill(server.pid, signal.SIGKILL)
os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
server.look()
try:
    os.waitpid(server.pid, 0)
except ChildProcessError:
    print("gone")
"""


def test_a_lane_begins_only_when_it_is_told_to(tmp_path: Path) -> None:
    """The supervisor may have given up, and started it otherwise; also where SIGCHLD is ignored."""
    folder = tmp_path / "data"
    folder.mkdir()

    assert _run(_NO_WORD, _minimal(tmp_path)) == "1 gone\n"
    assert not list(folder.iterdir())


_ORPHANS = """
import ctypes, os
from headgate.gateway.fork_server import end_orphans
ctypes.CDLL(None).prctl(36, 1)
mine = os.fork()
if mine == 0:
    os._exit(7)
os.waitid(os.P_PID, mine, os.WEXITED | os.WNOWAIT)
end_orphans([mine])
print(os.waitstatus_to_exitcode(os.waitpid(mine, 0)[1]), end=" ")
hear, tell = os.pipe()
middle = os.fork()
if middle == 0:
    orphan = os.fork()
    if orphan:
        os.write(tell, str(orphan).encode())
    os._exit(0)
os.waitpid(middle, 0)
orphan = int(os.read(hear, 99))
os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
end_orphans([None])
try:
    os.waitpid(orphan, 0)
except ChildProcessError:
    print("gone")
end_orphans([])
"""


def test_what_a_lane_leaves_behind_is_let_go_of_and_what_somebody_waits_for_is_not() -> None:
    """Else each would keep its number for as long as the gateway runs."""
    assert _run(_ORPHANS) == "7 gone\n"


async def test_a_process_that_is_nobodys_child_has_ended() -> None:
    """Nobody will ever be told how: it must not be waited for."""
    process = ForkedProcess(1)

    assert await asyncio.wait_for(process.wait(), 30) != 0
    assert process.returncode is not None
