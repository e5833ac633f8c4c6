"""Records in arrays below arrays, under keys that are times, names or channels, and as rows."""

from __future__ import annotations

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable
from tests.unit.formats.decoding import Decoding

_T = 1_799_999_990

_NESTED = {
    "topic": "in/+",
    "records": "devices.samples",
    "device": "id",
    "time": {"path": "t", "unit": "s"},
    "channels": {"v": {}},
}


def test_arrays_below_arrays_are_gone_through() -> None:
    """The device stands in the outer one, the time in the inner one."""
    found = Decoding(
        {
            "devices": [
                {"id": "a1", "samples": [{"t": _T, "v": 1}, {"t": _T + 1, "v": 2}]},
                {"id": "a2", "samples": [{"t": _T, "v": 3}]},
                {"id": "a3", "samples": []},
                {"id": "a4"},
                {"id": "a5", "samples": None},
            ]
        },
        max_records=5,
        **_NESTED,
    )
    assert found.readings == [("a1", "v", -10, 1), ("a1", "v", -9, 2), ("a2", "v", -10, 3)]
    assert not found.refused


def test_what_is_nearer_to_the_record_counts() -> None:
    """Of three levels that have a time each."""
    content = {
        "t": _T,
        "devices": [
            {"id": "a1", "t": _T + 1, "samples": [{"v": 1}, {"t": _T + 2, "v": 2}]},
            {"id": "a2", "samples": [{"v": 3}]},
        ],
    }
    found = Decoding(content, **_NESTED)
    assert found.readings == [("a1", "v", -9, 1), ("a1", "v", -8, 2), ("a2", "v", -10, 3)]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ([{"id": "a1", "samples": [{"t": _T, "v": 1}]}], "samples"),
        ([{"id": "a1", "data": {"samples": [{"t": _T, "v": 1}]}}], "data.samples"),
        ({"g": [{"h": [{"id": "a1", "s": [{"t": _T, "v": 1}]}]}]}, "g.h.s"),
        ({"g": [{"s": []}, {"id": "a1", "s": [{"t": _T, "v": 1}]}]}, "g.1.s"),
        ({"g": {"x": {"id": "a1", "s": [{"t": _T, "v": 1}]}}}, "g.*.s"),
        ({"g": [{"id": "a1", "s": [{"t": _T, "v": 1}]}]}, "g.*.s"),
        ({"id": "a1", "g": [[{"t": _T, "v": 1}], []]}, "g.*"),
        ({"id": "a1", "g.s": [{"t": _T, "v": 1}]}, "g.s"),
        ({"id": "a1", "*": [{"t": _T, "v": 1}]}, '"*"'),
        ({"g": [{"id": "a1", "s": {"t": _T, "v": 1}}]}, "g.s"),
    ],
)
def test_paths_to_the_records(content: object, records: str) -> None:
    """Whatever they lead through."""
    found = Decoding(content, **{**_NESTED, "records": records})
    assert found.readings == [("a1", "v", -10, 1)]
    assert not found.refused


@pytest.mark.parametrize(
    ("content", "records", "detail"),
    [
        (
            {"devices": [{"id": "a1", "samples": [{"v": 1}]}]},
            "devices.sample",
            (
                'no array at "devices.sample"; "devices" has id, samples; there is one at '
                '"devices.samples"'
            ),
        ),
        ({"device": []}, "devices.samples", "the payload has device"),
        ({"devices": []}, "devices.samples", '"devices" has an array of 0'),
        ({"devices": [7]}, "devices.samples", '"devices" has 7'),
        ({"pumps": 7}, "pumps.{device}", 'no object at "pumps.{device}"; "pumps" has 7'),
    ],
)
def test_a_path_that_leads_nowhere_is_told(content: object, records: str, detail: str) -> None:
    """How far it leads, and what is there."""
    (refused,) = Decoding(content, **{**_NESTED, "records": records, "device": "id"}).refused
    assert refused.startswith("missing_records: ")
    assert detail in refused


def test_the_path_to_records_below_records_is_told() -> None:
    """Whole, where a feed that goes to the outer ones finds no time or channel there."""
    content = {"devices": [{"id": "a1", "samples": [{"t": _T, "v": 1}]}]}
    for records in (None, "devices"):
        (refused,) = Decoding(content, **{**_NESTED, "records": records}).refused
        assert 'records = "devices.samples" reads it' in refused or "bad_device" in refused


@pytest.mark.parametrize(
    ("content", "feed", "detail"),
    [
        ({f"{_T}": {"v": 1}}, {"time": {"path": "t", "unit": "s"}}, 'records = "{time}" reads'),
        ({"p1": {"v": 1}}, {"topic": "in/+", "device": "id"}, 'records = "{device}" reads'),
        ({"p1": {"v": 1}, "p2": {"v": 2}}, {}, "under all keys, with + for {device} in topic"),
        ({"data": {"v": 1}, "w": {}}, {}, 'records = "data" reads it'),
        ({"d": {"a.b": {"v": 1}}}, {"records": "d"}, 'records = "d."a.b"" reads it'),
        ({"d": [{"v": 1}]}, {"device": "id"}, 'records = "d" reads'),
    ],
)
def test_the_path_to_records_under_keys_is_told(
    content: object, feed: dict[str, object], detail: str
) -> None:
    """Where one of the feed's channels stands there."""
    (refused,) = Decoding(content, channels={"v": {}}, **feed).refused
    assert detail in refused


def test_records_of_all_arrays_are_counted_together() -> None:
    """Before any is taken, and the elements on the way to them as well."""
    devices = [{"id": f"a{n}", "samples": [{"t": _T, "v": n}]} for n in range(5)]
    assert Decoding({"devices": devices[:4]}, **_NESTED).readings
    (refused,) = Decoding({"devices": devices}, **_NESTED).refused
    assert refused.startswith("too_many_records: 5 records; ingest.max_records is 4")
    (refused,) = Decoding({"devices": [{"samples": []}] * 5}, **_NESTED).refused
    assert refused.startswith("too_many_records")


@pytest.mark.parametrize(
    ("content", "feed", "readings"),
    [
        (
            {f"{_T}": {"temp": 21.4}, f"{_T + 5}": {"temp": 21.6}},
            {"records": "{time}", "time": {"unit": "s"}, "channels": {"temp": {}}},
            [("a", "temp", -10, 21.4), ("a", "temp", -5, 21.6)],
        ),
        (
            {"2027-01-15T07:59:50Z": 1, "2027-01-15T07:59:51Z": 2},
            {
                "records": "{time}",
                "time": {"unit": "iso8601"},
                "channels": {"temp": {"path": "value"}},
            },
            [("a", "temp", -10, 1), ("a", "temp", -9, 2)],
        ),
        (
            {"t": _T, "gw": "g7", "pump1": {"temp": 1}, "pump2": {"temp": 2}, "sys": {"up": 3}},
            {
                "topic": "in/+",
                "records": "{device}",
                "time": {"path": "t", "unit": "s"},
                "channels": {"temp": {}},
            },
            [("pump1", "temp", -10, 1), ("pump2", "temp", -10, 2)],
        ),
        (
            {"data": {"pump1": {f"{_T}": {"temp": 1}}, "pump2": {f"{_T}": {"temp": 2}}}},
            {
                "topic": "in/+",
                "records": "data.{device}.{time}",
                "time": {"unit": "s"},
                "channels": {"temp": {}},
            },
            [("pump1", "temp", -10, 1), ("pump2", "temp", -10, 2)],
        ),
        (
            {f"{_T}": {"pump1": {"temp": 1}}, f"{_T + 1}": {"pump1": {"temp": 2}}},
            {
                "topic": "in/+",
                "records": "{time}.{device}",
                "time": {"unit": "s"},
                "channels": {"temp": {}},
            },
            [("pump1", "temp", -10, 1), ("pump1", "temp", -9, 2)],
        ),
        (
            {"temp": {f"{_T}": 21.4}, "hum": {f"{_T}": 40}, "fw": {"major": 1}},
            {
                "records": "{channel}.{time}",
                "time": {"unit": "s"},
                "channels": {"temp": {}, "hum": {}},
            },
            [("a", "temp", -10, 21.4), ("a", "hum", -10, 40)],
        ),
        (
            {"temp": [{"ts": _T, "value": 21.4}], "hum": [{"ts": _T, "value": "40"}]},
            {
                "records": "{channel}",
                "time": {"path": "ts", "unit": "s"},
                "channels": {"temp": {}, "hum": {}},
            },
            [("a", "temp", -10, 21.4), ("a", "hum", -10, 40)],
        ),
        (
            {"pump1": [{"t": _T, "v": 1}], "pump2": {"t": _T, "v": 2}},
            {
                "topic": "in/+",
                "records": "{device}",
                "time": {"path": "t", "unit": "s"},
                "channels": {"v": {}},
            },
            [("pump1", "v", -10, 1), ("pump2", "v", -10, 2)],
        ),
        (
            {"t": _T, "pump1": 1, "pump2": 2},
            {
                "topic": "in/+",
                "records": "{device}",
                "time": {"path": "t", "unit": "s"},
                "channels": {"v": {"path": "value"}},
            },
            [("pump1", "v", -10, 1), ("pump2", "v", -10, 2)],
        ),
        (
            {"2027-01-15": {"07:59:50": {"v": 1}, "07:59:51": {"v": 2}}},
            {
                "records": "{date}.{time}",
                "time": {"path": ["{date}", "{time}"], "unit": "iso8601"},
                "channels": {"v": {}},
            },
            [("a", "v", -10, 1), ("a", "v", -9, 2)],
        ),
        (
            {"pump1": {"t": [_T, _T + 1], "v": [1, 2]}},
            {
                "topic": "in/+",
                "records": "{device}",
                "arrays": {},
                "time": {"path": "t", "unit": "s"},
                "channels": {"v": {}},
            },
            [("pump1", "v", -10, 1), ("pump1", "v", -9, 2)],
        ),
    ],
)
def test_keys_may_be_times_devices_and_channels(
    content: object, feed: dict[str, object], readings: list[object]
) -> None:
    """Alone and together; what stands beside them and is none of the feed's is passed over."""
    found = Decoding(content, max_records=6, **feed)
    assert found.readings == readings
    assert not found.refused
    assert not any(found.tags)


@pytest.mark.parametrize(
    ("content", "feed", "readings"),
    [
        (
            {"v": None, "w": 2, "x": None},
            {"records": "{channel}", "channels": {"v": {}, "w": {}}},
            [("a", "v", 0, None), ("a", "w", 0, 2)],
        ),
        (
            {"v": {str(_T): None, str(_T + 1): 2}},
            {"records": "{channel}.{time}", "time": {"unit": "s"}, "channels": {"v": {}}},
            [("a", "v", -10, None), ("a", "v", -9, 2)],
        ),
        (
            {"p1": None, "p2": 2},
            {"topic": "in/+", "records": "{device}", "channels": {"v": {"path": "value"}}},
            [("p1", "v", 0, None), ("p2", "v", 0, 2)],
        ),
        (
            {"p1": {"v": None}, "p2": {}},
            {"topic": "in/+", "records": "{device}.v", "channels": {"v": {"path": "value"}}},
            [("p1", "v", 0, None)],
        ),
        (
            {"p1": None, "p2": {"v": 2}},
            {"topic": "in/+", "records": "{device}", "channels": {"v": {}}},
            [("p2", "v", 0, 2)],
        ),
    ],
)
def test_null_under_a_key_is_a_value_that_is_missing(
    content: object, feed: dict[str, object], readings: list[object]
) -> None:
    """Where the value itself stands there, and no object."""
    found = Decoding(content, **feed)
    assert found.readings == readings
    assert not found.refused


def test_a_further_key_is_a_tag_that_tells_devices_apart() -> None:
    """As a placeholder of the topic is."""
    found = Decoding(
        {"north": {"p1": {"v": 1}}, "south": {"p1": {"v": 2}}},
        topic="in/+",
        records="{hall}.{device}",
        channels={"v": {}},
    )
    assert found.labels == ["p1 hall=north", "p1 hall=south"]


def test_a_name_may_be_made_of_topic_and_key() -> None:
    """By a template."""
    found = Decoding(
        {"p1": {"v": 1}},
        topic="in/{gw}",
        records="{device}",
        device="{gw}-{device}",
        channels={"v": {}},
    )
    assert [device for device, *_ in found.readings] == ["a-p1"]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ([[_T, 1, 2.5], [_T + 1, None, 2.6]], None),
        ({"rows": [[_T, 1, 2.5], [_T + 1, None, 2.6]]}, "rows"),
        ({"s": [{"rows": [[_T, 1, 2.5], [_T + 1, None, 2.6]]}]}, "s.rows"),
    ],
)
def test_a_record_may_be_a_row_of_values(content: object, records: str | None) -> None:
    """Their places are their names."""
    feed = {
        "time": {"path": "0", "unit": "s"},
        "channels": {"v": {"path": "1"}, "w": {"path": "2"}},
    }
    found = Decoding(content, records=records, **feed)
    assert found.readings == [
        ("a", "v", -10, 1),
        ("a", "w", -10, 2.5),
        ("a", "v", -9, None),
        ("a", "w", -9, 2.6),
    ]
    (single,) = Decoding([_T, 1], **{**feed, "channels": {"v": {"path": "1"}}}).readings
    assert single == ("a", "v", -10, 1)


@pytest.mark.parametrize(
    ("feed", "problem"),
    [
        ({"records": "dev-{device}"}, "expected a placeholder to be a whole part"),
        ({"topic": "in/{device}", "records": "{device}"}, "may stand only once"),
        ({"records": "{device}.{device}"}, "may stand only once"),
        ({"records": "{gateway}.{device}"}, "{gateway} is a reserved name"),
        ({"records": "{line}"}, "no device"),
    ],
)
def test_a_path_to_records_is_checked(feed: dict[str, object], problem: str) -> None:
    """Its placeholders as those of the topic."""
    with pytest.raises(ValueError, match=problem):
        FeedConfig.model_validate({"topic": "in", "channels": {"v": {}}, **feed})


def test_a_message_of_nothing_that_is_wanted_is_refused() -> None:
    """As with names and values; a key that is no time is told where there is a channel."""
    feed = {"records": "{time}", "time": {"unit": "s"}, "channels": {"temp": {}}}
    (refused,) = Decoding({"sys": {"up": 3}}, **feed).refused
    assert refused.startswith("no_channels")
    (refused,) = Decoding({"sys": {"temp": 3}}, **feed).refused
    assert refused.startswith("bad_time: expected a number, got 'sys'")


def test_sender_quality_may_stand_in_an_outer_level() -> None:
    """And holds for all that is in it."""
    content = {"devices": [{"id": "a1", "q": False, "samples": [{"t": _T, "v": 1}]}]}
    found = Decoding(content, **_NESTED, quality={"path": "q"})
    assert found.quality == [Quality.MISSING | Quality.BAD_AT_SOURCE]


@pytest.mark.parametrize(
    ("feed", "density"),
    [
        ({"records": "{channel}", "channels": {"v": {}}}, 8),
        ({"channels": {"v": {"path": "1"}}}, 8),
        ({"records": "a.b", "channels": {"v": {"path": "w.1"}}}, 1),
    ],
)
def test_records_without_braces_weigh_more(feed: dict[str, object], density: int) -> None:
    """A slice of messages is bounded by what it takes to decode it, and others by their braces."""
    assert FeedConfig.model_validate({"topic": "in/{device}", **feed}).density == density


@pytest.mark.parametrize(
    ("content", "feed"),
    [
        ([], {"topic": "in/{device}"}),
        ({"values": []}, {"topic": "in/{device}", "records": "values"}),
        ({"hubs": [{"values": []}]}, {"topic": "in/{device}", "records": "hubs.values"}),
        ({"pumps": {}}, {"topic": "in/+", "records": "pumps.{device}"}),
        ([], {"topic": "in/{device}", "pairs": {}}),
    ],
)
def test_a_message_without_records_is_told(content: object, feed: dict[str, object]) -> None:
    """Nothing passes without a word."""
    found = Decoding(content, channels={"v": {}}, **feed)
    assert found.refused == ["no_channels: no records: the array or object they stand in is empty"]


def test_an_empty_array_beside_others_is_told() -> None:
    """Of the way that reads many messages in one go, too."""
    feed = FeedConfig.model_validate({"topic": "in/{device}", "channels": {"v": {}}})
    payloads = [b'[{"v": 1}]', b"[]", b'{"v": 2}']
    decoder = FeedDecoder("f", feed, ChannelTable(), IngestConfig())
    found = decoder.decode([b"in/a"] * 3, payloads, np.full(3, 10**18))
    assert found.value.tolist() == [1, 2]
    assert [position for position, _ in found.refused] == [1]
