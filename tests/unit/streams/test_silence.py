"""No device that goes on loses a reading to the clock, and none that is gone is waited for long."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.testing.stages import everything
from streams.stages.watermark.pace import LONGEST_PACE_NS
from streams.stages.watermark.stage import Watermarks

pytestmark = pytest.mark.slow

_SILENT_AFTER_NS = 10 * NS_PER_S
_LOOK_S = 0.5

#: When something arrived, s, and the event times in it.
Arrival = tuple[float, list[float]]


def _feed(*windows: str) -> dict[str, FeedConfig]:
    feed = {
        "topic": "{device}",
        "channels": {"x": {}},
        "aggregates": [{"window": window} for window in windows],
    }
    return {"f": FeedConfig.model_validate(feed)}


class _Device:
    """A device that sends, and a gateway that looks for silence as the lane does."""

    def __init__(self, *windows: str) -> None:
        self.channels = ChannelTable()
        self.channels.row(Channel("f", "d", "f", "x"))
        self.feeds = _feed(*windows)
        self.watermarks = Watermarks(self.feeds, self.channels)
        self.now_s = 0.0
        self.late = 0
        self._records = 0

    def until(self, time_s: float) -> None:
        """Let time pass."""
        came_s = self.now_s
        while self.now_s < time_s:
            # Less often when a device has been silent for long already.
            self.now_s = min(time_s, self.now_s + max(_LOOK_S, (self.now_s - came_s) / 30))
            self.watermarks.advance(round(self.now_s * NS_PER_S), _SILENT_AFTER_NS)

    def send(self, times_s: Iterable[float], at_s: float | None = None) -> None:
        """Send readings together; at the last one's time unless told otherwise."""
        times = [round(time * NS_PER_S) for time in times_s]
        at_s = times[-1] / NS_PER_S if at_s is None else at_s
        self.until(at_s)
        self._records += 1
        rows = [0] * len(times)
        batch = Batch.from_columns(
            self.channels, times, rows, [1.0] * len(times), origin=Origin("r", 0, self._records)
        )
        output = self.watermarks.process(batch, round(at_s * NS_PER_S))
        self.late += sum(len(part.batch) for part in output.rejected)

    @property
    def watermark_s(self) -> float:
        """Below this all windows are closed."""
        return int(self.watermarks.watermark_ns(np.array([0], np.int32))[0]) / NS_PER_S

    def closes_within(self, window_s: float, most_s: float) -> bool:
        """Whether the window that holds its newest reading closes in this time."""
        newest_s = self.watermark_s + self.feeds["f"].grace / NS_PER_S
        end_s = newest_s // window_s * window_s + window_s
        self.until(self.now_s + most_s)
        return self.watermark_s >= end_s


def _every(period_s: float, count: int, jitter_s: float = 0, delay_s: float = 0) -> list[Arrival]:
    draw = random.Random(7)
    times = [1e6 + n * period_s + draw.uniform(-jitter_s, jitter_s) for n in range(count)]
    return sorted((time + draw.uniform(0, delay_s), [time]) for time in times)


def _together(period_s: float, count: int, readings: int) -> list[Arrival]:
    step_s = period_s / readings
    return [
        (1e6 + n * period_s, [1e6 + n * period_s - step_s * k for k in reversed(range(readings))])
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("windows", "sent"),
    [
        (["1m"], _every(20, 36)),
        (["10s"], _every(10, 180, jitter_s=1.5, delay_s=1)),
        (["1m"], _every(10, 180, jitter_s=4, delay_s=1)),
        (["1m"], _every(10, 180)),
        (["10s"], _every(300, 20, jitter_s=20)),
        (["10s", "1h"], _every(3600, 12)),
        (["1m"], sorted(_every(60, 30) + [(at + 0.1, [t + 0.1]) for at, (t,) in _every(60, 30)])),
    ],
    ids=[
        "20 s into 1 min",
        "10 s with jitter",
        "10 s with more jitter into 1 min",
        "10 s into 1 min",
        "5 min into 10 s",
        "an hour into 10 s and an hour",
        "two messages a minute",
    ],
)
def test_a_device_that_goes_on_loses_nothing(windows: list[str], sent: list[Arrival]) -> None:
    """Whatever its pace, with silent_after at its default."""
    device = _Device(*windows)
    device.now_s = 1e6 - 100
    for at_s, times_s in sent:
        device.send(times_s, at_s)

    assert device.late == 0


@pytest.mark.parametrize("period_s", [60, 300])
def test_a_device_that_sends_many_readings_together_is_waited_for(period_s: int) -> None:
    """Three times what they cover, from the second time on."""
    device = _Device("10s")
    device.now_s = 1e6 - 100
    first, second, *others = _together(period_s, 12, period_s)
    for at_s, times_s in (first, second):
        device.send(times_s, at_s)
    late = device.late
    for at_s, times_s in others:
        device.send(times_s, at_s)

    assert late < 10
    assert device.late == late


@pytest.mark.parametrize(
    ("windows", "sent", "most_s"),
    [
        # The window's rest, the grace and three periods or silent_after, or ends of windows.
        (["10s"], _every(1, 30), 10 + 2 + 1),
        (["1m"], _every(20, 30), 60 + 2 + 1),
        (["10s"], _every(3600, 5), 3 * 10 + 1),
        (["10s"], _together(60, 20, 60), 3 * 60 + 1),
        (["10s"], _every(10, 1), 3 * 10 + 1),
    ],
    ids=["1 s", "20 s into 1 min", "an hour into 10 s", "a minute's together", "the first"],
)
def test_a_device_that_is_gone_has_its_windows_closed(
    windows: list[str], sent: list[Arrival], most_s: float
) -> None:
    """Soon after its own pace says that it is gone; not at the pace of a slower one."""
    device = _Device(*windows)
    device.now_s = 1e6 - 100
    for at_s, times_s in sent:
        device.send(times_s, at_s)

    assert device.closes_within(60 if windows == ["1m"] else 10, most_s)


def test_no_device_is_waited_for_without_end() -> None:
    """Not one that sends a year's readings at once either."""
    device = _Device("1d")
    watermarks, day_s = device.watermarks, 86_400
    for year in range(1, 4):
        device.now_s = 365.0 * day_s * (year + 1)
        device.send([day_s * day for day in range(365 * year, 365 * (year + 1))], device.now_s)
    now_ns = round(device.now_s * NS_PER_S)

    assert not len(watermarks.quiet(now_ns + 3 * LONGEST_PACE_NS - 1, _SILENT_AFTER_NS))
    assert watermarks.quiet(now_ns + 3 * LONGEST_PACE_NS, _SILENT_AFTER_NS).tolist() == [0]


def test_a_day_without_it_does_not_slow_a_device_for_long() -> None:
    """It is known again as what it is."""
    device = _Device("10s")
    for n in range(20):
        device.send([1e6 + n])
    device.send([1e6 + 86_400])
    for n in range(1, 130):
        device.send([1e6 + 86_400 + n])

    assert device.late == 0
    assert device.closes_within(10, 10 + 2 + 1)


def test_a_backlog_does_not_slow_a_device_at_all() -> None:
    """What the broker had kept comes as a burst, in arrivals that cover far more than they take."""
    device = _Device("10s")
    for n in range(30):
        device.send([1e6 + n])
    for n in range(100):
        times_s = [1e6 + 100 + 600 * n + second for second in range(600)]
        device.send(times_s, 1e6 + 90_000 + n / 10)

    assert device.late == 0
    assert device.closes_within(10, 10 + 2 + 1)


def test_a_pace_is_known_after_a_restart() -> None:
    """Without it a slow device would be taken for gone, or a fast one be waited for."""
    device = _Device("10s", "1m")
    for n in range(10):
        device.send([1e6 + 20 * n])
    selection = everything(device.channels)
    restarted = Watermarks(device.feeds, device.channels)
    restarted.restore(selection, device.watermarks.snapshot(selection))

    for watermarks in (restarted, device.watermarks):
        now_ns = round(device.now_s * NS_PER_S)
        assert not len(watermarks.quiet(now_ns, _SILENT_AFTER_NS))
        # Half a minute for the window of ten seconds, a minute for the other and for the device.
        looks = [
            watermarks.advance(now_ns + second * NS_PER_S, _SILENT_AFTER_NS) for second in range(70)
        ]
        told = [(at, each.silent.tolist()) for at, each in enumerate(looks) if len(each.silent)]
        assert told == [(60 if watermarks is restarted else told[0][0], [0])]


def test_a_snapshot_of_an_older_version_says_nothing_of_the_pace() -> None:
    """The device is one whose pace is not known, and goes on from its watermark."""
    device = _Device("10s")
    for n in range(10):
        device.send([1e6 + n])
    selection = everything(device.channels)
    block = device.watermarks.snapshot(selection)
    old = {name: block[name] for name in ("newest_ns", "watermark_ns", "is_silent")}
    restarted = Watermarks(device.feeds, device.channels)
    restarted.restore(selection, old)

    devices = np.array([0], np.int32)
    assert restarted.watermark_ns(devices) == device.watermarks.watermark_ns(devices)
    assert not len(restarted.quiet(0, _SILENT_AFTER_NS))
    assert not len(restarted.quiet(30 * NS_PER_S - 1, _SILENT_AFTER_NS))
    assert restarted.quiet(30 * NS_PER_S, _SILENT_AFTER_NS).tolist() == [0]
