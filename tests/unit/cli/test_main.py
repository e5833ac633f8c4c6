"""The command line: exit codes, one-line answers, and a quick start."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headgate
from connectors.logs.configured import open_log, topic_specs
from headgate.cli import main
from headgate.config.load import load_config
from headgate.testing import ManualClock

_ROOT = Path(__file__).parents[3]
_GOOD = '[local_store]\n[feed.pump]\ntopic = "plant/{device}"\nchannels.flow = {}\n'


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, with success."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"headgate {headgate.__version__}\n"


def test_the_help_lists_every_command_but_the_hidden_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lanes are started by the supervisor, not by people."""
    assert main(["--help"]) == 0

    listed = capsys.readouterr().out
    for command in ("run", "check", "status", "audit", "demo", "replay", "simulate", "model"):
        assert f"\n    {command} " in listed
    assert "lane" not in listed


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["run", "--unknown"]])
def test_a_mistake_on_the_command_line_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And shows how it is meant."""
    assert main(arguments) == 2
    assert "usage: headgate" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check", "status", "audit"])
def test_a_mistake_in_the_configuration_exits_with_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each problem is one line on stderr, with file and line; stdout stays empty."""
    path = tmp_path / "headgate.toml"
    path.write_text(f"{_GOOD}[mqtt]\nport = 0\nhots = 1\n")

    assert main([command, "-c", str(path)]) == 2

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        f"{path}:6: mqtt.port: expected at least 1, got 0",
        f'{path}:7: mqtt.hots: unknown key; did you mean "host"?',
    ]


def test_a_good_configuration_is_called_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``check`` connects to nothing and makes nothing."""
    path = tmp_path / "headgate.toml"
    path.write_text(_GOOD)

    assert main(["check", "-c", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: good: 1 feed")
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_can_not_paint_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it repeats of the user's words, or of a console's answer, is escaped."""
    assert main(["status", "-c", str(tmp_path / "no\x1b[2Jfile\n.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert r"no\x1b[2Jfile\n.toml" in line


def test_the_example_at_the_top_of_the_project_is_good() -> None:
    """Its model package is verified too."""
    assert main(["check", "-c", str(_ROOT / "headgate.toml")]) == 0


def test_a_broken_model_package_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names file, line and model, and what is wrong with it."""
    (tmp_path / "pump").mkdir()
    (tmp_path / "pump" / "model.toml").write_text("format = 1\n")
    path = tmp_path / "headgate.toml"
    path.write_text(f'{_GOOD}models = ["pump"]\n[model.pump]\npackage = "pump"\n')

    assert main(["check", "-c", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith(f"{path}:6: model.pump: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "-c", "headgate.toml", "--workers", "5"], "--workers: expected 1 to 4"),
        (["run", "-c", "headgate.toml", "--workers", "0"], "--workers: expected 1 to 4"),
        (["lane", "streams-3", "-c", "headgate.toml", "--workers", "2"], "streams-1, streams-2"),
    ],
)
def test_numbers_that_make_no_sense_exit_with_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one line says what was expected."""
    root = Path(__file__).parents[3]
    arguments = [str(root / each) if each.endswith(".toml") else each for each in arguments]

    assert main(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--only", "speed", "--only: expected some of mosquitto_sub, "),
        ("--runs", "0", "--runs: expected 1 or more, got 0"),
    ],
)
def test_a_bench_of_nothing_exits_with_2(option: str, value: str, told: str) -> None:
    """In a checkout, which is the only place where it runs at all."""
    result = subprocess.run(
        [sys.executable, "-m", "headgate.cli", "bench", option, value],
        cwd=_ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 2
    assert told in result.stderr


def test_no_running_gateway_is_a_runtime_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that tells where it was looked for and what to do."""
    assert main(["status", "--url", "http://127.0.0.1:9"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headgate status: expected a running gateway at http://127.0.0.1:9")
    assert "headgate run" in line


def test_a_url_of_another_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """``file:`` would be read by Python's client."""
    assert main(["status", "--url", "file:///etc/passwd"]) == 2
    assert capsys.readouterr().err.startswith("--url: expected http://HOST:PORT")


@pytest.fixture
def new_gateway(tmp_path: Path) -> Path:
    """The configuration of a gateway that has started once and seen nothing."""
    path = tmp_path / "headgate.toml"
    path.write_text(_GOOD)
    config = load_config(path)
    config.gateway.data_dir.mkdir()

    async def make_topics() -> None:
        log = open_log(config, ManualClock())
        await log.start()
        await log.ensure_topics(topic_specs(config))
        await log.stop()

    asyncio.run(make_topics())
    return path


def test_an_audit_of_a_new_gateway_balances(
    new_gateway: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty log has no gaps."""
    assert main(["audit", "-c", str(new_gateway), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["balanced"] is True

    assert main(["audit", "-c", str(new_gateway)]) == 0
    assert "balanced: 0 received" in capsys.readouterr().out


def test_an_audit_makes_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is none, that is the answer."""
    path = tmp_path / "headgate.toml"
    path.write_text(_GOOD)

    assert main(["audit", "-c", str(path)]) == 1
    assert "found no file at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_that_goes_away_gets_no_traceback(new_gateway: Path) -> None:
    """``headgate … | head`` is everyday use."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        result = subprocess.run(
            [sys.executable, "-m", "headgate.cli", "audit", "-c", str(new_gateway)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert result.stderr == ""
    assert result.returncode == 1


def test_somebody_elses_package_is_refused(tmp_path: Path) -> None:
    """A folder called ``models`` in the working directory must not stand in for ours."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    script += "from headgate.cli import main\nsys.exit(main(['check']))"

    result = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 2
    assert str(tmp_path / "models") in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_asking_for_help_loads_nothing_heavy() -> None:
    """The commands' modules import what they need only when they run."""
    script = (
        "import sys; from headgate.cli import main; main(['--help'])\n"
        "heavy = {'numpy', 'pyarrow', 'faust', 'onnxruntime', 'aiohttp', 'pydantic', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)))"
    )

    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert result.stderr.strip() == ""
