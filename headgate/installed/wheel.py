"""Headgate's wheel, put together again from what is installed.

A working folder needs it to build its image, wherever Headgate itself came from: no index has it.
"""

from __future__ import annotations

import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from headgate.core.errors import ConfigError
from headgate.installed.files import DATA, shipped_files, walk
from headgate.installed.packages import DISTRIBUTION, PACKAGES, digest

_TAG = "py3-none-any"

#: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
_WHEEL = f"Wheel-Version: 1.0\nGenerator: headgate\nRoot-Is-Purelib: true\nTag: {_TAG}\n"

#: Of every file, so that the same code gives the same bytes.
_TIME = (2020, 2, 2, 0, 0, 0)


def write_wheel(folder: Path) -> Path:
    """Write the wheel into a folder; its path.

    Raises:
        ConfigError: Headgate runs without being installed.
        OSError: It can't be written.
    """
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise ConfigError(
            "headgate: expected to be installed, found the bare source; "
            "in its folder run: python3 -m pip install ."
        ) from error
    name = f"{DISTRIBUTION}-{installed.version}"
    content = _code() | _about(installed, f"{name}.dist-info")
    record = f"{name}.dist-info/RECORD"
    lines = [f"{path},sha256={digest(data)},{len(data)}" for path, data in content.items()]
    content[record] = "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()
    wheel = folder / f"{name}-{_TAG}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            entry = zipfile.ZipInfo(path, _TIME)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return wheel


def _code() -> dict[str, bytes]:
    """The packages, and the files that travel with them."""
    found: dict[PurePosixPath, Traversable] = {}
    for name in PACKAGES:
        found.update(walk(files(name), PurePosixPath(name)))
    found.update({DATA / path: file for path, file in shipped_files().items()})
    return {str(path): file.read_bytes() for path, file in found.items()}


def _about(installed: Distribution, folder: str) -> dict[str, bytes]:
    """What the wheel says about itself: what was said when this one was installed."""
    found = {f"{folder}/WHEEL": _WHEEL.encode()}
    for file in installed.files or ():
        # Besides these there is only what the installer notes for itself.
        if file.parts[0].endswith(".dist-info") and (
            file.name in ("METADATA", "entry_points.txt") or "licenses" in file.parts
        ):
            found["/".join((folder, *file.parts[1:]))] = file.read_binary()
    return found
