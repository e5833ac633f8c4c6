"""What is recognized of traffic, and that the feeds decode it."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.discover.plan import plan
from headgate.discover.traffic import MOST_TOPICS, Traffic
from headgate.discover.written import configuration, summary
from tests.unit.discover.reading import MQTT, config_of, decoded_by
from tests.unit.discover.traffic import NOW_S, STYLES, Sent, heard

#: By style, some of the devices and channels that are there.
WANTED = {
    "zigbee2mqtt": {("cold-store", "temperature"), ("cold-store-door", "contact")},
    "tasmota": {("press-3", "Power"), ("press-4", "Temperature")},
    "shelly": {("shelly1pm-8CAAB5", "power"), ("shellyplus1pm-44180", "apower")},
    "esphome": {("boiler-room", "temperature"), ("attic", "hatch")},
    "statestream": {("outdoor", "state"), ("gate_2", "state")},
    "things_stack": {("silo-0", "temperature"), ("silo-2", "rssi")},
    "edgex": {("rotary-1", "Speed"), ("rotary-2", "Load")},
    "scalars": {("lathe", "temperatur"), ("mill", "betrieb")},
    "csv": {("pump-1", "flow"), ("tank-2", "c4")},
    "sparkplug": {("Plant 1/Press/Pump", "Motor_Speed"), ("Plant 1/Press/Pump", "Motor_Temp_C")},
    "plc": {("kep1", "Line1.Oven.Temp"), ("kep1", "Line1.Oven.Pressure")},
}


#: The same of all mixed: entities of Home Assistant are channels then, for topics with the device
#: before and behind such levels can't be told apart.
WANTED_OF_ALL = set().union(
    *(wanted for style, wanted in WANTED.items() if style != "statestream"),
    {("homeassistant", "outdoor"), ("homeassistant", "gate_2")},
)


@pytest.mark.parametrize("style", STYLES)
def test_traffic_in_the_style_of_a_product_is_read(style: str) -> None:
    """All of it, by the devices and channels that it has."""
    traffic = heard(STYLES[style]())
    config = config_of(plan(traffic))
    count, good, found = decoded_by(config, traffic)

    # A node's birth holds no measurement.
    assert good == count - (style == "sparkplug") > 0
    assert found >= WANTED[style]


def test_all_of_it_mixed_on_one_broker_is_read() -> None:
    """As each by itself; what is passed over is told."""
    traffic = heard(*(style() for style in STYLES.values()))
    found = plan(traffic)
    count, good, devices = decoded_by(config_of(found), traffic)

    assert found.part >= 0.95
    assert good >= 0.95 * count
    assert devices >= WANTED_OF_ALL
    passed = sum(each.messages for each in found.passed)
    assert passed < 0.05 * traffic.count
    assert not found.lost
    assert summary(found).startswith(f"{traffic.count:,} messages heard, {passed} passed over")


def test_times_units_periods_and_states_are_told() -> None:
    """In the file, where a person would write them."""
    found = plan(heard(*(style() for style in STYLES.values())))
    feeds = {each.topic: each.table for each in found.feeds.values()}

    assert feeds["tele/{device}/SENSOR"]["time"] == {
        "path": "Time",
        "unit": "iso8601",
        "zone": "Etc/GMT-1",
    }
    assert feeds["v3/plant@acme/devices/{device}/up"]["time"]["unit"] == "iso8601"
    assert feeds["zigbee2mqtt/{device}"]["period"] == "30s"
    assert feeds["werk/{werk}/{device}/temperatur"]["channels"] == {
        "temperatur": {"unit": "C", "decimal": ",", "suffix": "°C"}
    }
    assert feeds["werk/{werk}/{device}/betrieb"]["channels"] == {
        "betrieb": {"states": {"EIN": 1, "AUS": 0}}
    }
    assert feeds["iotgateway/{device}"]["quality"] == {"path": "q", "good": [True]}
    logger = feeds["loggers/{device}"]
    assert logger["time"] == {"path": "time", "pattern": "%d.%m.%Y %H:%M:%S"}
    assert logger["channels"]["c4"] == {"decimal": ","}


def test_a_feed_says_which_preset_could_stand_in_its_place() -> None:
    """Those of products that have one, and no other."""
    sent = [
        ("zigbee2mqtt/probe", b'{"temperature": 4.4, "linkquality": 84}'),
        ("tele/press-3/SENSOR", b'{"Time": "2026-11-28T13:59:38", "ENERGY": {"Power": 375}}'),
        ("hall/probe", b'{"temperature": 4.4}'),
    ]

    for (topic, payload), name in zip(sent, ("zigbee2mqtt", "tasmota", None), strict=True):
        found = plan(heard(iter([(at, topic, payload, False) for at in range(3)])))
        text = configuration(found, MQTT, "a test")
        said = re.findall(r'^# preset = "(\w+)" reads such topics in a line: ', text, re.MULTILINE)
        assert said == ([] if name is None else [name])


def _feed_of(topic: str, payloads: Sequence[object]) -> dict[str, Any]:
    """The only feed of these messages of a topic, which it reads all."""
    told = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    traffic = heard(iter([(at * 10.0, topic, each, False) for at, each in enumerate(told)]))
    found = plan(traffic)
    count, good, _ = decoded_by(config_of(found), traffic)
    assert count == good
    (proposed,) = found.feeds.values()
    return proposed.table


def test_units_that_change_behind_the_values_are_one_channel_of_one_unit() -> None:
    """Each is converted to the first; two kinds of quantity are no channel."""
    power = _feed_of("m/d1/power", [b"850 W", b"1.2 kW", b"30 W"])
    other = _feed_of("m/d1/data", [{"p": text, "q": 1} for text in ("3 bar", "850 W", "4 bar")])

    assert power["channels"] == {"power": {"unit": "W", "suffix": ["W", "kW"]}}
    assert other["channels"] == {"q": {}}


def test_digits_in_base_16_are_no_units() -> None:
    """Of registers as texts, alone or in an object; temperatures and names are none."""
    digits = ["08FD", "0900", "0910", "00FF", "0934"]
    alone = _feed_of("m/d1/v", [text.encode() for text in digits])
    inside = _feed_of("m/d1/data", [{"v": text, "w": "21C", "q": 1} for text in digits])
    signed = _feed_of("m/d1/data", [{"v": f"0x{text}", "q": 1} for text in digits])
    named = _feed_of("m/d1/data", [{"v": "4F2A", "q": at} for at in range(5)])

    assert alone["channels"] == {"v": {"base": 16}}
    assert inside["channels"] == {"v": {"base": 16}, "w": {"unit": "C", "suffix": "C"}, "q": {}}
    assert signed["channels"] == {"v": {"base": 16}, "q": {}}
    assert named["channels"] == {"q": {}}


@pytest.mark.parametrize(
    ("payloads", "format_", "channels"),
    [
        ([b"t|23.4#h|80", b"t|23.9#h|81"], {"assign": "|", "delimiter": "#"}, {"t": {}, "h": {}}),
        ([b"h|80", b"h|81"], {"assign": "|", "delimiter": "#"}, {"h": {}}),
        (
            [b"temp=21,5;bat=3,1", b"temp=21,7; bat=3,0"],
            {"assign": "=", "delimiter": ";"},
            {"temp": {"decimal": ","}, "bat": {"decimal": ","}},
        ),
        ([b"a:1 b:2", b"a:3 b:4"], {"assign": ":", "delimiter": " "}, {"a": {}, "b": {}}),
    ],
)
def test_values_with_names_before_them_are_read_by_these(
    payloads: list[bytes], format_: dict[str, str], channels: dict[str, Any]
) -> None:
    """All of them, Ultralight 2.0 and its like: nothing of a message is lost."""
    feed = _feed_of("/ul/4jggok/d1/attrs", payloads)

    assert feed["format"] == {"type": "csv", **format_}
    assert feed["channels"] == channels


def test_units_that_stand_beside_values_are_theirs() -> None:
    """In an object each, by a name like the value's, and of a message's only one."""
    inside = {"temp": {"value": 22.5, "unit": "C"}, "press": {"v": 2.5, "uom": "bar"}}
    named = {"temp": 71, "temp_unit": "F", "flow": 3, "flowUnit": "l/min", "unit": "x"}
    changing = [{"temp": 71 + at, "temp_unit": "FC"[at % 2], "q": 1} for at in range(4)]

    assert _feed_of("m/d1/data", [inside] * 3)["channels"] == {
        "value": {"path": "temp.value", "unit": "C"},
        "v": {"path": "press.v", "unit": "bar"},
    }
    assert _feed_of("m/d1/data", [named] * 3)["channels"] == {
        "temp": {"unit": "F"},
        "flow": {"unit": "l/min"},
    }
    alone = _feed_of("m/d1/temp", [{"value": 71, "unit": "F"}] * 3)
    assert alone["channels"] == {"temp": {"unit": "F"}}
    of_changing = _feed_of("m/d1/data", changing)["channels"]
    assert of_changing == {"temp_unit": {"type": "text"}, "q": {}}


def test_the_same_messages_give_the_same_file() -> None:
    """Whichever topic was heard first."""
    streams = [each for style in STYLES.values() for each in style()]
    shuffled = streams[:]
    random.Random(5).shuffle(shuffled)

    first, second = plan(heard(iter(streams))), plan(heard(iter(shuffled)))

    assert configuration(first, MQTT, "a test") == configuration(second, MQTT, "a test")


def _one_topic_many_devices() -> Iterator[Sent]:
    for at in range(20):
        for number in (1, 2, 3):
            told = {"time": NOW_S + at * 5, "model": "Acurite", "id": 100 + number}
            yield at * 5 + number, "rtl_433/events", json.dumps(told | {"hum": at}).encode(), False


def _same_names_behind_two_gateways() -> Iterator[Sent]:
    for at in range(24):
        for gateway in ("north", "south"):
            told = {"sensor": at % 3, "value": 20 + at, "unit": "bar"}
            topic = f"site/{gateway}/readings"
            yield at * 10, topic, json.dumps(told).encode(), False


def _arrays_without_keys() -> Iterator[Sent]:
    for at in range(12):
        yield at, "lab/bench7/adc", json.dumps([21.5 + at, 48, 1013.2]).encode(), False


def _empty_levels() -> Iterator[Sent]:
    for at in range(12):
        for cell in (1, 2):
            yield at, f"/factory//cell-{cell}/Temp", str(20 + at).encode(), False


def _columns() -> Iterator[Sent]:
    for at in range(12):
        told = {"time": [NOW_S + at * 10 - 10, NOW_S + at * 10], "level": [1.5 + at, None]}
        yield at * 10, "logger/tank-1", json.dumps(told).encode(), False


def _seconds_and_nanoseconds() -> Iterator[Sent]:
    for at in range(12):
        time = {"timeInSeconds": NOW_S + at, "offsetInNanos": 5 * 10**8}
        values = [{"value": {"doubleValue": 21.5 + at}, "timestamp": time}]
        yield at, "line/oven", json.dumps({"propertyValues": values}).encode(), False


def _french_far_down() -> Iterator[Sent]:
    for at in range(10):
        for place in ("Salon/Thermostat", "Cuisine/Prise"):
            told = {"température": 19.5 + at, "état": "marche" if at % 2 else "arrêt"}
            told |= {"horodatage": NOW_S * 1000 + at * 30_000}
            payload = json.dumps(told, ensure_ascii=False).encode()
            yield at * 30, f"maison/étage 1/{place}", payload, False


def _senml() -> Iterator[Sent]:
    for at in range(12):
        pack = [{"bn": "urn:dev:mac:7:", "bt": NOW_S + at, "n": "temp", "u": "Cel", "v": 23.5 + at}]
        yield at, "senml/node1", json.dumps([*pack, {"n": "hum", "v": 48}]).encode(), False


def _lines_of_telegraf() -> Iterator[Sent]:
    for at in range(12):
        line = f"cpu,host=gw7 usage_idle={98 - at},usage_user=1i {(NOW_S + at * 10) * 10**9}\n"
        yield at * 10, "telegraf/gw7/cpu", line.encode(), False


def _messagepack_and_cbor() -> Iterator[Sent]:
    for at in range(12):
        told = {"t": NOW_S + at, "flow": 33.1 + at}
        yield at, f"mp/dev{at % 3}/data", msgspec.msgpack.encode(told), False
        yield at, f"cb/dev{at % 3}/data", cbor2.dumps(told), False
        yield at, f"gz/dev{at % 3}/data", gzip.compress(json.dumps(told).encode()), False


def _american_dates() -> Iterator[Sent]:
    for at in range(10):
        told = {"stamp": f"11/28/2026 09:{6 + at}:40 PM", "press": "12.5 psi"}
        yield at * 60, f"mill/line{at % 2}/press", json.dumps(told).encode(), False


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        (_one_topic_many_devices, {("101", "hum"), ("103", "hum")}),
        (_same_names_behind_two_gateways, {("north/0", "value"), ("south/0", "value")}),
        (_arrays_without_keys, {("bench7", "0"), ("bench7", "2")}),
        (_empty_levels, {("cell-1", "Temp"), ("cell-2", "Temp")}),
        (_columns, {("tank-1", "level")}),
        (_seconds_and_nanoseconds, {("oven", "doubleValue")}),
        (_french_far_down, {("Thermostat", "temperature"), ("Prise", "etat")}),
        (_senml, {("node1", "temp"), ("node1", "hum")}),
        (_lines_of_telegraf, {("gw7", "usage_idle"), ("gw7", "usage_user")}),
        (_messagepack_and_cbor, {("dev0", "flow"), ("dev2", "flow")}),
        (_american_dates, {("line0", "press"), ("line1", "press")}),
    ],
)
def test_other_traffic_is_read(stream: object, wanted: set[tuple[str, str]]) -> None:
    """By the same rules: of other names, depths, shapes, times and languages."""
    assert callable(stream)
    traffic = heard(stream())
    count, good, found = decoded_by(config_of(plan(traffic)), traffic)

    assert good == count > 0
    assert found >= wanted


def test_formats_are_recognized_by_what_they_read() -> None:
    """Each installed one is asked; those of one kind of objects come before any object's."""
    streams = (_senml(), _lines_of_telegraf(), _messagepack_and_cbor())
    formats = {each.table.get("format", "json") for each in plan(heard(*streams)).feeds.values()}

    assert formats == {"senml", "line_protocol", "msgpack", "cbor", "json"}


def test_what_nothing_reads_is_told_with_its_reason() -> None:
    """And no feed is made up for it."""
    traffic = heard(iter([(at, "raw/7", bytes([255, at, 128, 0]), False) for at in range(9)]))
    found = plan(traffic)

    assert not found.feeds
    assert [each.messages for each in found.passed] == [9]
    assert "no installed format reads" in found.passed[0].why


def test_what_a_feed_would_get_and_is_no_measurement_is_ignored() -> None:
    """By filters that hide nothing that is one."""
    online = [(0, f"werk/hall1/{name}/online", b"true", True) for name in ("lathe", "mill")]
    found = plan(heard(STYLES["scalars"](), iter(online)))

    assert found.ignore == ["werk/hall1/+/online"]
    assert found.part == 1


def test_memory_is_bounded_whatever_comes() -> None:
    """Topics, messages and bytes that are kept; the rest is counted."""
    traffic = Traffic()
    for at in range(MOST_TOPICS + 50):
        traffic.add(f"t/{at}".encode(), b"1", at)
    for at in range(200):
        traffic.add(b"t/1", b"x" * 1000, at)
    traffic.add(b"\xff", b"1", 0)
    traffic.add(b"t/1", b"x" * (1 << 20), 0)

    assert len(traffic.topics) == MOST_TOPICS
    assert traffic.unkept == 52
    assert len(traffic.topics["t/1"].messages) == 40
    kept = sum(len(each.payload) for topic in traffic for each in topic.messages)
    assert traffic.bytes_kept == kept
    assert traffic.count == MOST_TOPICS + 252


def test_every_message_is_told_of_whatever_the_topics_are() -> None:
    """Decoded or refused by a feed, passed over, or of no feed; and no more feeds than needed."""
    draw = random.Random(1)
    words = ["alpha", "beta", "temp", "hum", "state", "x", "y"]
    payloads = [b"21.5", b"on", b"hello", b"\xff\x00", b'{"a": 1}', b'{"b": 2, "ts": 1795900000}']
    traffic = Traffic()
    for at in range(300):
        depth = draw.randrange(1, 6)
        topic = "/".join(draw.choice(words) + str(draw.randrange(20)) for _ in range(depth))
        payload = draw.choice(payloads)
        for again in range(2):
            traffic.add(topic.encode(), payload, NOW_S * 10**9 + 2 * at + again)
    found = plan(traffic)
    config_of(found)

    passed = sum(each.messages for each in found.passed)
    heard = sum(share.heard for share in found.shares.values())
    assert traffic.count == passed + heard + found.lost.total()
    assert len(found.feeds) <= 300


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)
_PAYLOADS = st.one_of(
    st.binary(max_size=40), _JSON.map(lambda value: json.dumps(value).encode()), st.just(b"21,5 C")
)
_LEVELS = st.sampled_from(["", "a", "b1", "é", "{x}", "$x", "state"])
_TOPICS = st.lists(_LEVELS, min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_TOPICS.map("/".join), _PAYLOADS), min_size=1, max_size=12))
def test_any_traffic_gives_a_file_that_can_be_read(messages: list[tuple[str, bytes]]) -> None:
    """Or none; and never an exception."""
    traffic = Traffic()
    for at, (topic, payload) in enumerate(messages):
        traffic.add(topic.encode(), payload, NOW_S * 10**9 + at)
    found = plan(traffic)

    if found.feeds:
        config_of(found)
