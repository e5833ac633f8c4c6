"""Durations and sizes as people write them: ``"10s"``, ``"1.5h"``, ``"256MiB"``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
#: What int64 arithmetic carries with room for sums: 73 years, or 2 EiB.
_LARGEST = 2**61

_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]+)\s*")


def _parse(text: object, units: dict[str, int], example: str) -> int:
    match = _NUMBER_AND_UNIT.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f'expected a text like "{example}" with one of {", ".join(units)}')
    # Not by float, which has no room for every whole number of ns.
    amount = round(Decimal(match[1]) * units[match[2]])
    if amount > _LARGEST:
        raise ValueError(f'expected a text like "{example}", far smaller')
    return amount


def parse_duration_ns(text: object) -> int:
    """A duration text in ns; raises ValueError with what is allowed."""
    return _parse(text, _NS, "10s")


def parse_size_bytes(text: object) -> int:
    """A size text in bytes; raises ValueError with what is allowed."""
    return _parse(text, _BYTES, "256MiB")


def format_duration(ns: int) -> str:
    """A duration in the largest unit that divides it: 90 s is ``"90s"``, 120 s is ``"2m"``."""
    if ns == 0:
        return "0s"
    for unit in ("w", "d", "h", "m", "s", "ms", "us", "ns"):
        if ns % _NS[unit] == 0:
            return f"{ns // _NS[unit]}{unit}"
    raise AssertionError("every whole number of ns divides by 1 ns")


#: A duration text in the file, whole nanoseconds in code.
DurationNs = Annotated[int, BeforeValidator(parse_duration_ns), PlainSerializer(format_duration)]
#: A size text in the file, bytes in code.
SizeBytes = Annotated[int, BeforeValidator(parse_size_bytes), PlainSerializer(lambda n: f"{n}B")]


def format_size(size: int) -> str:
    """A size in whole units, rounded down: ``"245MiB"``."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= 10 * factor:
            return f"{size // factor}{unit}"
    return f"{size}B"
