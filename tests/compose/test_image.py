"""The gateway's image: unprivileged, from locked packages, without what training needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins(lock: Path) -> dict[str, set[str]]:
    """Locked versions of each package; several where they depend on Python's version."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def project_dependencies(extra: str | None = None) -> set[str]:
    """Names that ``pyproject.toml`` asks for, alone or for one extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {canonicalize_name(Requirement(line).name) for line in listed}


def test_the_base_image_is_pinned() -> None:
    """Both stages start from the same exact release."""
    assert re.search(r"^ARG PYTHON=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON}", "${PYTHON}"]


def test_the_gateway_does_not_run_as_root() -> None:
    """The last word on the user is a fixed number that is not 0."""
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)

    assert users[-1] == "10001:10001"


def test_the_current_folder_is_not_on_the_import_path() -> None:
    """A mounted streams.py can't stand in for ours."""
    assert "PYTHONSAFEPATH=1" in DOCKERFILE


def test_packages_are_installed_by_hash() -> None:
    """Each package that comes from an index is checked against the lock."""
    installs = re.findall(r"install (--\S+(?: --?\S+)*)", DOCKERFILE.replace("\\\n", " "))
    from_index = [options for options in installs if "--no-index" not in options]

    assert from_index
    assert all("--require-hashes" in re.sub(r"\s+", " ", options) for options in from_index)


def test_the_lock_covers_what_the_gateway_imports_and_no_more() -> None:
    """Training, development and the demo's broker stay out of the image."""
    locked = pins(ROOT / "deploy/image/gateway.lock")

    assert project_dependencies() <= locked.keys()
    assert not project_dependencies("train") & locked.keys()
    assert not project_dependencies("embedded") & locked.keys()
    assert "pytest" not in locked


def test_the_image_has_the_versions_that_are_tested() -> None:
    """Each version in the image's lock is the one in the project's lock."""
    tested = pins(ROOT / "requirements.lock")

    for name, versions in pins(ROOT / "deploy/image/gateway.lock").items():
        assert versions <= tested[name], name
