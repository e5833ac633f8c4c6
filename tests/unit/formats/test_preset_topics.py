"""Presets with topics of one's own: what moves with them, and what stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.formats.decoder import FeedDecoder
from headgate.cli import main
from headgate.config.feed import FeedConfig
from headgate.config.preset import presets
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from streams.ingest.topics import AVAILABILITY, NO_FEED, FeedTopics
from tests.unit.formats.preset_reading import NOW_NS, preset_config, read_by


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
    feed = preset_config("zigbee2mqtt", topic=topic).feed["f"]
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
    feed = preset_config(name, topic=topic, **own).feed["f"]

    assert feed.availability_topics[0] == availability


def test_a_device_is_not_named_by_what_the_topic_lacks() -> None:
    """In place of the preset's {id} something in the payload would be its name."""
    with pytest.raises(ValidationError, match="no device: put"):
        preset_config("shelly2", topic="shellyplus-1/status/{component}")


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
    feed = preset_config(name, topic=topic, channels={"x": {"type": "text"}}).feed["f"]

    assert FeedTopics({"f": feed}, (), 100).feed_of(of.encode()) == "f"


def test_values_of_victrons_system_have_units_too() -> None:
    """Where names stand below others, as of its battery: they are the same values."""
    feed = FeedConfig.model_validate({"preset": "victron"})
    channels = ChannelTable()
    names = ["Dc/Battery/Soc", "Dc/Battery/ConsumedAmphours", "Ac/L1/Energy/Forward", "Yield/User"]
    FeedDecoder("f", feed, channels, IngestConfig()).decode(
        [f"N/c0/system/0/{name}".encode() for name in names],
        [b'{"value": 1}'] * len(names),
        np.full(len(names), NOW_NS),
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

    found = read_by(preset_config(name, topic=topic), [(message, payload)])

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
