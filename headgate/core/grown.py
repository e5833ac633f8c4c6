"""Arrays that follow something that grows, at a cost that stays in proportion to its size."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


def grown(array: NDArray[_Scalar], rows: int, fill: object) -> NDArray[_Scalar]:
    """The array with at least this many rows, new ones set to ``fill``.

    Returns the same array when it is long enough; otherwise a copy at least twice as long, so
    that growing row by row stays cheap.
    """
    if rows <= len(array):
        return array
    larger = np.full((max(rows, 2 * len(array), 64), *array.shape[1:]), fill, array.dtype)
    larger[: len(array)] = array
    return larger
