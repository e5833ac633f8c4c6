"""The pumps themselves: physics, sensors, and what faults do to both.

One call of ``Fleet.step`` moves every pump on by one sampling period. The same arguments give the
same readings, to the last bit. No clock is read here and nothing is sent.

A pump runs at the speed its plant asks for (a daily cycle, and steps of the setpoint); the other
signals follow from the speed by the affinity laws: flow with its first power, head with its
square, shaft power with its cube. Bearings warm up with a lag.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectors.simulator.faults import Fault
from headgate.core.clock import NS_PER_S

Values = NDArray[np.float64]

#: Channels in the order of ``Step.values``' columns, with their units.
CHANNELS = {
    "load": "%",
    "flow": "m3/h",
    "pressure": "bar",
    "current": "A",
    "temperature": "C",
    "vibration": "mm/s",
}
_COLUMN = {name: column for column, name in enumerate(CHANNELS)}

#: White noise of one reading, standard deviation, in the channels' units and order.
_NOISE = np.array([0.30, 0.20, 0.020, 0.10, 0.10, 0.06])

#: Spread of a channel between pumps and sensors of one make, relative, standard deviation.
_TOLERANCE = np.array([0.0, 0.010, 0.008, 0.010, 0.010, 0.030])

#: Amplitude of a sensor's drift over the day, relative.
_DAILY_DRIFT = np.array([0.0, 0.003, 0.002, 0.002, 0.002, 0.005])

#: Digits behind the point that a sensor sends. Finer than the noise, so that a healthy sensor
#: does not stand still; coarser than a double, as real payloads are.
_DIGITS = 3

_DAY_S = 86_400.0
_SPEED_LAG_S = 2.0
_FLUTTER_LAG_S = 1.5
_THERMAL_LAG_S = 150.0
#: A worn bearing heats its own housing sooner than the pump heats the bearing.
_FRICTION_LAG_S = 4.0


@dataclass(frozen=True, slots=True)
class Step:
    """One sample of every pump.

    Attributes:
        time_ns: Event time, ns since 1970 UTC, a whole number of milliseconds.
        values: float64[device, channel], columns as in ``CHANNELS``; NaN where a sensor sent
            nothing.
    """

    time_ns: int
    values: Values


class Fleet:
    """Pumps that are sampled together.

    Args:
        devices: How many pumps.
        rate_hz: Samples a second of each pump.
        seed: Decides tolerances, setpoint changes and noise.
        start_ns: Event time of the first step, ns since 1970 UTC; also sets the time of day.
        faults: What goes wrong, and when.
        repeat_faults_s: Let the faults come back after this many seconds, again and again.
    """

    def __init__(
        self,
        devices: int,
        rate_hz: float,
        seed: int,
        *,
        start_ns: int,
        faults: Sequence[Fault] = (),
        repeat_faults_s: float | None = None,
    ) -> None:
        self.names = tuple(f"pump-{number:02d}" for number in range(1, devices + 1))
        self.faults = tuple(faults)
        self._rate_hz = rate_hz
        self._dt_s = 1.0 / rate_hz
        self._start_ns = start_ns
        self._repeat_ns = None if repeat_faults_s is None else round(repeat_faults_s * NS_PER_S)
        self._steps = 0
        self._noise = np.random.default_rng((seed, 0))
        self._plan = np.random.default_rng((seed, 1))
        make = np.random.default_rng((seed, 2))
        # Cut at two deviations: a part outside its tolerance does not leave the factory.
        spread = np.clip(make.standard_normal((devices, len(CHANNELS))), -2, 2)
        self._gain = 1 + spread * _TOLERANCE
        self._drift_phase = make.uniform(0, 2 * math.pi, (devices, len(CHANNELS)))
        self._day_phase = make.uniform(0, 2 * math.pi, devices)
        self._setpoint = self._plan.uniform(-0.08, 0.08, devices)
        self._next_change_s = self._plan.uniform(5, 60, devices)
        self._speed = self._asked_speed(self._day_angle(0))
        self._flutter = np.zeros(devices)
        self._warmth = 22 * self._speed**2
        self._friction = np.zeros(devices)
        self._frozen: dict[Fault, float] = {}

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return self._steps

    def time_ns(self, step: int) -> int:
        """Event time of a step, counted from 0."""
        offset_ms = round(step * 1000 / self._rate_hz)
        return self._start_ns // 1_000_000 * 1_000_000 + offset_ms * 1_000_000

    def step(self) -> Step:
        """Move on by one sampling period and read the sensors."""
        time_ns = self.time_ns(self._steps)
        now_s = self._steps * self._dt_s
        self._change_setpoints(now_s)
        scripted_ns = self._scripted_ns(time_ns)
        true = self._physics(scripted_ns, self._day_angle(now_s))
        values = self._read_sensors(true, self._day_angle(now_s))
        self._break_sensors(values, scripted_ns)
        self._steps += 1
        return Step(time_ns, values)

    def _scripted_ns(self, time_ns: int) -> int:
        """The time that the faults' script has: it starts over with each round."""
        if self._repeat_ns is None:
            return time_ns
        return self._start_ns + (time_ns - self._start_ns) % self._repeat_ns

    def _day_angle(self, now_s: float) -> float:
        return 2 * math.pi * (((self._start_ns / NS_PER_S) + now_s) % _DAY_S) / _DAY_S

    def _asked_speed(self, day: float) -> Values:
        """Speed the plant asks for, as a part of the nominal one: about 0.57 to 0.93."""
        speed: Values = 0.75 + 0.10 * np.sin(day + self._day_phase) + self._setpoint
        return speed

    def _change_setpoints(self, now_s: float) -> None:
        due = np.flatnonzero(now_s >= self._next_change_s)
        if len(due):
            self._setpoint[due] = self._plan.uniform(-0.08, 0.08, len(due))
            self._next_change_s[due] = now_s + self._plan.uniform(20, 90, len(due))

    def _physics(self, time_ns: int, day: float) -> Values:
        """float64[device, channel]: what the pumps do, before any sensor has looked."""
        devices = len(self.names)
        wear, cavitation, blockage = np.zeros((3, devices))
        for fault in self.faults:
            if fault.is_process and fault.start_ns <= time_ns < fault.end_ns:
                progress = (time_ns - fault.start_ns) / (fault.end_ns - fault.start_ns)
                if fault.kind == "bearing_wear":
                    wear[fault.device] = min(1.0, progress / 0.8)
                elif fault.kind == "cavitation":
                    cavitation[fault.device] = min(1.0, progress / 0.1)
                else:
                    blockage[fault.device] = min(1.0, progress / 0.5)
        dt_s = self._dt_s
        self._speed += (self._asked_speed(day) - self._speed) * -math.expm1(-dt_s / _SPEED_LAG_S)
        keep = math.exp(-dt_s / _FLUTTER_LAG_S)
        fresh = self._noise.standard_normal((4, devices))
        self._flutter = keep * self._flutter + math.sqrt(1 - keep * keep) * 0.004 * fresh[0]
        speed = self._speed + self._flutter
        # Collapsing bubbles shake flow and head, independently of each other, and the casing.
        flow = 42 * speed * (1 - 0.14 * cavitation + 0.06 * cavitation * fresh[1] - 0.42 * blockage)
        head = 3.4 * speed**2 * (1 - 0.16 * cavitation + 0.07 * cavitation * fresh[2])
        pressure = 1.2 + head * (1 - 0.35 * blockage)
        relief = 1 - 0.05 * cavitation - 0.25 * blockage + 0.06 * wear
        current = 5 + 14 * speed**3 * relief
        self._warmth += (22 * speed**2 - self._warmth) * -math.expm1(-dt_s / _THERMAL_LAG_S)
        self._friction += (14 * wear - self._friction) * -math.expm1(-dt_s / _FRICTION_LAG_S)
        ambient = 22 + 4 * np.sin(day + self._day_phase)
        vibration = (1.4 + 1.8 * speed**2) * (
            1 + 2.2 * wear + cavitation * (1.1 + 0.25 * fresh[3]) + 0.25 * blockage
        )
        return np.stack(
            [
                100 * speed,
                flow,
                pressure,
                current,
                ambient + 18 + self._warmth + self._friction,
                vibration,
            ],
            axis=1,
        )

    def _read_sensors(self, true: Values, day: float) -> Values:
        drift = 1 + _DAILY_DRIFT * np.sin(day + self._drift_phase)
        noise = _NOISE * self._noise.standard_normal(true.shape)
        values: Values = np.round(true * self._gain * drift + noise, _DIGITS)
        return values

    def _break_sensors(self, values: Values, time_ns: int) -> None:
        for fault in self.faults:
            if fault.is_process:
                continue
            if not fault.start_ns <= time_ns < fault.end_ns:
                self._frozen.pop(fault, None)
                continue
            at = fault.device, _COLUMN[fault.channel]
            if fault.kind == "sensor_dropout":
                values[at] = np.nan
            else:
                values[at] = self._frozen.setdefault(fault, values[at])
