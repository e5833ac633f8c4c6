"""Frames in which each value has its type's number before it: type, length and value.

What follows a type that is not listed can't be known, and where it ends neither, unless its length
is said. So what was read before it is kept, and the rest of the message is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connectors.formats.binary.component import BinaryConfig, PartConfig
from connectors.formats.binary.values import getter
from headgate.core.errors import DataError


@dataclass(frozen=True, slots=True)
class _Part:
    """What is read behind a type's number.

    Attributes:
        name: What it is called.
        is_numbered: Whether its channel's number stands behind that.
        size: Bytes.
        getters: By name, or without one where it is the only one, what takes a value out.
    """

    name: str
    is_numbered: bool
    size: int
    getters: tuple[tuple[str, Callable[[bytes, int], object]], ...]

    def read(self, frame: bytes, at: int) -> object:
        """What stands there, with the names of several."""
        values = {name: get(frame, at) for name, get in self.getters}
        return values.get("", values)


class Parts:
    """Takes frames apart.

    Args:
        table: What may stand in them.
    """

    def __init__(self, table: BinaryConfig) -> None:
        self._head = {name: place for place, name in enumerate(table.head)}
        self._order = table.order
        self._parts = {
            (part.channel, part.code): self._part(name, part) for name, part in table.parts.items()
        }

    def read(self, frame: bytes) -> list[dict[str, object] | DataError]:
        """The record that a frame holds, if any, and why not all of it is in that, if it is not."""
        record: dict[str, object] = {}
        found: list[dict[str, object] | DataError] = []
        try:
            for name, value in self._values(frame, found):
                if name in record:
                    raise DataError(
                        "not_binary", f"{name} comes twice; give parts a channel each, or a size"
                    )
                record[name] = value
        except DataError as error:
            found.append(error.with_traceback(None))
        return [record, *found] if record else found

    def _values(
        self, frame: bytes, unknown: list[dict[str, object] | DataError]
    ) -> Iterator[tuple[str, object]]:
        """Name and value of each part; those that are not listed and can be passed over, apart."""
        at, head = 0, self._head
        while at < len(frame):
            begin, value_at = at, at + len(head)
            if value_at > len(frame):
                raise _too_short(begin, len(head), len(frame) - begin)
            code = frame[at + head["type"]]
            channel = frame[at + head["channel"]] if "channel" in head else None
            part = self._parts.get((channel, code)) or self._parts.get((None, code))
            length = frame[at + head["length"]] if "length" in head else None
            if part is None and length is not None and unknown:
                # The first is told; a frame may be full of them.
                at = value_at + length
                continue
            if part is None:
                told = f"type 0x{code:02x}" + ("" if channel is None else f" of channel {channel}")
                error = DataError("not_binary", f"byte {begin}: {told} is none of format.parts")
                if length is None:
                    raise error
                unknown.append(error)
                at = value_at + length
                continue
            size = part.size if length is None else length
            if size < part.size or value_at + size > len(frame):
                found = min(size, len(frame) - value_at)
                raise _too_short(value_at, max(part.size, size), found, part.name)
            if part.getters:
                name = f"{part.name}_{channel}" if part.is_numbered else part.name
                yield name, part.read(frame, value_at)
            at = value_at + size

    def _part(self, name: str, part: PartConfig) -> _Part:
        own = part.order or self._order
        return _Part(
            name,
            part.channel is None and "channel" in self._head,
            part.least if part.size is None else part.size,
            tuple((each, getter(field, field.order or own)) for each, field in part.values.items()),
        )


def _too_short(at: int, wanted: int, found: int, name: str = "") -> DataError:
    what = f" of {name}" if name else " before a value"
    return DataError("not_binary", f"byte {at}: expected {wanted} bytes{what}, got {found}")
