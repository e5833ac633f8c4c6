"""A store's write endpoint: takes line protocol over HTTP, and notes when anomalies arrive.

It answers as InfluxDB's v2 write API does. When its standard input is closed it prints one JSON
object: points taken, and for the first point of each anomaly its device, its end (the step of the
message that brought it about) and when that point was acknowledged; and the same of each window of
ten seconds, with its start.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_FIRST = re.compile(rb"anomalies,device=d(\d+),.*\bend_ns=(\d+)i,.*\brevision=0i")
_WINDOW = re.compile(rb"plant_10s,device=d(\d+),.* (\d+)$")


class _Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    points = 0
    anomalies: list[tuple[int, int, int]] = []  # noqa: RUF012  (one store a process)
    windows: list[tuple[int, int, int]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.send_response(204)
        self.end_headers()
        self.wfile.flush()
        now_ns = time.time_ns()  # noqa: TID251  (compared with a publish time)
        lines = body.splitlines()
        _Store.points += len(lines)
        for line in lines:
            if first := _FIRST.match(line):
                _Store.anomalies.append((int(first[1]), int(first[2]), now_ns))
            elif window := _WINDOW.match(line):
                _Store.windows.append((int(window[1]), int(window[2]), now_ns))

    def log_message(self, *_arguments: object) -> None:
        """Nothing is logged: a benchmark's output is its result."""


def main() -> None:
    """Serve until standard input is closed."""
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    found = {
        "points": _Store.points,
        "anomalies": _Store.anomalies,
        "windows": _Store.windows,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
