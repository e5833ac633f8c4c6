"""Alarms of devices that are away, of faulty sensors and of anomalies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headgate.config.rule import RuleConfig
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.results import Anomaly, DeviceState, SensorHealth
from headgate.core.stage import Selection
from headgate.core.stretches import Stretches
from headgate.testing.stages import everything
from streams.stages.alarms.stage import Alarmer
from streams.stages.blocks import checked

_TAGS = (("line", "a"),)


def _rule(**keys: object) -> RuleConfig:
    return RuleConfig.model_validate({"feed": "f", **keys})


def _state(state: str, time_ns: int, device: str = "d", feed: str = "f") -> DeviceState:
    return DeviceState(feed, device, time_ns, state, "silence", 0, _TAGS)


def _health(state: str, time_ns: int, channel: str = "x") -> SensorHealth:
    return SensorHealth("f", "d", channel, time_ns, state, time_ns - 5, 1.0, 2.0, _TAGS)


def _anomaly(**more: Any) -> Anomaly:  # noqa: ANN401  (fields of an anomaly)
    known = Anomaly(
        feed="f",
        device="d",
        model="m",
        start_ns=10,
        opened_ns=12,
        end_ns=14,
        peak_ns=13,
        peak_score=3.25,
        threshold=1.0,
        severity="minor",
        shares=(("x", 0.9), ("y", 0.1)),
        verdict="process",
        faulty=(),
        is_open=True,
        revision=0,
        tags=_TAGS,
    )
    return replace(known, **more)


def _alarmer(looked_at: Mapping[str, Stretches] | None = None, /, **rules: RuleConfig) -> Alarmer:
    table = ChannelTable()
    for name in ("x", "y"):
        table.row(Channel("f", "d", "f", name, "", _TAGS))
    return Alarmer(rules, table, looked_at)


def _restarted(
    alarmer: Alarmer, looked_at: Mapping[str, Stretches] | None = None, /, **rules: RuleConfig
) -> Alarmer:
    """One that goes on from a snapshot, under other numbers."""
    old, table = alarmer._channels, ChannelTable()
    table.row(Channel("f", "other", "f", "x"))
    for channel in reversed(old.channels):
        table.row(channel)
    devices = np.array([table.device_row(each) for each in old.devices], np.int32)
    channels = np.array([table.row(each) for each in old.channels], np.int32)
    there = Selection(devices, channels)
    anew = Alarmer(rules, table, looked_at)
    empty = anew.snapshot(there)
    anew.restore(there, checked(alarmer.snapshot(everything(old)), empty, there))
    return anew


def test_a_device_that_is_away_is_an_alarm_until_it_is_back() -> None:
    """One, however often it is said; of the devices and feeds that the rule is for."""
    rule = _rule(offline=True, devices=["d*"], severity="critical")
    alarmer = _alarmer(gone=rule)
    said = [_state("online", 1), _state("offline", 5), _state("offline", 6)]
    said += [_state("offline", 5, "e"), _state("offline", 5, "d", "g")]

    (opened,) = alarmer.process(said, [], [])
    assert (opened.is_open, opened.start_ns, opened.time_ns) == (True, 5, 5)
    assert (opened.rule, opened.severity, opened.text) == ("gone", "critical", "d line=a is away")
    assert (opened.device, opened.tags, opened.channel) == ("d", _TAGS, "")

    alarmer = _restarted(alarmer, gone=rule)
    assert alarmer.process([_state("offline", 7)], [], []) == []
    assert alarmer.process([_state("online", 9)], [], []) == [
        replace(opened, is_open=False, time_ns=9)
    ]
    assert alarmer.process([_state("online", 10)], [], []) == []


def test_each_faulty_sensor_is_an_alarm_until_it_is_well() -> None:
    """With the fault that it had; another one of those that are asked for is the same alarm."""
    rule = _rule(sensors=["stuck", "noise"], text="{channel} of {device}: {fault}")
    alarmer = _alarmer(bad=rule)
    said = [_health("drift", 10), _health("stuck", 20), _health("stuck", 20, "y")]

    opened = alarmer.process([], said, [])
    assert [(each.channel, each.start_ns, each.opened_ns) for each in opened] == [
        ("x", 15, 20),
        ("y", 15, 20),
    ]
    assert opened[0].text == "x of d line=a: stuck"

    alarmer = _restarted(_restarted(alarmer, bad=rule), bad=rule)
    assert alarmer.process([], [_health("noise", 30), _health("noise", 3630)], []) == []
    (over,) = alarmer.process([], [_health("ok", 4000)], [])
    assert over == replace(opened[0], is_open=False, time_ns=4000)
    (over,) = alarmer.process([], [_health("dropout", 5000, "y")], [])
    assert over == replace(opened[1], is_open=False, time_ns=5000)


def test_an_anomaly_is_an_alarm_in_each_of_its_states() -> None:
    """With its own severity, where the rule has none."""
    text = "{device} {model} {score:.1f}/{threshold} {channel} {verdict} {severity}"
    alarmer = _alarmer(odd=_rule(model="m", text=text), grave=_rule(model="m", severity="critical"))

    opened = alarmer.process([], [], [_anomaly(), _anomaly(model="other")])
    assert [(each.rule, each.severity) for each in opened] == [
        ("odd", "minor"),
        ("grave", "critical"),
    ]
    assert opened[0].text == "d line=a m 3.2/1 x process minor"
    assert opened[1].text == "d line=a: m finds an anomaly, most of it x"
    worse, _ = alarmer.process([], [], [_anomaly(severity="major", revision=1)])
    assert (worse.severity, worse.start_ns, worse.time_ns) == ("major", 10, 14)
    assert worse.revision == 1
    over, _ = alarmer.process([], [], [_anomaly(is_open=False, revision=2)])
    assert (over.is_open, over.start_ns, over.time_ns) == (False, 10, 14)


def test_what_is_switched_off_opens_nothing_and_ends_what_is_open() -> None:
    """With the next that is said of the device."""
    alarmer = _alarmer(gone=_rule(offline=True))
    alarmer.process([_state("offline", 5)], [], [])
    alarmer = _restarted(alarmer, gone=_rule(offline=True, enabled=False))

    (over,) = alarmer.process([_state("offline", 7)], [], [])
    assert not over.is_open
    assert alarmer.process([_state("offline", 8)], [], [_anomaly()]) == []


def test_a_models_alarm_that_is_switched_off_ends_with_the_next_change() -> None:
    """And of an anomaly that began while it was off nothing is said, though it changes."""
    rules = {"odd": _rule(model="m", devices="d")}
    alarmer = _alarmer(**rules)
    alarmer.process([], [], [_anomaly()])
    assert alarmer.open_alarms == 1
    for off in ({"odd": _rule(model="m", enabled=False)}, {"odd": _rule(model="m", devices="e")}):
        other = _restarted(alarmer, **off)
        (over,) = other.process([], [], [_anomaly(revision=1)])
        assert (over.is_open, over.start_ns, other.open_alarms) == (False, 10, 0)
        assert other.process([], [], [_anomaly(revision=2, is_open=False)]) == []


def test_a_rule_that_is_not_for_a_device_any_more_ends_its_alarm() -> None:
    """With the next word on the device."""
    alarmer = _alarmer(gone=_rule(offline=True))
    alarmer.process([_state("offline", 5)], [], [])
    alarmer = _restarted(alarmer, gone=_rule(offline=True, devices=["e"]))

    assert not alarmer.process([_state("offline", 7)], [], [])[0].is_open
    assert alarmer.process([_state("offline", 8)], [], []) == []


def test_of_a_device_that_was_forgotten_nothing_is_open() -> None:
    """And a rule that is gone takes nothing with it."""
    rules = {"gone": _rule(offline=True), "bad": _rule(sensors="stuck")}
    alarmer = _alarmer(**rules)
    alarmer.process([_state("offline", 5)], [_health("stuck", 20)], [])
    left = _restarted(alarmer, bad=rules["bad"])
    assert len(left.process([], [_health("ok", 30)], [])) == 1

    row = alarmer._channels.device_row(Device("f", "d", _TAGS))
    alarmer.forget(Selection(np.array([row], np.int32), np.arange(2, dtype=np.int32)))
    assert alarmer.process([_state("online", 9)], [_health("ok", 40)], []) == []


def test_a_sensor_has_an_alarm_while_its_schedule_lasts() -> None:
    """From its beginning, or that of the fault, to its end, though that is said later."""
    looked_at = {"bad": Stretches(np.array([100, 200, 300, 400], np.int64))}
    rule = _rule(sensors=["stuck"], during="some")

    def turns(*said: SensorHealth) -> list[tuple[bool, int, int, int]]:
        found = alarmer.process([], said, [])
        return [(each.is_open, each.start_ns, each.opened_ns, each.time_ns) for each in found]

    alarmer = _alarmer(looked_at, bad=rule)
    assert turns(_health("stuck", 50)) == []
    assert turns(_health("stuck", 102), _health("stuck", 110)) == [(True, 100, 102, 102)]
    alarmer = _restarted(alarmer, looked_at, bad=rule)
    assert turns(_health("stuck", 320)) == [(False, 100, 102, 200), (True, 315, 320, 320)]
    assert turns(_health("ok", 330)) == [(False, 315, 320, 330)]
    assert turns(_health("stuck", 390), _health("ok", 500)) == [
        (True, 385, 390, 390),
        (False, 385, 390, 400),
    ]


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({}, "expected one of when, offline, sensors, model, got none of them"),
        ({"offline": True, "model": "m"}, "got offline and model"),
        ({"offline": True, "for": "3s"}, "for: expected it beside when only"),
        ({"model": "m", "clear": "x > 3"}, "clear: expected it beside when only"),
        ({"sensors": ["broken"]}, "dropout"),
        ({"offline": True, "during": "d"}, "during: expected it beside when and sensors only, got"),
        ({"model": "m", "except": "d"}, "except: expected it beside when and .* got it beside mod"),
    ],
)
def test_a_rule_looks_for_one_thing(keys: dict[str, object], what: str) -> None:
    """And has the keys of that."""
    with pytest.raises(ValueError, match=what):
        _rule(**keys)
