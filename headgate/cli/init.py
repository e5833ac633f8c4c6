"""``headgate init FOLDER``: a working folder, with all that a gateway is run from."""

from __future__ import annotations

import argparse
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.output import say
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import PurePosixPath

#: Where the Dockerfile looks for the wheel.
_IMAGE = "deploy/image"

#: What the parts of the folder are for, in the order in which they are told. The rest goes with
#: docker-compose.yml.
_FOR = {
    "headgate.toml": "the configuration; every key is explained in it",
    "models": "the shipped models",
    "deploy": "for systemd, mosquitto and Grafana; deploy/README.md explains it",
    "docker-compose.yml": "everything on one machine, in containers",
}


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "init",
        help="write a working folder: configuration, models, docker-compose.yml, unit file",
        description=(
            "Write a folder that a gateway can be run from: headgate.toml, the shipped models, "
            "docker-compose.yml with all that it mounts and builds its image from, and deploy/ "
            "with the unit file, the broker's configuration and the dashboards. Nothing that is "
            "there is overwritten: then nothing is written."
        ),
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="made if it is not there")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.installed.files import working_files

    folder: Path = args.folder
    content = working_files()
    names = [*_FOR, *sorted({path.parts[0] for path in content} - _FOR.keys())]
    for name in names:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise ConfigError(
                f"{folder / name}: expected nothing of that name, which init would overwrite; "
                "move it away, or name another folder"
            )
    try:
        _write(folder, content, names)
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder that can be written to: {error}") from error
    _tell(folder, names)
    return 0


def _write(folder: Path, content: Mapping[PurePosixPath, Traversable], names: list[str]) -> None:
    """Write all of it or nothing.

    Raises:
        OSError: It can't be written.
        ConfigError: There is no wheel to be had.
    """
    from headgate.installed.wheel import write_wheel

    made = [each for each in (folder, *folder.parents) if not each.exists()]
    moved: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the folder itself, so that what is whole can be moved into its place.
        with tempfile.TemporaryDirectory(prefix=".headgate-init-", dir=folder) as place:
            unfinished = Path(place)
            for path, file in content.items():
                (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
                (unfinished / path).write_bytes(file.read_bytes())
            write_wheel(unfinished / _IMAGE)
            for name in names:
                (unfinished / name).rename(folder / name)
                moved.append(folder / name)
    except BaseException:
        for each in moved:
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise


def _tell(folder: Path, names: list[str]) -> None:
    width = max(len(str(folder / name)) for name in _FOR)
    for name, purpose in _FOR.items():
        say(f"wrote {folder / name!s:<{width}}  {purpose}")
    others = [name for name in names if name not in _FOR]
    say(f"wrote {', '.join(others)} beside it, for docker-compose.yml")
    config = shlex.quote(str(folder / "headgate.toml"))
    say("Next: name your broker and your devices in headgate.toml, then")
    say(f"  headgate check -c {config} --connect")
    say(f"  headgate run -c {config}")
