"""What travels in the wheel: all of ``deploy``, and all that docker-compose.yml mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from headgate.installed.files import working_files

_ROOT = Path(__file__).parents[3]


def test_a_new_file_of_deploy_is_not_forgotten() -> None:
    """The table in pyproject.toml names every file there that git knows."""
    if not (_ROOT / ".git").exists():
        pytest.skip("needs git's list of the project's files")
    listed = subprocess.run(
        ["git", "ls-files", "deploy", "models/zoo"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    known = {PurePosixPath(line) for line in listed.stdout.splitlines()}

    assert known
    assert known <= working_files().keys()


def test_the_image_is_built_from_no_other_file_of_deploy() -> None:
    """A key or a password that stands there is none of what travels."""
    if not (_ROOT / ".dockerignore").exists():
        pytest.skip("needs the project's files")
    lines = (_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!deploy")}
    travels = {str(path) for path in working_files() if path.is_relative_to("deploy")}

    assert let_through - {"deploy/image/*.whl"} == travels


def test_all_that_containers_mount_and_are_built_from_is_there() -> None:
    """Paths of docker-compose.yml and of the Dockerfile, and what setup.sh copies."""
    files = working_files()
    compose = yaml.safe_load(files[PurePosixPath("docker-compose.yml")].read_text(encoding="utf-8"))
    mounted = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }

    assert mounted
    for source in mounted:
        assert any(path.is_relative_to(PurePosixPath(source)) for path in files), source
    for name in ("Dockerfile", ".dockerignore", ".env.example", "deploy/image/gateway.lock"):
        assert PurePosixPath(name) in files
