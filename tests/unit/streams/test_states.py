"""Whether a device is there is said once when it changes, whatever happens in between."""

from __future__ import annotations

import numpy as np

from headgate.core.batch import Quality
from headgate.core.channels import Channel
from headgate.core.clock import NS_PER_S
from headgate.core.results import DeviceState
from headgate.testing.stages import everything
from streams.stages.watermark.states import STATES
from tests.unit.streams.states_rig import START_S, Gateway

_SILENT_AFTER_NS = 10 * NS_PER_S

#: What of a snapshot older versions have not.
_OF_STATES = ("said", "said_ns", "own_word", "through_word", "is_missed")

#: Topics by which devices, and what they are connected through, say that they are there.
_TOPICS = {"topic": ["{device}/state", "bridge"]}

#: The device's clock, where its readings begin.
_START_S = 1_000_000


def test_a_device_is_there_from_its_first_reading_on() -> None:
    """And it is said once, with what it was heard by."""
    gateway = Gateway()
    gateway.live(0, 30)

    assert gateway.said == [
        DeviceState("f", "a", START_S * NS_PER_S, "online", "reading", START_S * NS_PER_S)
    ]


def test_a_silent_device_is_away_since_right_after_its_last_reading() -> None:
    """By the time that its readings bear; back again with the first one that is newer."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.until(60)
    gateway.until(600)
    gateway.live(600, 605)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9), ("online", 600)]
    assert gateway.said[1].seen_ns == (START_S + 29) * NS_PER_S
    assert gateway.said[1].cause == "silence"


def test_it_is_said_within_three_of_its_periods() -> None:
    """And not before: a device that sends once a minute is no silent one after ten seconds."""
    gateway = Gateway(period="60s")
    for second in range(0, 1200, 60):
        gateway.until(second)
        gateway.send([second])
    last_s = gateway.now_s
    gateway.until(last_s + 2 * 60)
    assert gateway.told() == [("online", 0)]

    gateway.until(last_s + 3 * 60 + 2)
    assert gateway.told() == [("online", 0), ("offline", last_s + 1e-9)]


def test_devices_do_not_answer_for_each_other() -> None:
    """One goes on, the other does not."""
    gateway = Gateway()
    for second in range(60):
        gateway.until(second)
        gateway.send([second])
        if second < 20:
            gateway.send([second], device=1)

    assert gateway.told("a") == [("online", 0)]
    assert gateway.told("b") == [("online", 0), ("offline", 19 + 1e-9)]


def test_a_decision_is_written_down_before_it_is_said() -> None:
    """A process that ends right after it has said so says it again, the same, and knows it."""
    gateway = Gateway()
    gateway.live(0, 30)
    while not gateway.watermarks.quiet(gateway.now_s * NS_PER_S, _SILENT_AFTER_NS).size:
        gateway.until(gateway.now_s + 1)
    while not gateway.watermarks._states.decided().size:
        gateway.look()
    assert gateway.told() == [("online", 0)]

    written = gateway.watermarks.snapshot(everything(gateway.channels))
    gateway.look()
    assert gateway.told()[1:] == [("offline", 29 + 1e-9)]
    gateway.watermarks.restore(everything(gateway.channels), written)
    gateway.send([40])

    assert gateway.told()[2:] == [("offline", 29 + 1e-9), ("online", 40)]
    assert gateway.said[1] == gateway.said[2]


def test_a_restart_says_nothing_new() -> None:
    """Neither of a device that is there nor of one that is away."""
    gateway = Gateway()
    gateway.live(0, 20, device=1)
    gateway.live(20, 60)
    before = list(gateway.said)
    for _ in range(3):
        gateway.restart()
        gateway.live(gateway.now_s + 1, gateway.now_s + 5)

    assert gateway.told("b")[-1][0] == "offline"
    assert gateway.said == before


def _set_ahead(gateway: Gateway) -> None:
    """A device whose clock is a day ahead for a while, until it is believed."""
    ahead, far_s = int(Quality.AHEAD), 80_000
    gateway.live(0, 30)
    gateway.send([far_s + second for second in range(10)], quality=ahead)
    gateway.until(35)
    gateway.send([far_s + second for second in range(10, 20)], quality=ahead)


def test_what_a_wrong_clock_said_is_said_anew() -> None:
    """It is newer for ever than what is said by the right one."""
    gateway = Gateway()
    _set_ahead(gateway)
    gateway.until(120)
    gateway.live(120, 150)

    assert gateway.told() == [("online", 0), ("offline", 80_019 + 1e-9), ("online", 120)]


def test_a_clock_that_is_set_back_says_nothing_twice() -> None:
    """What was said by the right time before still holds."""
    gateway = Gateway()
    _set_ahead(gateway)
    gateway.live(35, 60)
    gateway.until(120)

    assert gateway.told() == [("online", 0), ("offline", 59 + 1e-9)]


def test_any_cut_says_the_same() -> None:
    """Readings of both devices, out of order, whole and one by one."""
    rng = np.random.default_rng(2)
    times = (rng.integers(0, 40, 60) / 2).tolist()
    whole, pieces = Gateway(), Gateway()
    for device in (0, 1):
        whole.send(times, device)
        for time_s in times:
            pieces.send([time_s], device)

    assert whole.said == pieces.said
    assert {each.device for each in whole.said} == {"a", "b"}


def test_nothing_is_said_of_feeds_that_want_it_so() -> None:
    """A door contact that sends when it is opened is silent as a rule."""
    gateway = Gateway(device_state=False)
    gateway.live(0, 30)
    gateway.until(100)

    assert gateway.said == []


def test_what_an_older_version_wrote_down_is_said_once() -> None:
    """It knows nothing of that."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.restart(*_OF_STATES)
    gateway.said.clear()
    gateway.live(30, 40)

    assert gateway.told() == [("online", 30)]


def test_who_was_silent_before_an_upgrade_is_said_to_be_away() -> None:
    """Nobody was told by the older version, and the device may never be heard again."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.until(60)
    gateway.said.clear()
    gateway.restart(*_OF_STATES)
    gateway.until(62)
    gateway.restart()
    gateway.until(70)

    assert gateway.told() == [("offline", 29 + 1e-9)]


def test_a_device_that_fell_silent_while_nothing_was_to_be_said_is_not_online() -> None:
    """Neither in what is written down meanwhile, nor once its feed wants it said again."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.restart(device_state=False)
    gateway.until(60)
    written = gateway.watermarks.snapshot(everything(gateway.channels))
    assert [STATES[said] for said in written["said"].tolist()] == ["", ""]
    assert gateway.told() == [("online", 0)]

    gateway.restart(device_state=True)
    gateway.until(70)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9)]


def test_a_device_that_is_heard_while_nothing_was_to_be_said_is_online_again() -> None:
    """With the first reading that comes when its feed wants it said again."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.until(60)
    gateway.restart(device_state=False)
    gateway.live(60, 70)
    gateway.restart(device_state=True)
    gateway.live(70, 75)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9), ("online", 70)]


def test_what_a_sparkplug_node_sends_later_is_no_device_that_falls_silent() -> None:
    """It comes once after an outage, as readings of a device of their own."""
    gateway = Gateway(topic="spBv1.0/#", format="sparkplug")
    later = gateway.channels.row(Channel("f", "g/n/d/historical", "f", "x"))
    for second in range(60):
        gateway.until(second)
        gateway.send([second])
        if second < 20:
            gateway.send([second], device=later)

    assert {each.device for each in gateway.said} == {"a"}
