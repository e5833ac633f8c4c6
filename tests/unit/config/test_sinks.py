"""Sinks in the configuration: several of one kind, those of earlier versions, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.logs.configured import sink_group, topic_specs
from connectors.sinks.configured import configured_sinks
from connectors.sinks.influxdb.config import InfluxDbConfig
from connectors.sinks.local_store.config import LocalStoreConfig
from headgate.cli import main
from headgate.config.former import displaced
from headgate.config.insecure import insecure
from headgate.config.load import load_config, located
from headgate.config.schema import Config
from headgate.core.errors import ConfigError

_FEED = '[feed.pump]\ntopic = "plant/{device}"\nchannels.flow = {}\n'
_BOTH = ("anomalies", "aggregates")


def _config(folder: Path, text: str) -> Config:
    file = folder / "plant.toml"
    file.write_text(f"{text}\n{_FEED}")
    return load_config(file)


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        _config(folder, text)
    return [line.removeprefix(f"{folder}/plant.toml:") for line in found.value.problems]


def _kinds(config: Config) -> list[tuple[str, str]]:
    return [(name, sink.name) for name, sink in config.sink.items()]


def test_there_may_be_several_of_one_kind(tmp_path: Path) -> None:
    """Each with a name and a table of its own."""
    (tmp_path / "token").write_text("t")
    config = _config(
        tmp_path,
        '[sink.here]\ntype = "local_store"\n[sink.there]\ntype = "local_store"\npath = "b.db"\n'
        '[sink.plant]\ntype = "influxdb"\nurl = "http://127.0.0.1:1"\norg = "o"\nbucket = "b"\n'
        'token_file = "token"',
    )
    there, plant = config.sink["there"].table, config.sink["plant"].table

    assert configured_sinks(config) == {
        "here": _BOTH,
        "there": _BOTH,
        "plant": _BOTH,
        "mqtt": ("anomalies",),
    }
    assert isinstance(there, LocalStoreConfig)
    assert there.path == Path("b.db")
    assert isinstance(plant, InfluxDbConfig)
    assert plant.token_file == tmp_path / "token"


def test_a_table_of_an_earlier_version_is_the_same_sink(tmp_path: Path) -> None:
    """By its name, which is what the log knows it by, and by every key."""
    old = _config(tmp_path, '[local_store]\npath = "p.db"')
    new = _config(tmp_path, '[sink.local_store]\ntype = "local_store"\npath = "p.db"')

    assert _kinds(old) == _kinds(new) == [("local_store", "local_store"), ("mqtt", "mqtt")]
    assert old.sink["local_store"].table == new.sink["local_store"].table
    # The log keeps records for the same groups, and begins for neither anew.
    assert topic_specs(old) == topic_specs(new)
    assert sink_group(old, "local_store") == "headgate.forward-local_store"


def test_what_an_old_table_is_called_now_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a note and not as a warning; of a new one nothing is said."""
    file = tmp_path / "plant.toml"
    file.write_text(f"[local_store]\n{_FEED}")

    assert main(["check", "-c", str(file), "--strict"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f'note: {file}:1: local_store: is called [sink.local_store] now, with type = "local_store"'
    )
    assert main(["check", "-c", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["warnings"], len(answer["notes"])) == ([], 1)

    file.write_text(f'[sink.local_store]\ntype = "local_store"\n{_FEED}')
    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "sinks"),
    [
        ("", [("s", "local_store"), ("mqtt", "mqtt")]),
        ("[mqtt]\npublish_anomalies = true", [("s", "local_store"), ("mqtt", "mqtt")]),
        ("[mqtt]\npublish_anomalies = false", [("s", "local_store")]),
        ('sink.mqtt = "mqtt"', [("s", "local_store"), ("mqtt", "mqtt")]),
        (
            'sink.mqtt = "mqtt"\n[mqtt]\npublish_anomalies = false',
            [("s", "local_store"), ("mqtt", "mqtt")],
        ),
        (
            'sink.mqtt = { type = "local_store", path = "m.db" }',
            [("s", "local_store"), ("mqtt", "local_store")],
        ),
    ],
)
def test_results_go_back_over_mqtt_unless_told_otherwise(
    tmp_path: Path, text: str, sinks: list[tuple[str, str]]
) -> None:
    """By the flag, or by a sink of that name, which is there once."""
    assert _kinds(_config(tmp_path, f'sink.s = "local_store"\n{text}')) == sinks


def test_a_name_is_used_once(tmp_path: Path) -> None:
    """Whether the other one is an old table or the flag."""
    taken = _problems(
        tmp_path,
        '[local_store]\n[sink.local_store]\ntype = "local_store"\n'
        '[mqtt]\npublish_anomalies = true\nprot = 1\n[sink.mqtt]\ntype = "mqtt"',
    )

    assert taken == [
        (
            "2: sink.local_store: expected one of this name, got local_store as well; give this "
            "one another name, or remove one of the two"
        ),
        '6: mqtt.prot: unknown key; did you mean "port"?',
        (
            "7: sink.mqtt: expected one of this name, got mqtt.publish_anomalies as well; give "
            "this one another name, or remove one of the two"
        ),
    ]


def test_mistakes_are_told_as_in_every_other_table(tmp_path: Path) -> None:
    """All at once, with line and nearest key; no secret is shown."""
    problems = _problems(
        tmp_path,
        '[sink.a]\ntype = "influx"\nurl = "x"\n'
        '[sink.b]\npath = "p.db"\n'
        '[sink.c]\ntype = "local_store"\nretentoin = "1d"\n'
        '[sink.d]\ntype = "influxdb"\nurl = "ftp://x"\norg = "o"\ntoken_env = "hunter 2"\n'
        '[sink."e f"]\ntype = "local_store"\n'
        "[sink]\ng = 3\n"
        '[influxdb]\nurl = "http://x"\ntokn_file = "t"\ntype = "influxdb"',
    )

    assert problems[0].startswith("2: sink.a.type: expected one of ")
    assert problems[0].endswith('; did you mean "influxdb"?, got "influx"')
    assert problems[1:] == [
        "4: sink.b.type: missing; this key is required",
        '8: sink.c.retentoin: unknown key; did you mean "retention"?',
        "9: sink.d.bucket: missing; this key is required",
        '11: sink.d.url: expected "http://HOST:PORT" or "https://HOST:PORT", got "ftp://x"',
        (
            "13: sink.d.token_env: expected the name of an environment variable, such as "
            "HEADGATE_TOKEN"
        ),
        (
            "14: sink.\"e f\": expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a "
            'letter or digit, got "e f"'
        ),
        "17: sink.g: expected a name, or a table, got 3",
        "18: influxdb.org: missing; this key is required",
        "18: influxdb.bucket: missing; this key is required",
        '20: influxdb.tokn_file: unknown key; did you mean "token_file"?',
        (
            "21: influxdb.type: unknown key; allowed here: bucket, ca_file, max_points, max_wait, "
            "org, timeout, token_env, token_file, url, verify_tls"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("local_store = 3", "1: local_store: expected a table, got 3"),
        ("sink = 3", "1: sink: expected a table, got 3"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, text: str, problem: str) -> None:
    """Where the file has it."""
    assert problem in _problems(tmp_path, text)


def test_no_two_write_one_file(tmp_path: Path) -> None:
    """Nor the log's."""
    assert _problems(
        tmp_path,
        '[local_store]\n[sink.b]\ntype = "local_store"\n'
        f'[sink.c]\ntype = "local_store"\npath = "{tmp_path}/data/log.db"',
    ) == [
        (
            f"2: sink.b.path: expected a file of its own, got {tmp_path}/data/points.db, which "
            "local_store.path names, too"
        ),
        (
            f"6: sink.c.path: expected a file of its own, got {tmp_path}/data/log.db, which "
            "log.url names, too"
        ),
    ]


def test_no_two_publish_to_the_same_topics(tmp_path: Path) -> None:
    """The newest would not stay: a new sink begins with what the log still has."""
    text = '[local_store]\n[sink.again]\ntype = "mqtt"\n'
    assert _problems(tmp_path, text) == [
        (
            "2: sink.again.topic_prefix: expected topics of its own, got headgate, which "
            "mqtt.publish_anomalies names, too"
        )
    ]
    _config(tmp_path, text + 'topic_prefix = "hall/headgate"')
    elsewhere = '[mqtt]\n[source.yard]\ntype = "mqtt"\n' + text + 'source = "yard"\n'
    file = tmp_path / "plant.toml"
    file.write_text(elsewhere + _FEED + 'source = "yard"\n')
    assert list(load_config(file).sink) == ["local_store", "again", "mqtt"]


def test_a_sink_in_the_place_of_results_over_mqtt_is_warned_of(tmp_path: Path) -> None:
    """Somebody may wait for them; who says that they are not wanted is told nothing."""
    file = '[sink.mqtt]\ntype = "file"\npath = "points.lp"\n'
    (told,) = displaced(_config(tmp_path, f"[mqtt]\n{file}"))
    assert told.startswith('sink.mqtt: with type = "file" it takes the place of the results that')

    for text in (
        f"[mqtt]\npublish_anomalies = false\n{file}",
        f"[mqtt]\n{file.replace('sink.mqtt', 'sink.lines')}",
        '[mqtt]\n[sink.mqtt]\ntype = "mqtt"\n',
        "[mqtt]\n[local_store]\n",
    ):
        assert not list(displaced(_config(tmp_path, text)))


def test_who_may_not_look_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that only look go on for those who may not enter the folder of data."""

    def refuse(_path: Path, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    _config(tmp_path, '[sink.f]\ntype = "file"\npath = "/root/x/points.lp"')


def test_a_file_to_write_is_no_folder(tmp_path: Path) -> None:
    """It is told before anything runs."""
    (tmp_path / "data").mkdir()
    for path in (tmp_path, ""):
        (problem,) = _problems(tmp_path, f'[sink.f]\ntype = "file"\npath = "{path}"')
        assert problem.startswith("3: sink.f.path: expected a file, found a folder at ")


def test_a_sinks_secrets_and_files_are_looked_after(tmp_path: Path) -> None:
    """As those of the tables that were there before."""
    text = (
        '[sink.far]\ntype = "influxdb"\nurl = "http://influx.example"\norg = "o"\nbucket = "b"\n'
        'token_file = "token"\nca_file = "ca.pem"'
    )
    assert _problems(tmp_path, text) == [
        f"6: sink.far.token_file: {tmp_path}/token: No such file or directory",
        f"7: sink.far.ca_file: expected a file, found none at {tmp_path}/ca.pem",
    ]
    for name in ("token", "ca.pem"):
        (tmp_path / name).write_text("t")
    config = _config(tmp_path, text)
    (found,) = located(tmp_path / "plant.toml", insecure(config, tmp_path / "plant.toml"))
    assert found.startswith(f"{tmp_path}/plant.toml:3: sink.far.url: http:// sends the token to ")
