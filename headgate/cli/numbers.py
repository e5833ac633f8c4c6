"""Numbers on the command line, with the range each must be in."""

from __future__ import annotations

import argparse
import math

#: Event times are whole milliseconds, so more samples a second would share one.
_MAX_RATE_HZ = 500


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def rate(text: str) -> float:
    """A number from 0 to below 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 0 and below 1, got {text!r}")
    return number


def rate_hz(text: str) -> float:
    """Samples a second, above 0 and at most 500."""
    rate = positive(text)
    if rate > _MAX_RATE_HZ:
        raise argparse.ArgumentTypeError(f"expected at most {_MAX_RATE_HZ} Hz, got {text!r}")
    return rate
