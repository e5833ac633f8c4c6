"""Dotted paths into decoded JSON: ``vib.rms``, ``axes.0``."""

from __future__ import annotations

from collections.abc import Callable

#: What a path that leads nowhere gives; None is a value that JSON has.
ABSENT = object()


def getter(path: str) -> Callable[[object], object]:
    """A function that looks the path up; it returns ``ABSENT`` where it leads nowhere.

    A key that holds the whole path, dots included, is preferred to a nested one. A part that is a
    number counts list elements from 0.
    """
    parts = path.split(".")
    if len(parts) == 1:

        def flat(record: object) -> object:
            return record.get(path, ABSENT) if type(record) is dict else ABSENT

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


def first(get: Callable[[object], object], record: object, envelope: object) -> object:
    """What the path leads to in the record or, failing that, in the payload around it."""
    value = get(record)
    return get(envelope) if value is ABSENT else value
