"""Devices, and what they are connected through, say themselves whether they are there."""

from __future__ import annotations

from headgate.core.clock import NS_PER_S
from headgate.testing.stages import everything
from tests.unit.streams.states_rig import START_S, Gateway

_SILENT_AFTER_NS = 10 * NS_PER_S

#: What of a snapshot older versions have not.
_OF_STATES = ("said", "said_ns", "own_word", "through_word", "is_missed")

#: Topics by which devices, and what they are connected through, say that they are there.
_TOPICS = {"topic": ["{device}/state", "bridge"]}

#: The device's clock, where its readings begin.
_START_S = 1_000_000


def test_a_device_that_says_so_is_away_at_once_and_back_with_a_newer_reading() -> None:
    """Each is said once, whatever is repeated; an older reading changes nothing."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.word("online")
    gateway.until(31)
    gateway.word("offline")
    gateway.word("offline")
    gateway.send([28.5])
    assert gateway.told() == [("online", 0), ("offline", 31)]
    assert gateway.said[-1].cause == "availability"
    assert gateway.said[-1].seen_ns == (START_S + 29) * NS_PER_S

    gateway.send([32])
    gateway.until(120)
    assert gateway.told()[2:] == [("online", 32), ("offline", 32 + 1e-9)]
    assert gateway.said[-1].cause == "silence"


def test_a_device_that_has_sent_nothing_is_known_by_what_it_says() -> None:
    """It has not been seen, and its silence means nothing."""
    gateway = Gateway()
    gateway.word("offline")
    gateway.word("online", device=1)
    gateway.until(1000)

    assert [(each.device, each.state, each.seen_ns) for each in gateway.said] == [
        ("a", "offline", 0),
        ("b", "online", 0),
    ]


def test_silence_does_not_contradict_a_device_that_says_that_it_is_there() -> None:
    """It would say so if it were not; what a birth says does not hold like that."""
    gateway = Gateway()
    for second in range(30):
        gateway.live(second, second + 1)
        gateway.send([second], device=1)
    gateway.word("online")
    gateway.word("online", device=1, cause="birth")
    gateway.until(1000)

    assert gateway.told("a") == [("online", 0)]
    assert gateway.told("b")[-1][0] == "offline"

    gateway.word("offline")
    assert gateway.told("a")[1:] == [("offline", 1000)]


def test_who_says_that_it_is_there_after_a_silence_is_back() -> None:
    """Without a reading; and what is said later is never of an earlier time."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.until(100)
    gateway.word("online", cause="birth")
    gateway.word("offline", cause="death", at_s=40)
    gateway.word("online", cause="birth", at_s=50)

    told = gateway.told()
    assert told == [
        ("online", 0),
        ("offline", 29 + 1e-9),
        ("online", 100),
        ("offline", 100 + 1e-9),
        ("online", 100 + 2e-9),
    ]


def test_a_decision_that_was_not_said_yet_is_said_before_what_contradicts_it() -> None:
    """A replay may have said it before, and must come to the same."""
    gateway = Gateway()
    gateway.live(0, 30)
    while not gateway.watermarks._states.decided().size:
        gateway.until(gateway.now_s + 1)
    written = gateway.watermarks.snapshot(everything(gateway.channels))
    decided_s = gateway.now_s
    gateway.word("online")
    before = gateway.told()
    gateway.watermarks.restore(everything(gateway.channels), written)
    gateway.said = gateway.said[:1]
    gateway.look()
    gateway.word("online")

    assert before == [("online", 0), ("offline", 29 + 1e-9), ("online", decided_s)]
    assert gateway.told() == before


def test_a_bridge_takes_its_devices_along_and_brings_them_back() -> None:
    """But for those that are away by themselves, or that nobody knows anything of."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.word("offline", is_through=True)
    gateway.word("online")
    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9)]
    gateway.until(40)
    gateway.word("online", is_through=True)
    gateway.word("online", device=1, is_through=True)
    assert gateway.told()[2:] == [("online", 40)]
    assert gateway.told("b") == []

    gateway.word("offline", at_s=41)
    gateway.word("offline", is_through=True)
    gateway.word("online", is_through=True)
    assert gateway.told()[3:] == [("offline", 41)]


def test_what_a_reading_has_ended_does_not_come_back_with_a_bridge() -> None:
    """Who was away by its own word, and has been heard since, is not away by it any more."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.word("offline")
    gateway.live(30, 35)
    gateway.word("offline", is_through=True)
    gateway.word("online", is_through=True)

    assert [state for state, _ in gateway.told()] == ["online", "offline"] * 2 + ["online"]


def test_a_bridge_does_not_bring_back_who_is_silent() -> None:
    """Its devices sent nothing while it was there, either."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.until(100)
    gateway.word("offline", is_through=True)
    gateway.word("online", is_through=True)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9)]


def test_what_was_said_outlives_a_restart() -> None:
    """Of a device and its bridge; nothing is said anew."""
    gateway = Gateway(availability=_TOPICS)
    for second in range(30):
        gateway.live(second, second + 1)
        gateway.send([second], device=1)
    gateway.word("online")
    gateway.word("offline", device=1, is_through=True)
    before = list(gateway.said)
    gateway.restart()
    gateway.until(1000)
    assert gateway.said == before

    gateway.word("offline", at_s=0)
    gateway.word("online", device=1, is_through=True)
    assert gateway.told("a")[1:] == [("offline", 29 + 1e-9)]
    assert gateway.told("b")[1:] == [("offline", 29 + 1e-9)]


def test_a_stated_period_is_what_silence_is_judged_by() -> None:
    """Also of a device whose pace is another one, and of one that says that it is there."""
    gateway = Gateway(expect_every="60s")
    gateway.live(0, 30)
    gateway.send([0], device=1)
    gateway.word("online", device=1)
    gateway.until(29 + 179)
    assert gateway.told("a") == [("online", 0)]
    gateway.until(29 + 182)
    assert gateway.told("a") == [("online", 0), ("offline", 29 + 1e-9)]
    assert gateway.told("b") == [("online", 0), ("offline", 1e-9)]

    gateway.word("online", device=1)
    assert gateway.told("b")[2:] == [("online", 29 + 182)]
    gateway.until(29 + 182 + 185)
    assert gateway.told("b")[3:] == [("offline", 29 + 182 + 1e-9)]


def test_nothing_is_said_of_words_of_feeds_that_want_it_so() -> None:
    """Nor known of them later."""
    gateway = Gateway(device_state=False)
    gateway.live(0, 30)
    gateway.word("offline")

    assert gateway.said == []


def test_a_word_closes_no_window_and_keeps_none_open() -> None:
    """Every few seconds it tells as much of readings as never: when they end, and their pace."""
    plain, chatty = Gateway(period="60s"), Gateway(period="60s")
    for gateway in (plain, chatty):
        for second in range(3000):
            gateway.until(second)
            if second % 60 == 0 and second < 1200:
                gateway.send([second])
            if gateway is chatty and second % 7 == 3:
                gateway.word("online")

    assert plain.closed
    assert chatty.closed == plain.closed
    assert chatty.watermarks._pace.pace_ns.tolist() == plain.watermarks._pace.pace_ns.tolist()
    assert [state for state, _ in plain.told()] == ["online", "offline"]
    assert [state for state, _ in chatty.told()] == ["online"]


def test_a_birth_puts_off_that_its_device_is_away_and_nothing_else() -> None:
    """Also over a restart: windows are closed as without it, and silence counts from then on."""
    gateway = Gateway()
    gateway.live(0, 30)
    gateway.until(35)
    gateway.word("online", cause="birth")
    gateway.until(42)
    assert [device for _, silent, _, _ in gateway.closed for device in silent] == [0]
    gateway.restart()
    gateway.until(44)
    assert gateway.told() == [("online", 0)]

    gateway.until(60)
    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9)]


def test_a_device_that_only_says_that_it_is_there_is_missed_by_its_stated_period() -> None:
    """Before and after a restart; it is away since right after what it said."""
    gateway = Gateway(expect_every="60s", availability=_TOPICS)
    gateway.word("online")
    gateway.until(100)
    gateway.word("online")
    gateway.until(279)
    assert gateway.told() == [("online", 0)]
    gateway.until(282)
    assert gateway.told() == [("online", 0), ("offline", 1e-9)]

    gateway.word("online")
    gateway.restart()
    gateway.until(282 + 178)
    assert gateway.told()[2:] == [("online", 282)]
    gateway.until(282 + 185)
    assert gateway.told()[3:] == [("offline", 282 + 1e-9)]
    gateway.restart()
    gateway.until(2000)
    assert len(gateway.told()) == 4


def test_a_word_ends_with_the_topic_that_it_came_by() -> None:
    """Nobody could take it back; what a topic that is still there has said goes on."""
    for left in (None, {"topic": "bridge"}, {"topic": "{device}/state"}):
        gateway = Gateway(availability=_TOPICS)
        gateway.live(0, 30)
        gateway.word("online")
        gateway.restart(availability=left)
        gateway.until(100)
        is_kept = left == {"topic": "{device}/state"}
        assert [state for state, _ in gateway.told()][1:] == ([] if is_kept else ["offline"])

        gateway = Gateway(availability=_TOPICS)
        gateway.live(0, 30)
        gateway.word("offline", is_through=True)
        gateway.restart(availability=left)
        gateway.word("online", cause="birth")
        is_kept = left == {"topic": "bridge"}
        assert [state for state, _ in gateway.told()][2:] == ([] if is_kept else ["online"])


def test_who_says_that_it_is_there_is_not_counted_as_silent() -> None:
    """It sends when something happens; another one of its feed that says nothing is."""
    gateway = Gateway(availability=_TOPICS)
    for second in range(30):
        gateway.live(second, second + 1)
        gateway.send([second], device=1)
    gateway.word("online")
    gateway.until(200)

    found = gateway.watermarks.presence(gateway.now_s * NS_PER_S)["f"]
    assert (found.devices, found.silent, [name for name, _ in found.names]) == (2, 1, ["b"])
    assert not gateway.watermarks.awaits_silence()


def test_a_word_that_is_withdrawn_says_nothing_any_more() -> None:
    """Silence counts again, from the last reading or word; who is away stays so until heard."""
    gateway = Gateway(availability=_TOPICS)
    for second in range(30):
        gateway.live(second, second + 1)
        gateway.send([second], device=1)
    gateway.word("online")
    gateway.word("offline", device=1)
    gateway.until(100)
    gateway.word("withdrawn")
    gateway.word("withdrawn", device=1)
    gateway.until(103)
    gateway.restart()
    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9)]
    assert gateway.said[-1].cause == "silence"
    assert gateway.told("b")[1:] == [("offline", 29 + 1e-9)]

    gateway.word("offline", is_through=True)
    gateway.word("withdrawn", is_through=True)
    gateway.word("online")
    assert gateway.told()[2:] == [("online", 103)]
