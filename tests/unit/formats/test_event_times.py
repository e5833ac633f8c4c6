"""Event times as devices write them: one table of notations, and what is done without a clock."""

from __future__ import annotations

import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from headgate.config.event_time import TimeConfig
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from headgate.core.iso import parse_iso_ns
from tests.unit.formats.decoding import Decoding

_NOW = "2027-01-15T08:00:00Z"
_NOW_NS = parse_iso_ns(_NOW)
_S = 10**9
_UNIX = _NOW_NS // _S

#: By what it is: ``time`` in the configuration, the record, and when that is.
_NOTATIONS: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "seconds": ({"path": "t", "unit": "s"}, {"t": _UNIX - 1}, "2027-01-15T07:59:59Z"),
    "seconds in a text": (
        {"path": "t", "unit": "s"},
        {"t": f"{_UNIX - 1}"},
        "2027-01-15T07:59:59Z",
    ),
    "fractions": ({"path": "t", "unit": "s"}, {"t": _UNIX - 0.5}, "2027-01-15T07:59:59.5Z"),
    "milliseconds": ({"path": "t"}, {"t": _UNIX * 1000 - 1}, "2027-01-15T07:59:59.999Z"),
    "microseconds": (
        {"path": "t", "unit": "us"},
        {"t": _UNIX * 10**6 - 1},
        "2027-01-15T07:59:59.999999Z",
    ),
    "nanoseconds": (
        {"path": "t", "unit": "ns"},
        {"t": _NOW_NS - 1},
        "2027-01-15T07:59:59.999999999Z",
    ),
    "minutes": ({"path": "t", "unit": "min"}, {"t": _UNIX // 60 - 1}, "2027-01-15T07:59:00Z"),
    "ISO 8601": (
        {"path": "t", "unit": "iso8601"},
        {"t": "2027-01-15T07:59:59.25Z"},
        "2027-01-15T07:59:59.25Z",
    ),
    "ISO 8601 in a zone": (
        {"path": "t", "unit": "iso8601", "zone": "Europe/Berlin"},
        {"t": "2027-01-15 08:59:59"},
        "2027-01-15T07:59:59Z",
    ),
    "ISO 8601 with an offset for a zone": (
        {"path": "t", "unit": "iso8601", "zone": "-03:30"},
        {"t": "2027-01-15T04:29:59"},
        "2027-01-15T07:59:59Z",
    ),
    "ISO 8601 with blanks, small letters and more digits": (
        {"path": "t", "unit": "iso8601"},
        {"t": " 2027-01-15t07:59:59.123456789z\n"},
        "2027-01-15T07:59:59.123456789Z",
    ),
    "ISO 8601 with the zone's name behind it": (
        {"path": "t", "unit": "iso8601"},
        {"t": "2027-01-15T08:59:59.25+01:00[Europe/Berlin]"},
        "2027-01-15T07:59:59.25Z",
    ),
    "ISO 8601 and the word for UTC": (
        {"path": "t", "unit": "iso8601", "zone": "Europe/Berlin"},
        {"t": "2027-01-15 07:59:59 UTC"},
        "2027-01-15T07:59:59Z",
    ),
    "ISO 8601 with a minus sign": (
        {"path": "t", "unit": "iso8601"},
        {"t": "2027-01-15T02:59:59\u221205:00"},
        "2027-01-15T07:59:59Z",
    ),
    "the end of a day": (
        {"path": "t", "unit": "iso8601"},
        {"t": "2027-01-14T24:00:00Z"},
        "2027-01-15T00:00:00Z",
    ),
    "a leap second": (
        {"path": "t", "unit": "iso8601"},
        {"t": "2016-12-31T23:59:60.5Z"},
        "2017-01-01T00:00:00.5Z",
    ),
    "a date of .NET": (
        {"path": "t", "unit": "ms"},
        {"t": f"/Date({_UNIX * 1000 - 1})/"},
        "2027-01-15T07:59:59.999Z",
    ),
    "a date of .NET with an offset": (
        {"path": "t", "unit": "ms"},
        {"t": f"/Date({_UNIX * 1000 - 1}-0500)/"},
        "2027-01-15T07:59:59.999Z",
    ),
    "a pattern with nanoseconds": (
        {"path": "t", "pattern": "%d.%m.%Y %H:%M:%S,%f"},
        {"t": "15.01.2027 07:59:59,123456789"},
        "2027-01-15T07:59:59.123456789Z",
    ),
    "a pattern": (
        {"path": "t", "pattern": "%d.%m.%Y %H:%M:%S", "zone": "Europe/Berlin"},
        {"t": "15.01.2027 08:59:59"},
        "2027-01-15T07:59:59Z",
    ),
    "digits of a pattern": (
        {"path": "t", "pattern": "%Y%m%d%H%M%S"},
        {"t": 20270115075959},
        "2027-01-15T07:59:59Z",
    ),
    "digits of a pattern that begins with a day": (
        {"path": "t", "pattern": "%d%m%y%H%M%S"},
        {"t": 50127075959},
        "2027-01-05T07:59:59Z",
    ),
    "date and time of day": (
        {"path": ["date", "time"], "unit": "iso8601"},
        {"date": "2027-01-15", "time": "07:59:59.123456789"},
        "2027-01-15T07:59:59.123456789Z",
    ),
    "date and time of day in a zone": (
        {"path": ["date", "time"], "pattern": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
        {"date": "15.01.2027", "time": "08:59"},
        "2027-01-15T07:59:00Z",
    ),
    "date and time of day as digits": (
        {"path": ["gps.date", "gps.time"], "pattern": "%d%m%y %H%M%S"},
        {"gps": {"date": 50127, "time": 5959}},
        "2027-01-05T00:59:59Z",
    ),
    "time of day as digits with a fraction": (
        {"path": ["d", "t"], "pattern": "%d%m%y %H%M%S.%f"},
        {"d": 150127.0, "t": 75959.25},
        "2027-01-15T07:59:59.25Z",
    ),
    "time of day as digits with a fraction of zeros": (
        {"path": ["d", "t"], "pattern": "%d%m%y %H%M%S.%f"},
        {"d": 150127, "t": 75959.0},
        "2027-01-15T07:59:59Z",
    ),
    "time of day as digits whose fraction is left out": (
        {"path": ["d", "t"], "pattern": "%d%m%y %H%M%S.%f"},
        {"d": "150127", "t": 75959},
        "2027-01-15T07:59:59Z",
    ),
    "digits of a pattern as a fraction": (
        {"path": "t", "pattern": "%d%m%y%H%M%S"},
        {"t": 50127075959.0},
        "2027-01-05T07:59:59Z",
    ),
    "date and time of day as digits of ISO 8601": (
        {"path": ["d", "t"], "unit": "iso8601"},
        {"d": 20270115, "t": 75959},
        "2027-01-15T07:59:59Z",
    ),
    "seconds and nanoseconds": (
        {"path": ["timestamp.timeInSeconds", "timestamp.offsetInNanos"], "unit": ["s", "ns"]},
        {"timestamp": {"timeInSeconds": _UNIX - 1, "offsetInNanos": 600_000_000}},
        "2027-01-15T07:59:59.6Z",
    ),
    "seconds and nanoseconds that are left out": (
        {"path": ["ts.seconds", "ts.nanos"], "unit": ["s", "ns"]},
        {"ts": {"seconds": f"{_UNIX - 1}"}},
        "2027-01-15T07:59:59Z",
    ),
    "a text and milliseconds": (
        {"path": ["t", "ms"], "unit": ["iso8601", "ms"]},
        {"t": "2027-01-15T07:59:58", "ms": 250},
        "2027-01-15T07:59:58.25Z",
    ),
    "GPS seconds": (
        {"path": "t", "unit": "s", "epoch": "gps"},
        {"t": _UNIX - 315_964_800 + 18 - 1},
        "2027-01-15T07:59:59Z",
    ),
    "GPS seconds of 2016": (
        {"path": "t", "unit": "s", "epoch": "gps"},
        # The last second of 2016 but the one that was put in, and the first of 2017.
        {"t": 1_167_264_016},
        "2016-12-31T23:59:59Z",
    ),
    "GPS seconds of 2017": (
        {"path": "t", "unit": "s", "epoch": "gps"},
        {"t": 1_167_264_018},
        "2017-01-01T00:00:00Z",
    ),
    "GPS week and seconds in it": (
        {"path": ["week", "tow"], "unit": ["w", "s"], "epoch": "gps"},
        {"week": 2453, "tow": 460_818.5},
        "2027-01-15T08:00:00.5Z",
    ),
    "NTP seconds": (
        {"path": "t", "unit": "s", "epoch": "ntp"},
        {"t": _UNIX + 2_208_988_800 - 1},
        "2027-01-15T07:59:59Z",
    ),
    "NTP's 64 bits": (
        {"path": "t", "unit": "s", "epoch": "ntp"},
        {"t": (_UNIX + 2_208_988_800 - 1 << 32) + (1 << 31)},
        "2027-01-15T07:59:59.5Z",
    ),
    "NTP's 64 bits in a text": (
        {"path": "t", "unit": "s", "epoch": "ntp"},
        {"t": str((_UNIX + 2_208_988_800 - 1 << 32) + (1 << 30))},
        "2027-01-15T07:59:59.25Z",
    ),
    "nanoseconds since NTP's epoch": (
        {"path": "t", "unit": "ns", "epoch": "ntp"},
        {"t": (_UNIX + 2_208_988_800) * _S - 1},
        "2027-01-15T07:59:59.999999999Z",
    ),
    "days of a spreadsheet": (
        {"path": "t", "unit": "d", "epoch": "1899-12-30"},
        {"t": 46402.25},
        "2027-01-15T06:00:00Z",
    ),
    "Windows file times": (
        {"path": "t", "unit": "100ns", "epoch": "1601-01-01"},
        {"t": (_UNIX - 1 + 11_644_473_600) * 10**7},
        "2027-01-15T07:59:59Z",
    ),
    "ticks of .NET": (
        {"path": "t", "unit": "100ns", "epoch": "0001-01-01"},
        {"t": (_UNIX - 1 + 62_135_596_800) * 10**7},
        "2027-01-15T07:59:59Z",
    ),
    "a text where nobody says which": (
        {"path": "t"},
        {"t": "2027-01-15T07:59:59.25Z"},
        "2027-01-15T07:59:59.25Z",
    ),
    "a local one where nobody says which": (
        {"path": "t", "zone": "Europe/Berlin"},
        {"t": "2027-01-15 08:59:59"},
        "2027-01-15T07:59:59Z",
    ),
    "a number in a text where nobody says which": (
        {"path": "t", "zone": "Europe/Berlin"},
        {"t": f"{_UNIX * 1000 - 1}"},
        "2027-01-15T07:59:59.999Z",
    ),
    "a date where nobody says which": (
        {"path": "day", "date_only": True},
        {"day": "2027-01-15"},
        "2027-01-15T00:00:00Z",
    ),
    "an age": ({"path": "age", "epoch": "arrival"}, {"age": 1500}, "2027-01-15T07:59:58.5Z"),
    "an age in seconds": (
        {"path": "age", "unit": "s", "epoch": "arrival"},
        {"age": 0},
        "2027-01-15T08:00:00Z",
    ),
    "so long ago": (
        {"path": "rel", "unit": "s", "epoch": "arrival"},
        {"rel": -2.5},
        "2027-01-15T07:59:57.5Z",
    ),
    "a date": (
        {"path": "day", "unit": "iso8601", "date_only": True, "zone": "Europe/Berlin"},
        {"day": "2027-01-15"},
        "2027-01-14T23:00:00Z",
    ),
    "a date of a pattern": (
        {"path": "day", "pattern": "%d.%m.%Y", "date_only": True},
        {"day": "15.01.2027"},
        "2027-01-15T00:00:00Z",
    ),
}


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize("name", _NOTATIONS)
def test_a_time_is_read(name: str, is_typed: bool) -> None:
    """To the nanosecond, whichever way it goes."""
    time, record, expected = _NOTATIONS[name]
    found = Decoding({**record, "v": 1}, is_typed=is_typed, time=time, channels={"v": {}})
    assert not found.refused
    assert found.times_ns == [parse_iso_ns(expected)]


@pytest.mark.parametrize(
    ("time", "record", "detail"),
    [
        ({"path": "t", "unit": "iso8601"}, {"t": "2027-01-15"}, "time.date_only = true reads it"),
        (
            {"path": ["d", "t"], "unit": "iso8601"},
            {"d": "2027-01-15"},
            'no event time at "t"',
        ),
        ({"path": ["d", "t"], "unit": "iso8601"}, {"d": [1], "t": "07:00"}, "got an array of 1"),
        ({"path": ["d", "t"], "unit": "iso8601"}, {"d": "x", "t": "y"}, "got 'x y'"),
        ({"path": ["s", "n"], "unit": ["s", "ns"]}, {"n": 5}, 'no event time at "s"'),
        ({"path": ["s", "n"], "unit": ["s", "ns"]}, {"s": 5, "n": 5}, "5 and 5 is before"),
        ({"path": ["s", "n"], "unit": ["s", "ns"]}, {"s": _UNIX, "n": None}, "got None"),
        ({"path": "t", "pattern": "%Y%m%d%H%M%S"}, {"t": 5}, 'expected a text as "%Y%m%d%H%M%S"'),
        ({"path": "t", "unit": "s", "epoch": "gps"}, {"t": "x"}, "expected a number"),
        ({"path": "t", "unit": "w"}, {"t": 10**300}, "further ahead"),
        ({"path": "t", "unit": "s", "epoch": "arrival"}, {"t": 10**10}, "before time.not_before"),
        ({"path": "t"}, {"t": 3}, 'time.fallback = "arrival" reads'),
        # A zone's name without an offset would be two times in autumn.
        (
            {"path": "t", "unit": "iso8601"},
            {"t": "2027-01-15T07:59:59[Europe/Berlin]"},
            "expected an ISO 8601 text",
        ),
        ({"path": "t", "unit": "iso8601"}, {"t": "2027-01-15T24:01:00Z"}, "an ISO 8601 text"),
        ({"path": "t", "unit": "iso8601"}, {"t": "9999-12-31T24:00:00Z"}, "an ISO 8601 text"),
        (
            {"path": "t", "unit": "s"},
            {"t": f"/Date({_UNIX * 1000})/"},
            'with time.unit = "ms" it would be one',
        ),
        ({"path": "t"}, {"t": None}, 'time.fallback = "arrival" reads'),
        ({"path": "t"}, {"t": "2027/01/15 07:59:59"}, "; time.pattern says how it is written"),
        (
            {"path": "t", "unit": "s"},
            {"t": "Fri, 15 Jan 2027 07:59:59 GMT"},
            "; time.pattern says how it is written",
        ),
        (
            {"path": "t", "unit": "iso8601"},
            {"t": "1999-01-15T07:59:59Z"},
            'before time.not_before; time.fallback = "arrival" reads',
        ),
        (
            {"path": "t", "unit": "ns", "fallback": "arrival"},
            {"t": _UNIX},
            'with time.unit = "s" it would be one',
        ),
        ({"path": "t"}, {"t": "soon"}, "expected a number, or an ISO 8601 text, got 'soon'"),
        ({"path": "t"}, {"t": "2027-01-15"}, "time.date_only = true reads it"),
        ({"path": "t"}, {"t": f"{_UNIX}"}, 'with time.unit = "s" it would be one'),
        (
            {"path": "t", "unit": "ms"},
            {"t": "2027-01-15T07:59:59Z"},
            'with time.unit = "iso8601" it would be one',
        ),
    ],
)
def test_a_time_that_is_none_is_refused(
    time: dict[str, object], record: dict[str, object], detail: str
) -> None:
    """With what is wrong, and what may help."""
    for is_typed in (True, False):
        found = Decoding({**record, "v": 1}, is_typed=is_typed, time=time, channels={"v": {}})
        (refused,) = found.refused
        assert refused.startswith("bad_time: ")
        assert detail in refused


@pytest.mark.parametrize("is_typed", [True, False])
def test_numbers_and_texts_may_stand_beside_each_other(is_typed: bool) -> None:
    """Of devices of a feed that does not say which they are, and of records of one message."""
    content = [
        {"t": _UNIX * 1000 - 2000, "v": 1},
        {"t": "2027-01-15T07:59:59Z", "v": 2},
        {"t": f"{_UNIX * 1000 - 500}", "v": 3},
    ]
    found = Decoding(content, is_typed=is_typed, time={"path": "t"}, channels={"v": {}})
    assert [ns - _NOW_NS for ns in found.times_ns] == [-2 * _S, -_S, -_S // 2]


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        ({"path": ["d", "t"]}, "are these texts or numbers"),
        ({"path": ["d"], "unit": "s"}, "or a list of several"),
        ({"path": ["s", "n"], "unit": ["s", "ns", "ns"]}, "each path, of which there are 2"),
        ({"path": "s", "unit": ["s", "ns"]}, "each path, of which there are 1"),
        ({"path": "t", "unit": "iso8601", "epoch": "gps"}, "epoch is for numbers"),
        ({"path": "t", "epoch": "yesterday"}, 'expected a time such as "1899-12-30"'),
        ({"path": "t", "unit": "ms", "date_only": True}, "date_only is for texts"),
        ({"path": "t", "unit": "s", "zone": "UTC"}, "zone is for texts"),
        ({"path": "t", "epoch": "gps", "zone": "UTC"}, "zone is for texts"),
        ({"zone": "UTC"}, "zone is for texts"),
        ({"path": "t", "pattern": "%d.%m.%Y"}, "a date alone with date_only = true"),
        ({"fallback": "arrival"}, "fallback: of which times"),
        ({"epoch": "arrival"}, "epoch: of which times"),
    ],
)
def test_what_does_not_go_together_is_told(time: dict[str, object], problem: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match=problem):
        TimeConfig.model_validate(time)


def test_both_readings_of_a_second_are_kept() -> None:
    """They differ in the nanoseconds beside."""
    time = {"path": ["at.s", "at.n"], "unit": ["s", "ns"]}
    content = [{"at": {"s": _UNIX - 1, "n": n}, "v": 1} for n in (100_000_000, 600_000_000)]
    found = Decoding(content, time=time, channels={"v": {}})
    assert [ns - _NOW_NS for ns in found.times_ns] == [-900_000_000, -400_000_000]


def test_date_outside_and_time_of_day_inside() -> None:
    """Each part is looked for by itself."""
    content = {"date": "2027-01-15", "rows": [{"time": "07:59:50", "v": 1}]}
    time = {"path": ["date", "time"], "unit": "iso8601"}
    found = Decoding(content, records="rows", time=time, channels={"v": {}})
    assert found.readings == [("a", "v", -10, 1)]


_CLOCKLESS = Quality.ARRIVAL_TIME | Quality.ESTIMATED_TIME


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize(
    ("record", "unit"),
    [
        ({"t": 3}, "s"),
        ({"t": 0}, "s"),
        ({"t": 123456}, "ms"),
        ({"t": _UNIX}, "ms"),
        ({"t": 5 * _S}, "ns"),
        ({"t": None}, "s"),
        ({}, "s"),
        ({"t": ""}, "s"),
        ({"t": "1970-01-01T00:00:07Z"}, "iso8601"),
        ({"t": "0000-00-00 00:00:00"}, "iso8601"),
        ({"t": None}, "iso8601"),
        ({"t": 0}, "iso8601"),
        ({"t": 0.0}, "iso8601"),
    ],
)
def test_a_device_without_a_clock_gets_its_arrival_time(
    record: dict[str, object],
    unit: str,
    is_typed: bool,
) -> None:
    """Where the configuration says so; and it is marked."""
    time = {"path": "t", "unit": unit, "fallback": "arrival"}
    found = Decoding({**record, "v": 1}, is_typed=is_typed, time=time, channels={"v": {}})
    assert found.readings == [("a", "v", 0, 1)]
    assert found.quality == [_CLOCKLESS]
    del time["fallback"]
    assert Decoding({**record, "v": 1}, is_typed=is_typed, time=time, channels={"v": {}}).refused


@pytest.mark.parametrize("value", ["yesterday", _UNIX + 200_000, [1]])
def test_what_is_no_missing_clock_is_refused_all_the_same(value: object) -> None:
    """Words, and times that are far ahead, are mistakes that somebody should see."""
    time = {"path": "t", "unit": "s", "fallback": "arrival"}
    (refused,) = Decoding({"t": value, "v": 1}, time=time, channels={"v": {}}).refused
    assert refused.startswith("bad_time: ")


def test_records_of_one_message_without_a_clock_do_not_fall_on_each_other() -> None:
    """They are spread at the device's pace, beside those with times of their own."""
    feed = FeedConfig.model_validate(
        {
            "topic": "in/{device}",
            "time": {"path": "t", "unit": "s", "fallback": "arrival"},
            "channels": {"v": {}},
        }
    )
    table = ChannelTable()
    decoder, arrivals = FeedDecoder("f", feed, table, IngestConfig()), Arrivals(feed, table)
    payloads = [b'[{"t":1,"v":1},{"t":2,"v":2},{"v":3}]', b'{"t":%d,"v":4}' % (_UNIX - 7)]
    now_ns = np.array([_NOW_NS, _NOW_NS])
    decoded = arrivals.settle(decoder.decode([b"in/a"] * 2, payloads, now_ns), now_ns)
    assert ((decoded.time_ns - _NOW_NS) / _S).tolist() == [-2, -1, 0, -7]
    assert decoded.quality.tolist() == [int(_CLOCKLESS)] * 3 + [0]


def test_an_age_counts_from_arrival_and_says_so() -> None:
    """Of what had waited at the broker it is an estimate."""
    feed = FeedConfig.model_validate(
        {
            "topic": "in/{device}",
            "time": {"path": "age", "unit": "s", "epoch": "arrival"},
            "channels": {"v": {}},
        }
    )
    table = ChannelTable()
    decoder, arrivals = FeedDecoder("f", feed, table, IngestConfig()), Arrivals(feed, table)
    now_ns = np.array([_NOW_NS, _NOW_NS])
    decoded = decoder.decode([b"in/a"] * 2, [b'{"age":5,"v":1}', b'{"age":4,"v":1}'], now_ns)
    settled = arrivals.settle(decoded, now_ns, np.array([_NOW_NS - 60 * _S, 0]))
    assert ((settled.time_ns - _NOW_NS) / _S).tolist() == [-5, -4]
    assert settled.quality.tolist() == [int(_CLOCKLESS), int(Quality.ARRIVAL_TIME)]


def test_retained_messages_of_such_feeds_count_once() -> None:
    """Nothing in them would tell that they are old."""
    feed = {"topic": "in/{device}", "channels": {"v": {}}}
    for time in ({"path": "t", "fallback": "arrival"}, {"path": "t", "epoch": "arrival"}, {}):
        assert FeedConfig.model_validate({**feed, "time": time}).handles_retained == "once"
    assert FeedConfig.model_validate({**feed, "time": {"path": "t"}}).handles_retained == "reading"
