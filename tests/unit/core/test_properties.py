"""What people are told of what stood beside a message that was refused."""

from __future__ import annotations

import pytest

from headgate.core.properties import kept_type, noted


@pytest.mark.parametrize(
    ("content_type", "detail"),
    [
        (b"", "too large"),
        (b"a/b", "too large; content type a/b"),
        ("é/ü".encode(), "too large; content type é/ü"),
        (b"a/\xff", "too large; content type a/\ufffd"),
    ],
)
def test_people_see_the_content_type_behind_the_detail(content_type: bytes, detail: str) -> None:
    """If there is any."""
    assert noted("too large", kept_type(content_type)) == detail


def test_a_long_content_type_is_cut() -> None:
    """Nobody fills quarantine with it."""
    assert kept_type(b"x" * 100) == "x" * 100
    assert kept_type(b"x" * 65_535) == "x" * 100 + "…"
