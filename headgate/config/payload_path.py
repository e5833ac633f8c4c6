"""Paths into payloads: ``vib.rms``, ``axes.0``, ``values."Boiler.Temp"``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

#: A part in quotes, which may hold anything but these, or one without.
_PART = re.compile(r'"([^"]+)"|([^."]+)')


def parts_of(path: str) -> tuple[str, ...]:
    """The keys that a path goes along, and positions in lists as digits.

    Raises:
        ValueError: It is no path.
    """
    if '"' not in path:
        return tuple(path.split("."))
    parts, at = [], 0
    while True:
        found = _PART.match(path, at)
        if found is None:
            break
        parts.append(found[1] or found[2])
        at = found.end()
        if at == len(path):
            return tuple(parts)
        if path[at] != ".":
            break
        at += 1
    raise ValueError(
        f'expected a path such as values."Boiler.Temp", with whole parts in quotes, got {path!r}'
    )


def key_of(path: str) -> str:
    """The key of a flat record that has a path's value: its only part, or the whole path."""
    parts = parts_of(path)
    return parts[0] if len(parts) == 1 else path


def _checked(path: str) -> str:
    parts_of(path)
    return path


#: A key of the configuration that is a path.
PayloadPath = Annotated[str, AfterValidator(_checked)]
