"""What readings of text channels say, as a column of records: there texts stand, and no codes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.ipc import numbers
from headgate.core.records.arrow import NAMES
from headgate.core.texts import MAX_TEXT

#: The column, empty where a reading says a number, or nothing. Only records with text channels
#: have it.
SAID = pa.field("text", NAMES, nullable=False)


def has_texts(batch: Batch) -> bool:
    """Whether any reading is of a text channel."""
    channels = batch.channels
    return channels.has_texts and bool(channels.is_text[batch.channel].any())


def said_columns(batch: Batch) -> tuple[NDArray[np.float64], pa.DictionaryArray]:
    """The values of a batch as they are written, where texts have none, and the texts."""
    channels = batch.channels
    rows = np.flatnonzero(channels.is_text[batch.channel] & ~np.isnan(batch.value))
    # One text of several channels has one code.
    codes, first, of = np.unique(batch.value[rows], return_index=True, return_inverse=True)
    owners = batch.channel[rows[first]].tolist()
    texts = [
        channels.texts.text(row, code) for row, code in zip(owners, codes.tolist(), strict=True)
    ]
    value, index = batch.value.copy(), np.zeros(len(batch), np.int32)
    value[rows], index[rows] = 0.0, of + 1
    return value, pa.DictionaryArray.from_arrays(pa.array(index), pa.array(["", *texts], pa.utf8()))


def take_said(
    column: pa.ChunkedArray | None,
    channel: NDArray[np.int32],
    value: NDArray[np.float64],
    quality: NDArray[np.uint16],
    channels: ChannelTable,
) -> NDArray[np.float64]:
    """The values, with codes where readings say texts, which are kept in the table.

    Args:
        column: The column ``SAID``; None where the record has none.
        channel: int32[n], rows of the table.
        value: float64[n].
        quality: uint16[n].
        channels: The table.

    Raises:
        DataError: ``bad_record``: a text is lacking, or is none that was written.
    """
    if not channels.has_texts:
        return value
    is_said = channels.is_text[channel] & (quality & np.uint16(Quality.MISSING) == 0)
    rows = np.flatnonzero(is_said)
    if not len(rows):
        return value
    if column is None:
        raise DataError("bad_record", "a text channel has no text")
    whole = column.unify_dictionaries().combine_chunks()
    texts: list[str] = whole.dictionary.to_pylist()
    if max(map(len, texts), default=0) > MAX_TEXT:
        raise DataError("bad_record", f"a text is longer than {MAX_TEXT} characters")
    pairs = (
        channel[rows].astype(np.int64) * len(texts)
        + numbers(pa.chunked_array([whole.indices]), np.int64)[rows]
    )
    distinct, of = np.unique(pairs, return_inverse=True)
    codes = [
        channels.texts.add(pair // len(texts), texts[pair % len(texts)])
        for pair in distinct.tolist()
    ]
    coded = value.copy()
    coded[rows] = np.array(codes, np.float64)[of]
    return coded
