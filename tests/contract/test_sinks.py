"""Every sink that is installed keeps the laws of sinks, with its real other side."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from headgate.core.components import installed
from headgate.testing.sinks import LAWS, Law, hold_sink_to


def _marked(name: str) -> object:
    """The kind of sink, with the mark of the service that its scene needs."""
    mark = getattr(import_module(f"tests.contract.sinks.{name}"), "MARK", None)
    return pytest.param(name, marks=() if mark is None else mark)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", [_marked(name) for name in installed("sinks")])
async def test_a_sink_keeps_the_laws(kind: str, law: Law, tmp_path: Path) -> None:
    """Each is a test of its own; ``headgate.testing.sinks`` says what it asks."""
    await hold_sink_to(law, kind, import_module(f"tests.contract.sinks.{kind}").Scene, tmp_path)
