"""What all tests share: each module listed here brings the fixtures of one real service."""

from __future__ import annotations

pytest_plugins = [
    # First, because the others import it: pytest has to see a module before anyone else does.
    "tests.services",
    "tests.contract.logs",
    "tests.mosquitto",
    "tests.victoria",
]
