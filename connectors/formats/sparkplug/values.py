"""What a metric's value is, by its data type, in the terms of JSON.

A table becomes a list of objects, a template an object, an array a list; so a channel's path leads
to what is in them, as in ``Recipe.0.Temperature``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from connectors.formats.sparkplug.schema import parsed
from headgate.core.errors import DataError

#: Data types by their numbers; only those that are told apart here.
UNKNOWN: Final = 0
DATA_SET, TEMPLATE = 16, 19
_BOOLEAN_ARRAY, _STRING_ARRAY = 32, 33

#: Of a signed whole number, how many bits it has.
SIGNED_BITS: Final[Mapping[int, int]] = {1: 8, 2: 16, 3: 32, 4: 64}

#: Of an array of numbers, what ``struct`` calls one of them.
_NUMBERS: Final[Mapping[int, str]] = {
    22: "b",
    23: "h",
    24: "i",
    25: "q",
    26: "B",
    27: "H",
    28: "I",
    29: "Q",
    30: "f",
    31: "d",
    34: "q",
}

_BY_THEMSELVES = frozenset({"float_value", "double_value", "boolean_value", "string_value"})
_WHOLE = frozenset({"int_value", "long_value"})

#: So long is what is in one metric at most, bytes: many things may be in it that are small.
_MOST_BYTES = 64 << 10

#: Templates in templates.
_DEEPEST = 8

_NO_TYPE = "a whole number without a data type; the node's birth would have told it"


def value_of(metric: Any, datatype: int, depth: int = 0) -> object:  # noqa: ANN401
    """A metric's value.

    Args:
        metric: The metric.
        datatype: Its data type, as it says itself or its birth did; ``UNKNOWN``: neither.
        depth: In how many templates it is.

    Returns:
        None for null; for bytes, which no channel can be, the bytes.

    Raises:
        DataError: ``unknown_type``: its bits may mean this or that. ``not_sparkplug``: it is none.
    """
    kind = metric.WhichOneof("value")
    if metric.is_null or kind is None:
        return None
    value = getattr(metric, kind)
    if kind in _BY_THEMSELVES:
        return value
    if kind in _WHOLE:
        return whole(value, datatype)
    if len(value) > _MOST_BYTES:
        raise DataError("too_many_records", f"{len(value)} bytes in one metric")
    if kind == "dataset_value":
        return _rows(value)
    if kind == "template_value":
        return _members(value, depth)
    return _array(value, datatype)


def whole(value: int, datatype: int) -> int:
    """A whole number by its bits; see ``value_of``."""
    if datatype == UNKNOWN:
        raise DataError("unknown_type", _NO_TYPE)
    bits = SIGNED_BITS.get(datatype)
    if bits is None:
        return value
    # Some write an Int8 of -1 in 8 bits, others in all 32 of the field.
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _array(value: bytes, datatype: int) -> object:
    if datatype == UNKNOWN:
        raise DataError("unknown_type", "bytes without a data type; the birth would have told it")
    if datatype == _BOOLEAN_ARRAY:
        return _booleans(value)
    if datatype == _STRING_ARRAY:
        return [text.decode(errors="replace") for text in value.split(b"\0")[:-1]]
    code = _NUMBERS.get(datatype)
    if code is None:
        return value
    count, rest = divmod(len(value), struct.calcsize(f"<{code}"))
    if rest:
        raise DataError("not_sparkplug", f"{len(value)} bytes are no array of type {datatype}")
    return list(struct.unpack(f"<{count}{code}", value))


def _booleans(value: bytes) -> list[bool]:
    """How many, in four bytes, and then a bit for each, the highest of a byte first."""
    count = int.from_bytes(value[:4], "little")
    bits = value[4:]
    if len(value) < 4 or count > 8 * len(bits):
        raise DataError("not_sparkplug", f"{len(value)} bytes are no array of {count} booleans")
    return [bool(bits[at // 8] >> (7 - at % 8) & 1) for at in range(count)]


def _rows(content: bytes) -> list[dict[str, object]]:
    table = parsed("DataSet", content)
    columns, types = list(table.columns), list(table.types)
    if len(types) != len(columns) or any(len(row.elements) != len(columns) for row in table.rows):
        raise DataError("not_sparkplug", "a DataSet whose rows, columns and types are not as many")
    return [
        {
            column: _cell(element, datatype)
            for column, datatype, element in zip(columns, types, row.elements, strict=True)
        }
        for row in table.rows
    ]


def _cell(element: Any, datatype: int) -> object:  # noqa: ANN401
    kind = element.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(element, kind)
    return whole(value, datatype) if kind in _WHOLE else value


def _members(content: bytes, depth: int) -> dict[str, object]:
    if depth == _DEEPEST:
        raise DataError("too_deep", f"more than {_DEEPEST} templates in each other")
    of: Callable[[Any], object] = lambda each: value_of(each, each.datatype, depth + 1)  # noqa: E731
    return {each.name: of(each) for each in parsed("Template", content).metrics}
