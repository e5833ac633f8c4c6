"""Presets: recorded messages of each product, read with one line of configuration."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.load import load_config
from headgate.config.preset import presets, with_preset
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.errors import ConfigError
from tests.unit.formats.preset_reading import NOW_NS, preset_config, read_by
from tests.unit.formats.sparkplug.host import dbirth, ddata, metric, nbirth

CASES = Path(__file__).parents[2] / "cases/presets"

#: Its messages are no texts.
_BINARY = {"sparkplug"}


@pytest.mark.parametrize("name", sorted(presets().keys() - _BINARY))
def test_a_preset_reads_what_its_product_publishes(name: str) -> None:
    lines = (CASES / f"{name}.txt").read_text().splitlines()
    said = [line.split(" ", 1) for line in lines if not line.startswith("→ ")]

    readings = read_by(preset_config(name), [(topic, payload.encode()) for topic, payload in said])

    assert readings == [line for line in lines if line.startswith("→ ")]


def test_sparkplug_reads_every_metric_but_those_of_the_node_itself() -> None:
    messages = [
        nbirth(metric("Node Control/Rebirth", 1.0), metric("Line/Speed", 41.5)),
        dbirth(metric("Motor.Temp", 61.25, alias=7), seq=1),
        ddata(metric(None, 61.5, alias=7), seq=2),
    ]

    assert read_by(preset_config("sparkplug"), messages) == [
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

    of_preset = preset_config(name).feed["f"].model_copy(update={"preset": None})
    assert config.feed["f"] == of_preset


def test_keys_of_the_feed_count_before_those_of_the_preset() -> None:
    feed = preset_config(
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

    without = preset_config("zigbee2mqtt", channels={"battery": False, "linkquality": False})
    listed = preset_config("zigbee2mqtt", other_channels=False)

    assert read_by(without, [message]) == ["→ a temperature 4.4 C"]
    assert read_by(listed, [message]) == ["→ a battery 97 %", "→ a temperature 4.4 C"]


def test_true_is_what_a_preset_has() -> None:
    """With its states, units and names that are left out, and without what is left out here."""
    plain, feed = (
        preset_config("zigbee2mqtt", channels={"linkquality": False}, **keys).feed["f"]
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

    feed = preset_config(name, **own).feed["f"]

    assert {key: getattr(feed, key) for key in own.keys() - {"availability"}}.items() <= own.items()


def test_a_shelly_may_have_a_prefix_of_its_own() -> None:
    own = {"topic": "{device}/status/{component}", "device": "{device}"}
    config = preset_config("shelly2", **own, availability={"topic": "{device}/online"})

    readings = read_by(
        config, [("shed/status/switch:0", b'{"id": 0, "apower": 1}'), ("shed/online", b"false")]
    )

    assert readings == ["→ shed apower 1 W", "→ shed is offline"]


def test_names_with_slashes_of_zigbee2mqtt_are_no_others() -> None:
    """What devices are told is no reading, however many levels their names have."""
    config = preset_config("zigbee2mqtt", topic="zigbee2mqtt/{device...}")
    names = ["lamp", "floor/lamp", "hall/floor/lamp"]
    readings = [(f"zigbee2mqtt/{name}", b'{"state": "ON"}') for name in names]
    others = [
        (f"zigbee2mqtt/{name}/{rest}", b'{"state": "OFF"}')
        for name in names
        for rest in ("set", "get", "l1/set", "set/state", "get/state", "l1/set/state")
    ]
    states = [(f"zigbee2mqtt/{name}/availability", b'{"state": "online"}') for name in names]
    bridge = [("zigbee2mqtt/bridge/devices", b"[]"), ("zigbee2mqtt/bridge/request/restart", b"{}")]

    assert read_by(config, [*readings, *others, *states, *bridge]) == [
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
        config = preset_config(name)
        channels = ChannelTable()
        FeedDecoder("f", config.feed["f"], channels, config.ingest).decode(
            [b"telegraf/h"], [payload.encode()], np.array([NOW_NS])
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

    assert read_by(
        preset_config("telegraf_json", records="metrics"), [("telegraf/x", payload)]
    ) == [
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
    """But for those of one product in two ways, and ESPHome, whose nodes may be called anything.

    The gateway itself is at no broker.
    """
    file = tmp_path / "headgate.toml"
    together = presets().keys() - {"esphome", "telegraf_json", "gateway"}
    tables = "".join(f'[feed.{name}]\npreset = "{name}"\n' for name in together)
    prefixed = 'topic = "esphome/{device}/{component}/{channel}/state"'
    beside = f'[feed.esphome]\npreset = "esphome"\n{prefixed}\n'
    file.write_text(f"[local_store]\n{tables}{beside}")

    assert load_config(file).feed.keys() == together | {"esphome"}
