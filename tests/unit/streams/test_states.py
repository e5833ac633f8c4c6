"""Whether a device is there is said once when it changes, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.results import Availability, DeviceState
from headgate.testing.stages import everything
from streams.stages.watermark.stage import Watermarks
from streams.stages.watermark.states import STATES

_SILENT_AFTER_NS = 10 * NS_PER_S

#: What of a snapshot older versions have not.
_OF_STATES = ("said", "said_ns", "own_word", "through_word", "is_missed")

#: Topics by which devices, and what they are connected through, say that they are there.
_TOPICS = {"topic": ["{device}/state", "bridge"]}

#: The device's clock, where its readings begin.
_START_S = 1_000_000


class _Gateway:
    """A gateway that looks for silence as the lane does, and what it has said."""

    def __init__(self, **feed: object) -> None:
        keys = {"topic": "{device}", "channels": {"x": {}}, "aggregates": [{"window": "5s"}]}
        self._keys: dict[str, object] = {**keys, **feed}
        self.feeds = {"f": FeedConfig.model_validate(self._keys)}
        self.channels = ChannelTable()
        for name in ("a", "b"):
            self.channels.row(Channel("f", name, "f", "x"))
        self.watermarks = Watermarks(self.feeds, self.channels)
        self.said: list[DeviceState] = []
        #: When which devices went silent or had windows closed, and up to where.
        self.closed: list[tuple[int, list[int], list[int], list[int]]] = []
        self.now_s = 0

    def until(self, time_s: int) -> None:
        """Let time pass, and look each second."""
        while self.now_s < time_s:
            self.now_s += 1
            self.look()

    def look(self) -> None:
        """One look at what time has to say."""
        now_ns = self.now_s * NS_PER_S
        among = self.watermarks.quiet(now_ns, _SILENT_AFTER_NS)
        found = self.watermarks.advance(now_ns, _SILENT_AFTER_NS, among)
        self.said += found.states
        if len(found.silent) or len(found.closing):
            columns = (found.silent.tolist(), found.closing.tolist(), found.floor_ns.tolist())
            self.closed.append((self.now_s, *columns))

    def send(self, times_s: Iterable[float], device: int = 0, quality: int = 0) -> None:
        """Readings of a device, by its clock."""
        times = [round((_START_S + time_s) * NS_PER_S) for time_s in times_s]
        rows = [device] * len(times)
        batch = Batch.from_columns(
            self.channels, times, rows, [1.0] * len(times), quality=[quality] * len(times)
        )
        for turn in self.watermarks.turns(batch, self.now_s * NS_PER_S):
            self.said += turn.states

    def word(
        self,
        state: str,
        device: int = 0,
        cause: str = "availability",
        at_s: float | None = None,
        *,
        is_through: bool = False,
    ) -> None:
        """Something is said of a device; its clock and the gateway's are the same."""
        time_ns = round((_START_S + (self.now_s if at_s is None else at_s)) * NS_PER_S)
        said = Availability("f", None, time_ns, state, cause, is_through)
        rows = np.array([device], np.int32)
        self.said += self.watermarks.tell(rows, said, self.now_s * NS_PER_S)

    def live(self, first_s: int, last_s: int, device: int = 0) -> None:
        """A reading each second, as time passes."""
        for second in range(first_s, last_s):
            self.until(second)
            self.send([second], device)

    def restart(self, *left_out: str, **feed: object) -> None:
        """A new process that takes up what was written down.

        Args:
            left_out: What was not: columns of the snapshot.
            feed: Keys of the feed that have changed.
        """
        old, selection = self.watermarks, everything(self.channels)
        self._keys |= feed
        self.feeds = {"f": FeedConfig.model_validate(self._keys)}
        self.watermarks = Watermarks(self.feeds, self.channels)
        block = {
            name: column for name, column in old.snapshot(selection).items() if name not in left_out
        }
        self.watermarks.restore(selection, block)

    def told(self, device: str = "a") -> list[tuple[str, float]]:
        """What was said of a device, and from when on by its clock, s."""
        return [
            (each.state, (each.time_ns - _START_S * NS_PER_S) / NS_PER_S)
            for each in self.said
            if each.device == device
        ]


def test_a_device_is_there_from_its_first_reading_on() -> None:
    """And it is said once, with what it was heard by."""
    gateway = _Gateway()
    gateway.live(0, 30)

    assert gateway.said == [
        DeviceState("f", "a", _START_S * NS_PER_S, "online", "reading", _START_S * NS_PER_S)
    ]


def test_a_silent_device_is_away_since_right_after_its_last_reading() -> None:
    """By the time that its readings bear; back again with the first one that is newer."""
    gateway = _Gateway()
    gateway.live(0, 30)
    gateway.until(60)
    gateway.until(600)
    gateway.live(600, 605)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9), ("online", 600)]
    assert gateway.said[1].seen_ns == (_START_S + 29) * NS_PER_S
    assert gateway.said[1].cause == "silence"


def test_it_is_said_within_three_of_its_periods() -> None:
    """And not before: a device that sends once a minute is no silent one after ten seconds."""
    gateway = _Gateway(period="60s")
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
    gateway = _Gateway()
    for second in range(60):
        gateway.until(second)
        gateway.send([second])
        if second < 20:
            gateway.send([second], device=1)

    assert gateway.told("a") == [("online", 0)]
    assert gateway.told("b") == [("online", 0), ("offline", 19 + 1e-9)]


def test_a_decision_is_written_down_before_it_is_said() -> None:
    """A process that ends right after it has said so says it again, the same, and knows it."""
    gateway = _Gateway()
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
    gateway = _Gateway()
    gateway.live(0, 20, device=1)
    gateway.live(20, 60)
    before = list(gateway.said)
    for _ in range(3):
        gateway.restart()
        gateway.live(gateway.now_s + 1, gateway.now_s + 5)

    assert gateway.told("b")[-1][0] == "offline"
    assert gateway.said == before


def test_a_clock_that_was_set_back_is_said_anew() -> None:
    """What was said by the wrong time is newer for ever than what is said by the right one."""
    gateway = _Gateway()
    gateway.live(0, 30)
    ahead, far_s = int(Quality.AHEAD), 80_000
    gateway.send([far_s + second for second in range(10)], quality=ahead)
    gateway.until(35)
    gateway.send([far_s + second for second in range(10, 20)], quality=ahead)
    gateway.live(35, 60)

    assert gateway.told() == [("online", 0), ("online", 35)]


def test_any_cut_says_the_same() -> None:
    """Readings of both devices, out of order, whole and one by one."""
    rng = np.random.default_rng(2)
    times = (rng.integers(0, 40, 60) / 2).tolist()
    whole, pieces = _Gateway(), _Gateway()
    for device in (0, 1):
        whole.send(times, device)
        for time_s in times:
            pieces.send([time_s], device)

    assert whole.said == pieces.said
    assert {each.device for each in whole.said} == {"a", "b"}


def test_nothing_is_said_of_feeds_that_want_it_so() -> None:
    """A door contact that sends when it is opened is silent as a rule."""
    gateway = _Gateway(device_state=False)
    gateway.live(0, 30)
    gateway.until(100)

    assert gateway.said == []


def test_what_an_older_version_wrote_down_is_said_once() -> None:
    """It knows nothing of that."""
    gateway = _Gateway()
    gateway.live(0, 30)
    gateway.restart(*_OF_STATES)
    gateway.said.clear()
    gateway.live(30, 40)

    assert gateway.told() == [("online", 30)]


def test_who_was_silent_before_an_upgrade_is_said_to_be_away() -> None:
    """Nobody was told by the older version, and the device may never be heard again."""
    gateway = _Gateway()
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
    gateway = _Gateway()
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
    gateway = _Gateway()
    gateway.live(0, 30)
    gateway.until(60)
    gateway.restart(device_state=False)
    gateway.live(60, 70)
    gateway.restart(device_state=True)
    gateway.live(70, 75)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9), ("online", 70)]


def test_what_a_sparkplug_node_sends_later_is_no_device_that_falls_silent() -> None:
    """It comes once after an outage, as readings of a device of their own."""
    gateway = _Gateway(topic="spBv1.0/#", format="sparkplug")
    later = gateway.channels.row(Channel("f", "g/n/d/historical", "f", "x"))
    for second in range(60):
        gateway.until(second)
        gateway.send([second])
        if second < 20:
            gateway.send([second], device=later)

    assert {each.device for each in gateway.said} == {"a"}


def test_a_device_that_says_so_is_away_at_once_and_back_with_a_newer_reading() -> None:
    """Each is said once, whatever is repeated; an older reading changes nothing."""
    gateway = _Gateway()
    gateway.live(0, 30)
    gateway.word("online")
    gateway.until(31)
    gateway.word("offline")
    gateway.word("offline")
    gateway.send([28.5])
    assert gateway.told() == [("online", 0), ("offline", 31)]
    assert gateway.said[-1].cause == "availability"
    assert gateway.said[-1].seen_ns == (_START_S + 29) * NS_PER_S

    gateway.send([32])
    gateway.until(120)
    assert gateway.told()[2:] == [("online", 32), ("offline", 32 + 1e-9)]
    assert gateway.said[-1].cause == "silence"


def test_a_device_that_has_sent_nothing_is_known_by_what_it_says() -> None:
    """It has not been seen, and its silence means nothing."""
    gateway = _Gateway()
    gateway.word("offline")
    gateway.word("online", device=1)
    gateway.until(1000)

    assert [(each.device, each.state, each.seen_ns) for each in gateway.said] == [
        ("a", "offline", 0),
        ("b", "online", 0),
    ]


def test_silence_does_not_contradict_a_device_that_says_that_it_is_there() -> None:
    """It would say so if it were not; what a birth says does not hold like that."""
    gateway = _Gateway()
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
    gateway = _Gateway()
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
    gateway = _Gateway()
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
    gateway = _Gateway()
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
    gateway = _Gateway()
    gateway.live(0, 30)
    gateway.word("offline")
    gateway.live(30, 35)
    gateway.word("offline", is_through=True)
    gateway.word("online", is_through=True)

    assert [state for state, _ in gateway.told()] == ["online", "offline"] * 2 + ["online"]


def test_a_bridge_does_not_bring_back_who_is_silent() -> None:
    """Its devices sent nothing while it was there, either."""
    gateway = _Gateway()
    gateway.live(0, 30)
    gateway.until(100)
    gateway.word("offline", is_through=True)
    gateway.word("online", is_through=True)

    assert gateway.told() == [("online", 0), ("offline", 29 + 1e-9)]


def test_what_was_said_outlives_a_restart() -> None:
    """Of a device and its bridge; nothing is said anew."""
    gateway = _Gateway(availability=_TOPICS)
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
    gateway = _Gateway(expect_every="60s")
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
    gateway = _Gateway(device_state=False)
    gateway.live(0, 30)
    gateway.word("offline")

    assert gateway.said == []


def test_a_word_closes_no_window_and_keeps_none_open() -> None:
    """Every few seconds it tells as much of readings as never: when they end, and their pace."""
    plain, chatty = _Gateway(period="60s"), _Gateway(period="60s")
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
    gateway = _Gateway()
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
    gateway = _Gateway(expect_every="60s", availability=_TOPICS)
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
        gateway = _Gateway(availability=_TOPICS)
        gateway.live(0, 30)
        gateway.word("online")
        gateway.restart(availability=left)
        gateway.until(100)
        is_kept = left == {"topic": "{device}/state"}
        assert [state for state, _ in gateway.told()][1:] == ([] if is_kept else ["offline"])

        gateway = _Gateway(availability=_TOPICS)
        gateway.live(0, 30)
        gateway.word("offline", is_through=True)
        gateway.restart(availability=left)
        gateway.word("online", cause="birth")
        is_kept = left == {"topic": "bridge"}
        assert [state for state, _ in gateway.told()][2:] == ([] if is_kept else ["online"])


def test_who_says_that_it_is_there_is_not_counted_as_silent() -> None:
    """It sends when something happens; another one of its feed that says nothing is."""
    gateway = _Gateway(availability=_TOPICS)
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
    gateway = _Gateway(availability=_TOPICS)
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
