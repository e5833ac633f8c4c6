"""How sensors are told apart: sound ones, faulty ones, and ones of a machine that has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.results import SensorHealth
from streams.process.state import selection_of
from streams.stages.aggregate.stage import Aggregator
from streams.stages.health.stage import HealthMonitor

pytestmark = pytest.mark.slow

_NAMES = ("a", "b", "c", "d")
_START_NS = 1_700_000_000 * NS_PER_S
_DAY = 1440  # readings, one every minute


class _Plant:
    """One device whose readings go through real windows into a monitor.

    Args:
        period_s: Between two readings of a sensor.
        window: Length of the windows.
    """

    def __init__(
        self, period_s: int = 1, window: str = "10s", *, sensor_health: bool = True
    ) -> None:
        feed = FeedConfig.model_validate(
            {
                "topic": "{device}",
                "period": f"{period_s}s",
                "aggregates": [{"window": "6h"}, {"window": window}],
                "channels": {name: {} for name in _NAMES},
                "sensor_health": sensor_health,
            }
        )
        self.table = ChannelTable()
        self.rows = np.array(
            [self.table.row(Channel("f", "p", "f", name)) for name in _NAMES], np.int32
        )
        self.monitor = HealthMonitor({"f": feed}, self.table)
        self._windows = Aggregator({"f": feed}, self.table)
        self._period_ns = period_s * NS_PER_S
        self._now = 0

    def run(
        self, values: NDArray[np.float64], quality: NDArray[np.uint16] | None = None, step: int = 97
    ) -> list[SensorHealth]:
        """float64[t, sensor], NaN for what was not sent; what was told of it."""
        told: list[SensorHealth] = []
        for first in range(0, len(values), step):
            part = values[first : first + step]
            row, sensor = np.nonzero(np.isfinite(part))
            time_ns = _START_NS + (self._now + np.arange(len(part))) * self._period_ns
            self._now += len(part)
            batch = Batch.from_columns(
                self.table,
                time_ns[row],
                self.rows[sensor],
                part[row, sensor],
                quality=None if quality is None else quality[first : first + step][row, sensor],
            )
            watermark_ns = np.full(len(self.table.devices), int(time_ns[-1]))
            closed = self._windows.process(batch, watermark_ns.__getitem__)
            told += self.monitor.process(closed)
        return told


def _sound(rows: int = 4000, seed: int = 0) -> NDArray[np.float64]:
    """float64[rows, 4]: sensors that follow one load, each with noise of its own."""
    rng = np.random.default_rng(seed)
    load = 0.05 * np.cumsum(rng.normal(size=rows))
    size = np.arange(1, 5)
    return 10 * size + np.outer(load, size) + 0.2 * size * rng.normal(size=(rows, 4))


def _faults(told: list[SensorHealth]) -> list[tuple[str, str]]:
    """Changes only: what is told again says the same as before."""
    states: dict[str, str] = {}
    changes = []
    for each in told:
        if states.get(each.channel, "ok") != each.state:
            changes.append((each.channel, each.state))
        states[each.channel] = each.state
    return changes


def _stuck(values: NDArray[np.float64]) -> None:
    values[2000:3000, 1] = values[1999, 1]


def _flat(values: NDArray[np.float64]) -> None:
    values[2000:3000, 1] = 20 + 0.01 * np.random.default_rng(1).normal(size=1000)


def _spike(values: NDArray[np.float64]) -> None:
    values[2000:3000:37, 1] += 50


def _noise(values: NDArray[np.float64]) -> None:
    values[2000:3000, 1] += 4 * np.random.default_rng(1).normal(size=1000)


def _dropout(values: NDArray[np.float64]) -> None:
    values[2000:3000, 1] = np.nan


_FAULTS: Mapping[str, Callable[[NDArray[np.float64]], None]] = {
    "stuck": _stuck,
    "flat": _flat,
    "spike": _spike,
    "noise": _noise,
    "dropout": _dropout,
}


@pytest.mark.parametrize("state", _FAULTS)
def test_a_faulty_sensor_is_told_and_so_is_its_end(state: str) -> None:
    """One change to the fault within five minutes, one back within three; the others are well."""
    values = _sound()
    _FAULTS[state](values)

    told = _Plant().run(values)

    assert _faults(told) == [("b", state), ("b", "ok")]
    begins, ends = told[0], told[-1]
    assert 2000 <= (begins.since_ns - _START_NS) / NS_PER_S <= 2050
    assert (begins.time_ns - _START_NS) / NS_PER_S <= 2300
    assert 3000 < (ends.time_ns - _START_NS) / NS_PER_S <= 3180


def test_a_fault_that_lasts_is_told_every_hour() -> None:
    """So that a screen that shows the last hours shows it."""
    values = _sound(12_000)
    values[2000:, 1] = values[1999, 1]

    told = _Plant().run(values)

    assert [each.state for each in told] == ["stuck"] * 4
    assert np.diff([each.time_ns for each in told])[1:].tolist() == [3600 * NS_PER_S] * 2


def test_sound_sensors_are_left_in_peace() -> None:
    """With a load that wanders, a lone outlier, a step, a few lost readings, and a switch."""
    values = _sound(8000)
    values[2000, 1] += 50
    values[3000:, 2] += 20
    values[:, 3] = np.arange(8000) // 500 % 2
    values[np.random.default_rng(1).random(8000) < 0.3, 1] = np.nan

    assert _Plant().run(values) == []


def test_a_machine_that_is_switched_off_is_no_fault_of_its_sensors() -> None:
    """All stand still at a time."""
    values = _sound()
    values[2000:3000] = values[1999]

    assert _Plant().run(values) == []


def test_readings_flagged_as_stuck_are_believed_at_once() -> None:
    """The rule of the configuration needs no history."""
    values = _sound(100)
    values[:, 1] = 7.0
    quality = np.zeros(values.shape, np.uint16)
    quality[10:, 1] = Quality.STUCK

    told = _Plant().run(values, quality)

    assert _faults(told) == [("b", "stuck")]
    assert told[0].time_ns == _START_NS + 20 * NS_PER_S
    assert told[0].found == 7.0


def _days(days: int) -> NDArray[np.float64]:
    """float64[t, 4]: a reading every minute, with the time of day in it."""
    rng = np.random.default_rng(2)
    step = np.arange(days * _DAY)[:, None]
    daily: NDArray[np.float64] = 2 * np.sin(2 * np.pi * step / _DAY + np.arange(4))
    return 10 * np.arange(1, 5) + daily + 0.3 * rng.normal(size=(len(step), 4))


def test_a_sensor_that_creeps_away_alone_drifts() -> None:
    """From its second day on; the time of day is no drift."""
    values = _days(4)
    values[2 * _DAY :, 1] += np.arange(2 * _DAY) / _DAY * 10

    told = _Plant(60, "10m").run(values, step=2000)

    assert _faults(told) == [("b", "drift")]
    assert 2 < (told[0].since_ns - _START_NS) / NS_PER_S / 86_400 < 4
    assert told[0].found > told[0].usual + 4


def test_a_plant_that_changes_as_a_whole_does_not_drift() -> None:
    """Sensors that move together have a reason to."""
    values = _days(4)
    values[2 * _DAY :] += (np.arange(2 * _DAY) / _DAY * 10)[:, None]

    assert _Plant(60, "10m").run(values, step=2000) == []


def test_a_level_that_has_changed_for_good_is_taken_for_usual() -> None:
    """It jumped, which is no drift; that it creeps away from there is, two days after."""
    values = _days(9)
    values[2 * _DAY :, 1] += 30
    values[7 * _DAY :, 1] += np.arange(2 * _DAY) / _DAY * 10

    told = _Plant(60, "10m").run(values, step=2000)

    assert _faults(told) == [("b", "drift")]
    assert (told[0].since_ns - _START_NS) / NS_PER_S / 86_400 >= 7


def test_what_has_lasted_for_days_is_how_things_are() -> None:
    """A new pump is louder; after three days that is what is usual."""
    values = _days(6)
    values[_DAY:, 1] += 5 * np.random.default_rng(3).normal(size=5 * _DAY)

    told = _Plant(60, "10m").run(values, step=2000)

    assert _faults(told) == [("b", "noise"), ("b", "ok")]
    assert 3 <= (told[-1].time_ns - told[0].since_ns) / NS_PER_S / 86_400 <= 3.1


def test_a_monitor_that_is_restored_goes_on_as_the_old_one() -> None:
    """In the midst of a fault, under other numbers, and with what it was a while ago."""
    values = _sound()
    _noise(values)
    whole, first, second = _Plant(), _Plant(), _Plant()
    expected = whole.run(values)
    told = first.run(values[:2500])
    selection = selection_of(first.table, np.array([0], np.int32))
    second.monitor.restore(selection, first.monitor.snapshot(selection))
    second._windows.restore(selection, first._windows.snapshot(selection))
    second._now = first._now
    told += second.run(values[2500:])

    assert told == expected
    channels = whole.rows[None, :]
    for seconds in (2500, 2940, 3500):
        at_ns = np.array([_START_NS + seconds * NS_PER_S])
        answers = [each.monitor.faulty_at(channels, at_ns).tolist() for each in (whole, second)]
        assert answers[0] == answers[1] == [[False, seconds < 3000, False, False]]


def test_what_was_known_when_can_be_asked_afterwards() -> None:
    """A batch may hold minutes; a step of it is judged by what had been known then."""
    values = _sound()
    _noise(values)
    plant = _Plant()
    told = plant.run(values[:2900], step=2900)
    changed_ns = told[0].time_ns

    channels = np.array([[plant.rows[1], -1]], np.int32)
    before, after = (
        plant.monitor.faulty_at(channels, np.array([changed_ns + later])) for later in (-1, 0)
    )

    assert before.tolist() == [[False, False]]
    assert after.tolist() == [[True, False]]


def test_a_sensor_that_is_not_heard_for_days_is_gone() -> None:
    """It is no fault any more, until it is heard again and is missing again."""
    values = _days(6)
    values[_DAY:, 1] = np.nan
    values[5 * _DAY : 5 * _DAY + 300, 1] = 20 + np.random.default_rng(3).normal(size=300)

    told = _Plant(60, "10m").run(values, step=2000)

    assert _faults(told) == [("b", "dropout"), ("b", "ok"), ("b", "dropout")]
    assert 3 <= (told[-1].since_ns - told[0].since_ns) / NS_PER_S / 86_400 < 5


def test_a_level_is_learned_though_it_stood_still_for_its_first_day() -> None:
    """A machine that was off at first has a usual level later, and can drift from it."""
    values = _days(9)
    values[: 2 * _DAY] = values[0]
    values[7 * _DAY :, 1] += np.arange(2 * _DAY) / _DAY * 10

    told = _Plant(60, "10m").run(values, step=2000)

    assert ("b", "drift") in _faults(told)
    assert abs(told[-1].usual - 20) < 2


def test_a_sensor_that_gets_another_unit_or_tag_is_the_same_sensor() -> None:
    """What is known of it goes on under the new channel, and the old one is not missed."""
    values = _sound()
    _stuck(values)
    plant = _Plant()
    told = plant.run(values[:2500])
    plant.rows[1] = plant.table.row(Channel("f", "p", "f", "b", "bar"))
    told += plant.run(values[2500:])

    assert _faults(told) == [("b", "stuck"), ("b", "ok")]


def test_a_sensor_whose_tag_changes_to_and_fro_is_the_same_sensor() -> None:
    """Such as a recipe, which changes in the middle of windows; nothing of it is a dropout."""
    values = _sound(4000)
    values[3000:3300, 1] = 33
    plain, tagged = _Plant(), _Plant()
    rows = [plain.rows]
    for recipe in ("A", "B"):
        channels = [
            Channel("f", "p", "f", name, tags=(("recipe", recipe),), identity=()) for name in _NAMES
        ]
        rows.append(np.array([tagged.table.row(each) for each in channels], np.int32))
    told = []
    for turn, first in enumerate(range(0, 4000, 500)):
        tagged.rows = rows[1 + turn % 2]
        # Windows are of 10 readings, and a turn ends within one.
        told += tagged.run(values[first + 3 * (turn > 0) : first + 503])

    assert _faults(told) == _faults(plain.run(values)) == [("b", "stuck"), ("b", "ok")]


def test_other_windows_begin_with_nothing_learned_and_say_so() -> None:
    """A fault that was told is taken back; it is told again when there is enough evidence."""
    values = _sound()
    _stuck(values)
    first, second = _Plant(), _Plant(window="20s")
    told = first.run(values[:2500])
    selection = selection_of(first.table, np.array([0], np.int32))
    assert first.monitor.fingerprint == second.monitor.fingerprint
    second.monitor.restore(selection, first.monitor.snapshot(selection))
    second._now = first._now
    told += second.run(values[2500:2600])

    assert _faults(told) == [("b", "stuck"), ("b", "ok")]


def test_a_feed_may_do_without() -> None:
    """Then nothing is told."""
    values = _sound()
    _stuck(values)

    assert _Plant(sensor_health=False).run(values) == []


def test_a_device_that_is_forgotten_starts_afresh() -> None:
    """As if it had never been seen."""
    values = _sound()
    _stuck(values)
    plant = _Plant()
    plant.run(values[:2500])
    assert plant.monitor.unhealthy == 1
    plant.monitor.forget(selection_of(plant.table, np.array([0], np.int32)))

    assert plant.monitor.unhealthy == 0
    at_ns = np.array([_START_NS + 2500 * NS_PER_S])
    assert not plant.monitor.faulty_at(plant.rows[None, :], at_ns).any()
