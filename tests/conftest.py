"""What all tests share: each module listed here brings the fixtures of one real service."""

from __future__ import annotations

pytest_plugins = [
    "tests.contract.logs",
    "tests.mosquitto",
    "tests.services",
    "tests.victoria",
]
