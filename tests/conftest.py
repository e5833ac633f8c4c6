"""What all tests share: the fixtures of the real services, and the account at the end."""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    # First, because the others import it: pytest has to see a module before anyone else does.
    "tests.services",
    "tests.contract.logs",
    "tests.mosquitto",
    "tests.victoria",
    "tests.accounts",
]


# A shell that starts the tests in its background has them ignore SIGINT, and every process that
# they start would inherit that: what an interrupt does could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Nothing in a test measures time: that a machine is busy breaks no promise.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_sessionstart() -> None:
    """Where ``make test`` has installed the wheel, it is that which is tested, and nothing else."""
    folder = os.environ.get("HEADGATE_TEST_INSTALLED")
    if not folder:
        return
    for name in ("headgate", "streams", "connectors", "models"):
        file = import_module(name).__file__
        if file is None or Path(file).parents[1] != Path(folder):
            raise pytest.UsageError(f"expected {name} in {folder}, got {file}")


@pytest.fixture(scope="session", autouse=True)
def faust_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the folders of Faust apps that tests make out of the project."""
    os.environ["APP_DATADIR"] = str(tmp_path_factory.mktemp("faust"))
