"""The bytes of many payloads, looked at in as many places at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Behind the last payload, so that what is looked at in one go is always there.
_BEHIND: Final = bytes(32)


class Words:
    """Payloads, one behind the other.

    Args:
        payloads: The payloads.

    Attributes:
        text: All of them, and some bytes behind.
        bytes: uint8, the same.
        starts: intp[payload], where each begins.
        ends: intp[payload], where each ends.
    """

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.text = b"".join([*payloads, _BEHIND])
        self.bytes: NDArray[np.uint8] = np.frombuffer(self.text, np.uint8)
        sizes = np.fromiter(map(len, payloads), np.intp, len(payloads))
        self.ends: NDArray[np.intp] = np.cumsum(sizes)
        self.starts: NDArray[np.intp] = self.ends - sizes
        # At each byte, that and the seven behind it as one number.
        self._words: NDArray[np.uint64] = np.ndarray(len(self.text) - 7, "<u8", self.text, 0, (1,))

    def at(self, places: NDArray[np.intp]) -> NDArray[np.uint64]:
        """uint64[n], the eight bytes from each of these places, the first one lowest.

        Places may lie up to 24 bytes behind the last payload.
        """
        found: NDArray[np.uint64] = self._words[places]
        return found
