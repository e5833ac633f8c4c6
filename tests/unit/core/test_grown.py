"""Arrays that follow something that grows."""

from __future__ import annotations

import numpy as np

from headgate.core.grown import grown


def test_arrays_grow_with_reserve_and_keep_what_they_hold() -> None:
    """Growing one row at a time copies seldom; nothing is copied while there is room."""
    array = np.arange(100)

    larger = grown(array, 101, -1)

    assert len(larger) == 200
    assert larger[:101].tolist() == [*range(100), -1]
    assert grown(larger, 150, -1) is larger
