"""Payloads straight into typed fields: the fast way through a payload that is as its feed says.

A parser that is told which fields there are, and of which type, does not build what nobody looks
at. Whatever is not exactly so (another type, a path that branches, text where a number should be)
fails here as a whole and is left to the decoder's careful way, which knows a reason for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Literal

import msgspec
import numpy as np

from connectors.formats.format import MakeTyped, Typed, Wanted
from headgate.config.payload_path import parts_of

#: Stands for a number that is not there: a NaN that no computation gives, told by its bits.
_ABSENT_BITS = 0x7FF8_0000_0000_0BAD
_ABSENT = float(np.array([_ABSENT_BITS], np.int64).view(np.float64)[0])

#: What the parser raises for what it can't read into a type.
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

#: A field of this type must not be there at all.
_NOTHING = Literal["\0"]


class TypedDecoder:
    """Decodes payloads that are one record, or an array of records.

    Args:
        wanted: What is looked for in a record.
        make: Makes the function that reads a payload into a type.
        is_utf8: Whether payloads must be UTF-8 where nobody looks at them, too.

    Raises:
        ValueError: The paths can't be expressed by types; only the careful way knows them.
    """

    def __init__(
        self,
        wanted: Wanted,
        make: MakeTyped,
        *,
        is_utf8: bool,
    ) -> None:
        tree = _Tree()
        self._values = [
            tree.add(path, float | None, _ABSENT if default is None else default)
            for path, default in wanted.channels
        ]
        self._time = None
        if wanted.time is not None:
            path, is_text = wanted.time
            self._time = tree.add(path, str if is_text else int | float | str, None)
        self._device = [tree.add(path, str | int, None) for path in wanted.names]
        record = tree.struct()
        self._must_be_utf8 = is_utf8
        self._decode = make(record | list[record])  # type: ignore[valid-type]

    def decode(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """Decode payloads; never raises for what they hold."""
        del topics  # all that they say, the decoder looks up
        records, failed = self._parse(payloads)
        owner = np.arange(len(payloads))
        if failed:
            owner = np.delete(owner, failed)
        has_arrays = list in set(map(type, records))
        if has_arrays:
            parts = [record if type(record) is list else [record] for record in records]
            failed += [at for at, part in zip(owner.tolist(), parts, strict=True) if not part]
            owner = np.repeat(owner, [len(part) for part in parts])
            records = [record for part in parts for record in part]
        value = np.empty((len(records), len(self._values)))
        for column, get in enumerate(self._values):
            value[:, column] = np.array(list(map(get, records)), np.float64)
        return Typed(
            owner,
            None if self._time is None else list(map(self._time, records)),
            self._devices(records),
            value,
            value.view(np.int64) == _ABSENT_BITS,
            failed,
            has_arrays,
            not has_arrays and not failed,
        )

    def _devices(self, records: Sequence[Any]) -> list[Any] | None:
        parts = [list(map(get, records)) for get in self._device]
        if len(parts) > 1:
            return list(zip(*parts, strict=True))
        return parts[0] if parts else None

    def _parse(self, payloads: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """The payloads' contents, and the positions of those that can't be had."""
        records, failed = read_each(self._decode, payloads, _UNREADABLE)
        # The parser does not look into texts that nobody wants; UTF-8 they must be all the same.
        if self._must_be_utf8 and not _is_utf8(b"\n".join(payloads)):
            parsed = np.delete(np.arange(len(payloads)), failed).tolist()
            is_text = [_is_utf8(payloads[at]) for at in parsed]
            records = list(compress(records, is_text))
            failed += [at for at, is_good in zip(parsed, is_text, strict=True) if not is_good]
        return records, failed


def read_each(
    parse: Callable[[bytes], Any],
    payloads: Sequence[bytes],
    unreadable: tuple[type[Exception], ...],
) -> tuple[list[Any], list[int]]:
    """What a parser makes of payloads, and the positions of those of which it makes nothing.

    Args:
        parse: The parser.
        payloads: The payloads.
        unreadable: What it raises for these.
    """
    contents: list[Any] = []
    failed: list[int] = []
    # An exception ends the list, but not what it is made of: that goes on behind its payload.
    rest = map(parse, payloads)
    while True:
        try:
            contents.extend(rest)
        except unreadable:
            failed.append(len(contents) + len(failed))
        else:
            return contents, failed


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Tree:
    """Paths on their way to becoming nested types."""

    def __init__(self) -> None:
        self.leaves: dict[str, tuple[Any, Any]] = {}
        self.branches: dict[str, _Tree] = {}

    def add(self, path: str, kind: Any, default: object) -> Callable[[Any], Any]:  # noqa: ANN401
        """Add a path; a function that takes its value out of a record."""
        parts = parts_of(path)
        tree, names = self, []
        if len(parts) > 1:
            # A key that is the whole path, dots included, would be preferred.
            self.lay(path, _NOTHING, "\0")
        for part in parts[:-1]:
            if part in tree.leaves:
                raise ValueError(f"{path}: its beginning is a value by itself")
            names.append(tree.name_of(part))
            tree = tree.branches.setdefault(part, _Tree())
        if any(part.isdecimal() for part in parts[1:]):
            raise ValueError(f"{path}: a position in a list")
        tree.lay(parts[-1], kind, default)
        return attrgetter(".".join([*names, tree.name_of(parts[-1])]))

    def struct(self) -> type[msgspec.Struct]:
        """The type of a record."""
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        for name, (kind, default) in self.leaves.items():
            names[self.name_of(name)] = name
            fields.append((self.name_of(name), kind, default))
        for name, tree in self.branches.items():
            names[self.name_of(name)] = name
            inner = tree.struct()
            fields.append((self.name_of(name), inner, tree.nothing(inner)))
        return msgspec.defstruct("Record", fields, rename=names, frozen=True, gc=False)

    def nothing(self, struct: type[msgspec.Struct]) -> msgspec.Struct:
        """What stands for an object of this type that is not there: nothing in it has a default."""
        return struct(
            **{
                self.name_of(name): _ABSENT
                for name, (_, default) in self.leaves.items()
                if isinstance(default, float)
            }
        )

    def lay(self, name: str, kind: Any, default: object) -> None:  # noqa: ANN401
        if name in self.branches or self.leaves.get(name, (kind, default)) != (kind, default):
            raise ValueError(f"{name}: is used for two different things")
        self.leaves[name] = (kind, default)

    def name_of(self, key: str) -> str:
        """A Python name for a key of the payload, which may be any text."""
        return "f" + key.encode("utf-8", "surrogatepass").hex()
