"""What a payload holds, taken apart: each value with the path that leads to it."""

from __future__ import annotations

from collections.abc import Iterator

#: So deep is looked, and at so many values of one record; the rest of a large one is like it.
_DEEPEST = 8
MOST_LEAVES = 300

#: Elements of an array that are looked at one by one: all of a short one, the first of a longer.
_ELEMENTS, _SHORT = 4, 16

#: Longer keys name nothing that a person has chosen.
_LONGEST_KEY = 128


def leaves(record: object, *, into_lists: bool = True) -> list[tuple[str, object]]:
    """The values in a record by path, in its order: texts, numbers, truths, null, empty arrays.

    Args:
        record: What a format has read.
        into_lists: Whether elements of arrays are values; otherwise an array is one.
    """
    found: list[tuple[str, object]] = []
    for each in _walk(record, (), into_lists):
        found.append(each)
        if len(found) == MOST_LEAVES:
            break
    return found


def path_of(parts: tuple[str, ...]) -> str | None:
    """The path along these keys; None where no path leads there."""
    if not all(parts) or any(len(part) > _LONGEST_KEY or '"' in part for part in parts):
        return None
    return ".".join(f'"{part}"' if "." in part or "[" in part else part for part in parts)


def _walk(
    value: object,
    parts: tuple[str, ...],
    into_lists: bool,  # noqa: FBT001
) -> Iterator[tuple[str, object]]:
    if len(parts) > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _walk(below, (*parts, str(key)), into_lists)
    elif isinstance(value, list) and into_lists and value:
        for at, below in enumerate(value[: _SHORT if len(value) <= _SHORT else _ELEMENTS]):
            yield from _walk(below, (*parts, str(at)), into_lists)
    elif parts:
        path = path_of(parts)
        if path is not None:
            yield path, value
