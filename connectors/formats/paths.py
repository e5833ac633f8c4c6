"""Paths into what a payload holds: ``vib.rms``, ``axes.0``, ``values."Boiler.Temp"``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from headgate.config.payload_path import parts_of

#: What a path that leads nowhere gives; None is a value that JSON has.
ABSENT = object()

#: Keys of one object in which an array is looked for, and the longest path to it that is told.
_LOOKED_AT = 20
_LONGEST_SHOWN = 60


def getter(path: str) -> Callable[[object], object]:
    """A function that looks the path up; it returns ``ABSENT`` where it leads nowhere.

    A key that holds the whole path, dots included, is preferred to a nested one. A part that is a
    number counts list elements from 0.
    """
    return _along(path, parts_of(path))


def getter_of(paths: Sequence[str]) -> Callable[[object], object]:
    """A function that looks up one path after the other, until there is something."""
    first_of, *others = map(getter, paths)
    if not others:
        return first_of

    def found(record: object) -> object:
        value = first_of(record)
        for get in others:
            if value is not ABSENT:
                break
            value = get(record)
        return value

    return found


def with_default(
    path: str, default: object, others: Sequence[str] = ()
) -> Callable[[object], object]:
    """The same with a value for a key that is absent from an object that is there.

    Args:
        path: The path.
        default: The value.
        others: Paths that are looked up before it is taken.
    """
    parts = parts_of(path)
    find, above = getter_of((path, *others)), _along(path, parts[:-1])

    def found(record: object) -> object:
        value = find(record)
        if value is ABSENT and type(above(record)) is dict:
            return default
        return value

    return found


def _along(path: str, parts: tuple[str, ...]) -> Callable[[object], object]:
    if len(parts) == 1:
        (key,) = parts

        def flat(record: object) -> object:
            return record.get(key, ABSENT) if type(record) is dict else ABSENT

        return flat

    def nested(record: object) -> object:
        if type(record) is dict and path in record:
            return record[path]
        for part in parts:
            if type(record) is dict:
                record = record.get(part, ABSENT)
            elif type(record) is list and part.isdecimal() and int(part) < len(record):
                record = record[int(part)]
            else:
                return ABSENT
        return record

    return nested


def first(get: Callable[[object], object], record: object, around: Sequence[object]) -> object:
    """What the path leads to in the record or, failing that, in what is around it, outward."""
    value = get(record)
    for outer in around:
        if value is not ABSENT:
            break
        value = get(outer)
    return value


def array_below(content: object, depth: int = 3, *, is_innermost: bool = True) -> str:
    """Path of an array of objects in a record or payload; empty when there is none.

    Args:
        content: The record or payload.
        depth: So many keys it may be away.
        is_innermost: Whether to go through arrays, as far as it goes; else it is the first.
    """
    while is_innermost and type(content) is list and content:
        content = content[0]
    if type(content) is not dict or not depth:
        return ""
    found = ""
    for key, value in islice(content.items(), _LOOKED_AT):
        is_array = type(value) is list and bool(value) and type(value[0]) is dict
        is_way = type(value) is dict or (is_array and is_innermost)
        below = array_below(value, depth - 1, is_innermost=is_innermost) if is_way else ""
        if below or (is_array and not found):
            path = f"{quoted(key)}.{below}" if below else quoted(key)
            # An array of the record itself is more likely meant than one of an object in it.
            if is_array:
                return path[:_LONGEST_SHOWN]
            found = found or path
    return found[:_LONGEST_SHOWN]


def quoted(key: object) -> str:
    """A key as a part of a path."""
    text = str(key)
    has_signs = "." in text or "[" in text
    return f'"{text}"' if has_signs and '"' not in text else text
