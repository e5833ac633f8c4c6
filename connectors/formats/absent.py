"""Records that lack channels, in what was read the fast way: which of them need a careful look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectors.formats.devices import Failed
from connectors.formats.format import Typed
from connectors.formats.signals import Signal
from headgate.core.errors import DataError

NO_CHANNELS = "none of the feed's channels is in the record"


class AbsentChannels:
    """Finds such records.

    Args:
        signals: The feed's channels.
        is_flat: Whether its records have no other shape than one object.
    """

    def __init__(self, signals: Sequence[Signal], *, is_flat: bool) -> None:
        self._is_required = np.array([signal.is_required for signal in signals])
        # What is not at the place that is looked at first may be at another.
        self._has_others = np.array([bool(signal.others) for signal in signals])
        self._matters = bool(self._is_required.any() or self._has_others.any())
        self._is_flat = is_flat

    def fail(self, typed: Typed, payloads: Sequence[bytes], failed: Failed) -> None:
        """Have those records fail that lack a required channel, or all of them."""
        is_odd = typed.is_absent.all(axis=1)
        if self._matters:
            is_odd |= (typed.is_absent & (self._is_required | self._has_others)).any(axis=1)
        if not is_odd.any():
            return
        is_known = self._is_flat and not (typed.has_arrays or self._matters)
        for position in typed.owner[is_odd].tolist():
            if position not in failed:
                # An array or object in it may be where they are: the careful way looks. Of JSON the
                # bytes say that there is none.
                payload = payloads[position]
                is_flat = is_known and payload.startswith(b"{") and payload.count(b"{") == 1
                is_flat = is_flat and b"[" not in payload
                failed[position] = DataError("no_channels", NO_CHANNELS) if is_flat else None
