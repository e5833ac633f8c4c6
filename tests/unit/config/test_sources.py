"""Sources in the configuration: several, the plain one, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.mqtt.config import MqttConfig
from headgate.cli import main
from headgate.config.insecure import insecure
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.errors import ConfigError

_SINK = "[local_store]\n"


def _config(folder: Path, text: str) -> Config:
    file = folder / "plant.toml"
    file.write_text(text)
    return load_config(file)


def _feed(name: str = "pump", topic: str = "plant/{device}", source: str = "") -> str:
    said = f"source = {source}\n" if source else ""
    return f'[feed.{name}]\ntopic = "{topic}"\n{said}channels.flow = {{}}\n'


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        _config(folder, text)
    return [line.removeprefix(f"{folder}/plant.toml:") for line in found.value.problems]


def _settings(config: Config, name: str) -> MqttConfig:
    table = config.source[name].table
    assert isinstance(table, MqttConfig)
    return table


_TWO = '[source.hall]\ntype = "mqtt"\nport = 1\n[source.yard]\ntype = "mqtt"\nport = 2\n'


def test_without_a_word_it_is_the_broker_on_this_machine(tmp_path: Path) -> None:
    """As it always was; and as it is when it is said, by the table or as any other source."""
    configs = [
        _config(tmp_path, _SINK + text + _feed())
        for text in ("", "[mqtt]\n", '[source.mqtt]\ntype = "mqtt"\n')
    ]

    assert [list(config.source) for config in configs] == [["mqtt"]] * 3
    assert [_settings(config, "mqtt").where for config in configs] == ["127.0.0.1:1883"] * 3
    assert configs[0].sources_of("pump") == ("mqtt",)
    # Files of the source that earlier versions had are where they were.
    assert configs[2].source_file("mqtt", "retained.db") == tmp_path / "data" / "retained.db"


def test_there_may_be_several(tmp_path: Path) -> None:
    """Each feed says which it is of, or that it is of several."""
    config = _config(
        tmp_path,
        _SINK
        + _TWO
        + "[mqtt]\nport = 3\n"
        + _feed("a", source='"hall"')
        + _feed("b", source='["yard", "mqtt"]'),
    )

    assert [_settings(config, name).port for name in ("hall", "yard", "mqtt")] == [1, 2, 3]
    assert config.sources_of("b") == ("yard", "mqtt")
    assert list(config.feeds_of("hall")) == ["a"]
    assert list(config.feeds_of("mqtt")) == ["b"]
    assert config.source_file("hall", "retained.db").name == "retained-hall.db"


def test_feeds_of_different_sources_may_have_one_topic(tmp_path: Path) -> None:
    """No message is of both; of one source it would be."""
    text = _SINK + _TWO + _feed("a", source='"hall"')
    _config(tmp_path, text + _feed("b", source='"yard"'))

    (problem,) = _problems(tmp_path, text + _feed("b", source='["yard", "hall"]'))
    assert problem.startswith("13: feed.b.topic: plant/{device} and feed.a's plant/{device} may")


def test_no_two_sources_have_one_session(tmp_path: Path) -> None:
    """At one broker they would throw each other out, and get each other's messages."""
    feeds = _feed("a", "a/{device}", '"hall"') + _feed("b", "b/{device}", '"mqtt"')
    text = (
        _SINK
        + '[source.hall]\ntype = "mqtt"\nclient_id = "gw"\n'
        + '[mqtt]\nclient_id = "gw"\nport = {port}\n'
        + feeds
    )
    _config(tmp_path, text.replace("{port}", "1884"))

    (problem,) = _problems(tmp_path, text.replace("{port}", "1883"))
    assert problem == (
        "4: source.hall.client_id: expected one of its own, got that of mqtt at the same place: "
        "one would end the other's connection, and take messages of its feeds"
    )


def test_what_a_feed_says_of_its_source_is_checked(tmp_path: Path) -> None:
    """With what there is; the line is that of the key, or of the feed where there is none."""
    problems = _problems(
        tmp_path,
        _SINK
        + _TWO
        + _feed("a", "a/{device}")
        + _feed("b", "b/{device}", '"hal"')
        + _feed("c", "c/{device}", "[]")
        + _feed("d", "d/{device}", '["hall", "hall"]'),
    )

    assert problems == [
        "8: feed.a.source: missing; expected one of hall, yard, or a list of some of them",
        '13: feed.b.source: no source "hal" in this file; those there are: hall, yard',
        (
            "17: feed.c.source: expected the name of a source, or a list of some, none of them "
            "twice, got []"
        ),
        (
            "21: feed.d.source: expected the name of a source, or a list of some, none of them "
            'twice, got ["hall", "hall"]'
        ),
    ]


def test_mistakes_are_told_as_in_every_other_table(tmp_path: Path) -> None:
    """All at once, with line and nearest key; no secret is shown."""
    assert _problems(
        tmp_path,
        _SINK
        + '[mqtt]\nprot = 1\npublish_anomalies = "yes"\n'
        + '[source.a]\ntype = "mqt"\n'
        + '[source.b]\ntype = "mqtt"\npublish_anomalies = true\npassword_env = "hunter 2"\n'
        + _feed(source='"a"'),
    ) == [
        '3: mqtt.prot: unknown key; did you mean "port"?',
        '4: mqtt.publish_anomalies: expected true or false, got "yes"',
        '6: source.a.type: expected one of gateway, mqtt; did you mean "mqtt"?, got "mqt"',
        '9: source.b.publish_anomalies: unknown key; did you mean "publish_state"?',
        (
            "10: source.b.password_env: expected the name of an environment variable, such as "
            "HEADGATE_TOKEN"
        ),
    ]
    (named,) = _problems(tmp_path, _SINK + '[source.log]\ntype = "mqtt"\n' + _feed())
    assert named.startswith('2: source.log: expected any name but "log"')
    (taken,) = _problems(tmp_path, _SINK + '[mqtt]\n[source.mqtt]\ntype = "mqtt"\n' + _feed())
    assert taken.startswith("3: source.mqtt: expected one of this name, got mqtt as well; give")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[mqtt]\nsession_expiry = "60d"\n', "mqtt"),
        ('[source.hall]\ntype = "mqtt"\nsession_expiry = "60d"\n', "source.hall"),
    ],
)
def test_nothing_is_forgotten_while_a_broker_may_keep_something_of_it(
    tmp_path: Path, text: str, place: str
) -> None:
    """Of any source."""
    config = _config(tmp_path, _SINK + text + _feed())
    assert config.forget_after == 60 * 86400 * 10**9

    (problem,) = _problems(tmp_path, '[gateway]\nforget_after = "31d"\n' + _SINK + text + _feed())
    assert problem == (
        f'2: gateway.forget_after: expected at least {place}.session_expiry, 60d, got "31d"'
    )


def test_results_go_back_by_themselves_only_to_the_plain_broker(tmp_path: Path) -> None:
    """To any other when it is asked for, by a name that is there."""
    feed = _feed(source='"yard"')
    assert list(_config(tmp_path, _SINK + _TWO + feed).sink) == ["local_store"]
    assert list(_config(tmp_path, _SINK + "[mqtt]\n" + _TWO + feed).sink) == ["local_store", "mqtt"]

    back = '[sink.back]\ntype = "mqtt"\nsource = "{}"\n'
    _config(tmp_path, _SINK + _TWO + back.format("yard") + feed)
    assert _problems(tmp_path, _SINK + _TWO + back.format("hal") + feed) == [
        '10: sink.back.source: no source "hal" in this file; those there are: hall, yard'
    ]


def test_what_is_insecure_of_each_is_told(tmp_path: Path) -> None:
    """Under its own name."""
    account = 'host = "10.0.0.1"\nusername = "u"\n'
    text = f'{_SINK}[mqtt]\n{account}[source.hall]\ntype = "mqtt"\n{account}' + _feed(
        source='"hall"'
    )
    lines = [line.partition(":")[0] for line in insecure(_config(tmp_path, text), tmp_path / "x")]

    assert lines[:2] == ["mqtt.username", "source.hall.username"]


def test_the_components_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With their keys."""
    assert main(["components", "sources.mqtt"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## sources.mqtt (built in): an MQTT broker that devices publish to")
    assert '[source.hall]\ntype = "mqtt"' in text


_ITSELF = '[source.gateway]\ntype = "gateway"\n'
_OF_ITSELF = '[feed.gateway]\npreset = "gateway"\nsource = "gateway"\n'


def test_the_gateway_itself_takes_nothing_from_the_brokers(tmp_path: Path) -> None:
    """All is as without it: the plain broker, results that go back, and feeds that name none."""
    plain = _config(tmp_path, _SINK + _feed())
    config = _config(tmp_path, _SINK + _ITSELF + _feed() + _OF_ITSELF)

    assert list(config.source) == ["mqtt", "gateway"]
    assert list(config.sink) == list(plain.sink) == ["local_store", "mqtt"]
    assert config.sources_of("pump") == ("mqtt",)
    assert config.sources_of("gateway") == ("gateway",)
    assert config.bringing == ("mqtt",)


def test_among_several_brokers_the_gateway_itself_is_not_meant(tmp_path: Path) -> None:
    """By a feed that names none; and it is none that such a feed could be of."""
    assert _problems(tmp_path, _SINK + _TWO + _ITSELF + _feed() + _OF_ITSELF) == [
        "10: feed.pump.source: missing; expected one of hall, yard, or a list of some of them"
    ]
    hall = '[source.hall]\ntype = "mqtt"\n'
    config = _config(tmp_path, _SINK + hall + _ITSELF + _feed() + _OF_ITSELF)
    assert config.sources_of("pump") == ("hall",)


def test_a_feed_of_the_gateway_itself_is_of_its_topic(tmp_path: Path) -> None:
    """Nothing else would ever come of it; and without the source nothing comes at all."""
    other = '[feed.gateway]\nsource = "gateway"\ntopic = "{device}"\nchannels.cpu = {}\n'
    (problem,) = _problems(tmp_path, _SINK + _ITSELF + other)
    assert problem == (
        '6: feed.gateway.topic: expected "gateway/gauges", the topic of what source gateway '
        'measures, got {device}; preset = "gateway" has it, and the channels'
    )
    without = '[feed.gateway]\npreset = "gateway"\n'
    wanted = (
        'feed.gateway.source: expected a source that measures what preset "gateway" has: give '
        '[source.gateway] with type = "gateway", and here source = "gateway"'
    )
    for sources, line in (("", 2), (_ITSELF, 4)):
        assert _problems(tmp_path, _SINK + sources + without) == [f"{line}: {wanted}"]


def test_rules_on_the_gateway_itself_are_checked(tmp_path: Path) -> None:
    """As those of any feed, by its channels."""
    rule = '[rule.disk]\nfeed = "gateway"\nwhen = "disk < 10"\n'
    (problem,) = _problems(tmp_path, _SINK + _ITSELF + _OF_ITSELF + rule)

    assert problem.startswith("9: rule.disk.when: no channel disk in the feed")
