"""What all tests share: the fixtures of the real services, and the account at the end."""

from __future__ import annotations

import os
import signal

import pytest

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


@pytest.fixture(scope="session", autouse=True)
def faust_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the folders of Faust apps that tests make out of the project."""
    os.environ["APP_DATADIR"] = str(tmp_path_factory.mktemp("faust"))
