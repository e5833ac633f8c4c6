"""HTTP as far as the console needs it: one short question a connection, and its answer.

Anybody who reaches the port may talk to it, and the supervisor that serves it has lanes to watch.
So everything a peer decides is bounded: how long it may take to ask, how much it may send, how many
may ask at once, and how long it may take to read the answer. A connection is for one request;
whatever follows it is thrown away unread, and requests that announce a body are refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog

#: Bytes of a request line and of a whole head. A browser's are a tenth of that.
_MAX_LINE_BYTES: Final = 2 << 10
_MAX_HEAD_BYTES: Final = 8 << 10

#: Bytes that are read and thrown away after the head. To close on them would reset the
#: connection, and the peer would lose the answer.
_MAX_IGNORED_BYTES: Final = 256 << 10

#: Connections at once. Over that the one that has been asking for the longest is dropped: whoever
#: asks slowly, or never, can't keep those away who ask in one go.
_MAX_CONNECTIONS: Final = 32

#: How long a peer may take to ask, and to take the answer, s.
_DEADLINE_S: Final = 5.0

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked.

    Attributes:
        method: ``GET`` or whatever it was, in capitals.
        path: Without the query.
        headers: Values by name in small letters, in order.
    """

    method: str
    path: str
    headers: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered.

    Attributes:
        status: HTTP's number.
        body: The page.
        content_type: What it is.
        headers: Further headers.
    """

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: int, text: str, **headers: str) -> Reply:
        """A line for people."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, f"{text}\n".encode(), headers=named)


class BadRequestError(Exception):
    """A request that is none, or more of one than is allowed.

    Args:
        status: HTTP's number for it.
        what: What was expected.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class Server:
    """Listens, and has requests answered.

    Args:
        answer: Answers a request at once, from memory.
        max_connections: At most so many at once.
        deadline_s: A peer may take so long to ask, and again to take the answer.
    """

    def __init__(
        self,
        answer: Callable[[Request], Reply],
        *,
        max_connections: int = _MAX_CONNECTIONS,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        self._answer = answer
        self._max_connections = max_connections
        self._deadline_s = deadline_s
        self._server: asyncio.Server | None = None
        # In the order in which they came; of a set there is no oldest.
        self._connections: dict[_Exchange, None] = {}

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Begin to listen; the address and port that it listens on.

        Raises:
            OSError: The address can't be listened on.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Exchange(self._answer, self._connections, self._admit, self._deadline_s),
            host,
            port,
        )
        found: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return found

    async def stop(self) -> None:
        """Stop listening, and end what is under way."""
        if self._server is not None:
            self._server.close()
            for exchange in list(self._connections):
                exchange.abort()
            await self._server.wait_closed()
            self._server = None

    def _admit(self) -> None:
        """Make room for one more connection."""
        while len(self._connections) >= self._max_connections:
            waiting = (each for each in self._connections if not each.is_answered)
            oldest = next(waiting, next(iter(self._connections)))
            oldest.abort()


class _Exchange(asyncio.Protocol):
    """One connection: a request, its answer, and the end."""

    def __init__(
        self,
        answer: Callable[[Request], Reply],
        connections: dict[_Exchange, None],
        admit: Callable[[], None],
        deadline_s: float,
    ) -> None:
        self.is_answered = False
        self._answer = answer
        self._connections = connections
        self._admit = admit
        self._deadline_s = deadline_s
        self._head = bytearray()
        self._ignored_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (for the type checker)
        self._transport = transport
        self._admit()
        self._connections[self] = None
        self._set_timer(self._end_waiting)

    def data_received(self, data: bytes) -> None:
        if self.is_answered:
            self._ignored_bytes += len(data)
            if self._ignored_bytes > _MAX_IGNORED_BYTES:
                self.abort()
            return
        # The end may be cut in two anywhere; what was looked at before is not looked at again.
        searched = max(0, len(self._head) - 3)
        self._head += data[: _MAX_HEAD_BYTES + 1 - len(self._head)]
        end = self._head.find(b"\r\n\r\n", searched)
        if end >= 0:
            self._reply_to(bytes(self._head[:end]))
        elif len(self._head) > _MAX_HEAD_BYTES:
            self._send(_too_large(bytes(self._head)))

    def eof_received(self) -> None:
        # An answer that is under way goes out all the same; then the connection ends.
        if not self.is_answered:
            self.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self._forget()

    def abort(self) -> None:
        """End at once; what was not sent is lost."""
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _reply_to(self, head: bytes) -> None:
        try:
            request = parsed(head)
        except BadRequestError as error:
            self._send(Reply.text(error.status, str(error)))
            return
        try:
            reply = self._answer(request)
        except Exception:
            _logger.exception("A page of the console can't be made.", path=request.path)
            reply = Reply.text(500, "the page can't be made; see the gateway's log")
        self._send(reply, with_body=request.method != "HEAD")

    def _send(self, reply: Reply, *, with_body: bool = True) -> None:
        assert self._transport is not None  # noqa: S101  (for the type checker)
        self.is_answered = True
        self._head.clear()
        self._set_timer(self.abort)
        self._transport.write(rendered(reply) + (reply.body if with_body else b""))
        # Only our side: the peer closes when it has read, and then nothing of it is lost.
        self._transport.write_eof()

    def _end_waiting(self) -> None:
        if self._head:
            self._send(Reply.text(408, f"expected a whole request within {self._deadline_s:g} s"))
        else:
            self.abort()

    def _set_timer(self, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._deadline_s, act)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connections.pop(self, None)


def parsed(head: bytes) -> Request:
    """The request that a head, without the empty line after it, holds.

    Raises:
        BadRequestError: It is none, or larger than is allowed, or announces a body.
    """
    lines = head.decode("latin-1").split("\r\n")
    if len(lines[0]) > _MAX_LINE_BYTES:
        raise BadRequestError(414, f"expected a line of {_MAX_LINE_BYTES} bytes at most")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise BadRequestError(400, "expected a request such as GET /status HTTP/1.1")
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or _TOKEN.fullmatch(name) is None or _UNPRINTABLE.search(value):
            raise BadRequestError(400, "expected headers of the form NAME: VALUE")
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    if len(headers.get("host", [])) > 1 or (match[3] == "1" and "host" not in headers):
        raise BadRequestError(400, "expected one Host")
    if "transfer-encoding" in headers or any(
        length != "0" for length in headers.get("content-length", [])
    ):
        raise BadRequestError(413, "expected a request without a body")
    return Request(match[1], match[2].partition("?")[0], headers)


def rendered(reply: Reply) -> bytes:
    """An answer's status line and headers, up to the empty line after them."""
    headers = {
        "Content-Type": reply.content_type,
        "Content-Length": str(len(reply.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **reply.headers,
    }
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _too_large(head: bytes) -> Reply:
    if b"\r\n" not in head[: _MAX_LINE_BYTES + 2]:
        return Reply.text(414, f"expected a line of {_MAX_LINE_BYTES} bytes at most")
    return Reply.text(431, f"expected headers of {_MAX_HEAD_BYTES} bytes at most")
