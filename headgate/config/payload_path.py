"""Paths into payloads: ``vib.rms``, ``axes.0``, ``values."Boiler.Temp"``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

#: A part in quotes, which may hold anything but these, or one without.
_PART = re.compile(r'"([^"]+)"|([^."]+)')

#: A key or a position as JSONPath writes it, each element of an array, or a part in quotes, in
#: which brackets are none.
_BRACKETS = re.compile(r"""\[(?:(\d+)|'([^'"]+)'|"([^'"]+)"|(\*?))\]|"[^"]*\"""")

#: What JSONPath has besides: an element from the end, some of them, those that fit.
_NO_ELEMENT = re.compile(r"\[(-\d+|-?\d*:[-\d:]*|\?.*)\]")

#: A part that stands for each key of an object.
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def parts_of(path: str) -> tuple[str, ...]:
    """The keys that a path goes along, and positions in lists as digits.

    Raises:
        ValueError: It is no path.
    """
    return tuple(part for part, _ in _split(path))


def _split(path: str) -> list[tuple[str, bool]]:
    """The parts of a path, and whether each stands in quotes."""
    if "[" in path or path.startswith("$."):
        path = _dotted(path)
    if '"' not in path:
        return [(part, False) for part in path.split(".")]
    parts, at = [], 0
    while True:
        found = _PART.match(path, at)
        if found is None:
            break
        parts.append((found[1] or found[2], found[1] is not None))
        at = found.end()
        if at == len(path):
            return parts
        if path[at] != ".":
            break
        at += 1
    raise ValueError(
        f'expected a path such as values."Boiler.Temp", with whole parts in quotes, got {path!r}'
    )


def _dotted(path: str) -> str:
    """A path that may be written as JSONPath has it, ``$.axes[0]['x.y']``, with dots only."""
    at_top = path.startswith(("$.", "$["))
    if at_top and ".." in path:
        raise ValueError(f"expected a path that says each key on its way, without .., got {path!r}")
    text = _BRACKETS.sub(_dotted_part, path[1:] if at_top else path)
    return text[1:] if (at_top or path[0] == "[") and text.startswith(".") else text


def _dotted_part(found: re.Match[str]) -> str:
    position, key, other_key, each = found.groups()
    if position is not None:
        return f".{position}"
    if key is not None or other_key is not None:
        return f'."{key or other_key}"'
    return found[0] if each is None else ".*"


def key_of(path: str) -> str:
    """The key of a flat record that has a path's value: its only part, or the whole path."""
    parts = parts_of(path)
    return parts[0] if len(parts) == 1 else path


def checked_path(path: str) -> str:
    """A path that leads to one value at most.

    Raises:
        ValueError: It is none.
    """
    if not path:
        raise ValueError("expected a path; the payload itself is what format value reads")
    parts = _split(path)
    if ("*", False) in parts or _NO_ELEMENT.search(path):
        raise ValueError(
            f"expected a path to one value, with a position such as [0], got {path!r}; records is "
            "what goes through all elements of an array"
        )
    return path


#: A key of the configuration that is a path.
PayloadPath = Annotated[str, AfterValidator(checked_path)]


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the path to a feed's records.

    Attributes:
        key: A key, or a position in a list as digits.
        name: What stands in braces, such as ``device``: each key, which it is the name of. ``*``
            for each key that nobody asks for; None where there is only the one.
    """

    key: str
    name: str | None = None


def steps_of(path: str) -> tuple[Step, ...]:
    """The steps of the path to a feed's records: ``devices.samples``, ``{device}.{time}``."""
    return tuple(_step(part, is_quoted=is_quoted) for part, is_quoted in _split(path))


def _step(part: str, *, is_quoted: bool) -> Step:
    if is_quoted:
        return Step(part)
    if part == "*":
        return Step(part, part)
    found = _NAME.fullmatch(part)
    if found is not None:
        return Step(part, found[1])
    if "{" in part or "}" in part:
        raise ValueError(
            f'expected a placeholder to be a whole part, such as "pumps.{{device}}", got {part!r}'
        )
    return Step(part)


def _checked_steps(path: str) -> str:
    if not path:
        raise ValueError(
            "expected the path of the records; where the payload is they, leave it out"
        )
    steps_of(path)
    return path


#: The path to a feed's records.
RecordsPath = Annotated[str, AfterValidator(_checked_steps)]
