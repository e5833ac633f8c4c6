"""Alarms of what others have found: that a device is away, a faulty sensor, a model's anomaly.

Each is an alarm where a rule asks for it. Alarms of conditions are worked out where derived
channels are (``streams.stages.derive``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headgate.config.rule import RuleConfig
from headgate.core.channels import ChannelTable, Device
from headgate.core.results import (
    OFFLINE,
    SENSOR_FAULTS,
    Alarm,
    Anomaly,
    DeviceState,
    SensorHealth,
)
from headgate.core.stage import Selection, StateBlock
from headgate.core.stretches import Stretches
from streams.stages.alarms.text import alarm_text
from streams.stages.arrays import NO_TIME_NS, position_of
from streams.stages.blocks import number_of

#: What is remembered of an alarm that is open has no fault where it tells of no sensor.
_NO_FAULT = -1


@dataclass(frozen=True, slots=True)
class _Open:
    """An alarm that is open.

    Attributes:
        start_ns: Event time from which on what it tells of has been so.
        opened_ns: Event time at which that was said.
        fault: Of a sensor, which of ``SENSOR_FAULTS`` it had then.
    """

    start_ns: int
    opened_ns: int
    fault: int = _NO_FAULT


@dataclass(frozen=True, slots=True)
class _Look:
    """How a rule's schedule is when something is said.

    Attributes:
        is_in: Whether it is looked at.
        since_ns: Since when that is so, or not.
        ended_ns: When the alarm that is open has ended, because the schedule has; None: it has not.
    """

    is_in: bool = True
    since_ns: int = NO_TIME_NS
    ended_ns: int | None = None


#: By rule, and channel where it tells of a sensor, the alarm that is open.
_OfDevice = dict[tuple[str, str], _Open]


class Alarmer:
    """Makes alarms of what has been said of devices. A stateful stage.

    Args:
        rules: ``config.rule``.
        channels: The pipeline's table.
        looked_at: By rule, when it is looked at, of those that are not always.
    """

    def __init__(
        self,
        rules: Mapping[str, RuleConfig],
        channels: ChannelTable,
        looked_at: Mapping[str, Stretches] | None = None,
    ) -> None:
        self._channels = channels
        self._looked_at = looked_at or {}
        self._offline = {name: rule for name, rule in rules.items() if rule.offline}
        self._sensors = {name: rule for name, rule in rules.items() if rule.sensors}
        self._models = {name: rule for name, rule in rules.items() if rule.model is not None}
        self._numbers = {number_of("alarm", name): name for name in rules}
        # By device row, for those alone that have an alarm open.
        self._open: dict[int, _OfDevice] = {}

    @property
    def fingerprint(self) -> str:
        """What the meaning of a snapshot depends on: rules may change under what is open."""
        return "alarms/1"

    @property
    def open_alarms(self) -> int:
        """Alarms that are open."""
        return sum(map(len, self._open.values()))

    def process(
        self,
        states: Sequence[DeviceState],
        health: Sequence[SensorHealth],
        anomalies: Sequence[Anomaly],
    ) -> list[Alarm]:
        """Take in what was said of devices.

        Returns:
            Alarms that have opened, are worse, or are over, in the order in which it was said.
        """
        return [
            *(alarm for each in states for alarm in self._of_state(each)),
            *(alarm for each in health for alarm in self._of_sensor(each)),
            *(alarm for each in anomalies for alarm in self._of_anomaly(each)),
        ]

    def snapshot(self, selection: Selection) -> StateBlock:
        device = position_of(selection.devices, len(self._channels.devices))
        numbers = {name: number for number, name in self._numbers.items()}
        away: list[tuple[int, int, int, int]] = []
        faulty: list[tuple[int, int, int, int, int]] = []
        for row, of_device in self._of_devices(selection):
            for (rule, channel), each in of_device.items():
                if channel:
                    at = self._a_channel(selection, row, channel)
                    more = (each.start_ns, each.opened_ns, each.fault)
                    faulty += [(position, numbers[rule], *more) for position in at]
                else:
                    away.append((int(device[row]), numbers[rule], each.start_ns, each.opened_ns))
        return {
            **_columns(away, "away", ("device", "kind", "start_ns", "opened_ns")),
            **_columns(faulty, "faulty", ("channel", "kind", "start_ns", "opened_ns", "fault")),
        }

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        self.forget(selection)
        if not block:
            return
        for position, number, *times in _rows(
            block, "away", ("device", "kind", "start_ns", "opened_ns")
        ):
            row = int(selection.devices[position])
            if (rule := self._numbers.get(number)) in (*self._offline, *self._models):
                self._open.setdefault(row, {})[rule, ""] = _Open(*times)
        for position, number, start_ns, opened_ns, fault in _rows(
            block, "faulty", ("channel", "kind", "start_ns", "opened_ns", "fault")
        ):
            channel = int(selection.channels[position])
            row = int(self._channels.device_of[channel])
            if (rule := self._numbers.get(number)) in self._sensors:
                key = (rule, self._channels.channels[channel].field)
                known = min(max(fault, 0), len(SENSOR_FAULTS) - 1)
                self._open.setdefault(row, {})[key] = _Open(start_ns, opened_ns, known)

    def forget(self, selection: Selection) -> None:
        for row in selection.devices.tolist():
            self._open.pop(row, None)

    def _of_devices(self, selection: Selection) -> Iterator[tuple[int, _OfDevice]]:
        """What is open of these devices, in a fixed order."""
        if not self._open:
            return
        for row in selection.devices.tolist():
            if of_device := self._open.get(row):
                yield row, of_device

    def _a_channel(self, selection: Selection, device: int, field: str) -> list[int]:
        """The position in a selection of a channel of this device and name; of several the first.

        None where all have been forgotten.
        """
        rows = np.flatnonzero(self._channels.device_of[selection.channels] == device)
        for position in rows.tolist():
            if self._channels.channels[selection.channels[position]].field == field:
                return [position]
        return []

    def _of_state(self, state: DeviceState) -> Iterator[Alarm]:
        """Of whether a device is there."""
        for name, rule in self._meant(self._offline, state):
            start = _Open(state.time_ns, state.time_ns)
            yield from self._turn(name, rule, state, "", start, is_so=state.state == OFFLINE)

    def _of_sensor(self, health: SensorHealth) -> Iterator[Alarm]:
        """Of a sensor's health."""
        fault = SENSOR_FAULTS.index(health.state) if health.state in SENSOR_FAULTS else _NO_FAULT
        for name, rule in self._meant(self._sensors, health, health.channel):
            is_so = health.state in rule.sensors
            start = _Open(health.since_ns, health.time_ns, fault)
            yield from self._turn(name, rule, health, health.channel, start, is_so=is_so)

    def _turn(
        self,
        name: str,
        rule: RuleConfig,
        said: DeviceState | SensorHealth,
        channel: str,
        start: _Open,
        *,
        is_so: bool,
    ) -> Iterator[Alarm]:
        """What comes of it that something is so, or not any more."""
        known = self._known(said, name, channel)
        look = self._look(name, said.time_ns, known)
        is_open = is_so and look.is_in and _is_on(rule, said)
        if known is not None and (look.ended_ns is not None or not is_open):
            self._note(said, name, channel, None)
            at_ns = said.time_ns if look.ended_ns is None else look.ended_ns
            yield self._of_turn(name, rule, said, channel, known, at_ns, is_open=False)
            known = None
        if known is None and is_open:
            known = replace(start, start_ns=max(start.start_ns, look.since_ns))
            self._note(said, name, channel, known)
            yield self._of_turn(name, rule, said, channel, known, said.time_ns, is_open=True)

    def _of_turn(
        self,
        name: str,
        rule: RuleConfig,
        said: DeviceState | SensorHealth,
        channel: str,
        known: _Open,
        time_ns: int,
        *,
        is_open: bool,
    ) -> Alarm:
        """The alarm that opens, or is over."""
        fault = "" if known.fault == _NO_FAULT else SENSOR_FAULTS[known.fault]
        told = {"channel": channel, "fault": fault}
        return _alarm(name, rule, said, known, told, time_ns=time_ns, is_open=is_open)

    def _look(self, rule: str, time_ns: int, known: _Open | None) -> _Look:
        """Whether a rule is looked at when something is said."""
        looked_at = self._looked_at.get(rule)
        if looked_at is None:
            return _Look()
        asked_ns = np.array([time_ns, time_ns if known is None else known.opened_ns])
        is_in, since_ns, until_ns = (each.tolist() for each in looked_at.at(asked_ns))
        has_ended = is_in[1] and since_ns[0] != since_ns[1]
        return _Look(is_in[0], since_ns[0], until_ns[1] if has_ended else None)

    def _of_anomaly(self, anomaly: Anomaly) -> Iterator[Alarm]:
        """Of each state of an anomaly."""
        for name, rule in self._meant(self._models, anomaly):
            if rule.model != anomaly.model:
                continue
            known = self._known(anomaly, name, "")
            is_open = anomaly.is_open and _is_on(rule, anomaly)
            if known is None and not is_open:
                continue
            # One that goes on soon after has the beginning that it had.
            known = _Open(anomaly.start_ns, anomaly.opened_ns)
            self._note(anomaly, name, "", known if is_open else None)
            severity = rule.severity or anomaly.severity
            found = _alarm(
                name,
                rule,
                anomaly,
                known,
                {
                    "channel": anomaly.shares[0][0] if anomaly.shares else "",
                    "model": anomaly.model,
                    "verdict": anomaly.verdict,
                    "severity": severity,
                },
                {"score": anomaly.peak_score, "threshold": anomaly.threshold},
                time_ns=anomaly.end_ns if anomaly.revision else anomaly.opened_ns,
                is_open=is_open,
            )
            yield replace(found, severity=severity, channel="", revision=anomaly.revision)

    def _meant(
        self,
        rules: Mapping[str, RuleConfig],
        said: DeviceState | SensorHealth | Anomaly,
        channel: str = "",
    ) -> Iterator[tuple[str, RuleConfig]]:
        """The rules that are for a device, and those of which it has an alarm open."""
        for name, rule in rules.items():
            if _is_on(rule, said) or self._known(said, name, channel) is not None:
                yield name, rule

    def _known(
        self, said: DeviceState | SensorHealth | Anomaly, rule: str, channel: str
    ) -> _Open | None:
        """The alarm of a rule that is open at a device."""
        if not self._open:
            return None
        row = self._channels.device_row(Device(said.feed, said.device, said.tags))
        return self._open.get(row, {}).get((rule, channel))

    def _note(
        self,
        said: DeviceState | SensorHealth | Anomaly,
        rule: str,
        channel: str,
        now: _Open | None,
    ) -> None:
        """Remember what is open now."""
        row = self._channels.device_row(Device(said.feed, said.device, said.tags))
        of_device = self._open.setdefault(row, {})
        if now is None:
            of_device.pop((rule, channel), None)
        else:
            of_device[rule, channel] = now
        if not of_device:
            del self._open[row]


def _is_on(rule: RuleConfig, said: DeviceState | SensorHealth | Anomaly) -> bool:
    """Whether a rule may open alarms of a device."""
    return rule.enabled and said.feed in rule.feed and rule.is_of(said.device)


def _alarm(
    name: str,
    rule: RuleConfig,
    said: DeviceState | SensorHealth | Anomaly,
    known: _Open,
    told: Mapping[str, str],
    numbers: Mapping[str, float] | None = None,
    *,
    time_ns: int,
    is_open: bool,
) -> Alarm:
    label = Device(said.feed, said.device, said.tags).label
    every = {
        "device": label,
        "feed": said.feed,
        "rule": name,
        "severity": rule.given_severity,
        **told,
    }
    return Alarm(
        feed=said.feed,
        device=said.device,
        rule=name,
        start_ns=known.start_ns,
        opened_ns=known.opened_ns,
        time_ns=time_ns,
        is_open=is_open,
        severity=rule.given_severity,
        text=alarm_text(rule, every, numbers),
        channel=told.get("channel", ""),
        tags=said.tags,
    )


def _columns(
    rows: Sequence[tuple[int, ...]], prefix: str, names: Sequence[str]
) -> dict[str, NDArray[np.generic]]:
    """Rows as named columns of a snapshot; the first is a position."""
    table = np.array(rows, np.int64).reshape(len(rows), len(names))
    columns: dict[str, NDArray[np.generic]] = {
        f"{prefix}_{name}": table[:, at] for at, name in enumerate(names)
    }
    first = f"{prefix}_{names[0]}"
    return {**columns, first: columns[first].astype(np.int32)}


def _rows(
    block: Mapping[str, NDArray[np.generic]], prefix: str, names: Sequence[str]
) -> Iterator[tuple[int, ...]]:
    """The rows of ``_columns``."""
    columns = (np.asarray(block[f"{prefix}_{name}"], np.int64).tolist() for name in names)
    yield from zip(*columns, strict=True)
