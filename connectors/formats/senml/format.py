"""SenML as one of the formats: packs of records, resolved (RFC 8428)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from connectors.formats.bounds import Bounds
from connectors.formats.cbor.format import check as check_cbor
from connectors.formats.cbor.payload import loads as cbor_loads
from connectors.formats.json.format import JsonFormat
from connectors.formats.numbers import shown
from connectors.formats.senml.names import CHANNEL, NamePattern
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: Labels of CBOR's packs, as they are read, by what JSON has.
_LABELS = dict(
    zip(
        map(str, (-1, -2, -3, -4, -5, -6, 0, 1, 2, 3, 4, 5, 6, 7, 8)),
        ("bver", "bn", "bt", "bu", "bv", "bs", "n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"),
        strict=True,
    )
)

#: Values of a record, by the kind they are of.
_VALUES = ("v", "vb", "vs", "vd")

#: The newest version that there is; of later ones nobody knows what they mean.
_VERSION = 10

#: Smaller times are seconds from now, and not since 1970.
_RELATIVE = 2**28

#: Whole numbers of this size and more may not fit into a float.
_LARGE = 2**1000

#: What a resolved record takes, bytes.
_RECORD = 1400

#: What marks the sum of a channel in its path.
_SUM = ".s"

#: The longest names, characters: each record gets the base name anew.
_LONGEST_NAME = 512

#: Names that a person is told of.
_TOLD = 3


class SenmlFormat:
    """Reads SenML; a ``Format``.

    Args:
        name: What names are made of; None: channels have whole ones, or what is behind the base.
        feed: The feed's configuration.
        limits: What one message may hold.
    """

    make_typed = None
    is_utf8 = False

    def __init__(self, name: str | None, feed: FeedConfig, limits: IngestConfig) -> None:
        self._pattern = None if name is None else NamePattern(name)
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        self._json = JsonFormat(feed, limits)
        self.check_count = self._bounds.check_count
        self.unseen_bytes = self._bounds.unseen_bytes // 3
        self._wanted = {
            key_of(path) for name, each in feed.channels.items() for path in each.paths(name)
        }
        self._takes_all = feed.other_channels is not None

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        if _is_json(payload):
            records = payload.count(b"{")
            self._json.check(payload)
        else:
            records = sum(map(payload.count, (bytes((0xA0 + n,)) for n in range(32))))
            check_cbor(payload, self._bounds)
        # As many as there can be; what they really are is counted before any is resolved.
        self._bounds.check_size(payload, _RECORD * min(records, 10_000))
        return False

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        content = self._json.read(topic, payload) if _is_json(payload) else cbor_loads(payload)
        if type(content) is not list:
            raise DataError("not_senml", f"expected an array of records, got {shown(content)}")
        self.check_count(len(content))
        base = _Base()
        found: list[object] = []
        others: list[str] = []
        for each in content:
            try:
                record = base.resolved(each)
            except _BadRecordError as error:
                found.append(DataError("not_senml", str(error)))
                continue
            if self._name(record):
                found.append(record)
            elif len(others) < _TOLD:
                others.append(record["name"])
        if not found:
            told = ", ".join(shown(name) for name in others) or "no record"
            raise DataError("no_channels", f"none of the feed's channels is in it; there is {told}")
        return found

    def pick(self, topic: bytes, record: dict[str, Any]) -> dict[str, object]:
        """Of a record, its value and sum under the names that channels may have."""
        del topic
        picked = {}
        for key in record["keys"]:
            if "value" in record:
                picked[key] = record["value"]
            if "sum" in record:
                picked[key + _SUM] = record["sum"]
        return picked

    def _name(self, record: dict[str, Any]) -> bool:
        """Put the parts of its name to a record; whether any of the feed's channels is in it."""
        name = record["name"]
        keys = [name, record["n"]]
        if self._pattern is not None:
            parts = self._pattern.parts(name)
            if parts is None:
                return False
            keys = [parts.pop(CHANNEL)]
            record |= parts
        known = [
            key
            for key in dict.fromkeys(keys)
            if (key in self._wanted and "value" in record)
            or (key + _SUM in self._wanted and "sum" in record)
        ]
        # Of those that nobody has listed the last is the shorter one, if it has any.
        keys = known or ([keys[-1] or name] if self._takes_all else [])
        record["keys"] = keys
        return bool(keys)


class _BadRecordError(Exception):
    """Why a record is none."""


class _Base:
    """What records before have said of those that follow."""

    def __init__(self) -> None:
        self._name = ""
        self._time: int | float = 0
        self._value: int | float | None = None
        self._sum: int | float = 0

    def resolved(self, record: object) -> dict[str, Any]:
        """A record by itself: ``bn``, ``n``, ``name``, ``t`` and, if it has them, value and sum.

        Raises:
            _BadRecordError: It is none.
            DataError: Nor can those be understood that follow.
        """
        if type(record) is not dict:
            raise _BadRecordError(f"expected a record, got {shown(record)}")
        record = {_LABELS.get(key, key): value for key, value in record.items()}
        self._take(record)
        name = record.get("n", "")
        if type(name) is not str or len(name) > _LONGEST_NAME:
            raise _BadRecordError(f"n: expected a name, got {shown(name)}")
        found: dict[str, Any] = {"bn": self._name, "n": name, "name": self._name + name}
        found["t"] = _time(self._time, _number(record, "t", _BadRecordError))
        kinds = [kind for kind in _VALUES if kind in record]
        if len(kinds) > 1:
            raise _BadRecordError(f"{kinds[0]} and {kinds[1]}: a record has one value")
        if kinds:
            value = record[kinds[0]]
            if kinds[0] == "v" and self._value is not None and _is_number(value):
                value = _sum(self._value, value)
            found["value"] = value
        if "s" in record:
            total = record["s"]
            found["sum"] = _sum(self._sum, total) if _is_number(total) else total
        return found

    def _take(self, record: dict[Any, Any]) -> None:
        """Take over what a record says of all that follow."""
        for key in record:
            if isinstance(key, str) and key.endswith("_"):
                raise DataError("not_senml", f"{shown(key)} must be understood, and is not")
        if "bver" in record and not 0 < (_number(record, "bver") or 0) <= _VERSION:
            raise DataError(
                "not_senml",
                f"version {shown(record['bver'])}; {_VERSION} is the newest that is read",
            )
        if "bn" in record:
            if type(record["bn"]) is not str or len(record["bn"]) > _LONGEST_NAME:
                raise DataError("not_senml", f"bn: expected a name, got {shown(record['bn'])}")
            self._name = record["bn"]
        if "bt" in record:
            self._time = _number(record, "bt") or 0
        if "bv" in record:
            self._value = _number(record, "bv")
        if "bs" in record:
            self._sum = _number(record, "bs") or 0


def _is_json(payload: bytes) -> bool:
    """Whether a pack is JSON: no CBOR array begins so."""
    return payload.lstrip(b"\xef\xbb\xbf\0 \t\r\n")[:1] in (b"[", b"{", b"")


def _is_number(value: object) -> bool:
    if type(value) is int:
        return -_LARGE < value < _LARGE
    return type(value) is float and value - value == 0


def _number(record: dict[Any, Any], key: str, error: type[Exception] | None = None) -> int | float:
    """A number of a record, 0 where it has none."""
    value = record.get(key, 0)
    if _is_number(value):
        number: int | float = value
        return number
    text = f"{key}: expected a number, got {shown(value)}"
    raise DataError("not_senml", text) if error is None else error(text)


def _sum(one: float, other: float) -> int | float:
    """Of two numbers, as they were written."""
    if type(one) is int and type(other) is int:
        return one + other
    try:
        return float(Decimal(repr(one)) + Decimal(repr(other)))
    except (ArithmeticError, ValueError):
        return float(one) + float(other)


def _time(base: float, own: float) -> int | str | timedelta:
    """The time of a record: seconds since 1970, or from now."""
    if type(base) is int and type(own) is int:
        total: int | Decimal = base + own
    else:
        try:
            total = Decimal(repr(base)) + Decimal(repr(own))
        except (ArithmeticError, ValueError) as error:
            raise _BadRecordError(f"t: no time: {error}"[:200]) from None
    if total < _RELATIVE:
        try:
            return timedelta(seconds=float(total))
        except OverflowError:
            raise _BadRecordError(f"t: too long before now: {shown(own)}") from None
    return total if type(total) is int else str(total)
