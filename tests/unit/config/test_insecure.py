"""What ``headgate check`` calls insecure, and where it says so."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.hosts import host_of, is_loopback
from headgate.config.insecure import insecure
from headgate.config.load import load_config, located

_FEED = '[feed.pump]\ntopic = "plant/{device}"\nchannels.flow = {}\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others on this machine can get to, which pytest's own is not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _warnings(folder: Path, text: str) -> list[str]:
    """The warnings about a configuration, without their file."""
    for name in ("password", "token", "key.pem", "cert.pem", "ca.pem"):
        if not (folder / name).exists():
            (folder / name).write_text("hunter2hunter2hunter2")
            (folder / name).chmod(0o600)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    file = folder / "plant.toml"
    file.write_text(f"{text}\n{_FEED}")
    file.chmod(0o644)
    found = located(file, insecure(load_config(file), file))
    assert all(line.startswith(f"{file}:") for line in found)
    assert "hunter2" not in "".join(found)
    return [line.removeprefix(f"{file}:") for line in found]


def test_what_stays_on_the_machine_is_secure(folder: Path) -> None:
    """Passwords on loopback, and over TLS, are nobody's business."""
    local = (
        '[mqtt]\nhost = "127.0.0.1"\nusername = "gateway"\npassword_file = "password"\n'
        '[log]\nurl = "kafka://localhost:9092"\nusername = "gateway"\npassword_file = "password"\n'
        'sasl_mechanism = "PLAIN"\n'
        '[influxdb]\nurl = "http://localhost:8086"\norg = "o"\nbucket = "b"\ntoken_file = "token"\n'
        '[console]\nhost = "::1"'
    )
    assert _warnings(folder, local) == []

    encrypted = (
        '[mqtt]\nhost = "mqtt.example"\nusername = "gateway"\npassword_file = "password"\n'
        '[mqtt.tls]\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
        '[log]\nurl = "kafka://kafka.example"\nusername = "gateway"\npassword_file = "password"\n'
        'sasl_mechanism = "PLAIN"\ntls_ca_file = "ca.pem"\n'
        '[influxdb]\nurl = "https://influx.example"\norg = "o"\nbucket = "b"\ntoken_file = "token"'
    )
    assert _warnings(folder, encrypted) == []


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            (
                '[local_store]\n[mqtt]\nhost = "mqtt.example"\nusername = "gateway"\n'
                'password_file = "password"'
            ),
            "5: mqtt.password_file",
            "name and password go to mqtt.example as they are",
        ),
        (
            '[local_store]\n[mqtt]\nhost = "10.0.0.7"\nusername = "gateway"',
            "4: mqtt.username",
            "name and password go to 10.0.0.7 as they are",
        ),
        (
            (
                '[local_store]\n[log]\nurl = "kafka://kafka.example:9092"\nusername = "gateway"\n'
                'password_file = "password"\nsasl_mechanism = "PLAIN"'
            ),
            "6: log.sasl_mechanism",
            "PLAIN sends the password to kafka.example:9092 as it is",
        ),
        (
            (
                '[local_store]\n[log]\nurl = "kafka://127.0.0.1,kafka.example"\n'
                'username = "gateway"\npassword_file = "password"'
            ),
            "3: log.url",
            "readings go to kafka.example without TLS",
        ),
        (
            (
                '[influxdb]\nurl = "http://influx.example:8086"\norg = "o"\nbucket = "b"\n'
                'token_file = "token"'
            ),
            "2: influxdb.url",
            "sends the token to influx.example as it is",
        ),
        (
            (
                '[influxdb]\nurl = "https://influx.example"\norg = "o"\nbucket = "b"\n'
                'token_file = "token"\nverify_tls = false'
            ),
            "6: influxdb.verify_tls",
            "takes any certificate",
        ),
        (
            '[local_store]\n[console]\nhost = "0.0.0.0"',
            "3: console.host",
            "only /healthz is answered",
        ),
        (
            '[local_store]\n[console]\nhost = "gateway.example"\ntoken_file = "password"',
            "3: console.host",
            "token and pages go there as they are",
        ),
    ],
)
def test_each_insecure_setting_is_named_with_its_line(
    folder: Path, text: str, line: str, says: str
) -> None:
    """One line: where, what is wrong, and after the semicolon what to do."""
    (found,) = _warnings(folder, text)

    assert found.startswith(f"{line}: ")
    assert says in found
    assert "; " in found


@pytest.mark.parametrize(
    ("name", "mode", "line"),
    [
        ("password", 0o644, "6: mqtt.password_file"),
        ("token", 0o606, "11: influxdb.token_file"),
        ("data", 0o711, "2: gateway.data_dir"),
    ],
)
def test_files_that_others_can_read_are_named(
    folder: Path, name: str, mode: int, line: str
) -> None:
    """With what to type; one that others can't get to is no matter, whatever its mode."""
    text = (
        '[gateway]\ndata_dir = "data"\n'
        '[mqtt]\nhost = "mqtt.example"\nusername = "gateway"\npassword_file = "password"\n'
        '[influxdb]\nurl = "https://influx.example"\norg = "o"\nbucket = "b"\n'
        'token_file = "token"\n'
        '[mqtt.tls]\n\ncert_file = "cert.pem"\nkey_file = "key.pem"'
    )
    assert _warnings(folder, text) == []
    (folder / name).chmod(mode)

    (found,) = _warnings(folder, text)
    assert found.startswith(f"{line}: others on this machine can ")
    assert f"; chmod {'700' if name == 'data' else '600'} " in found

    folder.chmod(0o700)
    assert _warnings(folder, text) == []


def test_stores_outside_the_data_folder_are_looked_at_themselves(folder: Path) -> None:
    """They are not kept safe by its mode."""
    (folder / "points.db").touch(0o644)

    (found,) = _warnings(folder, f'[local_store]\npath = "{folder}/points.db"')

    assert found.startswith("2: local_store.path: others on this machine can read or change ")


def test_a_configuration_that_others_can_change_is_named(folder: Path) -> None:
    """Whoever writes it decides where readings go."""
    file = folder / "plant.toml"
    file.write_text(f"[local_store]\n{_FEED}")
    file.chmod(0o666)

    (found,) = located(file, insecure(load_config(file), file))
    assert found == f"{file}:1: file: others on this machine can change {file}; chmod o-w {file}"


def test_warnings_fail_only_when_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are on stderr; stdout says that the file is good."""
    file = tmp_path / "plant.toml"
    file.write_text(f'sink.s = "local_store"\n[console]\nhost = "0.0.0.0"\n{_FEED}')

    assert main(["check", "-c", str(file)]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"{file}: good, with 1 warning: 1 feed")
    assert output.err.startswith(f"warning: {file}:3: console.host: ")
    assert len(output.err.splitlines()) == 1

    assert main(["check", "-c", str(file), "--strict"]) == 2


def test_json_is_one_object_whatever_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Problems and warnings are lists of the same lines, and nothing else is printed."""
    file = tmp_path / "plant.toml"
    file.write_text(f'sink.s = "local_store"\n[console]\nhost = "0.0.0.0"\n{_FEED}')

    assert main(["check", "-c", str(file), "--json"]) == 0
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert output.err == ""
    assert answer["good"] is True
    assert answer["problems"] == []
    assert [line.startswith(f"{file}:3: console.host: ") for line in answer["warnings"]] == [True]

    assert main(["check", "-c", str(file), "--json", "--strict"]) == 2
    assert json.loads(capsys.readouterr().out)["good"] is False

    file.write_text("[mqtt]\nport = 0\n")
    assert main(["check", "-c", str(file), "--json"]) == 2
    output = capsys.readouterr()
    assert output.err == ""
    assert json.loads(output.out)["good"] is False
    assert f"{file}:2: mqtt.port: expected at least 1, got 0" in json.loads(output.out)["problems"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("broker.localhost", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_loopback_is_what_never_leaves_the_machine(host: str, expected: bool) -> None:
    """By name and by address."""
    assert is_loopback(host) is expected


def test_the_host_of_a_url_is_found() -> None:
    """With port, path and brackets taken away."""
    assert host_of("http://Influx.example:8086/prefix") == "influx.example"
    assert host_of("https://[::1]:8086") == "::1"
