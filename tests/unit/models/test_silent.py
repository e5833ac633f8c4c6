"""What the library that runs models does besides running them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = """
import os, sys
import {module}
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("module", ["models.runtime", "models.training.compress"])
def test_nobody_is_told_about_the_models(tmp_path: Path, module: str) -> None:
    """There would be a file with what is to be told, and a thread that sends it."""
    # A build server it leaves alone by itself, which is not what is asked about.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}

    told = subprocess.run(
        [sys.executable, "-c", _ASK.format(module=module)],
        env={
            **kept,
            "HOME": str(tmp_path),
            "ORT_DISABLE_TELEMETRY": "0",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split() == ["1"], told.stderr
    assert not list(tmp_path.rglob("*"))
