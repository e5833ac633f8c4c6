"""Watermarks follow each device's own event time, and silence."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.testing import ManualClock
from headgate.testing.stages import everything
from streams.stages.watermark.stage import Watermarks

_FEEDS = {
    "pump": FeedConfig.model_validate(
        {
            "topic": "{device}",
            "grace": "2s",
            "channels": {"flow": {}},
            "aggregates": [{"window": "10s"}, {"window": "60s"}],
        }
    ),
    "tank": FeedConfig.model_validate(
        {"topic": "{device}", "grace": "2s", "channels": {"level": {}}, "aggregates": []}
    ),
}


@pytest.fixture
def channels() -> ChannelTable:
    table = ChannelTable()
    table.row(Channel("pump", "p1", "pump", "flow"))
    table.row(Channel("pump", "p2", "pump", "flow"))
    return table


def _batch(channels: ChannelTable, times_s: list[float], rows: list[int] | None = None) -> Batch:
    times = [round(time * NS_PER_S) for time in times_s]
    return Batch.from_columns(channels, times, rows or [0] * len(times), [1.0] * len(times))


def _watermark_s(watermarks: Watermarks, device: int = 0) -> float:
    return int(watermarks.watermark_ns(np.array([device], np.int32))[0]) / NS_PER_S


def test_a_reading_on_the_watermark_is_on_time(channels: ChannelTable) -> None:
    """The watermark says nothing about its own instant, and everything about what is older."""
    watermarks = Watermarks(_FEEDS, channels)

    output = watermarks.process(_batch(channels, [100, 98, 97.999, 99]), now_ns=0)

    assert output.main.time_ns.tolist() == [100 * NS_PER_S, 98 * NS_PER_S, 99 * NS_PER_S]
    assert [part.reason for part in output.rejected] == ["late"]
    assert output.rejected[0].batch.quality.tolist() == [Quality.LATE]


def test_a_reading_is_judged_at_its_turn(channels: ChannelTable) -> None:
    """What came before the watermark passed it is on time, in one batch as in two."""
    output = Watermarks(_FEEDS, channels).process(_batch(channels, [90, 100, 90]), now_ns=0)

    assert output.main.time_ns.tolist() == [90 * NS_PER_S, 100 * NS_PER_S]


def test_one_device_does_not_make_another_late(channels: ChannelTable) -> None:
    """A device with a clock ahead of the others hurts only itself."""
    watermarks = Watermarks(_FEEDS, channels)

    output = watermarks.process(_batch(channels, [1e6, 100, 99], [0, 1, 1]), now_ns=0)

    assert not output.rejected
    assert _watermark_s(watermarks, 1) == 98


def test_times_far_apart_are_compared_right(channels: ChannelTable) -> None:
    """A batch that spans centuries is judged like any other."""
    watermarks = Watermarks(_FEEDS, channels)

    output = watermarks.process(_batch(channels, [1, 4e9, 2, 3, 4e9], [0, 0, 0, 1, 1]), now_ns=0)

    assert output.main.time_ns.tolist() == [
        NS_PER_S,
        4 * 10**9 * NS_PER_S,
        3 * NS_PER_S,
        4 * 10**9 * NS_PER_S,
    ]


def test_a_silent_device_gives_up_its_windows_once(channels: ChannelTable) -> None:
    """Each when it is over, its grace too; and what comes before the longest one's end is late."""
    watermarks = Watermarks(_FEEDS, channels)
    for second in range(98, 101):
        watermarks.process(_batch(channels, [second]), second * NS_PER_S)
    came = {}
    for second in range(101, 130):
        silence = watermarks.advance(second * NS_PER_S, 10 * NS_PER_S)
        if len(silence.devices):
            came[second] = (
                silence.silent.tolist(),
                silence.closing.tolist(),
                _watermark_s(watermarks),
            )

    assert came == {
        110: ([0], [0], 100),
        111: ([], [], 100),  # it is said that it is silent
        112: ([], [0], 110),
        122: ([], [0], 120),
    }
    output = watermarks.process(_batch(channels, [119, 120]), 130 * NS_PER_S)
    assert output.main.time_ns.tolist() == [120 * NS_PER_S]


def test_the_silence_of_one_device_is_no_others(channels: ChannelTable) -> None:
    """Who goes on keeps his windows."""
    watermarks = Watermarks(_FEEDS, channels)
    for second in range(100, 125):
        rows = [0, 1] if second < 103 else [1]
        watermarks.process(_batch(channels, [second] * len(rows), rows), second * NS_PER_S)

    assert watermarks.advance(125 * NS_PER_S, 10 * NS_PER_S).devices.tolist() == [0]
    assert _watermark_s(watermarks, 1) == 122


def test_a_jump_of_the_wall_clock_makes_nobody_silent(channels: ChannelTable) -> None:
    """Silence is measured on the monotonic clock."""
    watermarks, clock = Watermarks(_FEEDS, channels), ManualClock()
    watermarks.process(_batch(channels, [100]), clock.monotonic_ns())

    clock.step_wall(86400)

    assert not len(watermarks.quiet(clock.monotonic_ns(), 10 * NS_PER_S))


@pytest.mark.parametrize("times_s", [[100, 50, 60], [100, 100, 99]], ids=["back", "still"])
def test_only_time_that_goes_on_keeps_a_device_from_being_silent(
    channels: ChannelTable, times_s: list[float]
) -> None:
    """A device whose clock was set back, or stands still, sends on, but its windows must close."""
    watermarks = Watermarks(_FEEDS, channels)
    for at, time_s in enumerate(times_s):
        watermarks.process(_batch(channels, [time_s]), at * 20 * NS_PER_S)

    silence = watermarks.advance(60 * NS_PER_S, 10 * NS_PER_S)
    assert silence.closing.tolist() == [0]
    assert _watermark_s(watermarks) == 110


def test_a_device_that_speaks_again_can_go_silent_again(channels: ChannelTable) -> None:
    """Silence ends with the next reading that is newer than all before."""
    watermarks = Watermarks(_FEEDS, channels)
    for second in (99, 100, 130, 131, 132):
        now_ns = second * NS_PER_S
        watermarks.advance(now_ns, 10 * NS_PER_S)
        watermarks.process(_batch(channels, [second]), now_ns)

    assert not len(watermarks.quiet(141 * NS_PER_S, 10 * NS_PER_S))
    assert watermarks.advance(170 * NS_PER_S, 10 * NS_PER_S).closing.tolist() == [0]


def test_silence_is_counted_anew_after_a_restart(channels: ChannelTable) -> None:
    """The time the gateway was down is not the device's silence."""
    watermarks, selection = Watermarks(_FEEDS, channels), everything(channels)
    watermarks.process(_batch(channels, [99, 100]), now_ns=5)

    restarted = Watermarks(_FEEDS, channels)
    restarted.restore(selection, watermarks.snapshot(selection))

    start_ns = 10**15
    assert not len(restarted.quiet(start_ns, 10 * NS_PER_S))
    assert not len(restarted.quiet(start_ns + 11 * NS_PER_S, 10 * NS_PER_S))
    assert restarted.quiet(start_ns + 30 * NS_PER_S, 10 * NS_PER_S).tolist() == [0]


def test_a_longer_grace_does_not_take_the_watermark_back(channels: ChannelTable) -> None:
    """Windows that were closed before a change of the configuration stay closed."""
    watermarks, selection = Watermarks(_FEEDS, channels), everything(channels)
    watermarks.process(_batch(channels, [100]), now_ns=0)
    patient = {"pump": _FEEDS["pump"].model_copy(update={"grace": 60 * NS_PER_S})}

    restarted = Watermarks(patient, channels)
    restarted.restore(selection, watermarks.snapshot(selection))

    assert _watermark_s(restarted) == 98


def test_readings_of_an_unknown_feed_are_rejected_as_such(channels: ChannelTable) -> None:
    """A feed may leave the configuration while readings of it are still in the log."""
    old = channels.row(Channel("old", "p1", "old", "flow"))
    watermarks = Watermarks(_FEEDS, channels)

    output = watermarks.process(_batch(channels, [100, 100, 1], [0, old, old]), now_ns=0)

    assert [(part.reason, len(part.batch)) for part in output.rejected] == [("unknown_feed", 2)]
    assert output.main.channel.tolist() == [0]


def test_a_feed_without_aggregates_has_no_windows_to_give_up(channels: ChannelTable) -> None:
    """Silence leaves its watermark where it was."""
    level = channels.row(Channel("tank", "t1", "tank", "level"))
    watermarks = Watermarks(_FEEDS, channels)
    watermarks.process(_batch(channels, [100], [level]), now_ns=0)

    silence = watermarks.advance(10 * NS_PER_S, 10 * NS_PER_S)
    assert silence.silent.tolist() == silence.devices.tolist() == [2]
    assert _watermark_s(watermarks, 2) == 98


def test_nothing_in_gives_nothing_out(channels: ChannelTable) -> None:
    """An empty batch is passed on as it is."""
    batch = Batch.empty(channels)

    assert Watermarks(_FEEDS, channels).process(batch, now_ns=0).main is batch
