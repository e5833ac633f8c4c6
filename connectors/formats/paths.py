"""Paths into what a payload holds: ``vib.rms``, ``axes.0``, ``values."Boiler.Temp"``."""

from __future__ import annotations

from collections.abc import Callable
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
    parts = parts_of(path)
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


def first(get: Callable[[object], object], record: object, envelope: object) -> object:
    """What the path leads to in the record or, failing that, in the payload around it."""
    value = get(record)
    return get(envelope) if value is ABSENT else value


def array_below(record: object) -> str:
    """Path of an array of objects in a record, or in an object of it; empty when there is none."""
    if type(record) is not dict:
        return ""
    for key, value in islice(record.items(), _LOOKED_AT):
        if type(value) is list and value and type(value[0]) is dict:
            return str(key)[:_LONGEST_SHOWN]
    for key, value in islice(record.items(), _LOOKED_AT):
        if type(value) is dict:
            for below, inner in islice(value.items(), _LOOKED_AT):
                if type(inner) is list and inner and type(inner[0]) is dict:
                    return f"{key}.{below}"[:_LONGEST_SHOWN]
    return ""
