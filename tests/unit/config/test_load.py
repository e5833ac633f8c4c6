"""Reading the file: what is no configuration at all, and what the answer of a good one holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.load import load_config, located
from headgate.core.errors import ConfigError
from tests.mosquitto import settings_of

MINIMAL = '[local_store]\n[feed.pump]\ntopic = "plant/{device}"\nchannels.flow = {}\n'


def problems(path: Path) -> tuple[str, ...]:
    """What is wrong with a file."""
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    return raised.value.problems


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """One line, no traceback."""
    path = tmp_path / "headgate.toml"

    assert problems(path) == (f"{path}: expected a configuration file, found none",)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    assert problems(tmp_path) == (f"{tmp_path}: expected a readable file: Is a directory",)


def test_bytes_that_are_no_utf_8_are_shown_with_their_line(tmp_path: Path) -> None:
    """A degree sign saved as Latin-1 is the usual one."""
    path = tmp_path / "headgate.toml"
    path.write_bytes(b'[feed.pump]\n# 20 \xb0C\ntopic = "a/{device}"\n')

    assert problems(path) == (
        f"{path}:2: expected UTF-8 text, got the byte 0xb0; save the file as UTF-8",
    )


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "headgate.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())

    assert list(load_config(path).feed) == ["pump"]


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    """A file of a hundred thousand brackets gets an answer."""
    path = tmp_path / "headgate.toml"
    path.write_text(f"a = {'[' * 100_000}{']' * 100_000}")

    assert problems(path) == (f"{path}: expected a configuration, got endless nesting",)


def test_relative_paths_are_meant_from_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command is called from."""
    folder = tmp_path / "etc"
    (folder / "packages" / "pump").mkdir(parents=True)
    (folder / "packages" / "pump" / "model.toml").touch()
    (folder / "headgate.toml").write_text(
        f'{MINIMAL}[gateway]\nname = "north"\n[model.pump]\npackage = "packages/pump"\n'
    )
    monkeypatch.chdir(tmp_path)

    config = load_config(Path("etc/headgate.toml"))

    assert config.gateway.data_dir == folder / "data"
    assert config.log_path == folder / "data" / "log.db"
    assert config.model["pump"].package == folder / "packages" / "pump"


def test_a_secret_stands_in_no_text_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration holds references; the secret is read when it is used."""
    monkeypatch.setenv("HEADGATE_TEST_PASSWORD", "hunter2")
    path = tmp_path / "headgate.toml"
    path.write_text(
        f'{MINIMAL}[mqtt]\nusername = "gateway"\npassword_env = "HEADGATE_TEST_PASSWORD"\n'
    )

    config = load_config(path)

    assert "hunter2" not in repr(config) + config.model_dump_json()


def test_files_need_not_be_there_for_those_who_only_look(tmp_path: Path) -> None:
    """``headgate status`` may be run by somebody who must not read the secrets."""
    path = tmp_path / "headgate.toml"
    path.write_text(f'{MINIMAL}[mqtt]\nusername = "gateway"\npassword_file = "secret"\n')

    assert settings_of(load_config(path, check_files=False)).username == "gateway"
    assert problems(path) == (
        f"{path}:7: mqtt.password_file: {tmp_path}/secret: No such file or directory",
    )


def test_a_problem_found_later_is_given_its_line(tmp_path: Path) -> None:
    """By its key, or by the nearest table above it; without either it stays as it is."""
    path = tmp_path / "headgate.toml"
    path.write_text('[log]\nurl = "sqlite:///log.db"\n\n[model."pump.v2"]\npackage = "pump"\n')

    assert located(
        path,
        [
            "log.url: no such server",
            "log.partitions: too many",
            'model."pump.v2": damaged\nfile',
            "headgate: other",
        ],
    ) == [
        f"{path}:2: log.url: no such server",
        f"{path}:1: log.partitions: too many",
        f'{path}:4: model."pump.v2": damaged\\nfile',
        "headgate: other",
    ]


def test_nothing_is_refused_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the file as a whole is told, also if nobody knows of which key."""
    path = tmp_path / "headgate.toml"
    path.write_text(MINIMAL + "[log]\npartitions = 1\n[streams]\nworkers = 2\n")
    monkeypatch.setattr("headgate.config.load.broken_references", lambda _raw: ())

    (problem,) = problems(path)
    assert "streams.workers: at most log.partitions, 1" in problem
