"""The console's server against peers that mean no good, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.schema import Config
from headgate.console.http import Console
from headgate.console.server import Reply, Request, Server
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from tests.unit.console.lanes import FakeLane, page

_GET = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_TOKEN = "a token that nobody guesses"


@asynccontextmanager
async def _serving(
    *, body: bytes = b"here", deadline_s: float = 30.0, max_connections: int = 4
) -> AsyncIterator[tuple[int, list[Request]]]:
    """A server, its port, and what it was asked."""
    asked: list[Request] = []

    def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply(200, body)

    server = Server(answer, deadline_s=deadline_s, max_connections=max_connections)
    _, port = await server.start("127.0.0.1", 0)
    try:
        yield port, asked
    finally:
        await server.stop()


async def _talk(port: int, *parts: bytes) -> bytes:
    """Send these one after the other, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def _send_without_end(writer: asyncio.StreamWriter) -> None:
    """Up to what no server takes for a request."""
    for _ in range(1000):
        writer.write(100_000 * b"x")
        await asyncio.wait_for(writer.drain(), 20)


def _status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


async def test_a_request_may_come_in_any_number_of_pieces() -> None:
    """Cut anywhere, down to single bytes."""
    async with _serving() as (port, asked):
        assert _status(await _talk(port, *(bytes([each]) for each in _GET))) == 200
        for cut in range(1, len(_GET)):
            assert _status(await _talk(port, _GET[:cut], _GET[cut:])) == 200
    assert len(asked) == len(_GET)


async def test_one_connection_is_answered_once() -> None:
    """Requests that follow in the same connection cost nothing: they are not read."""
    async with _serving() as (port, asked):
        reply = await _talk(port, 100 * _GET)

    assert reply.count(b"HTTP/1.1 200 OK") == 1
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + 9000 * b"x", 414),
        (b"GET /status HTTP/1.1\r\nHost: a\r\n" + 900 * b"X-Many: many\r\n" + b"\r\n", 431),
        (b"GET /status HTTP/1.1\r\nHost: a\r\nX-Long: " + 200_000 * b"x" + b"\r\n\r\n", 431),
        (b"POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n" + 9 * b"x", 413),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
async def test_what_is_too_large_or_no_request_is_told_so(sent: bytes, status: int) -> None:
    """The answer arrives, though the peer had more to send."""
    async with _serving() as (port, asked):
        assert _status(await _talk(port, sent)) == status
    assert not asked


async def test_a_peer_that_sends_without_end_is_cut_off() -> None:
    """What it sends is not kept."""
    async with _serving() as (port, _):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionError):
            await _send_without_end(writer)
        writer.close()


async def test_a_peer_that_never_finishes_its_request_is_told_and_cut_off() -> None:
    """By the server: here nobody ends the request."""
    async with _serving(deadline_s=0.1) as (port, asked):
        assert _status(await _talk(port, _GET[:-1])) == 408
        assert await _talk(port) == b""
    assert not asked


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    """What it did not take goes with it."""
    async with _serving(body=20_000_000 * b"x", deadline_s=0.1) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        writer.write(_GET)
        # Its buffers fill, and the server waits no longer than its deadline.
        for _ in range(400):
            if not _established(port):
                break
            await asyncio.sleep(0.05)
        assert not _established(port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(20_000_000)
        writer.close()


async def test_those_who_hold_connections_keep_nobody_out() -> None:
    """The one that has waited for the longest makes room."""
    async with _serving(max_connections=4) as (port, asked):
        holders = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        for _, writer in holders[-4:]:
            writer.write(_GET[:-2])
        for _ in range(10):
            assert _status(await _talk(port, _GET)) == 200
        assert len(asked) == 10
        for reader, _ in holders[:46]:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 20)
        for _, writer in holders:
            writer.close()


async def test_a_peer_that_has_its_answer_takes_nobodys_place() -> None:
    """It closes, and so does the server, however long its deadline is."""
    async with _serving(max_connections=4, deadline_s=600.0) as (port, asked):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_GET[:-2])
        for _ in range(10):
            assert _status(await _talk(port, _GET)) == 200
        writer.write(_GET[-2:])

        assert _status(await asyncio.wait_for(reader.read(), 20)) == 200
        assert len(asked) == 11
        writer.close()


async def test_who_closes_its_side_after_asking_gets_the_whole_answer() -> None:
    """As some simple clients do."""
    async with _serving(body=5_000_000 * b"x") as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_GET)
        writer.write_eof()

        assert len(await asyncio.wait_for(reader.read(), 20)) > 5_000_000
        writer.close()


async def test_a_page_that_fails_is_said_and_the_next_is_served() -> None:
    """The connection ends all the same."""

    def answer(request: Request) -> Reply:
        if request.path == "/bad":
            raise ZeroDivisionError
        return Reply(200, b"good")

    server = Server(answer)
    _, port = await server.start("127.0.0.1", 0)
    try:
        assert _status(await _talk(port, _GET.replace(b"/status", b"/bad"))) == 500
        assert _status(await _talk(port, _GET)) == 200
    finally:
        await server.stop()


async def test_head_is_the_same_without_the_page() -> None:
    """Its length stands in the headers."""
    async with _serving() as (port, _):
        reply = await _talk(port, _GET.replace(b"GET", b"HEAD"))
    assert b"Content-Length: 4\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")


def _established(port: int) -> bool:
    """Whether the kernel has a connection whose near end is this port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@contextmanager
def _console(settings: dict[str, object], given: FakeLane | None = None) -> Iterator[int]:
    """A console in a thread of its own, for a command that blocks; its port."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[tuple[int, asyncio.AbstractEventLoop]] = []
    config = Config.model_validate(
        {
            "console": {"port": 0, **settings},
            "local_store": {},
            "feed": {"pump": {"topic": "plant/{device}", "channels": {"flow": {}}}},
        }
    )

    async def serve() -> None:
        lane = given or FakeLane(page(lambda telemetry: telemetry.messages.labels("pump").inc(3)))
        console = Console(config, {"ingest": lane}, ManualClock())
        url = await console.start()
        found.append((int(url.rpartition(":")[2]), asyncio.get_running_loop()))
        ready.set()
        await stop.wait()
        await console.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0][0]
    finally:
        found[0][1].call_soon_threadsafe(stop.set)
        thread.join(20)


def _ask(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    return _status(reply), reply.partition(b"\r\n\r\n")[2]


def test_another_sites_name_for_this_machine_is_refused() -> None:
    """On every page, before anything else."""
    with _console({"hosts": ["gateway.example"]}) as port:
        for path in ("/healthz", "/readyz", "/metrics", "/status", "/nothing"):
            assert _ask(port, path, Host="evil.example")[0] == 421
            assert _ask(port, path, Host="gateway.example:80")[0] in (200, 404)


def test_off_loopback_pages_need_the_token_and_health_does_not(tmp_path: Path) -> None:
    """Health without it is a word; what the lanes say is not told."""
    (tmp_path / "token").write_text(_TOKEN)
    settings: dict[str, object] = {"host": "0.0.0.0", "token_file": tmp_path / "token"}
    right = {"Host": "10.0.0.1", "Authorization": f"Bearer {_TOKEN}"}
    with _console(settings) as port:
        for path in ("/readyz", "/metrics", "/status", "/nothing"):
            assert _ask(port, path, Host="10.0.0.1")[0] == 401
            assert _ask(port, path, Host="10.0.0.1", Authorization="Bearer wrong")[0] == 401
            assert _ask(port, path, **right)[0] in (200, 404)
        assert _ask(port, "/healthz", Host="10.0.0.1") == (200, b"healthy\n")
        assert _ask(port, "/healthz", Host="10.0.0.1", Authorization="Bearer wrong")[0] == 401
        assert b"ingest" in _ask(port, "/healthz", **right)[1]


def test_off_loopback_without_a_token_only_health_is_told() -> None:
    """The others say what to configure."""
    with _console({"host": "0.0.0.0"}) as port:
        assert _ask(port, "/healthz", Host="10.0.0.1") == (200, b"healthy\n")
        status, body = _ask(port, "/status", Host="10.0.0.1")
    assert status == 403
    assert b"give console.token_file" in body


def test_status_shows_the_token_of_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or that of --token-file; without either it tells what the console said."""
    token = tmp_path / "token"
    token.write_text(_TOKEN)
    file = tmp_path / "plant.toml"
    with _console({"host": "0.0.0.0", "token_file": token}) as port:
        text = (
            f'[local_store]\n[console]\nhost = "0.0.0.0"\nport = {port}\ntoken_file = "token"\n'
            '[feed.pump]\ntopic = "plant/{device}"\nchannels.flow = {}\n'
        )
        file.write_text(text)
        capsys.readouterr()
        assert main(["status", "-c", str(file), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["totals"]["messages"] == 3

        url = f"http://127.0.0.1:{port}"
        assert main(["status", "--url", url, "--token-file", str(token), "--json"]) == 0
        capsys.readouterr()
        assert main(["status", "--url", url]) == 1
        assert "got 401 expected the header Authorization" in capsys.readouterr().err

        file.write_text(text.replace('"token"', '"elsewhere"'))
        assert main(["status", "-c", str(file)]) == 2
        assert "console.token_file: expected a token" in capsys.readouterr().err


def test_status_says_when_the_session_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """However long ago; nothing while it never was."""

    def count(telemetry: Telemetry) -> None:
        telemetry.sessions_lost.labels("mqtt").inc()
        telemetry.session_lost_seconds.labels("mqtt").set(1_700_000_000)

    for lane, said in (
        (FakeLane(page(count)), True),
        (FakeLane(page(lambda telemetry: telemetry.open_rows.set(0))), False),
    ):
        with _console({}, lane) as port:
            capsys.readouterr()
            assert main(["status", "--url", f"http://127.0.0.1:{port}"]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert ("session the broker lost it" in out) is said
        assert ("at 2023-11-14 22:13:20 UTC (1 times since the start)" in out) is said


def test_status_can_not_be_painted_by_what_devices_are_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names and reasons come from outside; brackets in them are no markup either."""
    name = "p\x1b[2J\x9b2J\n[red]x"
    presence = {"devices": 1, "silent": 1, "longest_s": 9.0, "heard_s": 9.0}
    lane = FakeLane(
        health=(False, "no [Errno 111] \x1b[31m"),
        details={"presence": {"pump": {**presence, "names": [(name, 9.0)]}}},
    )
    with _console({}, lane) as port:
        capsys.readouterr()
        assert main(["status", "--url", f"http://127.0.0.1:{port}"]) == 0
    out = capsys.readouterr().out

    assert all(line.isprintable() for line in out.split("\n"))
    assert r"\x1b[2J\x9b2J" in out
    assert "[red]x" in out
    assert r"\x1b[31m" in out
