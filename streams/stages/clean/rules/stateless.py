"""A rule that remembers nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.core.stage import Selection, StateBlock


class Stateless:
    """Base of rules that judge each reading, or each step, by itself."""

    @property
    def fingerprint(self) -> str:
        return ""

    def snapshot(self, selection: Selection) -> StateBlock:
        del selection
        return {}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        pass

    def forget(self, selection: Selection) -> None:
        pass

    def go_back(self, channels: NDArray[np.int32]) -> None:
        pass
