"""The files that travel with the code: the configuration, docker-compose.yml and what it mounts.

They stand at the top of the source, where people look for them. The wheel has copies below
``headgate/data``, made by the table ``force-include`` of pyproject.toml; installed in place, they
are read where they stand, by the same table. The shipped models are in their package either way.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from headgate.core.errors import ConfigError

#: Where the wheel has them.
DATA = PurePosixPath("headgate/data")


def working_files() -> dict[PurePosixPath, Traversable]:
    """What a working folder holds, by its path in there.

    Raises:
        ConfigError: They are neither in the package nor beside it.
    """
    zoo = PurePosixPath("models/zoo")
    return {**shipped_files(), **dict(walk(files("models") / "zoo", zoo))}


def shipped_files() -> dict[PurePosixPath, Traversable]:
    """The same without the models: what the wheel has below ``headgate/data``.

    Raises:
        ConfigError: They are neither in the package nor beside it.
    """
    package = files("headgate")
    data = package / DATA.name
    if data.is_dir():
        return dict(walk(data, PurePosixPath()))
    root = Path(str(package)).parent
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        table = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    except (OSError, KeyError) as error:
        raise ConfigError(
            f"headgate: expected the files that travel with it in {package / 'data'}, found none; "
            "install Headgate from its wheel"
        ) from error
    return {
        PurePosixPath(place).relative_to(DATA): root / source for source, place in table.items()
    }


def walk(folder: Traversable, place: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    """All files below a folder, in order, without what Python leaves there.

    Args:
        folder: Where to look.
        place: Path that the folder has; the files' paths begin with it.
    """
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.name == "__pycache__" or each.name.endswith(".pyc"):
            continue
        if each.is_dir():
            yield from walk(each, place / each.name)
        else:
            yield place / each.name, each
