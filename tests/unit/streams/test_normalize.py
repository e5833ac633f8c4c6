"""Readings find their place in a model, scaled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from streams.stages.normalize import Normalizer


@pytest.fixture
def channels() -> ChannelTable:
    table = ChannelTable()
    for feed, name in (("pump", "flow"), ("tank", "flow"), ("pump", "load"), ("pump", "other")):
        table.row(Channel(feed, "d1", "m", name))
    return table


def test_only_the_models_channels_are_taken_and_scaled(channels: ChannelTable) -> None:
    """By the field's name, in the model's order; other feeds and fields are left out."""
    normalizer = Normalizer("pump", ("load", "flow"), [10, 100], [2, 50], channels)
    batch = Batch.from_columns(channels, [1, 2, 3, 4], [0, 1, 2, 3], [150.0, 1.0, 12.0, 1.0])

    rows = normalizer.process(batch)

    assert rows.column.tolist() == [1, 0]
    assert rows.value.tolist() == [1, 1]
    assert rows.value.dtype == np.float32
    assert rows.device.tolist() == [0, 0]
    assert rows.time_ns.tolist() == rows.due_ns.tolist() == [1, 3]


def test_unusable_readings_are_left_out_and_imputed_ones_are_not(channels: ChannelTable) -> None:
    """An imputed reading is due with the reading that ended its gap."""
    quality = [Quality.IMPUTED, Quality.IMPUTED, 0, Quality.SPIKE, Quality.STUCK, 0]
    values = [1.0, 2.0, 3.0, 4.0, 5.0, math.nan]
    batch = Batch.from_columns(channels, range(10, 16), [0] * 6, values, quality=quality)

    rows = Normalizer("pump", ("flow",), [0], [1], channels).process(batch)

    assert rows.time_ns.tolist() == [10, 11, 12, 14]
    assert rows.due_ns.tolist() == [12, 12, 12, 14]


def test_absurd_values_stay_finite(channels: ChannelTable) -> None:
    """A model's input is a float32 whose square is one too."""
    batch = Batch.from_columns(channels, [1, 2], [0, 0], [1e308, -1e308])

    value = Normalizer("pump", ("flow",), [0], [1e-9], channels).process(batch).value

    assert np.isfinite(value * value).all()
    assert value.tolist() == [1e6, -1e6]


def test_channels_that_turn_up_later_are_found(channels: ChannelTable) -> None:
    """The table grows while the stage lives."""
    normalizer = Normalizer("pump", ("flow",), [0], [1], channels)
    normalizer.process(Batch.empty(channels))
    new = channels.row(Channel("pump", "d2", "m", "flow"))

    assert len(normalizer.process(Batch.from_columns(channels, [1], [new], [1.0]))) == 1


@pytest.mark.parametrize(
    ("offset", "scale"),
    [([0], [1, 1]), ([0, 0], [1]), ([0, 0], [1, 0]), ([0, math.nan], [1, 1]), ([0, 0], [1, -1])],
)
def test_constants_that_can_not_be_used_are_refused(
    channels: ChannelTable, offset: list[float], scale: list[float]
) -> None:
    """One finite offset and one finite scale above 0 for each channel."""
    with pytest.raises(ValueError, match="expected"):
        Normalizer("pump", ("load", "flow"), offset, scale, channels)


def test_a_channel_that_said_texts_has_no_numbers() -> None:
    """Readings of that time may lie in the log still, beside those of numbers."""
    channels = ChannelTable()
    texts = channels.row(Channel("pump", "p1", "pump", "flow", is_text=True))
    numbers = channels.row(Channel("pump", "p1", "pump", "flow"))
    batch = Batch.from_columns(channels, [1, 2], [texts, numbers], [1e15, 3.0])
    rows = Normalizer("pump", ("flow",), [0], [1], channels).process(batch)

    assert rows.value.tolist() == [3.0]
