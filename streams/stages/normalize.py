"""From readings to a model's inputs: picking its channels and scaling their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.lookup import ByChannel

#: Normalized values are cut off here: a value that many scales away says no more than this one,
#: and its square still is a float32.
_LIMIT = 1e6


@dataclass(frozen=True, slots=True)
class ModelRows:
    """Normalized readings of one model's channels, in arrival order.

    Attributes:
        device: int32[n], device row.
        column: int32[n], the channel's position in the model.
        time_ns: int64[n], event time.
        due_ns: int64[n], event time of the reading that brought this one about: its own, or for
            an imputed reading that of the reading that ended the gap. It says how far the device
            had come.
        value: float32[n], normalized.
    """

    device: NDArray[np.int32]
    column: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    due_ns: NDArray[np.int64]
    value: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.time_ns)


class Normalizer:
    """Routes a feed's readings to the channels of a model, and scales them.

    z-score, min-max and robust scaling are all ``(x - offset) / scale``: mean and standard
    deviation, minimum and range, or median and interquartile range of the training data.

    Args:
        feed: The feed that the model is for.
        channel_names: The model's channels in its order; a reading belongs to the one named like
            its field.
        offset: One number for each channel, in the channel's unit.
        scale: One number for each channel, above 0.
        channels: The pipeline's table.

    Raises:
        ValueError: The constants do not match the channels, or can't be used.
    """

    def __init__(
        self,
        feed: str,
        channel_names: Sequence[str],
        offset: ArrayLike,
        scale: ArrayLike,
        channels: ChannelTable,
    ) -> None:
        self._feed = feed
        self._columns = {name: column for column, name in enumerate(channel_names)}
        self._offset = np.asarray(offset, np.float64)
        self._scale = np.asarray(scale, np.float64)
        expected = (len(self._columns),)
        if self._offset.shape != expected or self._scale.shape != expected:
            raise ValueError(
                f"expected one offset and one scale for each of {len(channel_names)} different "
                f"channels, got {self._offset.size} and {self._scale.size}"
            )
        is_sound = np.isfinite(self._offset) & np.isfinite(self._scale) & (self._scale > 0)
        if not is_sound.all():
            raise ValueError("expected finite offsets, and finite scales above 0")
        # Its column, or -1 for channels that the model does not use.
        self._column = ByChannel(channels, np.int32, self._column_of)

    def process(self, batch: Batch) -> ModelRows:
        """The model's readings among these; unusable ones are left out, imputed ones are not."""
        column = self._column[batch.channel]
        is_imputed = (batch.quality & np.uint16(Quality.IMPUTED)) != 0
        due_ns = batch.time_ns
        if is_imputed.any():
            # The reading that ended the gap follows right behind the imputed ones.
            size = len(batch)
            measured = np.where(is_imputed, size - 1, np.arange(size))
            due_ns = due_ns[np.minimum.accumulate(measured[::-1])[::-1]]
        rows = np.flatnonzero((column >= 0) & batch.usable)
        column = column[rows]
        with np.errstate(over="ignore"):
            value = (batch.value[rows] - self._offset[column]) / self._scale[column]
        return ModelRows(
            batch.device[rows],
            column,
            batch.time_ns[rows],
            due_ns[rows],
            np.clip(value, -_LIMIT, _LIMIT).astype(np.float32),
        )

    def _column_of(self, channel: Channel) -> int:
        # A channel that said texts once has readings of that time, which are no numbers.
        is_ours = channel.feed == self._feed and not channel.is_text
        return self._columns.get(channel.field, -1) if is_ours else -1
