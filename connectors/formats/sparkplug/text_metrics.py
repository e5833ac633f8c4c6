"""What metrics of text channels say, as codes; see ``headgate/core/texts.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.formats.format import TextOf
from connectors.formats.sparkplug.columns import Kinds
from connectors.formats.sparkplug.fields import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    MOST_UINT32,
    PLACE_BITS,
    STRING,
    Columns,
)
from connectors.formats.sparkplug.values import whole
from headgate.core.errors import DataError
from headgate.core.texts import code_of

#: What is said is remembered, so many things of so many bytes each.
_MOST: Final = 10_000
_LONGEST: Final = 256

#: What a metric says, and of which channel: its kind and data type, and its bits or text.
_Said = tuple[int, int, int, int | bytes]


class TextMetrics:
    """Finds the codes.

    Args:
        texts: What makes a text of a value, channel by channel.
        kinds: Which places are theirs.
    """

    def __init__(self, texts: Sequence[TextOf], kinds: Kinds) -> None:
        self._texts, self._kinds = texts, kinds
        # What was said before: its text, empty for none; None where its message is read by itself.
        self._known: dict[_Said, str | None] = {}

    def read(
        self,
        found: Columns,
        which: NDArray[np.intp],
        types: NDArray[np.int64],
        text: bytes,
        value: NDArray[np.float64],
    ) -> tuple[NDArray[np.intp], dict[float, str]]:
        """Set the codes of metrics, NaN of those that say none.

        Args:
            found: The metrics.
            which: intp[n], their places.
            types: int64[n], their data types.
            text: All payloads.
            value: float64[n], gets the codes.

        Returns:
            Which metrics must be looked at; and the texts by code.
        """
        first, end = self._kinds
        odd: list[int] = []
        texts: dict[float, str] = {}
        if not self._texts:
            return np.empty(0, np.intp), texts
        rows = np.flatnonzero((which >= first) & (which < end))
        kinds = np.where(found.is_null[rows], 0, found.kind[rows])
        columns: tuple[NDArray[Any], ...] = (which[rows], kinds, types[rows], found.bits[rows])
        listed = zip(rows.tolist(), *(column.tolist() for column in columns), strict=True)
        for row, channel, kind, datatype, bits in listed:
            content: int | bytes = bits
            if kind == STRING:
                at = bits >> int(PLACE_BITS)
                content = text[at : at + (bits & MOST_UINT32)]
            said = (channel - first, kind, datatype, content)
            its_text = self._known[said] if said in self._known else self._said(said)
            code = code_of(its_text) if its_text else nan
            if its_text is None or (its_text and texts.setdefault(code, its_text) != its_text):
                odd.append(row)
            value[row] = code
        return np.array(odd, np.intp), texts

    def _said(self, said: _Said) -> str | None:
        channel, kind, datatype, content = said
        try:
            value = None if kind == 0 else _VALUES[kind](content, datatype)
            found, word = self._texts[channel](value)
        except (DataError, KeyError):
            found, word = "", "odd"
        text = None if word else found
        if not isinstance(content, bytes) or len(content) <= _LONGEST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[said] = text
        return text


#: By kind, a value of Python's, as protobuf has it.
_VALUES: Final[Mapping[int, Callable[[Any, int], object]]] = {
    STRING: lambda text, _: text.decode(),
    BOOLEAN: lambda bits, _: bits != 0,
    DOUBLE: lambda bits, _: float(np.uint64(bits).view(np.float64)),
    FLOAT: lambda bits, _: float(np.uint32(bits).view(np.float32)),
    INT: whole,
    LONG: whole,
}
