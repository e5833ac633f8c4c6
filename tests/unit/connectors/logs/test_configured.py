"""The configuration decides which log is opened and what its topics are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from faust.transport import by_url
from yarl import URL

from connectors.logs import configured
from connectors.logs.configured import (
    broker_url,
    faust_settings,
    open_log,
    topic,
    topic_specs,
)
from connectors.logs.embedded.store import SqliteLog
from connectors.logs.kafka.log import KafkaLog
from headgate.config.schema import Config
from headgate.core.errors import ConfigError
from headgate.core.log import QUARANTINE, READINGS, STATE, Share
from headgate.testing import ManualClock

#: Keys that the samples show with their default; the others have none.
_DEFAULTS = {
    "partitions",
    "retention",
    "retention_bytes",
    "topic_prefix",
    "replication_factor",
    "sasl_mechanism",
}


def _config(tmp_path: Path, **log: Any) -> Config:  # noqa: ANN401  (any key of the table)
    return Config.model_validate(
        {
            "gateway": {"data_dir": str(tmp_path)},
            "log": log,
            "local_store": {},
            "feed": {"pumps": {"topic": "plant/{device}", "channels": {"flow": {}}}},
        }
    )


def test_topics_carry_the_prefix_and_share_the_retention(tmp_path: Path) -> None:
    """All partitions of all topics together stay within ``retention_bytes``; state is compacted."""
    config = _config(
        tmp_path, topic_prefix="site7.", partitions=3, retention="1h", retention_bytes="300MB"
    )

    specs = {spec.name: spec for spec in topic_specs(config)}

    assert topic(config, READINGS) == "site7.readings"
    assert {spec.partitions for spec in specs.values()} == {3}
    assert specs["site7.readings"].retention_s == 3600
    assert specs["site7." + STATE].is_compacted
    assert specs["site7." + STATE].retention_bytes is None
    kept = sum(3 * (spec.retention_bytes or 0) for spec in specs.values())
    assert 0.99 * 300_000_000 < kept <= 300_000_000
    assert len(specs) == 8
    assert "site7." + QUARANTINE in specs


def test_the_embedded_log_is_a_file_below_the_data_folder(tmp_path: Path) -> None:
    """Faust is given the same file; characters with a meaning in URLs survive."""
    folder = tmp_path / "with space; and #?%"
    config = _config(folder, url="sqlite:///log.db")

    transport = by_url(broker_url(config, Share()))
    log = transport([URL(broker_url(config, Share()))], app=None).open_log()

    assert isinstance(open_log(config, ManualClock()), SqliteLog)
    assert log._path == folder / "log.db"
    assert ";" not in broker_url(config, Share())
    assert faust_settings(config) == {}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_divide_the_partitions(count: int) -> None:
    """Each partition is in one share, and a share survives being written down."""
    shares = [Share.parse(str(Share(number, count))) for number in range(1, count + 1)]
    partitions = [partition for share in shares for partition in share.partitions(4)]

    assert sorted(partitions) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    """The number is one of so many."""
    with pytest.raises(ValueError, match=r"share|invalid literal"):
        Share.parse(text)


def test_kafka_servers_get_their_usual_port(tmp_path: Path) -> None:
    """Faust is given one URL a server."""
    config = _config(tmp_path, url="kafka://one,two:19092")

    assert isinstance(open_log(config, ManualClock()), KafkaLog)
    assert broker_url(config, Share()) == "headgate-kafka://one:9092;headgate-kafka://two:19092"
    assert faust_settings(config) == {}


def test_a_password_reaches_faust_but_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from its reference and stands neither in the URL nor in a representation."""
    monkeypatch.setenv("KAFKA_PASSWORD", "hush")
    config = _config(tmp_path, url="kafka://one", username="gateway", password_env="KAFKA_PASSWORD")

    credentials = faust_settings(config)["broker_credentials"]

    assert credentials.password == "hush"
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert "hush" not in broker_url(config, Share()) + repr(credentials) + repr(config)


def test_a_password_that_cannot_be_read_is_the_users_mistake(tmp_path: Path) -> None:
    """The message names the reference."""
    config = _config(tmp_path, url="kafka://one", username="gateway", password_env="NOT_SET_HERE")

    with pytest.raises(ConfigError, match="NOT_SET_HERE"):
        open_log(config, ManualClock())


@pytest.mark.parametrize("name", ["embedded", "kafka"])
def test_the_sample_is_valid_and_stands_in_the_readme(name: str, tmp_path: Path) -> None:
    """Defaults shown as comments are the defaults, and the README shows the same file."""
    folder = Path(configured.__file__).parent / name
    sample = (folder / "sample.toml").read_text()
    assert sample in (folder / "README.md").read_text()

    given = tomllib.loads(sample)["log"]
    shown = tomllib.loads(
        "".join(
            line.removeprefix("# ") + "\n"
            for line in sample.splitlines()
            if line.startswith("# ") and "password" not in line and "username" not in line
        )
    )

    assert _config(tmp_path, **given).log.url == given["url"]
    with_shown = _config(tmp_path, **{**given, **shown}).log
    assert {key: getattr(with_shown, key) for key in shown if key in _DEFAULTS} == {
        key: getattr(_config(tmp_path).log, key) for key in shown if key in _DEFAULTS
    }
