"""The rig as a fixture, on each log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import NoteAccount
from tests.faults.rig import Rig
from tests.mosquitto import MakeMosquitto, Mosquitto
from tests.victoria import Victoria

MakeRig = Callable[..., Rig]


@pytest.fixture
def broker(make_mosquitto: MakeMosquitto) -> Mosquitto:
    """A broker that writes its queues down when it is stopped, and need not at each message."""
    return make_mosquitto(lines="autosave_on_changes false")


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.thorough)])
def fault_log_url(request: pytest.FixtureRequest) -> str:
    """Each log in turn."""
    if request.param == "sqlite":
        return "sqlite:///log.db"
    return f"kafka://{request.getfixturevalue('kafka')}"


@pytest.fixture
def make_rig(
    broker: Mosquitto, victoria: Victoria, tmp_path: Path, note_account: NoteAccount
) -> Iterator[MakeRig]:
    """Makes rigs on a given log; options are those of ``Rig``."""
    with ExitStack() as stack:

        def make(log_url: str, **options: Any) -> Rig:  # noqa: ANN401
            options.setdefault("seed", 4)
            rig = stack.enter_context(
                Rig(tmp_path / "rig", broker, log_url, behind=victoria.url, **options)
            )
            stack.callback(lambda: note_account(rig.tally))
            return rig

        yield make


@pytest.fixture
def rig(make_rig: MakeRig, fault_log_url: str) -> Rig:
    """A rig on each log in turn."""
    return make_rig(fault_log_url)
