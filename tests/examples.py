"""How many examples a property is tried with: ``make test`` takes a part, ``make test-all`` all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import settings

_Test = TypeVar("_Test", bound=Callable[..., None])

#: Whether all are tried.
IS_THOROUGH = os.environ.get("HEADGATE_TEST_THOROUGH", "") == "1"

#: One of so many is tried otherwise, and always so many.
_ONE_IN, _LEAST = 5, 10


def tried(examples: int) -> Callable[[_Test], _Test]:
    """Have a property tried with so many examples, and with a part of them in ``make test``."""
    count = examples if IS_THOROUGH else min(examples, max(_LEAST, examples // _ONE_IN))

    def mark(test: _Test) -> _Test:
        marked: _Test = pytest.mark.examples(settings(max_examples=count)(test))
        return marked

    return mark
