"""A real VictoriaMetrics for the tests: a store that speaks InfluxDB's write API."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.demo.processes import free_port
from tests.processes import end
from tests.services import require

_HOW = "install VictoriaMetrics (on Debian: apt-get install victoria-metrics)"

#: Matches every series.
_ANY = '{__name__!=""}'


class Victoria:
    """One store process. Its data outlives ``stop`` and ``start``.

    Args:
        folder: Where its log is, and its data in a folder of their own.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("victoria-metrics") or shutil.which("victoria-metrics-prod")
        require("VictoriaMetrics", program is not None, _HOW)
        self._program = str(program)
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``[influxdb] url`` is given."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "victoria.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"-storageDataPath={self._folder / 'victoria'}",
                    f"-httpListenAddr=127.0.0.1:{self._port}",
                    "-retentionPeriod=100y",
                    "-memory.allowedBytes=128MB",
                    # Of samples with one time keep one, as InfluxDB does.
                    "-dedup.minScrapeInterval=1ms",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.perf_counter() + 20
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
            except OSError:
                assert self._process.poll() is None, "victoria-metrics ended at once"
                assert time.perf_counter() < deadline, "victoria-metrics does not answer"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process, within_s=20)
            self._process = None

    def series(self, match: str = _ANY) -> list[dict[str, Any]]:
        """All series that match, as ``series_at`` has them."""
        return series_at(self.url, match)


def series_at(url: str, match: str = _ANY) -> list[dict[str, Any]]:
    """All series of a store that match: ``metric`` (labels), ``values`` and ``timestamps`` (ms)."""
    urllib.request.urlopen(f"{url}/internal/force_flush", timeout=10).close()
    query = urllib.parse.urlencode({"match[]": match})
    with urllib.request.urlopen(f"{url}/api/v1/export?{query}", timeout=10) as reply:
        return [json.loads(line) for line in reply.read().splitlines()]


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Victoria]:
    """A store with nothing in it."""
    store = Victoria(tmp_path)
    store.start()
    yield store
    store.stop()
