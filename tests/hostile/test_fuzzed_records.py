"""No record, however altered, crashes what reads it.

Each kind's cases run in a process of its own, so that a crash is a failed test that names its
seed. In full, 200,000 cases a kind (some minutes each)::

    HEADGATE_FUZZ_CASES=200000 pytest tests/hostile/test_fuzzed_records.py --timeout 7200

One case again: ``python -m tests.hostile.fuzzing KIND SEED 1 /dev/null``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.fuzzing import KINDS

_CASES = int(os.environ.get("HEADGATE_FUZZ_CASES", "2000"))


@pytest.mark.timeout(7200 if _CASES > 2000 else 240)
@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_record_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    """Nothing else comes of it: no crash, no other error, no gigabyte."""
    note = tmp_path / "seed"
    child = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzzing", kind, "0", str(_CASES), str(note)],
        capture_output=True,
        text=True,
        check=False,
    )
    died = signal.strsignal(-child.returncode) if child.returncode < 0 else ""
    where = f"{kind} {note.read_text().strip()}: {died}\n{child.stdout}{child.stderr[-4000:]}"

    assert child.returncode == 0, where
    outcomes = json.loads(child.stdout)
    assert outcomes.keys() <= {"read", "bad_record", "peak_bytes"}, where
    # The cases are worth something: some alterations do no harm, and most do.
    assert 0 < outcomes["read"] < outcomes["bad_record"], where
