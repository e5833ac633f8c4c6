"""What has been silent for long is forgotten, and its names become free again."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.heartbeat import HeardTime
from headgate.core.log import Record, TopicPartition
from headgate.core.records import decode_readings
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

_START_NS = 1_800_000_000 * NS_PER_S
_DAY = 86_400


class Rig:
    """A translator of one feed: what its readings in the log are, and what it refuses."""

    def __init__(self, limits: dict[str, int] | None = None, **feed: object) -> None:
        settings = {"topic": "in/{device}", "channels": {"x": {}, "y": {}}, **feed}
        self.config = Config.model_validate(
            {
                "feed": {"f": settings},
                "local_store": {},
                "log": {"partitions": 1},
                "ingest": limits or {},
            }
        )
        self.clock = ManualClock(wall_ns=_START_NS)
        self.telemetry = Telemetry(self.clock)
        self.translator = Translator(
            self.config,
            self.telemetry,
            Refusals(self.config, self.telemetry, self.clock),
            UnheardFeeds(self.config.feed, self.telemetry),
            now_ns=self.clock.monotonic_ns,
        )

    def send(self, *topics: bytes, payload: bytes = b'{"x": 1}') -> tuple[list[str], list[str]]:
        """Devices and channels of the readings that come of it, and reasons of what is refused."""
        self.translator.forget_silent()
        translated = Translated()
        payloads = [payload] * len(topics)
        arrival_ns = np.full(len(topics), self.clock.wall_ns())
        self.translator.take(Messages(topics, payloads, arrival_ns, {}), translated)
        reasons = [each.reason for some in translated.quarantined.values() for each in some]
        translated.quarantined = {}
        self.translator.encode(translated)
        return _named(translated.records), reasons

    def known(self, kind: str) -> float:
        """How many are known of what is bounded."""
        self.translator.count()
        return self.counted("headgate_known", kind=kind)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(name, labels) or 0


def _named(records: dict[TopicPartition, list[Record]]) -> list[str]:
    """The readings in records of another process, as text."""
    table = ChannelTable()
    found = []
    for record in (each for some in records.values() for each in some):
        batch = decode_readings(record.value, table)
        for row, time_ns in zip(batch.channel.tolist(), batch.time_ns.tolist(), strict=True):
            channel = table.channels[row]
            assert time_ns >= _START_NS
            tags = "".join(f" {value}" for _, value in channel.tags)
            found.append(f"{channel.device}{tags}.{channel.field}")
    return found


def test_a_device_that_has_been_silent_for_long_makes_room_for_another() -> None:
    """At the limit, within a minute; those that are heard stay what they are."""
    rig = Rig({"max_devices": 2})
    assert rig.send(b"in/old", b"in/live") == (["old.x", "live.x"], [])
    assert rig.send(b"in/new") == ([], ["too_many_devices"])
    for _ in range(30):
        rig.clock.advance(_DAY)
        assert rig.send(b"in/live", b"in/live") == (["live.x", "live.x"], [])
    assert rig.known("devices") == 2

    rig.clock.advance(61)
    assert rig.send(b"in/new", b"in/live") == (["new.x", "live.x"], [])
    assert rig.known("devices") == 2
    assert rig.counted("headgate_forgotten_total", kind="devices") == 1
    assert rig.counted("headgate_forgotten_total", kind="channels") == 2
    assert rig.send(b"in/old") == ([], ["too_many_devices"])


def test_a_device_that_comes_back_after_it_was_forgotten_is_a_new_one() -> None:
    """With all of its readings, on the typed way and the careful one."""
    rig = Rig()
    rig.send(b"in/old", b"in/live")
    for _ in range(2):
        rig.clock.advance(29 * _DAY)
        rig.send(b"in/live")
    assert rig.counted("headgate_forgotten_total", kind="devices") == 1

    found, refused = rig.send(b"in/old", b"in/live", b"in/old", payload=b'{"x": "1", "y": 2}')
    assert sorted(found) == ["live.x", "live.y", "old.x", "old.x", "old.y", "old.y"]
    assert refused == []
    assert rig.known("devices") == 2


@pytest.mark.parametrize("time", [{}, {"path": "t"}])
def test_what_is_heard_now_and_then_is_never_forgotten(time: dict[str, str]) -> None:
    """Nor is a device whose other channel is silent."""
    rig = Rig(time=time)
    rig.send(b"in/both", payload=b'{"x": 1, "y": 1, "t": 1800000000000}')
    for _ in range(10):
        rig.clock.advance(20 * _DAY)
        rig.send(b"in/both", payload=b'{"x": 1, "t": 1800000000000}')
    assert rig.counted("headgate_forgotten_total", kind="channels") == 0
    assert rig.known("channels") == 2


def test_values_of_placeholders_and_channels_become_free() -> None:
    """Of a device that goes on under one value, too."""
    limits = {"max_tag_values": 2, "max_channels": 4}
    rig = Rig(limits, topic="{line}/{device}", identity=[])
    assert rig.send(b"a/d", b"b/d") == (["d a.x", "d b.x"], [])
    assert rig.send(b"c/d") == ([], ["too_many_channels"])
    rig.clock.advance(29 * _DAY)
    rig.send(b"b/d")
    rig.clock.advance(2 * _DAY)
    assert rig.send(b"c/d", b"b/d") == (["d c.x", "d b.x"], [])
    assert rig.known("tag_values") == 2
    assert rig.counted("headgate_forgotten_total", kind="channels") == 2
    assert rig.counted("headgate_forgotten_total", kind="devices") == 0


def test_topics_that_are_remembered_become_free() -> None:
    """Those that are heard come back by themselves."""
    rig = Rig({"max_devices": 2}, topic="{line}/+/{device}", identity=[])
    rig.send(*(b"a/%d/d" % number for number in range(9)))
    assert rig.known("topics") == 4
    rig.clock.advance(3601)
    assert rig.send(b"a/9/d") == (["d a.x"], [])
    assert rig.known("topics") == 1


def test_names_made_of_several_parts_become_free() -> None:
    """Two devices must not have one name, unless one of them is long gone."""
    rig = Rig(topic="in", device=["m", "n"])
    assert rig.send(b"in", payload=b'{"m": "a/b", "n": "c", "x": 1}') == (["a/b/c.x"], [])
    other = b'{"m": "a", "n": "b/c", "x": 1}'
    assert rig.send(b"in", payload=other) == ([], ["bad_device"])
    rig.clock.advance(31 * _DAY)
    assert rig.send(b"in", payload=other) == (["a/b/c.x"], [])


def test_a_refused_message_is_no_reason_to_look_each_time() -> None:
    """A flood of too many devices makes the gateway look once a minute."""
    rig = Rig({"max_devices": 1})
    rig.send(b"in/old")
    rig.clock.advance(31 * _DAY)
    rig.send(b"in/new")
    looks = []
    for _ in range(600):
        rig.clock.advance(1)
        rig.send(*(b"in/%d" % number for number in range(3)))
        looks.append(rig.translator._looked_ns)
    assert len({*looks}) <= 11


def test_times_of_devices_without_a_clock_go_on() -> None:
    """Strictly rising for those that stay, whatever rows they have."""
    rig = Rig()
    rig.send(b"in/old", b"in/live")
    rig.clock.advance(29 * _DAY)
    rig.send(b"in/live")
    last_ns = rig.translator._readers["f"]._arrivals[0]._times._last_ns  # type: ignore[union-attr]
    before_ns = int(last_ns.max())
    rig.clock.advance(2 * _DAY)
    rig.translator.forget_silent()
    kept_ns = rig.translator._readers["f"]._arrivals[0]._times._last_ns  # type: ignore[union-attr]
    assert kept_ns.tolist()[:1] == [before_ns]


def test_time_counts_only_while_devices_can_be_heard() -> None:
    """A broker that is away for a month makes nobody silent."""
    time = HeardTime()
    time.look(5, is_heard=True)
    time.look(7, is_heard=True)
    time.look(1000, is_heard=False)
    time.look(2000, is_heard=False)
    assert time.now_ns() == 2
    time.look(2001, is_heard=True)
    assert time.now_ns() == 3
    time.look(10**18, is_heard=True)
    assert time.now_ns() == 3 + 60 * NS_PER_S


def test_nothing_is_forgotten_by_default_before_the_log_and_the_broker_have_forgotten_it() -> None:
    """However long these keep it, so that files from before the key are good."""
    table = {"feed": {"f": {"topic": "in/{device}", "channels": {"x": {}}}}, "local_store": {}}
    day_ns = _DAY * NS_PER_S
    assert Config.model_validate(table).forget_after == 30 * day_ns
    long = {**table, "log": {"retention": "40d"}}
    assert Config.model_validate(long).forget_after == 41 * day_ns
    assert Config.model_validate({**table, "mqtt": {"session_expiry": "90d"}}).forget_after == (
        90 * day_ns
    )
    with pytest.raises(ValueError, match=r"forget_after: expected more than log\.retention"):
        Config.model_validate({**long, "gateway": {"forget_after": "40d"}})
