"""Presets: recorded messages of each product, read with one line of configuration."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.formats.availability import AvailabilityTopics
from connectors.formats.decoder import FeedDecoder
from headgate.cli import main
from headgate.config.feed import FeedConfig
from headgate.config.load import load_config
from headgate.config.preset import presets, with_preset
from headgate.config.schema import Config, IngestConfig
from headgate.core.channels import ChannelTable
from headgate.core.errors import ConfigError
from streams.ingest.topics import AVAILABILITY, NO_FEED, FeedTopics
from tests.unit.formats.sparkplug.host import dbirth, ddata, metric, nbirth

CASES = Path(__file__).parents[2] / "cases/presets"

#: When the messages arrive, ns since 1970 UTC.
_NOW_NS = 1_795_900_000 * 10**9

#: Its messages are no texts.
_BINARY = {"sparkplug"}


def _config(name: str, **keys: Any) -> Config:  # noqa: ANN401  (of a file)
    return Config.model_validate({"local_store": {}, "feed": {"f": {"preset": name, **keys}}})


def _read(config: Config, messages: list[tuple[str, bytes]]) -> list[str]:
    """The readings of messages, those left out that the feed passes over; nothing is refused."""
    feed = config.feed["f"]
    topics = FeedTopics(config.feed, (), 100)
    feeds = [topics.feed_of(topic.encode()) for topic, _ in messages]
    assert {*feeds} <= {"f", NO_FEED, AVAILABILITY}
    heard = [each for each, of in zip(messages, feeds, strict=True) if of == "f"]
    told = [each for each, of in zip(messages, feeds, strict=True) if of == AVAILABILITY]
    channels = ChannelTable()
    found = FeedDecoder("f", feed, channels, config.ingest).decode(
        [topic.encode() for topic, _ in heard],
        [payload for _, payload in heard],
        np.full(len(heard), _NOW_NS),
    )
    assert not found.refused
    readings = []
    for row, value in zip(found.channel.tolist(), found.value.tolist(), strict=True):
        channel = channels.channels[row]
        shown = "-" if math.isnan(value) else f"{value:.10g}"
        readings.append(f"→ {channel.device} {channel.field} {shown} {channel.unit}".rstrip())
    return readings + _states(feed, told)


def _states(feed: FeedConfig, messages: list[tuple[str, bytes]]) -> list[str]:
    """Which devices are said to be there or not; of all that are connected through something *."""
    if feed.availability is None:
        assert not messages
        return []
    topics = AvailabilityTopics("f", feed, feed.availability, IngestConfig())
    return [
        f"→ {said.device or '*'} is {said.state}"
        for topic, payload in messages
        for said in topics.read(topic.encode(), payload, _NOW_NS, 0)
    ]


@pytest.mark.parametrize("name", sorted(presets().keys() - _BINARY))
def test_a_preset_reads_what_its_product_publishes(name: str) -> None:
    lines = (CASES / f"{name}.txt").read_text().splitlines()
    said = [line.split(" ", 1) for line in lines if not line.startswith("→ ")]

    readings = _read(_config(name), [(topic, payload.encode()) for topic, payload in said])

    assert readings == [line for line in lines if line.startswith("→ ")]


def test_sparkplug_reads_every_metric_but_those_of_the_node_itself() -> None:
    messages = [
        nbirth(metric("Node Control/Rebirth", 1.0), metric("Line/Speed", 41.5)),
        dbirth(metric("Motor.Temp", 61.25, alias=7), seq=1),
        ddata(metric(None, 61.5, alias=7), seq=2),
    ]

    assert _read(_config("sparkplug"), messages) == [
        "→ g/n Line/Speed 41.5",
        "→ g/n/d Motor.Temp 61.25",
        "→ g/n/d Motor.Temp 61.5",
    ]


def test_every_preset_has_a_line_about_it_and_a_case() -> None:
    assert {file.stem for file in CASES.iterdir()} == presets().keys() - _BINARY
    assert all(20 < len(each.about) < 120 for each in presets().values())


@pytest.mark.parametrize("name", presets())
def test_a_preset_could_stand_in_a_file_as_it_is(name: str) -> None:
    """What it stands for is what its file says."""
    feed = tomllib.loads(presets()[name].text)["feed"][name]

    config = Config.model_validate({"local_store": {}, "feed": {"f": feed}})

    of_preset = _config(name).feed["f"].model_copy(update={"preset": None})
    assert config.feed["f"] == of_preset


def test_keys_of_the_feed_count_before_those_of_the_preset() -> None:
    feed = _config(
        "zigbee2mqtt",
        topic="z2m/{hall}/{device}",
        channels={"temperature": {"range": [-40, 60]}, "level": {"unit": "m"}},
        other_channels={"skip": ["linkquality"]},
    ).feed["f"]

    assert feed.topic == "z2m/{hall}/{device}"
    assert feed.channels["temperature"].unit == "C"
    assert "range" in feed.channels["temperature"].rules
    assert feed.channels["humidity"].unit == "%"
    assert feed.channels["level"].unit == "m"
    assert feed.other_channels is not None
    assert feed.other_channels.skip == ("linkquality",)
    assert feed.other_channels.words["on"] == 1


def test_false_leaves_out_what_a_preset_has() -> None:
    message = ("zigbee2mqtt/a", b'{"battery": 97, "linkquality": 120, "temperature": 4.4}')

    without = _config("zigbee2mqtt", channels={"battery": False, "linkquality": False})
    listed = _config("zigbee2mqtt", other_channels=False)

    assert _read(without, [message]) == ["→ a temperature 4.4 C"]
    assert _read(listed, [message]) == ["→ a battery 97 %", "→ a temperature 4.4 C"]


def test_true_is_what_a_preset_has() -> None:
    """With its states, units and names that are left out, and without what is left out here."""
    plain, feed = (
        _config("zigbee2mqtt", channels={"linkquality": False}, **keys).feed["f"]
        for keys in ({}, {"other_channels": True})
    )

    assert feed == plain
    assert feed.other_channels is not None
    assert "linkquality" in feed.other_channels.skip


_SNIPPET = re.compile(r'[a-z_.]+ = "[^"]*"')


@pytest.mark.parametrize("name", presets())
def test_what_the_comments_of_a_preset_say_to_write_can_be_written(name: str) -> None:
    comments = [line for line in presets()[name].text.splitlines()[1:] if line.startswith("#")]
    own = tomllib.loads("\n".join(_SNIPPET.findall("\n".join(comments))))

    feed = _config(name, **own).feed["f"]

    assert {key: getattr(feed, key) for key in own.keys() - {"availability"}}.items() <= own.items()


def test_a_shelly_may_have_a_prefix_of_its_own() -> None:
    own = {"topic": "{device}/status/{component}", "device": "{device}"}
    config = _config("shelly2", **own, availability={"topic": "{device}/online"})

    readings = _read(
        config, [("shed/status/switch:0", b'{"id": 0, "apower": 1}'), ("shed/online", b"false")]
    )

    assert readings == ["→ shed apower 1 W", "→ shed is offline"]


def test_names_with_slashes_of_zigbee2mqtt_are_no_others() -> None:
    """What devices are told is no reading, however many levels their names have."""
    config = _config("zigbee2mqtt", topic="zigbee2mqtt/{device...}")
    names = ["lamp", "floor/lamp", "hall/floor/lamp"]
    readings = [(f"zigbee2mqtt/{name}", b'{"state": "ON"}') for name in names]
    others = [
        (f"zigbee2mqtt/{name}/{rest}", b'{"state": "OFF"}')
        for name in names
        for rest in ("set", "get", "l1/set", "set/state", "get/state", "l1/set/state")
    ]
    states = [(f"zigbee2mqtt/{name}/availability", b'{"state": "online"}') for name in names]
    bridge = [("zigbee2mqtt/bridge/devices", b"[]"), ("zigbee2mqtt/bridge/request/restart", b"{}")]

    assert _read(config, [*readings, *others, *states, *bridge]) == [
        *(f"→ {name} state 1" for name in names),
        *(f"→ {name} is online" for name in names),
    ]


@pytest.mark.parametrize(
    "tags",
    ["container_name", "slave_id", "agent_host", "ifName", "id", "topic", "process_name", "device"],
)
def test_metrics_of_telegraf_are_told_apart_by_any_tag(tags: str) -> None:
    """In both forms."""
    lines = "".join(f"m,host=h,{tags}={value} v={value} 1795870778000000000\n" for value in (1, 2))
    objects = json.dumps(
        [
            {
                "fields": {"v": value},
                "name": "m",
                "tags": {"host": "h", tags: str(value)},
                "timestamp": 1795870778,
            }
            for value in (1, 2)
        ]
    )
    for name, payload in (("telegraf", lines), ("telegraf_json", objects)):
        config = _config(name)
        channels = ChannelTable()
        FeedDecoder("f", config.feed["f"], channels, config.ingest).decode(
            [b"telegraf/h"], [payload.encode()], np.array([_NOW_NS])
        )
        assert len(channels.channels) == len(channels.devices) == 2


def test_metrics_of_telegraf_may_come_together() -> None:
    metrics = [
        json.dumps(
            {"fields": {"v": v}, "name": "m", "tags": {"host": host}, "timestamp": 1795870778}
        )
        for host, v in (("a", 1), ("b", 2))
    ]
    payload = f'{{"metrics": [{", ".join(metrics)}]}}'.encode()

    assert _read(_config("telegraf_json", records="metrics"), [("telegraf/x", payload)]) == [
        "→ a v 1",
        "→ b v 2",
    ]


def test_another_format_has_keys_of_its_own() -> None:
    feed = with_preset({"preset": "victron", "format": {"type": "json"}})
    same = with_preset({"preset": "victron", "format": {"path": "v"}})
    more = with_preset({"preset": "esphome", "format": {"path": "v"}})

    assert feed["format"] == {"type": "json"}
    assert same["format"] == {"type": "value", "path": "v"}
    assert more["format"] == {"type": "value", "path": "v"}


def test_a_preset_that_there_is_none_of_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text('[local_store]\n\n[feed.hall]\npreset = "zigbe2mqtt"\nqos = 1\n')

    with pytest.raises(ConfigError) as error:
        load_config(file)

    (problem,) = error.value.problems
    assert re.search(r"headgate.toml:4: feed.hall.preset: expected one of .*, zigbee2mqtt", problem)
    assert "did you mean zigbee2mqtt" in problem
    assert 'got "zigbe2mqtt"' in problem


def test_topics_of_presets_may_meet_those_of_other_feeds(tmp_path: Path) -> None:
    """The more specific one takes the message; two that are alike are refused."""
    file = tmp_path / "headgate.toml"
    feeds = '[local_store]\n[feed.a]\npreset = "zigbee2mqtt"\n[feed.b]\nchannels.x = {}\n'
    file.write_text(feeds + 'topic = "zigbee2mqtt/hall/{device}"\n')
    assert load_config(file).feed.keys() == {"a", "b"}
    file.write_text(feeds + 'topic = "zigbee2mqtt/{device}"\n')
    with pytest.raises(ConfigError, match="may match the same message"):
        load_config(file)


def test_most_presets_go_together_on_one_broker(tmp_path: Path) -> None:
    """But for those of one product in two ways, and ESPHome, whose nodes may be called anything."""
    file = tmp_path / "headgate.toml"
    together = presets().keys() - {"esphome", "telegraf_json"}
    tables = "".join(f'[feed.{name}]\npreset = "{name}"\n' for name in together)
    prefixed = 'topic = "esphome/{device}/{component}/{channel}/state"'
    beside = f'[feed.esphome]\npreset = "esphome"\n{prefixed}\n'
    file.write_text(f"[local_store]\n{tables}{beside}")

    assert load_config(file).feed.keys() == together | {"esphome"}


@pytest.mark.parametrize("name", sorted(presets().keys() - {"sparkplug"}))
def test_a_prefix_of_ones_own_is_before_all_topics_of_a_preset(name: str) -> None:
    """What is passed over, and who says that a device is there, stand below it, too."""
    preset = presets()[name].feed
    of_preset = FeedConfig.model_validate({"preset": name})
    found = FeedConfig.model_validate({"preset": name, "topic": f"site/{preset['topic']}"})
    assert found.ignore == tuple(f"site/{each}" for each in of_preset.ignore)
    assert found.availability_topics == tuple(
        f"site/{each}" for each in of_preset.availability_topics
    )
    assert (
        FeedConfig.model_validate({"preset": name, "topic": preset["topic"]}).ignore
        == of_preset.ignore
    )


@pytest.mark.parametrize(
    ("name", "topic", "ignored", "availability"),
    [
        (
            "tasmota",
            "plant/{hall}/{device}/tele/+",
            "plant/+/+/tele/INFO1",
            "plant/{hall}/{device}/tele/LWT",
        ),
        ("tasmota", "{device}/tele/SENSOR", "+/tele/INFO1", "{device}/tele/LWT"),
        ("tasmota", "home/{device}/tele/SENSOR", "home/+/tele/INFO1", "home/{device}/tele/LWT"),
        ("tasmota", "a/{device}/b/tele/+", "a/+/b/tele/INFO1", "a/{device}/b/tele/LWT"),
        ("tasmota", "tele/{device}/SENSOR", "tele/+/INFO1", "tele/{device}/LWT"),
        ("tasmota", "tele/hall/{device}/+", "tele/+/INFO1", "tele/hall/{device}/LWT"),
        (
            "shelly1",
            "shellies/{device}/relay/{channel...}",
            "shellies/announce",
            "shellies/{device}/online",
        ),
        (
            "shelly1",
            "{device}/shellies/{channel...}",
            "shellies/announce",
            "{device}/shellies/online",
        ),
        (
            "homie",
            "homie/{device}/boiler/{channel}",
            "homie/$broadcast/#",
            "homie/{device}/$state",
        ),
        ("homie", "homie/{node}/{device}/{channel}", "homie/$broadcast/#", "homie/{device}/$state"),
        (
            "esphome",
            "a/b/{device}/sensor/{channel}/state",
            "a/b/+/light/+/state",
            "a/b/{device}/status",
        ),
        ("zigbee2mqtt", "z/2/{device}", "z/2/bridge/#", "z/2/{device}/availability"),
        ("zigbee2mqtt", "z/{device...}", "z/bridge/#", "z/{device...}/availability"),
        ("shelly2", "a/{device}/status/{component}", "a/+/status/sys", "a/{device}/online"),
    ],
)
def test_topics_of_a_preset_go_with_ones_own(
    name: str, topic: str, ignored: str, availability: str
) -> None:
    """Whatever is put before, or in another order; what can't be told stays as it is."""
    device = {"device": "{device}"} if name == "shelly2" else {}
    feed = FeedConfig.model_validate({"preset": name, "topic": topic, **device})
    assert feed.ignore[0] == ignored
    assert feed.availability_topics[0] == availability
    own = {"ignore": ["x/#"], "availability": {"topic": "on/{device}"}}
    feed = FeedConfig.model_validate({"preset": name, "topic": topic, **device, **own})
    assert feed.ignore == ("x/#",)
    assert feed.availability_topics == ("on/{device}",)


_ROOMS = [
    ("zigbee2mqtt/{room}/{device}", "zigbee2mqtt/{room}/"),
    ("zigbee2mqtt/kitchen/{device}", "zigbee2mqtt/kitchen/"),
    ("z2m/{room}/{device}", "z2m/{room}/"),
    ("site/z2m/{room}/{device}", "site/z2m/{room}/"),
    ("zigbee2mqtt/{floor}/{room}/{device}", "zigbee2mqtt/{floor}/{room}/"),
]


@pytest.mark.parametrize(("topic", "names"), _ROOMS)
def test_what_is_of_the_bridge_stays_beside_names_of_several_levels(topic: str, names: str) -> None:
    """Whether its topics have what stands before the names, or the names begin there."""
    feed = _config("zigbee2mqtt", topic=topic).feed["f"]
    topics = FeedTopics({"f": feed}, (), 100)
    assert f"{names}{{device}}/availability" in feed.availability_topics
    base = names.partition("{")[0].removesuffix("kitchen/")
    room = names.format(room="kitchen", floor="1")
    for bridge in {base, room}:
        assert topics.feed_of(f"{bridge}bridge/state".encode()) == AVAILABILITY
        for told in ("info", "devices", "request/restart"):
            assert topics.feed_of(f"{bridge}bridge/{told}".encode()) == NO_FEED
    assert topics.feed_of(f"{room}lamp".encode()) == "f"
    assert topics.feed_of(f"{room}lamp/availability".encode()) == AVAILABILITY
    # Of a device whose name has a level less: its topics look like names themselves.
    assert topics.feed_of(f"{room}set".encode()) == NO_FEED
    assert topics.feed_of(f"{room}availability".encode()) == NO_FEED


@pytest.mark.parametrize(
    ("name", "topic", "device", "availability"),
    [
        ("tasmota", "tele/press3/SENSOR", {"value": "p"}, "tele/press3/LWT"),
        ("esphome", "esphome/node/sensor/{channel}/state", {"value": "p"}, "esphome/node/status"),
        ("shelly1", "shellies/k/relay/0/{channel}", {"value": "p"}, "shellies/k/online"),
        ("zigbee2mqtt", "zigbee2mqtt/{name}", "{name}", "zigbee2mqtt/{name}/availability"),
        ("zigbee2mqtt", "zigbee2mqtt/{a}/{b}", "{a}/{b}", "zigbee2mqtt/{a}/{b}/availability"),
        ("shelly2", "{device}/status/{component}", None, "{device}/online"),
        ("shelly2", "shelly{id}/status/switch:0", None, "shelly{id}/online"),
    ],
)
def test_who_is_there_is_told_of_the_device_that_the_topic_names(
    name: str, topic: str, device: object, availability: str
) -> None:
    """By whatever it names it."""
    own = {} if device is None else {"device": device}
    feed = _config(name, topic=topic, **own).feed["f"]

    assert feed.availability_topics[0] == availability


def test_a_device_is_not_named_by_what_the_topic_lacks() -> None:
    """In place of the preset's {id} something in the payload would be its name."""
    with pytest.raises(ValidationError, match="no device: put"):
        _config("shelly2", topic="shellyplus-1/status/{component}")


@pytest.mark.parametrize(
    ("name", "topic", "of"),
    [
        (
            "esphome",
            "esphome/{device}/text_sensor/{channel}/state",
            "esphome/n/text_sensor/x/state",
        ),
        ("esphome", "{device}/light/{channel}/state", "n/light/x/state"),
        ("shelly1", "shellies/{device}/input_event/{channel}", "shellies/n/input_event/0"),
        ("tasmota", "tele/{device}/RESULT", "tele/n/RESULT"),
        ("tasmota", "tele/{device}/LWT", "tele/n/LWT"),
        ("homie", "homie/{device}/$stats/{channel}", "homie/n/$stats/uptime"),
    ],
)
def test_what_a_preset_passes_over_is_read_where_the_topic_asks_for_it(
    name: str, topic: str, of: str
) -> None:
    feed = _config(name, topic=topic, channels={"x": {"type": "text"}}).feed["f"]

    assert FeedTopics({"f": feed}, (), 100).feed_of(of.encode()) == "f"


def test_values_of_victrons_system_have_units_too() -> None:
    """Where names stand below others, as of its battery: they are the same values."""
    feed = FeedConfig.model_validate({"preset": "victron"})
    channels = ChannelTable()
    names = ["Dc/Battery/Soc", "Dc/Battery/ConsumedAmphours", "Ac/L1/Energy/Forward", "Yield/User"]
    FeedDecoder("f", feed, channels, IngestConfig()).decode(
        [f"N/c0/system/0/{name}".encode() for name in names],
        [b'{"value": 1}'] * len(names),
        np.full(len(names), _NOW_NS),
    )
    assert {each.field: each.unit for each in channels.channels} == dict(
        zip(names, ["%", "Ah", "kWh", "kWh"], strict=True)
    )


@pytest.mark.parametrize(
    ("name", "topic", "message", "reading"),
    [
        (
            "shelly1",
            "shellies/{device}/relay/{channel...}",
            "shellies/a/relay/0/energy",
            "0/energy 7 Wmin",
        ),
        (
            "shelly1",
            "shellies/{device}/relay/0/{channel}",
            "shellies/a/relay/0/energy",
            "energy 7 Wmin",
        ),
        ("shelly1", "x/{device}/emeter/1/{channel}", "x/a/emeter/1/total", "total 7 Wh"),
        (
            "shelly1",
            "shellies/{device}/{channel...}",
            "shellies/a/emeter/1/total",
            "emeter/1/total 7 Wh",
        ),
        (
            "victron",
            "N/{device}/system/0/Dc/Battery/{channel}",
            "N/a/system/0/Dc/Battery/Soc",
            "Soc 7 %",
        ),
        ("victron", "N/{device}/vebus/276/Ac/L1/{channel}", "N/a/vebus/276/Ac/L1/P", "P 7 W"),
        ("victron", "N/{device}/{service}/{instance}/Mgmt/{channel}", "N/a/x/0/Mgmt/P", "P 7 W"),
    ],
)
def test_channels_are_known_by_the_rest_of_their_names(
    name: str, topic: str, message: str, reading: str
) -> None:
    """Where the topic has the beginning; what the topic asks for by all of its names is read."""
    payload = b'{"value": 7}' if name == "victron" else b"7"

    found = _read(_config(name, topic=topic), [(message, payload)])

    assert found == [f"→ a {reading}"]


def test_check_shows_where_a_presets_topics_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(
        '[local_store]\n[feed.f]\npreset = "zigbee2mqtt"\ntopic = "zigbee2mqtt/hall/{device}"\n'
        '[feed.g]\npreset = "tasmota"\ntopic = "a/{device}/tele/SENSOR"\ntime.zone = "UTC"\n'
    )

    assert main(["check", "-c", str(file)]) == 0
    out = capsys.readouterr().out
    assert "availability by zigbee2mqtt/hall/{device}/availability and 2 more" in out
    assert "a/{device}/tele/SENSOR, without a/+/tele/INFO1 and 3 more, availability by " in out
    assert "availability by a/{device}/tele/LWT, json" in out
