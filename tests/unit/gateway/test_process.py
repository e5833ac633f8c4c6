"""What a process of the gateway loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = """
import json, sys
from headgate.cli import main
code = main(json.loads(sys.argv[1]))
print(json.dumps([code, [name for name in ("structlog", "rich") if name in sys.modules]]))
import rich.console
"""


@pytest.mark.parametrize("command", [["lane", "nobody"], ["run", "--workers", "99"]])
def test_it_does_without_rich(tmp_path: Path, command: list[str]) -> None:
    """Which structlog would take along; whoever asks for it afterwards gets it."""
    config = tmp_path / "headgate.toml"
    config.write_text('[feed.a]\ntopic = "z/{device}"\nchannels.x = {}\n[local_store]\n')

    # Both come as far as having loaded what they need, and then refuse what they are asked for.
    told = subprocess.run(
        [sys.executable, "-c", _ASK, json.dumps([*command, "-c", str(config)])],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(told.stdout.splitlines()[-1]) == [2, ["structlog"]], told.stderr
