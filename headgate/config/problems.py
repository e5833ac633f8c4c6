"""What is wrong with a value, in words that someone who edits the file understands."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pydantic_core import ErrorDetails

from headgate.config.keys import HIDDEN, holds_secret, keys_of
from headgate.config.lines import KeyPath
from headgate.config.schema import Config

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_USER_IN_URL = re.compile(r"//[^/@\s]*@")

#: Values under keys with such names are never shown: somebody may have put the secret itself
#: where the name of a variable or file is meant.
_SECRET = re.compile(r"password|token|secret|key_file", re.IGNORECASE)

#: A longer value is cut: the line says which one is meant.
_SHOWN_CHARACTERS = 60

#: What other programs, and people, call a key, and what it is called here.
_CALLED_HERE = {
    "broker": "host",
    "factor": "scale",
    "fields": "channels",
    "interval": "period",
    "max": "range",
    "min": "range",
    "multiplier": "scale",
    "separator": "delimiter",
    "server": "host",
    "timestamp": "time",
    "url": "host",
    "window": "aggregates",
}

#: Keys of one of several, such as ``feed.pump.channels``: what may stand in place of one, by the
#: table and the key.
_OF_A_FEED = 3
_INSTEAD = {("feed", "channels"): ", or other_channels = true for all numbers that are in messages"}

#: Names that are less alike are not taken for each other.
_LEAST_ALIKE = 0.6

#: What is expected, by pydantic's kind of error; ``{…}`` is filled from the error's context.
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": "a table",
    "path_type": "a path as text",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} character",
    "string_type": "a text in quotes",
    "too_long": "at most {max_length} elements",
    "too_short": "at least {min_length}",
    "tuple_type": "an array",
}


class Problem(NamedTuple):
    """One mistake: the key it is about, and what is wrong and allowed; lines that show where."""

    key: KeyPath
    what: str
    pointer: tuple[str, ...] = ()


def problem_of(details: ErrorDetails) -> Problem:
    """One of pydantic's errors in plain words."""
    key = tuple(str(part) for part in details["loc"] if part != "[key]")
    kind, value = details["type"], details["input"]
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        # Of a component's table, only who chose the component knows the keys.
        return Problem(key, _unknown_key(key, context.get("allowed") or keys_of(Config, key[:-1])))
    if kind == "missing":
        also = _INSTEAD.get((key[0], key[-1])) if len(key) == _OF_A_FEED else None
        return Problem(key, f"missing; this key is required{also or ''}")
    if kind == "value_error":
        message = str(context["error"])
        # Where it is shown, the value stands there already.
        if pointer := getattr(context["error"], "pointer", ()):
            return Problem(key, message, pointer)
        return Problem(key, message if " got " in message else message + _got(key, value))
    wanted = _EXPECTED.get(kind)
    if wanted is None:
        message = details["msg"].replace("Input should be", "expected")
        return Problem(key, message + _got(key, value))
    # Pydantic quotes as Python does, TOML's texts stand in double quotes.
    wanted = wanted.format(**context).replace("'", '"')
    return Problem(key, f"expected {wanted}{_got(key, value)}")


def shown_key(key: KeyPath) -> str:
    """The key as it is written in TOML; ``file`` for the file itself."""
    parts = (part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in key)
    return ".".join(parts) or "file"


def _got(key: KeyPath, value: object) -> str:
    """``, got VALUE`` where showing the value helps and betrays nothing."""
    if value is HIDDEN or holds_secret(Config, key) or any(map(_SECRET.search, key)):
        return ""
    if isinstance(value, dict):
        return ", got an empty table" if not value else ""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    text = _USER_IN_URL.sub("//…@", text)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}…"
    return f", got {text}"


def _unknown_key(key: KeyPath, allowed: Sequence[str]) -> str:
    near = [name for name in [_CALLED_HERE.get(key[-1])] if name in allowed]
    near += difflib.get_close_matches(key[-1], allowed, 1, _LEAST_ALIKE)
    # A word that a longer key begins or ends with is as near: "password" for "password_file".
    near += [name for name in allowed if key[-1] in name.split("_")]
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    return f"unknown key; allowed here: {', '.join(allowed)}"
