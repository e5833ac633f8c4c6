"""Real services for the tests: how they are found, and what happens where one is missing."""

from __future__ import annotations

import os

import pytest

#: In continuous integration a missing service is a failure: a skipped test proves nothing.
IS_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def require(name: str, found: bool, how: str) -> None:
    """Go on when the service is there; otherwise skip the test, or fail it in CI.

    Args:
        name: What is needed, as a person calls it (``"mosquitto"``).
        found: Whether it is there.
        how: What to do to get it, a sentence without a full stop.
    """
    if found:
        return
    message = f"{name} is not available: {how}."
    if IS_CI:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
