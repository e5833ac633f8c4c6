"""The datacenter of the fault tests: a real HTTP server in front of a real store, with bad days.

Every line that is acknowledged has been taken by the store behind (VictoriaMetrics) first, when
there is one, and is remembered: which points are there, and what was ever written under the same
identity.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import threading
from collections import Counter
from types import TracebackType
from typing import Literal, Self

import aiohttp
from aiohttp import web

_Refusal = Literal["429", "500", "503", "401", "413", "400", "422"]
Mode = Literal["ok", "slow", "reset", "silent"] | _Refusal

#: In modes ``400`` and ``422`` lines of this device are refused, and whatever comes with them.
BAD_DEVICE = "device=pump-02,"

_SILENCE_S = 3600

#: In mode ``413`` longer bodies are refused.
_MOST_BYTES = 20_000


class Store:
    """A server that speaks InfluxDB's write API; use it as a context manager.

    Args:
        behind: URL of a store that really keeps the points; None keeps them here only.
    """

    def __init__(self, behind: str | None = None) -> None:
        self.mode: Mode = "ok"
        #: Last line by identity (all but the fields), and every line ever seen.
        self.lines: dict[str, str] = {}
        self.written: dict[str, Counter[str]] = {}
        self.requests: Counter[str] = Counter()
        self.port = 0
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._runner: web.AppRunner | None = None
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        """What ``[influxdb] url`` is given."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def open(self) -> None:
        """Listen, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)

    def close(self) -> None:
        """Stop listening: connections are refused."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/api/v2/write", self._write)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _write(self, request: web.Request) -> web.StreamResponse:
        mode = self.mode
        self.requests[mode] += 1
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        refusal = await self._bad_day(mode, body, request)
        if refusal is not None:
            return refusal
        if not await self._keep(body):
            return web.json_response({"message": "the store behind is away"}, status=503)
        return await self._slow(request) if mode == "slow" else web.Response(status=204)

    async def _bad_day(
        self, mode: Mode, body: bytes, request: web.Request
    ) -> web.StreamResponse | None:
        """What the mode answers instead of taking the lines; None when it takes them."""
        status, headers = 0, {}
        if mode == "silent":
            await asyncio.sleep(_SILENCE_S)
        elif mode == "reset":
            assert request.transport is not None
            request.transport.abort()
            status = 500
        elif mode == "429":
            status, headers = 429, {"Retry-After": "1"}
        elif mode == "413":
            status = 413 if len(body) > _MOST_BYTES else 0
        elif mode in ("400", "422"):
            status = int(mode) if BAD_DEVICE.encode() in body else 0
        elif mode in ("500", "503", "401"):
            status = int(mode)
        if not status:
            return None
        return web.json_response({"message": mode}, status=status, headers=headers)

    async def _keep(self, body: bytes) -> bool:
        if self._behind is not None:
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(f"{self._behind}/write", data=body) as reply,
                ):
                    if reply.status >= 300:
                        return False
            except OSError:
                return False
        for line in body.decode().split("\n"):
            identity = identity_of_line(line)
            self.lines[identity] = line
            self.written.setdefault(identity, Counter())[line] += 1
        return True

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        """An answer at one byte a second."""
        response = web.StreamResponse(status=200)
        response.content_length = 4
        await response.prepare(request)
        for _ in range(4):
            await asyncio.sleep(1)
            await response.write(b".")
        return response


def identity_of_line(line: str) -> str:
    """A line without its fields: measurement, tags and time."""
    # Neither names nor values of the plant hold a space or a quote.
    head, _, time_ns = line.split(" ")
    return f"{head} {time_ns}"


#: Between fields: a comma that is not in a text, which is quoted.
_BETWEEN_FIELDS = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')


def fields_of_line(line: str) -> dict[str, str]:
    """A line's fields as they are written."""
    return dict(field.split("=", 1) for field in _BETWEEN_FIELDS.split(line.split(" ")[1]))
