"""When readings were whose device says only for how long it has been running."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.formats.reader import FeedReader
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config, IngestConfig
from headgate.core.batch import Batch, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Refusals
from streams.ingest.translate import Translator
from streams.ingest.unheard import UnheardFeeds

_NOW_S = 1_800_000_000
_WRAP_S = 2**32 / 1000


class _Gateway:
    """A feed whose devices send uptimes, and what its readings get for a time."""

    def __init__(self, **time: object) -> None:
        raw = {"path": "up", "epoch": "start", **time}
        self.feed = FeedConfig.model_validate(
            {"topic": "{device}", "channels": {"x": {}, "y": {}}, "time": raw, "period": "10s"}
        )
        self.channels = ChannelTable()
        self.reader = FeedReader("f", self.feed, self.channels, IngestConfig())
        self.refused: list[str] = []

    def hear(
        self,
        arrived_s: float,
        *ups: float,
        device: str = "d",
        unheard_s: float = 0,
    ) -> list[tuple[float, bool]]:
        """One message with records of these uptimes, s; their times, s, and whether guessed."""
        records = [{"up": round(up * 1000), "x": 1, "y": 2} for up in ups]
        payload = json.dumps(records if len(records) > 1 else records[0]).encode()
        arrival_ns = np.array([_ns(arrived_s)])
        unheard_ns = np.array([_ns(unheard_s) if unheard_s else 0])
        read = self.reader.read([device.encode()], [payload], arrival_ns, unheard_ns)
        self.refused += [str(error) for _, error in read.refused]
        is_x = np.array([self.channels.channels[row].field == "x" for row in read.channel], bool)
        assert (read.quality & int(Quality.ARRIVAL_TIME)).all()
        is_guess = (read.quality[is_x] & int(Quality.ESTIMATED_TIME)) > 0
        return [
            ((each - _ns(0)) / NS_PER_S, guess)
            for each, guess in zip(read.time_ns[is_x].tolist(), is_guess.tolist(), strict=True)
        ]


def _ns(second: float) -> int:
    return _NOW_S * NS_PER_S + round(second * 1000) * (NS_PER_S // 1000)


def _times(heard: Sequence[tuple[float, bool]]) -> list[float]:
    return [time for time, _ in heard]


def test_the_least_delay_counts_and_spacing_is_kept() -> None:
    """Whatever the network does after that."""
    gateway = _Gateway()
    assert gateway.hear(100.5, 40.0) == [(100.5, False)]
    assert gateway.hear(110.1, 50.0) == [(110.1, False)]
    delays = [0.3, 0.9, 4.0, 0.2, 0.1, 60.0]
    for at, delay in enumerate(delays):
        up = 60 + 10.123 * at
        assert _times(gateway.hear(60.1 + up + delay, up)) == [pytest.approx(up + 60.1, abs=1e-9)]


def test_what_was_buffered_lands_where_it_was_measured() -> None:
    """After an hour without a network, in one message or in many, in their order or not."""
    gateway = _Gateway()
    gateway.hear(100, 40)
    assert _times(gateway.hear(3700, 50, 1000, 2000, 3640)) == [110, 1060, 2060, 3700]
    assert _times(gateway.hear(3710, 3650)) == [3710]
    assert _times(gateway.hear(3711, 3000)) == [3060]
    assert _times(gateway.hear(3712, 3100, 2900, 3200)) == [3160, 2960, 3260]
    assert _times(gateway.hear(3720, 3660)) == [3720]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_backlog_before_anything_live_is_of_now_until_something_is(restarts: bool) -> None:
    """In messages of its own: nothing says that the first of them was held up."""
    gateway = _Gateway()
    if restarts:
        gateway.hear(100, 90_000)
    for at in range(10):
        arrived_s = 3600 + at / 100
        assert _times(gateway.hear(arrived_s, 100 + 10 * at)) == [arrived_s]
    # What is measured after that is where it should be, and so is what is buffered then.
    assert _times(gateway.hear(3610, 200)) == [3610]
    assert _times(gateway.hear(3700, 210)) == [3620]
    assert _times(gateway.hear(3700, 220)) == [3630]


def test_a_first_message_of_several_ends_now() -> None:
    """The newest of its records does, and the others are as long ago as they say."""
    assert _times(_Gateway().hear(100, 10, 30, 40)) == [70, 90, 100]
    assert _times(_Gateway().hear(100, 40, 30, 10)) == [100, 90, 70]


def test_a_device_that_starts_anew_begins_anew() -> None:
    """Its uptime falls back, and it can have been started since its newest reading."""
    gateway = _Gateway()
    gateway.hear(100, 5000)
    assert _times(gateway.hear(200, 8)) == [200]
    assert _times(gateway.hear(210.5, 18)) == [210]
    # Sooner than the message before it had come, which was held up.
    hasty = _Gateway()
    hasty.hear(100, 40)
    assert _times(hasty.hear(100.2, 0.4)) == [100.2]
    # Among the records of one message as well: the first two are of before.
    assert _times(gateway.hear(1000, 20, 30, 5, 15)) == [212, 222, 990, 1000]


_AWAKE_S = random.Random(3)


@pytest.mark.parametrize(
    "ups",
    [
        pytest.param([0.12] * 30, id="always the same"),
        pytest.param([3.0] * 30, id="always the same in seconds"),
        pytest.param([0.12 + 0.1 * _AWAKE_S.random() for _ in range(200)], id="about the same"),
        pytest.param([0.12 + 0.001 * at for at in range(100)], id="always longer"),
        pytest.param([8.0, 7.0] + [7.0 + 0.9 * at for at in range(30)], id="known to sleep"),
    ],
)
def test_a_device_that_sleeps_starts_anew_for_each_message(ups: list[float]) -> None:
    """Its readings are as far from each other as they arrive."""
    gateway = _Gateway()
    at_s = [60.0 * at + 0.1 * (at % 3) for at in range(len(ups))]
    heard = [gateway.hear(arrived_s, up) for arrived_s, up in zip(at_s, ups, strict=True)]

    assert [is_guess for ((_, is_guess),) in heard] == [False] * len(ups)
    assert [time for ((time, _),) in heard] == pytest.approx(at_s, abs=2e-3)


def test_a_device_that_sleeps_may_send_several_messages_or_records_before() -> None:
    gateway = _Gateway()
    for at_s in (0.0, 60.0, 120.0):
        assert _times(gateway.hear(at_s + 3, 1, 2, 3)) == [at_s + 1, at_s + 2, at_s + 3]
        assert _times(gateway.hear(at_s + 4, 4)) == [at_s + 4]


def test_what_waited_of_a_device_that_sleeps_follows_at_its_pace() -> None:
    gateway = _Gateway()
    gateway.reader.recall(_recalled(0, 60, 120))
    waited = [gateway.hear(600 + at, 0.12, unheard_s=121)[0] for at in range(5)]

    assert waited == [(180.0 + 60 * at, True) for at in range(5)]


def test_a_message_that_is_delivered_twice_changes_no_start() -> None:
    """Right after the device's start it looks like another one, until it is heard in time."""
    gateway = _Gateway()
    gateway.hear(3, 3)
    assert _times(gateway.hear(12, 3)) == [12]
    assert _times(gateway.hear(13, 13)) == [13]
    assert _times(gateway.hear(25, 23)) == [23]
    # Later it cannot be one.
    assert _times(gateway.hear(40, 23)) == [pytest.approx(23, abs=1e-6)]
    assert _times(gateway.hear(40, 33)) == [33]
    # Nor after an outage longer than it had run, before what was buffered.
    cut_off = _Gateway()
    cut_off.hear(100, 100)
    assert _times(cut_off.hear(500, 100)) == [pytest.approx(100, abs=1e-6)]
    assert _times(cut_off.hear(500, 103)) == [103]
    assert _times(cut_off.hear(500, 113)) == [113]
    # Nor do records of one uptime, in a message that was held up.
    coarse = _Gateway()
    coarse.hear(3, 3)
    times = _times(coarse.hear(60, 14, 14, 14, 15, 15))
    assert times == [pytest.approx(up, abs=1e-6) for up in (14, 14, 14, 15, 15)]


@pytest.mark.parametrize("offline_s", [0, 30, 7200])
def test_a_counter_of_32_bits_wraps(offline_s: float) -> None:
    """After 49.7 days, also while nothing is heard: the start is what it was."""
    gateway = _Gateway()
    gateway.hear(0, _WRAP_S - 100)
    gateway.hear(90, _WRAP_S - 10)
    heard = gateway.hear(120 + offline_s, 19)

    assert _times(heard) == [pytest.approx(119.0, abs=1e-6)]


def test_a_restart_before_the_end_of_32_bits_is_no_wrap() -> None:
    """Nor one of a device that had counted little."""
    gateway = _Gateway()
    gateway.hear(0, _WRAP_S - 5000)
    assert _times(gateway.hear(100, 3)) == [100]
    far = _Gateway()
    far.hear(0, 1000)
    assert _times(far.hear(_WRAP_S, 3)) == [_WRAP_S // 0.001 / 1000]


def test_a_clock_that_is_slow_is_followed() -> None:
    """By 200 ppm it loses 17 s a day; never more than some hundredths are lost."""
    gateway = _Gateway()
    chance = random.Random(1)
    off = []
    for at in range(6 * 60 * 24):
        true_s = 10.0 * at
        up = true_s * (1 - 2e-4)
        time = _times(gateway.hear(true_s + 0.01 + chance.expovariate(50), up))[0]
        off.append(time - true_s)
    assert max(off) < 0.1
    assert min(off) > -0.5
    fast = _Gateway()
    times = [_times(fast.hear(10.0 * at, 10.0 * at * (1 + 2e-4)))[0] for at in range(1000)]
    assert max(abs(time - 10.0 * at) for at, time in enumerate(times)) < 0.001


def test_a_restart_that_nobody_saw_is_found_after_a_while() -> None:
    """Its uptime is higher than the last: at first it looks like a reading that was held up."""
    gateway = _Gateway()
    gateway.hear(0, 5)
    times = [_times(gateway.hear(3600 + 10 * at, 60 + 10 * at))[0] for at in range(240)]

    assert times[0] == 55
    assert times[-1] == 3600 + 2390


def _recalled(*seconds: float) -> Batch:
    table = ChannelTable()
    row = table.row(Channel("f", "d", "f", "x"))
    return Batch.from_columns(
        table,
        [_ns(second) for second in seconds],
        [row] * len(seconds),
        [1.0] * len(seconds),
        quality=[int(Quality.ARRIVAL_TIME)] * len(seconds),
    )


def test_after_a_restart_of_the_gateway_what_waited_follows_on_what_there_was() -> None:
    """As a guess, with the spacing it has, until a message comes that did not wait."""
    gateway = _Gateway()
    gateway.reader.recall(_recalled(80, 90, 100))
    waited = [gateway.hear(600 + at, 1010 + 10 * at, unheard_s=101)[0] for at in range(5)]
    assert waited == [(110.0 + 10 * at, True) for at in range(5)]
    # It was right: this is where it would have been.
    assert gateway.hear(610, 1510) == [(610.0, False)]
    assert gateway.hear(620.2, 1520) == [(620.0, False)]


def test_what_waited_while_the_start_is_known_is_no_guess() -> None:
    """The broker was away, and the gateway was not."""
    gateway = _Gateway()
    gateway.hear(100, 40)
    assert gateway.hear(400, 50, unheard_s=105) == [(110.0, False)]
    # It was started anew meanwhile: from when on nobody knows, but it was after that.
    assert gateway.hear(400, 3, unheard_s=105) == [(120.0, True)]
    assert gateway.hear(401, 13, unheard_s=105) == [(130.0, True)]


def test_devices_have_each_their_own_and_forgetting_one_keeps_the_others() -> None:
    gateway = _Gateway()
    gateway.hear(100, 40, device="a")
    gateway.hear(100, 7000, device="b")
    is_kept = np.array([channel.device == "b" for channel in gateway.channels.channels])
    remaining = gateway.channels.only(is_kept)
    gateway.reader.keep(remaining)
    gateway.channels = remaining.table

    assert _times(gateway.hear(200, 7050, device="b")) == [150]
    assert _times(gateway.hear(200, 50, device="a")) == [200]


@pytest.mark.parametrize("fields", [["xy"], ["x", "y"]], ids=["by record", "by channel"])
def test_devices_that_take_turns_in_a_message_have_each_their_own(fields: list[str]) -> None:
    """As those of a hub do."""
    feed = FeedConfig.model_validate(
        {
            "topic": "hub",
            "records": "r",
            "device": "d",
            "channels": {"x": {}, "y": {}},
            "time": {"path": "up", "epoch": "start", "unit": "s"},
        }
    )
    channels = ChannelTable()
    reader = FeedReader("f", feed, channels, IngestConfig())
    for first in (10, 13):
        records = [
            {"d": device, "up": up + ahead, **dict.fromkeys(names, up)}
            for up in range(first, first + 3)
            for names in fields
            for device, ahead in (("a", 0), ("b", 1000))
        ]
        payload = json.dumps({"r": records}).encode()
        read = reader.read([b"hub"], [payload], np.array([_ns(first + 102)]))
        # The value says when it was measured.
        assert len(read.time_ns) == 12
        assert (read.time_ns - _ns(100)).tolist() == [int(each) * NS_PER_S for each in read.value]


def test_no_uptime_is_below_0() -> None:
    gateway = _Gateway()
    assert gateway.hear(100, -5) == []
    assert gateway.refused == [
        "bad_time: not a believable time: -5000 is before the device's start"
    ]


def test_a_value_that_is_no_reading_has_the_time_it_arrives_at() -> None:
    """An uptime would be of 1970."""
    gateway = _Gateway()
    arrival_ns = np.array([_ns(5)])
    held = gateway.reader.decode([b"d"], [b'{"up": 7, "x": 1}'], arrival_ns)

    assert held.time_ns.tolist() == arrival_ns.tolist()


def test_uptimes_need_no_fallback() -> None:
    with pytest.raises(ValidationError, match="a device that runs has an uptime"):
        _Gateway(fallback="arrival")


@pytest.mark.parametrize(
    ("key", "value"), [("confirm", 5), ("max_ahead", "1h"), ("not_before", "2020-01-01")]
)
def test_what_is_for_clocks_is_refused(key: str, value: object) -> None:
    """It would be without any effect."""
    with pytest.raises(ValidationError, match=f"{key}: is for devices that have a clock"):
        _Gateway(**{key: value})


@pytest.mark.parametrize("epoch", ["start", "arrival"])
def test_senml_says_itself_what_its_times_count_from(epoch: str) -> None:
    time = {"path": "t", "unit": "s", "epoch": epoch}
    raw = {"topic": "{device}", "format": "senml", "channels": {"x": {}}, "time": time}
    with pytest.raises(ValidationError, match=r"time\.epoch: SenML says itself"):
        FeedConfig.model_validate(raw)


def test_lines_may_end_with_an_uptime() -> None:
    """In place of a time."""
    time = {"path": "time", "unit": "ms", "epoch": "start"}
    raw = {"topic": "{device}", "format": "line_protocol", "channels": {"x": {}}, "time": time}
    feed = FeedConfig.model_validate(raw)
    reader = FeedReader("f", feed, ChannelTable(), IngestConfig())
    read = reader.read([b"d"], [b"m x=1 5000\nm x=2 7000"], np.array([_ns(9)]))
    assert read.time_ns.tolist() == [_ns(7), _ns(9)]


def test_other_units_and_several_numbers() -> None:
    """Seconds with a fraction, and seconds beside milliseconds."""
    seconds = _Gateway(unit="s")
    read = seconds.reader.read([b"d"], [b'{"up": 2.5, "x": 1}'], np.array([_ns(9)]))
    again = seconds.reader.read([b"d"], [b'{"up": 3.75, "x": 1}'], np.array([_ns(11)]))
    assert int(again.time_ns[0] - read.time_ns[0]) == 1_250_000_000
    both = _Gateway(path=["s", "ms"], unit=["s", "ms"])
    read = both.reader.read([b"d"], [b'{"s": 2, "ms": 5, "x": 1}'], np.array([_ns(9)]))
    again = both.reader.read([b"d"], [b'{"s": 3, "ms": 4, "x": 1}'], np.array([_ns(11)]))
    assert int(again.time_ns[0] - read.time_ns[0]) == 999_000_000


def test_the_gateway_reads_what_there_was_when_it_starts() -> None:
    """As for readings without any time."""
    raw = {
        "local_store": {},
        "feed": {
            "f": {
                "topic": "{device}",
                "channels": {"x": {}},
                "time": {"path": "up", "epoch": "start"},
            }
        },
    }
    config = Config.model_validate(raw)
    clock = ManualClock(0)
    telemetry = Telemetry(clock)
    translator = Translator(
        config,
        telemetry,
        Refusals(config, telemetry, clock),
        UnheardFeeds(config.feed, telemetry),
    )
    assert translator.gives_times
    assert translator.dates_by_arrival
    assert config.feed["f"].handles_retained == "once"


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 50),
            st.sampled_from([0.0, 0.0, 0.02, 3.0, 500.0]),
            st.integers(1, 4),
            st.sampled_from([*8 * [False], True]),
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=100, deadline=None)
def test_times_rise_and_are_never_later_than_they_arrive(
    steps: list[tuple[float, float, int, bool]],
) -> None:
    """Of a device whose messages come in order, with restarts and delays."""
    gateway = _Gateway()
    true_s, started_s, arrived_s = 0.0, -30.0, 0.0
    last = -1e9
    for step, delay, count, starts in steps:
        if starts:
            # It is off until what it had sent has arrived, but for a part of a second.
            true_s = started_s = max(true_s, arrived_s - 0.5)
        ups = []
        for _ in range(count):
            true_s += step
            ups.append(round(true_s - started_s, 3))
        arrived_s = max(arrived_s, true_s + delay) + 0.002
        times = _times(gateway.hear(arrived_s, *ups))
        assert times == sorted(times)
        assert times[0] > last - 1e-6
        last = times[-1]
        assert last <= arrived_s + 0.01
