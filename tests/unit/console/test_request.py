"""What counts as a request to the console, and who may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.schema import ConsoleConfig
from headgate.console.access import Access
from headgate.console.server import BadRequestError, Reply, Request, parsed, rendered

_TOKEN = "correct horse battery"


def _request(host: str | None = "127.0.0.1:8350", authorization: str | None = None) -> Request:
    headers = {"host": host, "authorization": authorization}
    return Request("GET", "/status", {key: [text] for key, text in headers.items() if text})


def test_a_request_is_read() -> None:
    """Names in small letters, values without blanks around them, the path without its query."""
    request = parsed(b"GET /status?x=1 HTTP/1.1\r\nHost: a:1\r\nX-Two:\t b \r\nx-two: c")

    assert request == Request("GET", "/status", {"host": ["a:1"], "x-two": ["b", "c"]})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET", 400),
        (b"GET /status", 400),
        (b"get /status HTTP/1.1\r\nHost: a", 400),
        (b"GET status HTTP/1.1\r\nHost: a", 400),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: a", 400),
        (b"GET /status HTTP/2.0\r\nHost: a", 400),
        (b"GET /sta\x00tus HTTP/1.1\r\nHost: a", 400),
        (b"GET /status HTTP/1.1", 400),
        (b"GET /status HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET /status HTTP/1.1\r\nHost: a\r\n continued", 400),
        (b"GET /status HTTP/1.1\r\nHost : a", 400),
        (b"GET /status HTTP/1.1\r\nHost: a\nX: b", 400),
        (b"GET /status HTTP/1.1\r\nHost: a\x00", 400),
        (b"GET /status HTTP/1.1\r\nno header", 400),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: a", 414),
        (b"POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 1", 413),
        (b"GET /status HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5", 413),
        (b"POST /status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", 413),
    ],
)
def test_what_is_none_is_refused(head: bytes, status: int) -> None:
    """With HTTP's number for it."""
    with pytest.raises(BadRequestError) as refused:
        parsed(head)
    assert refused.value.status == status


def test_http_1_0_needs_no_host() -> None:
    """Simple health checks send none; browsers always do."""
    assert parsed(b"GET /healthz HTTP/1.0").headers == {}


def test_an_answer_ends_the_connection_and_is_kept_nowhere() -> None:
    """Its length counts bytes."""
    head = rendered(Reply.text(401, "nö", WWW_Authenticate="Bearer")).decode().split("\r\n")

    assert head[0] == "HTTP/1.1 401 Unauthorized"
    assert {"Content-Length: 4", "Connection: close", "Cache-Control: no-store"} < set(head)
    assert "WWW-Authenticate: Bearer" in head
    assert head[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:8350", True),
        ("localhost", True),
        ("LOCALHOST:8350", True),
        ("[::1]:8350", True),
        ("[::1]", True),
        ("192.168.7.2:8350", True),
        ("gateway.example", True),
        ("box.example:8350", True),
        (None, True),
        ("evil.example", False),
        ("evil.example:8350", False),
        ("127.0.0.1.evil.example", False),
        ("gateway.example.evil", False),
        ("localhost.evil.example:8350", False),
    ],
)
def test_a_name_that_somebody_else_can_own_is_refused(host: str | None, *, is_ours: bool) -> None:
    """It may lead to this machine for the browser of somebody who looks at its owner's page."""
    access = Access(ConsoleConfig(host="gateway.example", hosts=("Box.example",)))

    refusal = access.misdirected(_request(host))

    assert (refusal is None) is is_ours
    assert is_ours or (refusal is not None and refusal.status == 421)


def test_on_loopback_no_token_is_asked_for() -> None:
    """Who has an account on the machine may look."""
    assert Access(ConsoleConfig()).refusal(_request()) is None


def test_off_loopback_nobody_may_read_without_a_token() -> None:
    """Not even from loopback; the answer says what to do."""
    access = Access(ConsoleConfig(host="0.0.0.0"))
    refusal = access.refusal(_request())

    assert access.is_closed
    assert refusal is not None
    assert refusal.status == 403
    assert b"give console.token_file" in refusal.body


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {_TOKEN}", None),
        (f"bearer  {_TOKEN} ", None),
        (None, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Basic {_TOKEN}", 401),
        (_TOKEN, 401),
        (f"Bearer {_TOKEN}x", 401),
        (f"Bearer {_TOKEN[:-1]}", 401),
        ("Bearer \xe4\xff", 401),
    ],
)
def test_the_token_is_asked_for_wherever_one_is_configured(
    monkeypatch: pytest.MonkeyPatch, host: str, authorization: str | None, status: int | None
) -> None:
    """As a bearer, whole and right."""
    monkeypatch.setenv("HEADGATE_CONSOLE", _TOKEN)
    access = Access(ConsoleConfig(host=host, token_env="HEADGATE_CONSOLE"))

    refusal = access.refusal(_request(authorization=authorization))

    assert (refusal and refusal.status) == status


def test_two_authorizations_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever another server would have taken."""
    monkeypatch.setenv("HEADGATE_CONSOLE", _TOKEN)
    headers = {"authorization": [f"Bearer {_TOKEN}", "Bearer x"]}

    refusal = Access(ConsoleConfig(token_env="HEADGATE_CONSOLE")).refusal(
        Request("GET", "/", headers)
    )

    assert refusal is not None


def test_a_token_is_taken_up_when_its_file_changes(tmp_path: Path) -> None:
    """And a file that is empty or gone opens nothing."""
    file = tmp_path / "token"
    access = Access(ConsoleConfig(token_file=file))
    for content in ("first token, long", "second token, long"):
        file.write_text(f"{content}\n")
        assert access.refusal(_request(authorization=f"Bearer {content}")) is None
    file.write_text("\n")
    assert access.refusal(_request(authorization="Bearer ")) is not None
    file.unlink()
    assert access.refusal(_request(authorization="Bearer second token, long")) is not None
