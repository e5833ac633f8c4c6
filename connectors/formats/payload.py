"""The bytes of a message as what JSON says they are, or the reason why they can't be."""

from __future__ import annotations

import json

import orjson

from headgate.core.errors import DataError

#: Deepest nesting of a payload; telemetry needs a handful of levels. orjson parses 1,024 at most
#: and refuses more, so this is what it refuses.
_TOO_DEEP = "depth limit"

#: What orjson says of a number that is too large for a float.
_TOO_LARGE = "infinity when parsed as double"


def loads(payload: bytes) -> object:
    """What a payload holds; raises DataError with the reason why it can't be read."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        trouble = error
    if _TOO_LARGE in str(trouble):
        # A number that no float can hold does not make a message bad, least of all in a field that
        # nobody wants: it is infinite here, as a whole number of as many digits is.
        try:
            return json.loads(payload.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            pass
    raise _why_not_json(payload, trouble)


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _why_not_json(payload: bytes, error: orjson.JSONDecodeError) -> DataError:
    try:
        payload.decode()
    except UnicodeDecodeError as invalid:
        return DataError("not_utf8", f"byte {invalid.start}: {invalid.reason}")
    reason = "too_deep" if _TOO_DEEP in str(error).lower() else "not_json"
    return DataError(reason, str(error)[:200])
