"""Values as TOML writes them, on one line each."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(key: str) -> str:
    """A key, in quotes where it must be."""
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def toml_value(value: object) -> str:
    """A text, number, truth, list or table; a table on the same line.

    Raises:
        TypeError: It is nothing that TOML has.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        pairs = (f"{toml_key(str(key))} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    raise TypeError(f"no TOML: {type(value).__name__}")


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # Whole numbers read better without a fraction, and mean the same in every key.
    is_whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return str(int(value)) if is_whole else repr(value)


def _text(text: str) -> str:
    # Half a character, which a payload may hold, TOML has not.
    clean = text.encode("utf-8", "replace").decode()
    return f'"{"".join(map(_sign, clean))}"'


def _sign(sign: str) -> str:
    """A sign as it stands in quotes; what is not printable as an escape."""
    if sign in ('"', "\\"):
        return f"\\{sign}"
    if sign.isprintable():
        return sign
    code = ord(sign)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
