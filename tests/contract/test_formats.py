"""Every format that is installed keeps the laws of formats."""

from __future__ import annotations

import pytest

from headgate.core.components import installed
from headgate.testing.formats import hold_format


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", installed("formats"))
def test_a_format_keeps_the_laws(name: str) -> None:
    """Whatever bytes come: three thousand payloads."""
    hold_format(name, changes=3000)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", installed("formats"))
def test_a_format_keeps_the_laws_much_longer(name: str) -> None:
    """A hundred thousand, and others."""
    hold_format(name, seed=1, changes=100_000)
