"""Every format that is installed keeps the laws of formats."""

from __future__ import annotations

import pytest

from headgate.core.components import installed
from headgate.testing.formats import hold_format


@pytest.mark.parametrize("name", installed("formats"))
def test_a_format_keeps_the_laws(name: str) -> None:
    """Whatever bytes come."""
    hold_format(name)
