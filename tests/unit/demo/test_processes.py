"""What the demo starts, and where."""

from __future__ import annotations

from headgate.demo.processes import free_port


def test_a_free_port_is_not_taken_by_a_connection() -> None:
    """What listens there may be started anew, and connections made meanwhile get other ports."""
    assert all(1024 <= free_port() < 32_768 for _ in range(50))
