"""A real HTTP server that takes notifications, and answers as it is told."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What is answered.

    Attributes:
        status: The status.
        headers: Beside those of HTTP itself.
        body: What follows.
        pause_s: Before anything of it.
        drip_s: Between two of its bytes.
        repeat: How often the body is sent.
    """

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pause_s: float = 0.0
    drip_s: float = 0.0
    repeat: int = 1


@dataclass(frozen=True)
class Taken:
    """A request, and what was answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: Answer = field(default_factory=Answer)

    @property
    def id(self) -> str:
        """What it is known by."""
        return self.headers["webhook-id"]


class Receiver:
    """It stays at its port when it goes and comes back, with what it has taken.

    Args:
        answer: What to answer to a request.
    """

    def __init__(self, answer: Callable[[Taken], Answer] = lambda _taken: Answer()) -> None:
        self.answer = answer
        self.taken: list[Taken] = []
        #: Bytes of bodies that were sent.
        self.sent = 0
        #: Certificate and key, where it speaks TLS.
        self.certificate: tuple[str, str] | None = None
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._is_gone = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._port}/hook"

    def start(self) -> None:
        """Be there."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._handle(self)

            do_PUT = do_POST  # noqa: N815  (the server's names)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # whoever is killed in the middle

        self._is_gone.clear()
        self._server = Server(("127.0.0.1", self._port), Handler)
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        server, self._server = self._server, None
        self._is_gone.set()
        if server is not None:
            server.shutdown()
            server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        if len(body) < length:
            return  # it was killed meanwhile
        headers = {name.lower(): value for name, value in handler.headers.items()}
        taken = Taken(handler.command, handler.path, headers, body)
        answer = self.answer(taken)
        self.taken.append(Taken(taken.method, taken.path, headers, body, answer))
        self._is_gone.wait(answer.pause_s)
        with suppress(OSError):
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            if answer.status != 204:
                handler.send_header("Content-Length", str(len(answer.body) * answer.repeat))
            handler.end_headers()
            if answer.status != 204:
                self._send(handler, answer)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(answer.repeat):
            parts = [answer.body]
            if answer.drip_s:
                parts = [answer.body[at : at + 1] for at in range(len(answer.body))]
            for part in parts:
                handler.wfile.write(part)
                self.sent += len(part)
                if answer.drip_s:
                    time.sleep(answer.drip_s)
