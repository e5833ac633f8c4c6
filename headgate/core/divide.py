"""Records that are small enough for the log, whatever they hold: divided by bytes, not by rows."""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.errors import DataError
from headgate.core.log import MAX_RECORD_BYTES, Record

#: A record that can be divided is divided above this, bytes. Half of what the log takes: records
#: that are read and written again with a word more each, such as rejected readings, still fit.
DIVIDE_BYTES = MAX_RECORD_BYTES // 2


def divided(
    count: int, encode: Callable[[int, int], Record]
) -> tuple[list[Record], list[tuple[int, str]]]:
    """Encode items into as many records as it takes.

    What fits is encoded once; what does not is halved until it does.

    Args:
        count: Of the items.
        encode: Encodes those from one position to before another. May raise DataError
            ``too_large`` when it can tell so before it has encoded them.

    Returns:
        The records, in order, and the positions of the items that are too large for a record of
        their own, each with how large.
    """
    records: list[Record] = []
    too_large: list[tuple[int, str]] = []
    spans = [(0, count)] if count else []
    while spans:
        first, end = spans.pop()
        is_one = end - first == 1
        try:
            record = encode(first, end)
            found = f"{record.size_bytes} bytes"
            fits = record.size_bytes <= (MAX_RECORD_BYTES if is_one else DIVIDE_BYTES)
        except DataError as error:
            if error.reason != "too_large":
                raise
            found, fits = error.detail, False
        if fits:
            records.append(record)
        elif is_one:
            too_large.append((first, found))
        else:
            middle = (first + end) // 2
            spans += [(middle, end), (first, middle)]
    return records, too_large
