"""A Python with pysparkplug, made when it is needed; run as a script it is made ahead of time.

It is kept in ``.cache/sparkplug`` at the root of the repository, one for each lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_LOCK = Path(__file__).with_name("requirements.lock")
_CACHE = Path(__file__).parents[2] / ".cache" / "sparkplug"
_TIMEOUT_S = 300


class CannotMakeError(RuntimeError):
    """Says in one sentence what is missing."""


def python() -> Path:
    """The interpreter of the environment, which is made when it is not there yet.

    Raises:
        CannotMakeError: It could not be made.
    """
    made_of = _LOCK.read_bytes() + sys.version.encode()
    wanted = _CACHE / hashlib.sha256(made_of).hexdigest()[:16]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        # Another run may be making it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (wanted / "ready").exists():
            shutil.rmtree(wanted, ignore_errors=True)
            _make(wanted)
    return wanted / "bin" / "python"


def _make(folder: Path) -> None:
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # The environment is where it stays: what is in it knows its place.
    commands: list[list[str]] = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), *install, "--require-hashes", "-r", str(_LOCK)],
    ]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        for command in commands:
            subprocess.run(
                command,
                check=True,
                timeout=_TIMEOUT_S,
                capture_output=True,
                text=True,
                env=environment,
            )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CannotMakeError(f"pysparkplug can't be installed: {reason}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMakeError(f"pysparkplug can't be installed: {error}") from error
    (folder / "ready").touch()


if __name__ == "__main__":
    try:
        print(python())  # noqa: T201  (a script)
    except CannotMakeError as problem:
        sys.exit(str(problem))
