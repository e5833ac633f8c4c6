"""What is told of readings by the time they arrived at."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config, IngestConfig
from headgate.core.batch import Batch, Quality, concat
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.log import StoredRecord
from headgate.core.records import readings_record
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

_NOW_S = 1_800_000_000


def _feed(**feed: object) -> FeedConfig:
    settings = {"topic": "{device}", "channels": {"x": {}, "y": {}}, "time": {"path": "t"}, **feed}
    return FeedConfig.model_validate(settings)


@pytest.mark.parametrize("payload", [{}, {"z": [1]}], ids=["typed", "careful"])
@pytest.mark.parametrize(
    ("grace", "ahead_s"),
    [("2s", 1.0), ("10s", 5.0), ("0s", 0.0)],
)
def test_a_reading_that_is_ahead_of_its_arrival_is_marked(
    payload: dict[str, object], grace: str, ahead_s: float
) -> None:
    """By more than half of the grace; each by its own message's arrival."""
    feed = _feed(grace=grace)
    channels = ChannelTable()
    decoder = FeedDecoder("f", feed, channels, IngestConfig())
    offsets_s = [0, ahead_s, ahead_s + 0.001, -86_400, 3600]
    times = [round(1000 * (_NOW_S + offset_s)) for offset_s in offsets_s]
    payloads = [json.dumps({"t": time, "x": 1, "y": 2, **payload}).encode() for time in times]
    arrival_ns = np.full(5, _NOW_S * NS_PER_S)
    arrival_ns[4] += 3600 * NS_PER_S
    decoded = decoder.decode([b"d"] * 5, payloads, arrival_ns)

    settled = Arrivals(feed, channels).settle(decoded, arrival_ns)

    assert not decoded.refused
    is_ahead = (settled.quality & int(Quality.AHEAD)) != 0
    assert is_ahead.reshape(5, 2).tolist() == [[offset == 2] * 2 for offset in range(5)]
    assert settled.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_what_is_not_ahead_is_left_as_it_is() -> None:
    """Without a copy of anything: that is nearly all."""
    feed = _feed()
    decoder = FeedDecoder("f", feed, ChannelTable(), IngestConfig())
    arrival_ns = np.array([_NOW_S * NS_PER_S])
    decoded = decoder.decode([b"d"], [b'{"t": %d, "x": 1}' % (_NOW_S * 1000)], arrival_ns)

    assert Arrivals(feed, ChannelTable()).settle(decoded, arrival_ns) is decoded


class _Feed:
    """A feed whose devices send no time, and what its readings get for one."""

    def __init__(self, **feed: object) -> None:
        self.channels = ChannelTable()
        self.feed = _feed(time={}, **feed)
        self.decoder = FeedDecoder("f", self.feed, self.channels, IngestConfig())
        self.arrivals = Arrivals(self.feed, self.channels)

    def times_s(
        self,
        topics: str,
        arrived_s: float,
        unheard_s: float = 0,
        payload: bytes = b'{"x": 1, "y": 2}',
    ) -> list[float]:
        """Seconds of each record's time past now; a letter of ``topics`` is a message's device."""
        size = len(topics)
        arrival_ns = np.full(size, round((_NOW_S + arrived_s) * NS_PER_S))
        unheard_ns = None
        if unheard_s:
            unheard_ns = np.full(size, round((_NOW_S + unheard_s) * NS_PER_S))
        decoded = self.decoder.decode(
            [each.encode() for each in topics], [payload] * size, arrival_ns
        )
        settled = self.arrivals.settle(decoded, arrival_ns, unheard_ns)
        assert (settled.time_ns[::2] == settled.time_ns[1::2]).all()
        assert (settled.quality & int(Quality.ARRIVAL_TIME) != 0).all()
        #: Whether each is an estimate.
        self.estimated = (settled.quality[::2] & int(Quality.ESTIMATED_TIME) != 0).tolist()
        return [
            (time_ns - _NOW_S * NS_PER_S) / NS_PER_S for time_ns in settled.time_ns[::2].tolist()
        ]


def test_a_message_without_a_time_gets_the_one_it_arrives_at() -> None:
    """All at once or not, and never one that its device has had already."""
    feed = _Feed()

    assert feed.times_s("ab", 0) == [0, 0]
    assert feed.times_s("a", 1) == [1]
    times = feed.times_s("aaba", 2)
    assert times == pytest.approx([2, 2, 2, 2], abs=1e-6)
    assert times[0] < times[1] < times[3]
    assert feed.estimated == [False] * 4


def test_what_had_waited_is_spread_back_to_where_its_device_was_last_heard() -> None:
    """By the pace it has when it is heard, or closer together where there are more; up to now."""
    feed = _Feed(period="1s")
    for second in range(0, 60, 10):
        feed.times_s("ab", second)

    assert feed.times_s("aaaa", 100, unheard_s=55) == pytest.approx([60, 70, 80, 90])
    assert feed.estimated == [True] * 4
    assert feed.times_s("bbb", 100, unheard_s=55) == pytest.approx([60, 70, 80])
    assert feed.times_s("abbba", 101, unheard_s=55) == pytest.approx([95.5, 87, 94, 101, 101])
    assert feed.estimated == [True, True, True, False, False]


def test_what_does_not_fit_at_the_usual_pace_is_spread_evenly() -> None:
    """More came than the pace lets expect; all of them lie between then and now."""
    feed = _Feed(period="10s")
    feed.times_s("a", 0)

    assert feed.times_s("aaaa", 8, unheard_s=1) == pytest.approx([2, 4, 6, 8])


def test_nothing_that_waited_is_older_than_the_gateway_s_absence() -> None:
    """A device that was silent for an hour before is not dated back to then."""
    feed = _Feed()
    for second in range(0, 50, 10):
        feed.times_s("a", second)

    assert feed.times_s("a", 3610, unheard_s=3600) == pytest.approx([3600])
    assert _Feed(period="5s").times_s("a", 3610, unheard_s=3600) == pytest.approx([3600])


def test_records_of_one_message_follow_each_other() -> None:
    """The last is of now, and the others lie before it by the feed's period, if there is room."""
    feed = _Feed(period="2s")
    payload = b'[{"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 3, "y": 1}]'

    assert feed.times_s("a", 10, payload=payload) == [6, 8, 10]
    assert feed.estimated == [True, True, False]
    assert feed.times_s("a", 13, payload=payload) == [11, 12, 13]


def test_what_the_log_holds_tells_when_devices_were_last_heard() -> None:
    """After a restart, and at what pace they send."""
    feed, again = _Feed(), _Feed()
    batches = []
    for second in range(0, 50, 10):
        arrival_ns = np.array([(_NOW_S + second) * NS_PER_S])
        decoded = feed.decoder.decode([b"a"], [b'{"x": 1, "y": 2}'], arrival_ns)
        batches.append(feed.arrivals.settle(decoded, arrival_ns).batch(feed.channels))
    again.times_s("b", -100)
    again.arrivals.recall(concat(batches, feed.channels))
    assert len(again.channels.devices) == 1

    assert again.times_s("aaa", 200, unheard_s=45) == pytest.approx([50, 60, 70])


@pytest.mark.parametrize("then", ["xy", "yx", "y"])
def test_channels_may_have_stood_in_another_order(then: str) -> None:
    """In records of before, for that is how they stood in the configuration."""
    config = Config.model_validate({"feed": {"f": _feed(time={}).model_dump()}, "local_store": {}})
    earlier = ChannelTable()
    rows = [earlier.row(Channel("f", "d", "f", name)) for name in then]
    times_ns = [(_NOW_S - 10) * NS_PER_S] * len(rows)
    flags = [int(Quality.ARRIVAL_TIME)] * len(rows)
    batch = Batch.from_columns(earlier, times_ns, rows, [1.0] * len(rows), quality=flags)
    record = readings_record(batch, "f")
    clock = ManualClock()
    telemetry = Telemetry(clock)
    unheard = UnheardFeeds(config.feed, telemetry)
    translator = Translator(config, telemetry, Refusals(config, telemetry, clock), unheard)
    translator.recall([StoredRecord(0, 0, record.value, None, record.headers)])
    translated = Translated()
    arrival_ns = np.full(1, _NOW_S * NS_PER_S)
    translator.take(Messages([b"d"], [b'{"x": 1, "y": 2}'], arrival_ns, {}), translated)
    (found,) = translated.batches["f"]

    assert found.time_ns.tolist() == [_NOW_S * NS_PER_S] * 2
    assert (found.quality == int(Quality.ARRIVAL_TIME)).all()


def test_who_has_caught_up_ends_the_spreading() -> None:
    """When most of those that may have waited would be of now anyway."""
    feed = _Feed()
    for second in range(0, 50, 10):
        feed.times_s("abc", second)

    feed.times_s("aabbcc", 100, unheard_s=45)
    assert not feed.arrivals.has_caught_up
    feed.times_s("aaaabbbb", 100, unheard_s=45)
    assert feed.arrivals.has_caught_up


@pytest.mark.parametrize("seed", range(20))
def test_times_rise_strictly_whatever_comes(seed: int) -> None:
    """Live, waited, several in a message, in any mixture."""
    draw = random.Random(seed)
    feed = _Feed(period="500ms")
    last: dict[str, float] = {}
    arrived_s = 0.0
    for _ in range(60):
        arrived_s += draw.choice([0, 0, 0.005, 1, 30])
        topics = "".join(draw.choice("abc") for _ in range(draw.randint(1, 6)))
        records = draw.choice([1, 1, 3])
        payload = b"[" + b",".join([b'{"x": 1, "y": 2}'] * records) + b"]"
        unheard_s = draw.choice([0, 0, arrived_s - draw.uniform(0, 60)])
        times = feed.times_s(topics, arrived_s, unheard_s, payload)
        for device, time_s in zip(
            [each for each in topics for _ in range(records)], times, strict=True
        ):
            assert last.get(device, -1e9) < time_s <= arrived_s + 1e-4
            last[device] = time_s
