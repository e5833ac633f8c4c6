"""The format ``senml``: the examples of RFC 8428 and what it says of packs, in JSON and CBOR."""

from __future__ import annotations

import json
import math
from typing import Any

import cbor2
import numpy as np
import pytest

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from connectors.formats.senml.names import NamePattern
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9
_LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6}
_LABELS |= {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}
_OW = "urn:dev:ow:10e2073a01080063"
_BY_NAME = {
    "topic": "in",
    "device": "serial",
    "format": {"type": "senml", "name": "urn:dev:ow:{serial}:{channel}"},
}


class Decoding:
    """What comes of one pack."""

    def __init__(self, payload: bytes, **feed: object) -> None:
        given: dict[str, Any] = {"topic": "in/{device}", "format": "senml", **feed}
        table = ChannelTable()
        decoder = FeedDecoder("f", FeedConfig.model_validate(given), table, IngestConfig())
        topic = b"in" if given["topic"] == "in" else b"in/a"
        found = decoder.decode([topic], [payload], np.array([_NOW_NS]))
        rows = found.channel.tolist()
        self.times_ns = found.time_ns.tolist()
        self.quality = found.quality.tolist()
        self.devices = [table.channels[row].device for row in rows]
        self.values = [
            (table.channels[row].field, None if math.isnan(value) else value)
            for row, value in zip(rows, found.value.tolist(), strict=True)
        ]
        self.refused = [str(error) for _, error in found.refused]


def _in_both(pack: list[dict[str, object]]) -> list[bytes]:
    labelled = [{_LABELS.get(key, key): value for key, value in each.items()} for each in pack]
    return [json.dumps(pack).encode(), cbor2.dumps(labelled)]


def _both(pack: list[dict[str, object]], **feed: object) -> Decoding:
    """What comes of a pack in JSON, which must be what comes of it in CBOR."""
    one, other = (Decoding(payload, **feed) for payload in _in_both(pack))
    assert vars(one) == vars(other)
    return one


def test_a_single_value_is_of_now() -> None:
    """RFC 8428, 5.1.1."""
    channels = {"temperature": {"path": _OW}}
    found = _both([{"n": _OW, "u": "Cel", "v": 23.1}], channels=channels)
    assert found.values == [("temperature", 23.1)]
    assert found.times_ns == [_NOW_NS]
    assert found.quality[0] & Quality.ARRIVAL_TIME


def test_base_fields_hold_for_all_that_follow() -> None:
    """RFC 8428, 5.1.3, shortened."""
    pack: list[dict[str, object]] = [
        {
            "bn": f"{_OW}:",
            "bt": 1.276020076001e9,
            "bu": "A",
            "bver": 5,
            "n": "voltage",
            "u": "V",
            "v": 120.1,
        },
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "t": -4, "v": 1.3},
        {"n": "current", "v": 1.7},
    ]
    found = _both(pack, **_BY_NAME, channels={"voltage": {}, "current": {}})
    assert set(found.devices) == {"10e2073a01080063"}
    assert found.values[0] == ("voltage", 120.1)
    assert found.values[-1] == ("current", 1.7)
    ns = 1276020076_001000000
    assert found.times_ns == [ns, ns - 5 * 10**9, ns - 4 * 10**9, ns]
    # Also by what stands behind the base name, and by the base name as the device's.
    found = _both(pack, topic="in", device="bn", channels={"voltage": {}})
    assert found.devices == [f"{_OW}:"]
    assert found.values == [("voltage", 120.1)]


def test_values_are_of_several_kinds() -> None:
    """RFC 8428, 5.1.5: numbers, texts, booleans, bytes."""
    pack: list[dict[str, object]] = [
        {"bn": f"{_OW}:", "n": "temp", "u": "Cel", "v": 23.1},
        {"n": "label", "vs": "Machine Room"},
        {"n": "open", "vb": False},
        {"n": "nfc-reader", "vd": "aGkgCg"},
    ]
    channels = {"temp": {}, "label": {"states": {"machine room": 3}}, "open": {}}
    found = _both(pack, **_BY_NAME, channels=channels)
    assert found.values == [("temp", 23.1), ("label", 3.0), ("open", 0.0)]
    assert _both(pack, **_BY_NAME, channels={"nfc-reader": {}}).values == [("nfc-reader", None)]


@pytest.mark.parametrize(
    ("records", "values"),
    [
        ([{"bv": 100, "n": "x", "v": 1.5}, {"n": "x", "v": -1}], [("x", 101.5), ("x", 99.0)]),
        ([{"bv": 100, "n": "x", "v": 1}, {"bv": 0, "n": "x", "v": 2}], [("x", 101), ("x", 2.0)]),
        ([{"bs": 10, "n": "x", "v": 1, "s": 5}], [("x", 1.0), ("total", 15.0)]),
        ([{"n": "x", "s": 0.1, "bs": 0.2}], [("total", 0.3)]),
        ([{"n": "x", "v": 0.1, "bv": 0.2}], [("x", 0.3)]),
        ([{"bn": "x"}, {"v": 1}], [("x", 1.0)]),
        ([{"bn": "a/"}, {"n": "x", "v": 1}, {"n": "other", "v": 5}], [("x", 1.0)]),
    ],
)
def test_bases_are_added(records: list[dict[str, object]], values: list[object]) -> None:
    """Of values and sums; numbers as they were written."""
    found = _both(records, channels={"x": {}, "total": {"path": "x.s"}})
    assert found.values == values
    assert not found.refused


@pytest.mark.parametrize(
    ("record", "time_ns"),
    [
        ({"t": -5}, _NOW_NS - 5 * 10**9),
        ({"bt": -60, "t": 0.25}, _NOW_NS - 59_750_000_000),
        ({"bt": 1767225600, "t": 0.1}, 1767225600_100000000),
        ({"bt": 1767225600.5}, 1767225600_500000000),
        ({"t": 1767225600}, 1767225600_000000000),
    ],
)
def test_small_times_are_relative(record: dict[str, object], time_ns: int) -> None:
    """To now; all others are seconds since 1970."""
    assert _both([{"n": "x", "v": 1, **record}], channels={"x": {}}).times_ns == [time_ns]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b'{"n":"x","v":1}', "not_senml: expected an array"),
        (b"[", "not_json"),
        (b"\x9f", "not_cbor"),
        (b"[]", "no_channels"),
        (b'[{"n":"y","v":1}]', "no_channels: .*; there is 'y'"),
        (b'[{"bver":11,"n":"x","v":1}]', "not_senml: version 11"),
        (b'[{"n":"x","v":1,"extra_":2}]', "not_senml: 'extra_' must be understood"),
        (b'[{"bn":5,"n":"x","v":1}]', "not_senml: bn"),
        (b'[{"bn":"' + b"a" * 600 + b'","n":"x","v":1}]', "not_senml: bn"),
        (b'[{"n":"' + b"a" * 600 + b'","v":1}]', "not_senml: n"),
        (b'[{"bt":"5","n":"x","v":1}]', "not_senml: bt"),
        (b'[{"n":"x","v":1,"t":"now"}]', "not_senml: t"),
        (b'[{"n":"x","v":1,"vb":true}]', "not_senml: v and vb"),
        (b'[{"n":5,"v":1}]', "not_senml: n"),
        (b"[7]", "not_senml: expected a record"),
        (b'[{"n":"x","v":1,"t":-1e300}]', "not_senml: t: too long before now"),
        (b'[{"n":"x","v":1,"t":1e300}]', "bad_time"),
        (b"[" + b"{}," * 10_001 + b"{}]", "too_many_records"),
        (b"\x9a\x7f\xff\xff\xff" + b"\xa0" * 20, "not_cbor"),
    ],
)
def test_what_can_not_be_read_is_refused(payload: bytes, reason: str) -> None:
    """With its reason."""
    found = Decoding(payload, channels={"x": {}})
    assert not found.values
    assert __import__("re").match(reason, found.refused[0]), found.refused


def test_a_bad_record_takes_no_other_down() -> None:
    """What it says of those that follow holds."""
    found = _both(
        [{"n": "x", "v": 1}, {"bt": 1767225600, "n": 5}, {"n": "x", "v": 2}], channels={"x": {}}
    )
    assert found.values == [("x", 1.0), ("x", 2.0)]
    assert found.times_ns[1] == 1767225600 * 10**9
    assert found.refused[0].startswith("not_senml: 1 of 3 records; the first, number 2: n")


@pytest.mark.parametrize(
    ("pattern", "name", "parts"),
    [
        ("urn:{a}:{channel}", "urn:b:c:d", {"a": "b", "channel": "c:d"}),
        ("{channel}@{a}", "b@c@d", {"a": "c@d", "channel": "b"}),
        ("{channel}!", "b!", {"channel": "b"}),
        ("{channel}!", "b", None),
        ("{channel}!", "!", None),
        ("u{a}:{channel}", "u:b", None),
        ("u{a}:{channel}", "ub:", None),
        ("u{a}:{channel}", "vb:c", None),
    ],
)
def test_a_name_is_taken_apart(pattern: str, name: str, parts: object) -> None:
    """Each placeholder is as short as can be, and never empty."""
    assert NamePattern(pattern).parts(name) == parts


@pytest.mark.parametrize("name", ["urn:{a}", "{channel}{a}", "{channel}:{channel}"])
def test_a_pattern_must_tell_names_apart(name: str) -> None:
    """Told when the configuration is read."""
    with pytest.raises(ValueError, match=r"expected (a name with|some text)"):
        FeedConfig.model_validate(
            {
                "topic": "in/{device}",
                "format": {"type": "senml", "name": name},
                "channels": {"x": {}},
            }
        )


def test_no_part_of_a_name_is_called_as_what_a_record_has() -> None:
    """With ``{name}`` each channel would be a device, whose name is the whole name."""
    for part in ("name", "t", "keys"):
        with pytest.raises(ValueError, match=rf"\{{{part}\}} is a reserved name"):
            NamePattern(f"urn:{{{part}}}:{{channel}}")


@pytest.mark.parametrize(
    ("feed", "problem"),
    [
        ({"records": "value"}, "records: SenML says itself"),
        ({"pairs": {}}, "pairs: SenML says itself"),
        ({"arrays": {}, "time": {"path": "t"}}, "arrays: SenML says itself"),
        ({"quality": {"path": "q"}}, "quality: SenML says itself"),
        ({"channels": {"x": {"default": 0}}}, "channels.x.default: a record has one channel"),
        ({"channels": {"x": {"required": True}}}, "channels.x.required: a record has one channel"),
    ],
)
def test_what_packs_have_no_place_for_is_told(feed: dict[str, object], problem: str) -> None:
    """A default would be a reading of each channel with every record of another one."""
    given = {"topic": "in/{device}", "format": "senml", "channels": {"x": {}}}
    with pytest.raises(ValueError, match=problem):
        FeedConfig.model_validate({**given, **feed})


def test_what_is_of_now_is_an_estimate_if_it_has_waited() -> None:
    """Its time counts from when it was sent, and a retained one is a reading once."""
    given = {"topic": "in/{device}", "format": "senml", "channels": {"x": {}}}
    feed = FeedConfig.model_validate(given)
    assert feed.handles_retained == "once"
    table = ChannelTable()
    decoder, arrivals = FeedDecoder("f", feed, table, IngestConfig()), Arrivals(feed, table)
    payload = b'[{"n":"x","v":1},{"n":"x","v":2,"t":1799999990}]'
    now_ns = np.array([_NOW_NS] * 2)
    decoded = decoder.decode([b"in/a"] * 2, [payload] * 2, now_ns)
    settled = arrivals.settle(decoded, now_ns, np.array([_NOW_NS - 60 * 10**9, 0]))
    of_now = int(Quality.ARRIVAL_TIME)
    assert settled.quality.tolist() == [of_now | int(Quality.ESTIMATED_TIME), 0, of_now, 0]
