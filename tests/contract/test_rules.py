"""Every cleaning rule that is installed keeps the laws of rules."""

from __future__ import annotations

import pytest

from headgate.core.components import installed
from headgate.testing.stages import hold_rule


@pytest.mark.parametrize("name", installed("rules"))
def test_a_rule_keeps_the_laws(name: str) -> None:
    """Whatever readings come, and however they are cut."""
    hold_rule(name)
