"""The hour that comes twice in autumn, in readings sent live, late, or out of a recording."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from headgate.core.iso import iso_text, parse_iso_ns

_S = 10**9

#: By zone, the moment at which the hour comes for the second time.
_SECOND = {
    "Europe/Berlin": "2026-10-25T01:00:00Z",
    "America/New_York": "2026-11-01T06:00:00Z",
    "Australia/Lord_Howe": "2026-04-04T15:00:00Z",  # half an hour comes twice
}


class Ingested:
    """What comes of a device's readings, message by message or in runs."""

    def __init__(self, zone: str, **more: object) -> None:
        time = {"path": "at", "unit": "iso8601", "zone": zone, **more}
        feed = FeedConfig.model_validate(
            {"topic": "in/{device}", "time": time, "channels": {"x": {}}}
        )
        self._zone = ZoneInfo(zone)
        self._channels = ChannelTable()
        self._decoder = FeedDecoder("f", feed, self._channels, IngestConfig())
        self._arrivals = Arrivals(feed, self._channels)

    def times(
        self,
        sent: Sequence[tuple[int, int]],
        run: int = 1,
        device: str = "d",
        *,
        offset: bool = False,
    ) -> list[int]:
        """Event times of readings, given when each was and when it arrives."""
        found: list[int] = []
        for begin in range(0, len(sent), run):
            some = sent[begin : begin + run]
            texts = [_local_time(at_ns, self._zone, has_offset=offset) for at_ns, _ in some]
            payloads = [json.dumps({"at": text, "x": 1}).encode() for text in texts]
            arrival_ns = np.array([arrived for _, arrived in some])
            decoded = self._decoder.decode(
                [f"in/{device}".encode()] * len(some), payloads, arrival_ns
            )
            assert not decoded.refused
            is_repeated = self._decoder.take_repeated()
            settled = self._arrivals.settle(decoded, arrival_ns, is_repeated=is_repeated)
            found += settled.time_ns.tolist()
        return found

    def forget(self, device: str) -> None:
        """Forget a device."""
        is_kept = np.array([each.device != device for each in self._channels.channels])
        remaining = self._channels.only(is_kept)
        self._channels = remaining.table
        self._decoder.keep(remaining)
        self._arrivals.keep(remaining)


def _local_time(at_ns: int, zone: ZoneInfo, *, has_offset: bool = False) -> str:
    """A moment as a clock of this zone shows it."""
    moment = datetime.fromisoformat(iso_text(at_ns)[:19] + "+00:00").astimezone(zone)
    return moment.isoformat() if has_offset else moment.replace(tzinfo=None).isoformat()


def _night(zone: str, step_s: int = 300) -> list[int]:
    """Moments from two hours before it comes for the second time until two hours after."""
    second_ns = parse_iso_ns(_SECOND[zone])
    return [second_ns + at * _S for at in range(-7200, 7200, step_s)]


@pytest.mark.parametrize("run", [1, 7, 1000])
@pytest.mark.parametrize("zone", _SECOND)
@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=9), timedelta(days=31)])
def test_readings_go_on_through_it(zone: str, late: timedelta, run: int) -> None:
    """Live, late, and out of a recording, however they are cut into runs."""
    night = _night(zone)
    late_ns = round(late.total_seconds()) * _S
    assert Ingested(zone).times([(at, at + late_ns + _S // 10) for at in night], run) == night


@pytest.mark.parametrize("run", [1, 1000])
@pytest.mark.parametrize("zone", _SECOND)
@pytest.mark.parametrize("ahead_ms", [1, 25, 2000, 8 * 60_000])
def test_a_clock_that_is_ahead_goes_on_through_it(zone: str, ahead_ms: int, run: int) -> None:
    """By less than the gateway would call ahead, and by minutes."""
    night = _night(zone, 60)
    sent = [(at, at - ahead_ms * 10**6) for at in night]
    assert Ingested(zone).times(sent, run) == night


def test_what_is_further_ahead_than_times_may_be_is_the_first() -> None:
    """Where a clock may not be ahead at all, the later of the two can't be meant."""
    ingested = Ingested("Europe/Berlin", max_ahead="0s")
    first = parse_iso_ns("2026-10-25T00:40:00Z")
    assert ingested.times([(first, first + 3590 * _S)]) == [first]


def test_a_device_that_is_heard_for_the_first_time_may_be_a_little_ahead() -> None:
    """By seconds; what would be ahead by more was sent late."""
    second = parse_iso_ns("2026-10-25T01:10:00Z")
    assert Ingested("Europe/Berlin").times([(second, second - 20 * _S)]) == [second]
    first = parse_iso_ns("2026-10-25T00:10:00Z")
    assert Ingested("Europe/Berlin").times([(first, first + 2400 * _S)]) == [first]


@pytest.mark.parametrize("zone", _SECOND)
def test_a_buffer_may_be_sent_in_one_go(zone: str) -> None:
    """Hours later, and after live readings of the evening before."""
    night = _night(zone)
    arrived_ns = night[-1] + 4 * 3600 * _S
    assert Ingested(zone).times([(at, arrived_ns) for at in night], 1000) == night
    evening = [(at - 7200 * _S, at - 7200 * _S) for at in night[:3]]
    assert Ingested(zone).times([*evening, *((at, arrived_ns) for at in night)], 9)[3:] == night


def test_a_recording_may_begin_in_it() -> None:
    """The first of the two is taken, from which the second follows."""
    night = [at for at in _night("Europe/Berlin", 10) if at >= parse_iso_ns("2026-10-25T00:59:40Z")]
    sent = [(at, at + 40 * 86_400 * _S) for at in night]
    assert Ingested("Europe/Berlin").times(sent, 5) == night


def test_a_device_that_is_heard_for_the_first_time_is_live() -> None:
    """Where it could be: in the second hour it is not an hour late."""
    live = parse_iso_ns("2026-10-25T01:30:00Z")
    ingested = Ingested("Europe/Berlin")
    assert ingested.times([(live, live + _S)]) == [live]
    # Another one is nothing that this one goes on from.
    old = live - 3600 * _S
    assert ingested.times([(old, old + 5 * 86_400 * _S)], device="e") == [old]
    assert ingested.times([(live + 10 * _S, live + 11 * _S)]) == [live + 10 * _S]


def test_times_with_their_offset_stay_what_they_are() -> None:
    """Nothing is repeated about them."""
    night = _night("Europe/Berlin")
    sent = [(at, at + 31 * 86_400 * _S) for at in night]
    assert Ingested("Europe/Berlin").times(sent, 6, offset=True) == night


def test_what_is_left_of_the_devices_is_remembered() -> None:
    """When others are forgotten, under whatever number it has then."""
    night, late_ns = _night("Europe/Berlin"), 31 * 86_400 * _S
    sent = [(at, at + late_ns) for at in night]
    half = len(night) // 2 + 3
    ingested = Ingested("Europe/Berlin")
    assert ingested.times(sent[:5], device="gone") == night[:5]
    assert ingested.times(sent[:half]) == night[:half]
    ingested.forget("gone")
    assert ingested.times(sent[half:]) == night[half:]
    assert ingested.times(sent[:5], device="gone") == night[:5]


@pytest.mark.parametrize("minutes", [1, 7, 60])
@pytest.mark.parametrize("zone", _SECOND)
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=31)])
def test_elements_that_count_from_one_time_stay_together(
    zone: str, late: timedelta, minutes: int
) -> None:
    """An array goes on past the end of the hour that it began in."""
    step_s = 10
    time = {"path": "at", "unit": "iso8601", "zone": zone}
    arrays = {"step": f"{step_s}s"}
    feed = FeedConfig.model_validate(
        {"topic": "in/{device}", "time": time, "arrays": arrays, "channels": {"x": {}, "y": {}}}
    )
    channels = ChannelTable()
    decoder = FeedDecoder("f", feed, channels, IngestConfig())
    arrivals = Arrivals(feed, channels)
    night = _night(zone, step_s)[3:]
    count = minutes * 60 // step_s
    found: list[int] = []
    for begin in range(0, len(night), count):
        part = night[begin : begin + count]
        values = list(range(len(part)))
        at = _local_time(part[0], ZoneInfo(zone))
        payload = json.dumps({"at": at, "x": values, "y": values}).encode()
        arrival_ns = np.array([part[-1] + round(late.total_seconds()) * _S])
        decoded = decoder.decode([b"in/a"], [payload], arrival_ns)
        assert not decoded.refused
        is_repeated = decoder.take_repeated()
        found += arrivals.settle(decoded, arrival_ns, is_repeated=is_repeated).time_ns.tolist()

    assert found == [at for at in night for _ in range(2)]
