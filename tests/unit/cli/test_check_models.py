"""Model packages are verified where they can hang and take no more than is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

import headgate.cli.check
import models.runtime
from headgate.cli import main
from headgate.cli.check_models import verify_models
from headgate.config.load import load_config
from headgate.core.channels import ChannelTable
from headgate.core.errors import TransientError
from models.package import ModelPackage
from models.runtime import Runtime
from streams.build import build_pipeline
from tests.looping_model import write_looping_package

pytestmark = pytest.mark.slow

_ZOO = Path(__file__).parents[3] / "models" / "zoo" / "pump"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A configuration with a good model, one that loops, and another good one."""
    write_looping_package(tmp_path / "endless", feed="pump", channel="flow")
    names = ("load", "flow", "pressure", "current", "temperature", "vibration")
    units = ("%", "m3/h", "bar", "A", "C", "mm/s")
    channels = "".join(
        f'channels.{name} = {{ unit = "{unit}" }}\n'
        for name, unit in zip(names, units, strict=True)
    )
    file = tmp_path / "plant.toml"
    file.write_text(
        '[local_store]\n[feed.pump]\ntopic = "plant/{device}"\n'
        f'models = ["first", "loop", "last"]\n{channels}'
        f'[model.first]\npackage = "{_ZOO}"\n[model.loop]\npackage = "endless"\n'
        f'[model.last]\npackage = "{_ZOO}"\n'
    )
    return file


def test_a_model_that_loops_is_ended_and_the_others_are_verified(config_file: Path) -> None:
    """It is named; what stands behind it is looked at all the same."""
    (problem,) = verify_models(config_file, ["first", "loop", "last"], limit_s=8)

    assert problem == (
        "model.loop: expected golden outputs, got none within 8 s; the model loops, or is too "
        "large for this machine"
    )


def test_a_model_that_takes_too_much_memory_is_ended(config_file: Path) -> None:
    """Here any does."""
    (problem,) = verify_models(config_file, ["first"], limit_bytes=1 << 20)

    assert problem.startswith("model.first: expected golden outputs, and the model takes more than")


def test_check_tells_a_loop_with_its_line(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, as for any other package that can't be used."""
    real = headgate.cli.check_models.verify_models
    monkeypatch.setattr(
        headgate.cli.check_models,
        "verify_models",
        lambda path, names: real(path, names, limit_s=8),
    )

    assert main(["check", "-c", str(config_file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{config_file}:13: model.loop: expected golden outputs, got none")


def test_a_process_that_is_killed_is_told(config_file: Path) -> None:
    """Whatever ended it; here the system, because it may open no file."""
    (problem,) = verify_models(config_file.with_name("gone.toml"), ["first"])

    assert problem.startswith("model.first: expected golden outputs, and the process")


def test_a_lane_ends_and_says_which_model_loops(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started anew then: a machine with too much to do may be to blame."""
    monkeypatch.setattr(models.runtime, "_GOLDEN_LIMIT_S", 0.2)

    with pytest.raises(TransientError, match=r"endless: expected golden outputs, got none within"):
        Runtime(ModelPackage.load(config_file.parent / "endless"))

    config = load_config(config_file)
    good = {name: model for name, model in config.model.items() if name == "loop"}
    with pytest.raises(TransientError, match=r"^model\.loop: "):
        build_pipeline(
            config.model_copy(update={"model": good, "feed": config.feed}), ChannelTable()
        )


def test_a_good_model_is_not_limited_afterwards() -> None:
    """Its runs take what they take."""
    runtime = Runtime(ModelPackage.load(_ZOO))

    assert runtime._limit is None
    assert len(runtime.run(runtime.package.golden.window).score)
