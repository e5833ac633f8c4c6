"""Channels' keys in records: written once for many records, and looked up once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headgate.core.channels import ChannelTable
from headgate.core.errors import DataError
from headgate.core.grown import grown

#: A record with this part of a group's channels, as many readings that is, gets the group's keys.
_GROUP_PART = 4

#: A group's keys go into each of its records, so they must be few enough for one, bytes.
_GROUP_BYTES = 4 << 20

#: Longest key that is read, characters: a reading, or a result, always has room in a record then.
#: Those of names that Headgate takes in are far shorter.
_KEY_LENGTH = 1 << 20

#: Keys' bytes in a record at most: well below what may be unpacked of it.
_KEYS_BYTES = 16 << 20


class KeyGroup:
    """Channels that are often written together, their keys encoded once.

    A record has a dictionary of its channels' keys. Making it anew for each record costs more than
    all its numbers, so a record that has a good part of the group gets the whole group's.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._rows = np.empty(0, np.int32)
        # By channel row, its place in the group, or -1.
        self._place = np.empty(0, np.int32)
        self._keys: pa.StringArray | None = None

    def column(self, channel: NDArray[np.int32]) -> pa.DictionaryArray:
        """The channels, which become part of the group, as a column with dictionary."""
        self._add(channel)
        if len(channel) * _GROUP_PART < len(self._rows):
            return key_column(channel, self._channels)
        if self._keys is None:
            self._keys = pa.array(self._channels.keys(self._rows), pa.utf8())
        if self._keys.nbytes > _GROUP_BYTES:
            return key_column(channel, self._channels)
        return pa.DictionaryArray.from_arrays(pa.array(self._place[channel]), self._keys)

    def _add(self, channel: NDArray[np.int32]) -> None:
        self._place = grown(self._place, len(self._channels), -1)
        is_new = self._place[channel] < 0
        if is_new.any():
            new = np.unique(channel[is_new])
            count = len(self._rows)
            self._place[new] = np.arange(count, count + len(new))
            self._rows = np.concatenate([self._rows, new])
            self._keys = None


class KeyRows:
    """Rows of the keys in records' dictionaries, remembered for each partition.

    Records in a row mostly have the same dictionary, and comparing two takes a hundredth of the
    time that looking up its keys takes.
    """

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._last: dict[int, tuple[pa.StringArray, NDArray[np.int32]]] = {}

    def rows(self, keys: pa.StringArray, partition: int) -> NDArray[np.int32]:
        """int32[k]: the channel row of each key; raises DataError for what is no key."""
        last = self._last.get(partition)
        if last is not None and last[0].equals(keys):
            return last[1]
        rows = _rows_of_keys(keys, self._channels)
        self._last[partition] = (keys, rows)
        return rows


def key_column(channel: NDArray[np.int32], channels: ChannelTable) -> pa.DictionaryArray:
    """Channels as a column with a dictionary of their own.

    Raises:
        DataError: ``too_large`` when their keys are too long together for a record.
    """
    rows, codes = np.unique(channel, return_inverse=True)
    keys = channels.keys(rows)
    length = sum(map(len, keys))
    if length > _KEYS_BYTES and len(keys) > 1:
        raise DataError("too_large", f"{len(keys)} channels, names of {length} characters")
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(keys, pa.utf8())
    )


def channel_rows(
    column: pa.ChunkedArray,
    channels: ChannelTable,
    partition: int = 0,
    key_rows: KeyRows | None = None,
) -> NDArray[np.int32]:
    """int32[n]: the channel row of each entry of a column, unknown channels added to the table.

    Raises:
        DataError: ``bad_record`` when a key is none.
    """
    parts = []
    for chunk in column.chunks:
        if key_rows is None:
            rows = _rows_of_keys(chunk.dictionary, channels)
        else:
            rows = key_rows.rows(chunk.dictionary, partition)
        indices: NDArray[np.int32] = chunk.indices.to_numpy(zero_copy_only=False)
        parts.append(rows[indices])
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _rows_of_keys(keys: pa.StringArray, channels: ChannelTable) -> NDArray[np.int32]:
    names = keys.to_pylist()
    known = channels.known_rows(names)
    if None not in known:
        return np.array(known, np.int32)
    if max(map(len, names), default=0) > _KEY_LENGTH:
        raise DataError("bad_record", f"a channel key is longer than {_KEY_LENGTH} characters")
    try:
        return np.array([channels.row_of_key(name) for name in names], np.int32)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError("bad_record", f"a channel key can't be read: {error}") from error
