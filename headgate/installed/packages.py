"""The start-up check that our packages are ours.

``streams``, ``connectors`` and ``models`` are common names: a folder of that name in the working
directory, or another distribution, could take their place. That is why Headgate wants an
environment of its own.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from headgate.core.errors import ConfigError

#: The distribution's name, and what it puts on the import path.
DISTRIBUTION = "headgate"
PACKAGES = ("headgate", "streams", "connectors", "models")

_REMEDY = "install Headgate in a virtual environment of its own"


def check_packages() -> None:
    """Refuse to run with somebody else's package in the place of one of ours.

    Raises:
        ConfigError: One of them is not ours; the line says which, and where it lies.
    """
    root = Path(__file__).parents[2]
    for name in PACKAGES:
        found = _found(name)
        if found != root / name:
            raise ConfigError(
                f"headgate: expected its own package {name!r} in {root}, got {found}; {_REMEDY}"
            )
        if not (root / name / "__init__.py").is_file():
            raise ConfigError(
                f"headgate: expected its own package {name!r} in {root}, found it incomplete: "
                "another distribution had it, and was removed; install Headgate's wheel again"
            )
    for name in _changed(root):
        # Two distributions with one package in one environment: the last one's files are there.
        others = _others_with(f"{name}/__init__.py")
        if others:
            raise ConfigError(
                f"headgate: expected its own package {name!r} in {root}, got {root / name} of "
                f"{', '.join(others)}; {_REMEDY}"
            )


def _found(name: str) -> Path | None:
    """The folder that an import of this package would come from, None when there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.origin is not None:
        origin = Path(spec.origin)
        # A module of that name is one file.
        return origin.parent if origin.name == "__init__.py" else origin
    # A folder without an __init__.py.
    return next((Path(place) for place in spec.submodule_search_locations or ()), None)


def _changed(root: Path) -> list[str]:
    """Our packages below ``root`` whose first file is not the one that was installed.

    Installed in place, nothing is known of what was installed, and none has changed.
    """
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return []
    changed = []
    for file in installed.files or ():
        name = file.parent.as_posix()
        if file.name != "__init__.py" or name not in PACKAGES or file.hash is None:
            continue
        path = Path(str(file.locate()))
        if path == root / file and digest(path.read_bytes()) != file.hash.value:
            changed.append(name)
    return changed


def _others_with(path: str) -> list[str]:
    """The other distributions that say that this file is theirs."""
    return sorted(
        other.name
        for other in distributions()
        if other.name != DISTRIBUTION and any(path == str(file) for file in other.files or ())
    )


def digest(content: bytes) -> str:
    """SHA-256 of a file as a wheel's ``RECORD`` writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
