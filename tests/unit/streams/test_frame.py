"""Steps close, values are held, windows are cut; one rule a test."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.core.channels import Channel, ChannelTable
from headgate.core.results import Frames
from headgate.testing.stages import everything
from streams.stages.frame.stage import Framer, FrameSpec
from streams.stages.normalize import ModelRows

#: Device, column, time and value; and for an imputed reading when it was due.
_Row = tuple[int, int, int, float] | tuple[int, int, int, float, int]


def _table(devices: int = 2) -> ChannelTable:
    channels = ChannelTable()
    for device in range(devices):
        channels.row(Channel("pump", f"p{device}", "pump", "a"))
    return channels


def _framer(
    *,
    window: int = 2,
    hop: int = 1,
    resample: Literal["instant", "mean"] = "instant",
    hold_limit: int = 0,
    period_ns: int = 10,
    channels: ChannelTable | None = None,
) -> Framer:
    spec = FrameSpec("pump", ("a", "b"), period_ns, window, hop, resample, hold_limit)
    return Framer("m", spec, channels or _table())


def _rows(*rows: _Row) -> ModelRows:
    def column(place: int) -> NDArray[np.int64]:
        return np.array([row[place] for row in rows], np.int64)

    return ModelRows(
        column(0).astype(np.int32),
        column(1).astype(np.int32),
        column(2),
        np.array([row[-1] if len(row) == 5 else row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float32),
    )


def _found(frames: Frames) -> list[tuple[int, int, list[list[float]]]]:
    return [
        (int(device), int(end), values.tolist())
        for device, end, values in zip(frames.device, frames.end_ns, frames.values, strict=True)
    ]


def test_a_step_closes_when_every_channel_has_a_value() -> None:
    """The window comes with the last channel's reading, not with the next step."""
    framer = _framer()
    framer.process(_rows((0, 0, 10, 1), (0, 1, 11, 2), (0, 0, 20, 3)))

    frames = framer.process(_rows((0, 1, 29, 4)))

    assert frames.model == "m"
    assert frames.values.dtype == np.float32
    assert _found(frames) == [(0, 20, [[1, 2], [3, 4]])]


def test_the_first_reading_of_a_step_counts() -> None:
    """Nothing that comes later for the step changes it, before or after it has closed."""
    framer = _framer(window=1)

    frames = framer.process(
        _rows((0, 0, 10, 1), (0, 0, 11, 9), (0, 1, 12, 2), (0, 1, 13, 9), (0, 0, 14, 9))
    )

    assert _found(frames) == [(0, 10, [[1, 2]])]
    assert not len(framer.process(_rows((0, 0, 15, 9), (0, 1, 15, 9))))


def test_readings_of_earlier_steps_are_of_no_use() -> None:
    """Once a later step has begun, the model has to answer for that one."""
    framer = _framer(window=1, hold_limit=1)

    frames = framer.process(
        _rows((0, 0, 10, 1), (0, 1, 10, 2), (0, 0, 20, 3), (0, 0, 30, 5), (0, 1, 20, 9))
    )

    assert _found(frames) == [(0, 10, [[1, 2]]), (0, 20, [[3, 2]])]
    assert _found(framer.process(_rows((0, 1, 30, 6)))) == [(0, 30, [[5, 6]])]


def test_a_missing_channel_is_held_up_to_the_limit() -> None:
    """After that no window comes until all of its steps are whole again."""
    framer = _framer(window=2, hold_limit=2)
    rows = [_rows((0, 0, step * 10, step)) for step in range(2, 8)]

    framer.process(_rows((0, 0, 10, 1), (0, 1, 10, 100)))
    held = [_found(framer.process(each)) for each in rows]

    # A step with a channel missing closes when the next one begins.
    assert held == [
        [],
        [(0, 20, [[1, 100], [2, 100]])],
        [(0, 30, [[2, 100], [3, 100]])],
        [],
        [],
        [],
    ]
    whole = framer.process(_rows((0, 1, 70, 7), (0, 0, 80, 8), (0, 1, 80, 8)))
    assert _found(whole) == [(0, 80, [[7, 7], [8, 8]])]


def test_steps_left_out_are_held_and_give_their_windows() -> None:
    """They close together with the step after them."""
    framer = _framer(window=2, hold_limit=2)
    framer.process(_rows((0, 0, 10, 1), (0, 1, 10, 2)))

    frames = framer.process(_rows((0, 0, 40, 5), (0, 1, 40, 6)))

    assert _found(frames) == [
        (0, 20, [[1, 2], [1, 2]]),
        (0, 30, [[1, 2], [1, 2]]),
        (0, 40, [[1, 2], [5, 6]]),
    ]


@pytest.mark.parametrize("time_ns", [40, 10**15])
def test_a_long_hole_begins_a_new_window(time_ns: int) -> None:
    """Nothing reaches over a hole that is longer than the limit, by one step or by millions."""
    framer = _framer(window=2, hold_limit=1)
    framer.process(_rows((0, 0, 10, 1), (0, 1, 10, 2)))

    after = framer.process(_rows((0, 0, time_ns, 5), (0, 1, time_ns, 6)))
    onward = framer.process(_rows((0, 0, time_ns + 10, 7), (0, 1, time_ns + 10, 8)))

    assert _found(after) == [(0, 20, [[1, 2], [1, 2]])]
    assert _found(onward) == [(0, time_ns + 10, [[5, 6], [7, 8]])]


def test_imputed_readings_fill_the_steps_left_out() -> None:
    """Those of every channel, though the first channel's reading has begun a later step."""
    framer = _framer(window=2)
    framer.process(_rows((0, 0, 10, 1), (0, 1, 10, 2)))

    frames = framer.process(
        _rows((0, 0, 20, 3, 30), (0, 0, 30, 5), (0, 1, 20, 4, 30), (0, 1, 30, 6))
    )

    assert _found(frames) == [(0, 20, [[1, 2], [3, 4]]), (0, 30, [[3, 4], [5, 6]])]


def test_imputed_readings_that_come_after_the_step_are_of_no_use() -> None:
    """The hole has closed with the step after it; also where that was in an earlier batch."""
    rows: list[_Row] = [
        *((0, 0, 10, 1), (0, 1, 10, 2), (0, 0, 30, 5), (0, 1, 30, 6)),
        *((0, 0, 20, 9, 30), (0, 0, 31, 9)),
    ]
    whole = _framer(window=1, hold_limit=1).process(_rows(*rows))
    framer = _framer(window=1, hold_limit=1)
    parts = [_found(framer.process(_rows(row))) for row in rows]

    assert _found(whole) == [(0, 10, [[1, 2]]), (0, 20, [[1, 2]]), (0, 30, [[5, 6]])]
    assert [each for part in parts for each in part] == _found(whole)


def test_windows_end_at_whole_hops_wherever_the_readings_begin() -> None:
    """Two devices that started apart give their windows for the same times."""
    framer = _framer(window=2, hop=3)

    frames = framer.process(
        _rows(
            *((0, channel, step * 10, step) for step in range(1, 8) for channel in (0, 1)),
            *((1, channel, step * 10, step) for step in range(4, 8) for channel in (0, 1)),
        )
    )

    assert [(device, end) for device, end, _ in _found(frames)] == [(0, 30), (0, 60), (1, 60)]
    assert _found(frames)[-1][2] == [[5, 5], [6, 6]]


def test_the_mean_of_a_step_waits_for_the_next_one() -> None:
    """All readings of the step count, in whatever batches they come."""
    framer = _framer(window=1, resample="mean")
    framer.process(_rows((0, 0, 10, 1), (0, 1, 11, 5)))
    framer.process(_rows((0, 0, 12, 2), (0, 0, 19, 6)))

    frames = framer.process(_rows((0, 1, 20, 0)))

    assert _found(frames) == [(0, 10, [[3, 5]])]


def test_the_mean_of_a_step_is_of_what_was_measured() -> None:
    """Imputed readings stand only where nothing was measured, as in the aggregates."""
    framer = _framer(window=1, resample="mean")
    framer.process(_rows((0, 0, 10, 1), (0, 1, 10, 5)))

    # What fills the gap that ended at 22 reaches into the step of the reading that ended it.
    framer.process(_rows((0, 0, 20, 9, 22), (0, 0, 22, 3), (0, 1, 23, 6)))
    # Nothing but what was imputed stands in the step at 30.
    rows: list[_Row] = [
        (0, 0, 30, 7, 41),
        (0, 0, 40, 7, 41),
        (0, 0, 41, 1),
        (0, 1, 30, 8, 41),
        (0, 1, 41, 2),
    ]
    frames = framer.process(_rows(*rows))

    assert _found(frames) == [(0, 20, [[3, 6]])]
    assert _found(framer.process(_rows((0, 0, 50, 0)))) == [
        (0, 30, [[7, 8]]),
        (0, 40, [[1, 2]]),
    ]


def test_devices_are_framed_apart() -> None:
    """Readings of many devices in one batch never meet in a window."""
    framer = _framer(window=1)

    frames = framer.process(_rows((1, 0, 10, 3), (0, 0, 10, 1), (1, 1, 10, 4), (0, 1, 50, 2)))

    assert _found(frames) == [(1, 10, [[3, 4]])]


def test_a_device_without_state_takes_no_room() -> None:
    """A snapshot lists only devices that have sent something to the model."""
    channels = _table(devices=1000)
    framer = _framer(channels=channels)
    framer.process(_rows((7, 0, 10, 1)))

    block = framer.snapshot(everything(channels))

    assert block["device"].tolist() == [7]
    assert block["recent"].shape == (1, 2, 2)
    assert block["open_device"].tolist() == [7]


def test_nothing_in_gives_nothing_out() -> None:
    """No windows, in the right shape."""
    framer = _framer(window=3)

    frames = framer.process(_rows())

    assert frames.values.shape == (0, 3, 2)
    assert len(frames) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channel_names", ()),
        ("period_ns", 0),
        ("window", 0),
        ("hop", 0),
        ("hold_limit", -1),
    ],
)
def test_a_specification_that_can_not_be_is_refused(name: str, value: object) -> None:
    """The message names the part."""
    settings: dict[str, object] = {
        "feed": "pump",
        "channel_names": ("a",),
        "period_ns": 1,
        "window": 1,
        "hop": 1,
        "resample": "instant",
        "hold_limit": 0,
        name: value,
    }
    with pytest.raises(ValueError, match=f"{name}: expected"):
        FrameSpec(**settings)  # type: ignore[arg-type]
