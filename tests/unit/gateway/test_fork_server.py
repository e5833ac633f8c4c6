"""What is loaded before lanes are forked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
