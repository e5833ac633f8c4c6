"""Names of metrics as places: those of channels, and behind them all others in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.formats.sparkplug.columns import NOBODYS, ODD

#: So many names of others are remembered, of so many bytes; each batch may bring more.
_MOST: Final = 100_000
_MOST_BYTES: Final = 4 << 20


class _Places(dict[bytes, int]):
    """Places by name; a name that is not among them is asked for once."""

    def __init__(self, names: Names) -> None:
        super().__init__(names.as_sent)
        self._names = names

    def __missing__(self, name: bytes) -> int:
        place = self._names.place_of(name)
        if place != NOBODYS:
            self[name] = place
        return place


class Names:
    """Says which place a name has.

    Args:
        places: By name, the place of its channel, or ``ODD``.
        listed: How many channels are listed, from which on others have their places; None: others
            are nobody's.
    """

    def __init__(self, places: Mapping[str, int], listed: int | None) -> None:
        self.as_sent: Mapping[bytes, int] = {name.encode(): at for name, at in places.items()}
        self.listed = listed
        #: The others, in the order of their places. A list of its own as long as these hold.
        self.others: list[str] = []
        self._bytes = 0
        #: Places by name; never to be asked with ``get``.
        self.places = _Places(self)

    def begin(self) -> None:
        """Forget the others if they are very many; what was found of them means nothing then."""
        if len(self.others) > _MOST or self._bytes > _MOST_BYTES:
            self.others, self._bytes, self.places = [], 0, _Places(self)

    def place_of(self, name: bytes) -> int:
        """The place of a name that has none yet."""
        if self.listed is None:
            return NOBODYS
        if not name:
            return ODD
        place = self.listed + len(self.others)
        self.others.append(name.decode())
        self._bytes += len(name)
        return place
