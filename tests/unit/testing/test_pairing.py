"""Lines that leave something out are paired with what was found as well as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from headgate.testing.pairing import paired

_Row = Mapping[str, Any]


def _agree(wanted: _Row, found: _Row) -> bool:
    return all(found.get(name) == value for name, value in wanted.items())


def _most(wanted: Sequence[_Row], found: Sequence[_Row]) -> int:
    """How many pairs there may be: by trying every order."""
    rows = [*found, *({} for _ in wanted)]
    return max(
        sum(bool(row) and _agree(line, row) for line, row in zip(wanted, order, strict=False))
        for order in permutations(rows, len(wanted))
    )


def test_there_are_as_many_pairs_as_there_may_be() -> None:
    """Each agrees, and nothing is in two of them."""
    rng = np.random.default_rng(5)
    improved = 0
    for _ in range(150):
        found = [{"a": f"{rng.integers(2)}", "b": f"{rng.integers(2)}", "n": 0} for _ in range(4)]
        wanted: list[dict[str, Any]] = [
            {name: f"{rng.integers(2)}" for name in ("a", "b") if rng.integers(2)} or {"n": 0}
            for _ in range(4)
        ]

        owner = paired(wanted, found)

        assert len({*owner.values()}) == len(owner) == _most(wanted, found)
        assert all(_agree(wanted[line], found[row]) for row, line in owner.items())
        improved += len(owner) > 2
    assert improved


def test_thousands_that_say_the_same_are_paired() -> None:
    """Those that are left over too, of which each could take any."""
    found = [{"reason": "bad_time", "payload": f"{number % 7}"} for number in range(3000)]

    owner = paired([{"reason": "bad_time"}] * 3001 + [{"reason": "other"}] * 3000, found)

    assert len(owner) == 3000
