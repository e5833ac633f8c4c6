"""The commented ``headgate.toml`` at the top of the project tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

from headgate.config.load import load_config
from headgate.config.schema import Config

_FILE = Path(__file__).parents[3] / "headgate.toml"

#: Keys without a default that could be shown: what stands there is an example.
_EXAMPLES = {
    "action.stop.answer",
    "action.stop.payload",
    "action.stop.rules",
    "action.stop.source",
    "action.stop.topic",
    "console.token_file",
    "feed.pump.availability",
    "feed.pump.content_types",
    "feed.pump.device",
    "feed.pump.expect_every",
    "feed.pump.identity",
    "feed.pump.measurement",
    "feed.pump.records",
    "feed.pump.ignore",
    "feed.pump.preset",
    "feed.pump.retained",
    "feed.pump.tags",
    "feed.pump.source",
    "mqtt.client_id",
    "mqtt.ignore",
    "mqtt.password_env",
    "mqtt.primary_host",
    "mqtt.shared_group",
    "mqtt.tls.alpn",
    "mqtt.tls.ca_file",
    "mqtt.tls.cert_file",
    "mqtt.tls.key_file",
    "mqtt.tls.server_name",
    "mqtt.username",
    "rule.overheated.clear",
    "rule.overheated.clear_for",
    "rule.overheated.during",
    "rule.overheated.feed",
    "rule.overheated.for",
    "rule.overheated.severity",
    "rule.overheated.text",
    "rule.overheated.when",
    "schedule.nights.times",
    "schedule.production.dates",
    "schedule.production.days",
    "schedule.production.times",
    "sink.people.type",
    "sink.people.urls_file",
    "sink.operator.at_most",
    "sink.operator.quiet",
    "sink.operator.type",
    "sink.operator.url",
    "sink.operator.secret_file",
    "sink.operator.token_file",
    "sink.influxdb.bucket",
    "sink.influxdb.org",
    "sink.influxdb.token_file",
    "sink.influxdb.type",
    "sink.influxdb.url",
    "source.hall.host",
    "source.hall.type",
}

#: Examples that contradict another line of the file: Kafka's, while the log is a SQLite file.
_FOR_KAFKA = {"log.password_env", "log.tls_ca_file", "log.username"}


def uncommented(*, defaults: bool) -> tuple[str, set[str]]:
    """The file with its examples switched on, and with its defaults too or not; their keys."""
    lines, switched_on = [], set()
    table = ""
    for line in _FILE.read_text().splitlines():
        bare = line.removeprefix("# ")
        if header := re.match(r"\[([a-z_.]+)\]", bare):
            table = header[1]
            lines.append(bare)
            continue
        setting = re.match(r"# ([a-z_]+) = \S", line)
        key = f"{table}.{setting[1]}" if setting else ""
        if key and key not in _FOR_KAFKA and (defaults or key in _EXAMPLES):
            switched_on.add(key)
            lines.append(bare)
        else:
            lines.append(line)
    return "\n".join(lines), switched_on


def test_the_example_is_good() -> None:
    """It is what a newcomer starts from."""
    config = load_config(_FILE)

    assert list(config.feed) == ["pump"]
    assert list(config.sink) == ["local_store", "mqtt"]


def test_lines_that_are_commented_out_show_the_defaults(tmp_path: Path) -> None:
    """Switching all of them on changes nothing."""
    configs = []
    for defaults in (False, True):
        text, switched_on = uncommented(defaults=defaults)
        assert switched_on >= _EXAMPLES
        path = tmp_path / "headgate.toml"
        path.write_text(text)
        configs.append(load_config(path, check_files=False))

    assert len(switched_on - _EXAMPLES) > 30
    assert configs[0] == configs[1]
    assert list(configs[0].sink) == ["influxdb", "local_store", "operator", "people", "mqtt"]


def test_every_table_is_shown() -> None:
    """What is not shown can't be found."""
    text = _FILE.read_text()

    assert [
        name
        for name in Config.model_fields
        if not re.search(rf"^(# )?\[{name}[.\]]", text, re.MULTILINE)
    ] == []
