"""docker-compose.yml keeps its promises: pinned, bounded, on loopback, without secrets."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.sinks.influxdb.config import InfluxDbConfig
from headgate.cli import simulate
from headgate.config.schema import Config
from tests.mosquitto import settings_of

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GATEWAY = Config.model_validate(
    tomllib.loads((ROOT / "deploy/compose/headgate.toml").read_text()),
)

every_service = pytest.mark.parametrize("name", SERVICES)


def env_example() -> dict[str, str]:
    """Settings of ``.env.example``, those that are commented out included."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = (re.fullmatch(r"#?([A-Z][A-Z0-9_]*)=(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def secret_path(path: Path | None) -> str:
    """The secret that a path inside a container names."""
    assert path is not None
    assert path.parent == Path("/run/secrets")
    return path.name


@every_service
def test_images_are_pinned_to_a_release(name: str) -> None:
    """Another pull brings the same version; the gateway's own image is built here."""
    image = SERVICES[name]["image"]

    assert image == "headgate:local" or re.search(r":\d+\.\d+\.\d+(-|$)", image)


def test_kafka_is_the_release_the_tests_run_against() -> None:
    """What is deployed is what was tested."""
    pom = (ROOT / "tests/kafka/pom.xml").read_text()
    tested = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert tested is not None

    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested[1]}"


@every_service
def test_services_are_bounded_and_unprivileged(name: str) -> None:
    """No service can take the machine's memory, processors, disk or privileges."""
    service = SERVICES[name]

    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert not service.get("privileged")
    assert service.get("network_mode") is None


@every_service
def test_ports_are_published_on_loopback_unless_asked_otherwise(name: str) -> None:
    """Only ``.env`` can put a port on the network."""
    for port in SERVICES[name].get("ports", []):
        assert re.match(r"\$\{HEADGATE_(MQTT_)?BIND:-127\.0\.0\.1\}:", port)


def test_every_server_has_a_health_check() -> None:
    """What others wait for can say that it is ready; the gateway's check is in its image."""
    without = {name for name, service in SERVICES.items() if "healthcheck" not in service}

    assert without == {"gateway"}
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_start_order_waits_for_health() -> None:
    """A service starts when what it can't do without answers, not merely when it exists."""
    order = {
        name: {other: need["condition"] for other, need in service["depends_on"].items()}
        for name, service in SERVICES.items()
        if "depends_on" in service
    }

    assert order == {
        "gateway": {
            "mosquitto": "service_healthy",
            "kafka": "service_healthy",
            "influxdb": "service_started",
        },
        "grafana": {"influxdb": "service_healthy"},
        "simulator": {"mosquitto": "service_healthy", "gateway": "service_healthy"},
    }


def test_the_simulator_runs_only_when_asked() -> None:
    """A plain ``up`` starts no made-up devices."""
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["simulator"]
    assert SERVICES["simulator"]["profiles"] == ["simulate"]


def test_the_simulator_is_started_with_options_it_knows() -> None:
    """The command in the file is one that ``headgate`` accepts."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    simulate.add_parser(parser.add_subparsers())
    command = [
        re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in SERVICES["simulator"]["command"]
    ]
    options = parser.parse_args(command)

    assert options.host == "mosquitto"
    assert secret_path(options.password_file) in SERVICES["simulator"]["secrets"]


def test_the_log_is_seen_by_the_gateway_only() -> None:
    """Kafka asks for no password here, so nothing else may reach it."""
    on_log = {name for name, service in SERVICES.items() if "log" in service["networks"]}

    assert on_log == {"kafka", "gateway"}
    assert SERVICES["kafka"]["networks"] == ["log"]
    assert "ports" not in SERVICES["kafka"]
    assert COMPOSE["networks"]["log"]["internal"] is True


def test_devices_see_the_broker_only() -> None:
    """The network devices arrive on holds no store and no dashboard."""
    on_plant = {name for name, service in SERVICES.items() if "plant" in service["networks"]}

    assert on_plant == {"mosquitto", "gateway", "simulator"}


def test_data_is_kept_in_named_volumes() -> None:
    """``docker compose down`` and up again loses nothing."""
    mounted = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith("./")
    }

    assert mounted == COMPOSE["volumes"].keys()


def test_mounted_files_exist() -> None:
    """Docker would make an empty folder of a path that is missing."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                source, _, options = volume.split(":")
                assert (ROOT / source).exists(), source
                assert options == "ro"


def test_no_secret_is_passed_through_the_environment() -> None:
    """A password or token reaches a container as a file, and appears in no inspection."""
    names = [
        (name, key, value)
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
        if re.search(r"PASSWORD|TOKEN|SECRET", key)
    ]

    assert names
    for name, key, value in names:
        assert key.endswith("_FILE")
        assert secret_path(Path(value)) in SERVICES[name]["secrets"]
    assert not [key for key in env_example() if re.search(r"PASSWORD|TOKEN", key)]


def test_secrets_come_from_the_folder_that_git_ignores() -> None:
    """Each secret a service names is one file of that folder."""
    named = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}

    assert named == COMPOSE["secrets"].keys()
    for name, secret in COMPOSE["secrets"].items():
        assert re.fullmatch(rf"\$\{{HEADGATE_SECRETS(:\?[^}}]+)?\}}/{name}", secret["file"])
    if (ROOT / ".git").exists():
        for path in ("deploy/compose/secrets/x", ".env"):
            check = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
            assert check.returncode == 0, path


def test_every_setting_is_in_the_example() -> None:
    """``.env.example`` shows what can be set, with the defaults the file has."""
    text = re.sub(r"^\s*#.*$", "", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    used = re.findall(r"(?<!\$)\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}", text)
    example = env_example()

    assert {name for name, _, _ in used} == example.keys()
    for name, kind, default in used:
        if kind == ":-":
            assert example[name] == default


#: Answers as InfluxDB's client does inside its container, and notes what it was asked.
_DOCKER = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
case "$*" in
*"bucket list"*) printf '0123456789abcdef\\theadgate\\t2160h0m0s\\n' ;;
*"auth create"*) printf '{\\n\\t"token": "%s==",\\n\\t"status": "x"\\n}\\n' "${12}" ;;
esac
"""


def _prepared(folder: Path) -> tuple[list[str], dict[str, str]]:
    """How to run setup.sh in a folder of its own, without Docker."""
    (folder / "deploy/compose").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/compose/setup.sh", folder / "deploy/compose")
    shutil.copy(ROOT / ".env.example", folder)
    (folder / "bin").mkdir()
    (folder / "bin/docker").write_text(_DOCKER)
    (folder / "bin/docker").chmod(0o755)
    path = f"{folder}/bin:{os.environ['PATH']}"
    return ["sh", str(folder / "deploy/compose/setup.sh")], {**os.environ, "PATH": path}


def test_setup_makes_each_secret_once(tmp_path: Path) -> None:
    """Secrets differ, only the owner gets at them, and a second run leaves them alone."""
    command, environment = _prepared(tmp_path)

    subprocess.run(command, check=True, capture_output=True, env=environment)
    folder = tmp_path / "deploy/compose/secrets"
    secrets = {path.name: path.read_text() for path in folder.iterdir()}
    again = subprocess.run(command, check=True, capture_output=True, env=environment)

    assert secrets.keys() == COMPOSE["secrets"].keys()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    assert (tmp_path / ".env").read_text() == (ROOT / ".env.example").read_text()
    passwords = [value for name, value in secrets.items() if "password" in name]
    assert len(set(passwords)) == len(passwords)
    assert all(re.fullmatch("[0-9a-f]{32}", password) for password in passwords)
    assert again.stdout == b""
    assert secrets == {path.name: path.read_text() for path in folder.iterdir()}


def test_setup_gives_tokens_that_can_do_one_thing(tmp_path: Path) -> None:
    """The gateway's writes the bucket, Grafana's reads it; the operator's is taken from both."""
    command, environment = _prepared(tmp_path)
    folder = tmp_path / "deploy/compose/secrets"
    folder.mkdir(parents=True)
    for name in ("admin", "gateway", "grafana"):
        (folder / f"influxdb_{name}_token").write_text("all of it")

    subprocess.run(command, check=True, capture_output=True, env=environment)
    asked = (tmp_path / "bin/asked").read_text().splitlines()
    created = [line.partition(" influx ")[2] for line in asked if "auth create" in line]

    assert created == [
        "auth create --description gateway --write-bucket 0123456789abcdef --json",
        "auth create --description grafana --read-bucket 0123456789abcdef --json",
    ]
    assert "up -d --wait influxdb" in asked[0]
    assert (folder / "influxdb_admin_token").read_text() == "all of it"
    assert (folder / "influxdb_gateway_token").read_text() == "--write-bucket=="
    assert (folder / "influxdb_grafana_token").read_text() == "--read-bucket=="


def test_the_gateway_is_configured_for_its_neighbours() -> None:
    """Hosts, ports, secrets, organization and bucket are those of the other services."""
    influxdb = GATEWAY.sink["influxdb"].table
    assert isinstance(influxdb, InfluxDbConfig)

    broker = settings_of(GATEWAY)
    assert broker.host == "mosquitto"
    assert f"listener {broker.port} " in (ROOT / "deploy/compose/mosquitto.conf").read_text()
    assert not any(str(broker.port) in port for port in SERVICES["mosquitto"]["ports"])
    assert broker.username == "gateway"
    assert secret_path(broker.password_file) in SERVICES["gateway"]["secrets"]
    assert GATEWAY.log.url == "kafka://kafka:9092"
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert advertised.endswith("://kafka:9092")
    assert influxdb.url == "http://influxdb:8086"
    assert secret_path(influxdb.token_file) in SERVICES["gateway"]["secrets"]
    assert influxdb.org == env_example()["INFLUXDB_ORG"]
    assert influxdb.bucket == env_example()["INFLUXDB_BUCKET"]
    assert GATEWAY.console.host == "0.0.0.0"
    assert secret_path(GATEWAY.console.token_file) == "console_token"
    assert "console_token" in SERVICES["gateway"]["secrets"]
    assert "gateway" in GATEWAY.console.hosts
    assert SERVICES["gateway"]["ports"][0].endswith(f":{GATEWAY.console.port}")
    assert f":{GATEWAY.console.port}/healthz" in (ROOT / "Dockerfile").read_text()
    assert f"gateway-data:{GATEWAY.gateway.data_dir}" in SERVICES["gateway"]["volumes"]


def test_the_gateway_models_are_mounted() -> None:
    """Each model package of the configuration is in the folder that is mounted."""
    for model in GATEWAY.model.values():
        assert model.package.is_relative_to("/etc/headgate/models")
        inside = model.package.relative_to("/etc/headgate/models")
        assert (ROOT / "models/zoo" / inside / "model.toml").is_file()
    assert "./models/zoo:/etc/headgate/models:ro" in SERVICES["gateway"]["volumes"]
