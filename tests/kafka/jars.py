"""Getting the broker's jars from Maven Central; run as a script it fetches them ahead of time.

They are kept in ``.cache/kafka`` at the root of the repository, a folder for each ``pom.xml``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_POM = Path(__file__).with_name("pom.xml")
_CACHE = Path(__file__).parents[2] / ".cache" / "kafka"

#: Forty-four megabytes over a slow line.
_TIMEOUT_S = 600


class CannotFetchError(RuntimeError):
    """Says in one sentence what is missing."""


def fetch() -> Path:
    """The folder with the jars, fetched when it is not there yet.

    Raises:
        CannotFetchError: Java or Maven is missing, or Maven failed.
    """
    if shutil.which("java") is None:
        raise CannotFetchError("install Java 17 (apt-get install default-jre-headless)")
    wanted = _CACHE / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]
    if wanted.is_dir():
        return wanted
    if shutil.which("mvn") is None:
        raise CannotFetchError("install Maven (apt-get install maven)")
    # Fetched beside and renamed when complete, so an interrupted run leaves nothing half done.
    partial = wanted.with_name(f"{wanted.name}.{os.getpid()}")
    command = ["mvn", "-B", "-q", "-f", str(_POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
    try:
        subprocess.run(command, check=True, timeout=_TIMEOUT_S, capture_output=True, text=True)
        partial.rename(wanted)
    except subprocess.CalledProcessError as error:
        lines = (error.stdout + error.stderr).strip().splitlines()
        reason = next((line for line in lines if "ERROR" in line), "no reason given")
        raise CannotFetchError(f"Maven could not fetch Kafka: {reason}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        # Another run may have been faster.
        if not wanted.is_dir():
            raise CannotFetchError(f"Maven could not fetch Kafka: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return wanted


if __name__ == "__main__":
    try:
        print(fetch())  # noqa: T201  (a script)
    except CannotFetchError as problem:
        sys.exit(str(problem))
