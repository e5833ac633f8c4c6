"""The format ``sparkplug``: what its feed may say, and what its page shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import connectors.formats.sparkplug
from connectors.formats.sparkplug.component import SparkplugConfig
from headgate.config.feed import FeedConfig
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.errors import ConfigError
from tests.unit.formats.sparkplug.host import (
    INT32,
    Host,
    metric,
)

_CHANNELS: dict[str, Any] = {
    "speed": {"path": "Motor/Speed"},
    "temp": {},
    "state": {"path": "State", "states": {"run": 1, "idle": 0}},
}
_SPEED = metric("Motor/Speed", 10, alias=1, datatype=INT32)
_TEMP = metric("temp", 20.5, alias=2)
_OTHER = metric("other", 1.0, alias=3)
_ASK = "spBv1.0/g/NCMD/n"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"topic": "plant/#"}, "topic: expected all messages"),
        ({"topic": "spBv1.0/g/DDATA/+/+"}, "topic: expected all messages"),
        ({"topic": "spBv1.0/g/+/{node}/{device}"}, "topic: expected all messages"),
        ({"topic": "spBv1.0/g/{kind}/#"}, "topic: expected all messages"),
        ({"topic": "spBv1.0/{device}/#"}, "{device} can't stand in it"),
        ({"retained": "once"}, "retained: a birth"),
        ({"records": "metrics"}, "records: Sparkplug"),
        ({"quality": {"path": "q"}}, "quality: Sparkplug"),
        ({"time": {"path": "t"}}, "time: Sparkplug"),
        ({"time": {"unit": "s"}}, "time: Sparkplug"),
        ({"channels": {"a": {"required": True}}}, "required: nodes send"),
        ({"channels": {"a": {"default": 1}}}, "default: nodes send"),
        ({"format": {"type": "sparkplug", "historical": "no"}}, "apart"),
    ],
)
def test_what_does_not_go_with_the_format_is_told(keys: dict[str, Any], told: str) -> None:
    """When the configuration is read."""
    base = {"topic": "spBv1.0/#", "format": "sparkplug", "channels": {"a": {}}}
    with pytest.raises(ValueError, match=told.replace("{", r"\{")):
        FeedConfig.model_validate({**base, **keys})


def test_the_page_shows_a_feed_that_works_and_the_sample() -> None:
    """As it stands there, to be copied."""
    folder = Path(connectors.formats.sparkplug.__file__).parent
    page, sample = (folder / "README.md").read_text(), (folder / "sample.toml").read_text()
    assert sample.strip() in page
    feed, own, host = map(tomllib.loads, re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    feed["feed"]["plant"]["format"] = own["feed"]["plant"]["format"]
    config = Config.model_validate({**feed, **host, "local_store": {}})
    assert config.sources["mqtt"].primary_host == "headgate"  # type: ignore[attr-defined]
    shown = "\n".join(line[2:] for line in sample.splitlines() if line.startswith("# "))
    assert SparkplugConfig.model_validate(tomllib.loads(shown)) == SparkplugConfig()


def test_a_nodes_messages_are_shared_with_nobody(tmp_path: Path) -> None:
    """A part of them means nothing; and a connection has one last will."""
    feed = {"topic": "spBv1.0/#", "format": "sparkplug", "channels": {"a": {}}}
    table = {"feed": {"plant": feed}, "local_store": {}}
    file = tmp_path / "headgate.toml"
    file.write_text(
        '[mqtt]\nshared_group = "g"\n[local_store]\n[feed.plant]\ntopic = "spBv1.0/#"\n'
        'format = "sparkplug"\nchannels.a = {}\n'
    )
    with pytest.raises(ConfigError) as found:
        load_config(file)
    (problem,) = found.value.problems
    assert problem.startswith(f"{file}:6: feed.plant.format: sparkplug means nothing without")
    with pytest.raises(ValueError, match="a connection has one last will"):
        Config.model_validate({**table, "mqtt": {"publish_state": True, "primary_host": "h"}})
    with pytest.raises(ValueError, match="primary_host_version: of which host"):
        Config.model_validate({**table, "mqtt": {"primary_host_version": "2.2"}})


def test_a_feed_need_not_say_what_the_format_knows() -> None:
    """Devices, times, and that nothing is retained; other keys of the time stay."""
    feed = Host({"a": {}}, time={"max_ahead": "1h"}).feed
    assert (feed.time.path, feed.time.unit, feed.handles_retained) == ("timestamp", "ms", "ignore")
    assert feed.time.max_ahead == 3600 * 10**9
    assert FeedConfig.model_validate(feed.model_dump(exclude_unset=True)).time == feed.time
