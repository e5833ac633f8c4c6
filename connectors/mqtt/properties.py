"""What MQTT 5 says beside a message: the properties of a PUBLISH packet (section 3.3.2.3).

They are looked at only where a feed asks for something of them; all others are passed over.
"""

from __future__ import annotations

from typing import Final

from headgate.core.properties import Asked, Properties

#: So many are looked at: each takes as long as a short message, and a peer may send any number.
MOST_PROPERTIES: Final = 1000

#: What properties mean is remembered of so many, each of so many bytes.
_MOST_KNOWN: Final = 1000
_MOST_KNOWN_BYTES: Final = 512

#: Properties by their identifiers (section 2.2.2.2), and of those of one size, their bytes.
_CONTENT_TYPE, _SUBSCRIPTION, _USER = 0x03, 0x0B, 0x26
_RESPONSE_TOPIC, _CORRELATION = 0x08, 0x09
_SIZES: Final = {0x01: 1, 0x02: 4, 0x23: 2}

#: What has a length of two bytes before it, once or twice.
_TEXTS: Final = {_CONTENT_TYPE: 1, _RESPONSE_TOPIC: 1, _CORRELATION: 1, _USER: 2}


class MalformedError(ValueError):
    """Bytes that are no properties, or one twice that may stand once."""


class TooManyError(ValueError):
    """More properties than are looked at."""


class PropertyReader:
    """Finds in properties what is asked for.

    Args:
        asked: What that is.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        # By properties as they were sent: most messages of a device have the same.
        self._known: dict[bytes, Properties] = {}

    def read(self, data: bytes, at: int, end: int) -> Properties:
        """What the properties of a message say; of several of one name, the last one.

        Args:
            data: What holds the packet.
            at: Where its properties begin.
            end: Where they end.

        Raises:
            MalformedError: They are none.
            TooManyError: They are too many.
        """
        if end - at > _MOST_KNOWN_BYTES:
            return self._read(data, at, end)
        sent = data[at:end]
        found = self._known.get(sent)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[sent] = found = self._read(sent, 0, len(sent))
        return found

    def _read(self, data: bytes, at: int, end: int) -> Properties:
        content_type: bytes | None = None
        correlation = b""
        asked, user = self._asked.user, dict[bytes, bytes]()
        for _ in range(MOST_PROPERTIES):
            if at >= end:
                break
            kind, begin = data[at], at + 1
            at = _behind(data, kind, begin)
            if kind == _USER and asked:
                value = begin + 2 + int.from_bytes(data[begin : begin + 2])
                name = data[begin + 2 : value]
                if name in asked:
                    user[name] = data[value + 2 : at]
            elif kind == _CONTENT_TYPE:
                if content_type is not None:
                    raise MalformedError
                content_type = data[begin + 2 : at]
            elif kind == _CORRELATION and self._asked.correlation:
                correlation = data[begin + 2 : at]
        if at > end:
            raise MalformedError
        if at < end:
            raise TooManyError
        said = content_type or b"" if self._asked.content_type else b""
        return Properties(said, tuple(user.items()), correlation)


def _behind(data: bytes, kind: int, at: int) -> int:
    """Where a property of this kind ends, whose value begins at ``at``.

    Of one that is cut off that is behind the end of all of them, whatever stands there.
    """
    if kind in _TEXTS:
        for _ in range(_TEXTS[kind]):
            at += 2 + int.from_bytes(data[at : at + 2])
        return at
    if kind in _SIZES:
        return at + _SIZES[kind]
    if kind == _SUBSCRIPTION:
        # A variable byte integer (section 1.5.5).
        for size, byte in enumerate(data[at : at + 4], 1):
            if byte < 128:
                return at + size
    raise MalformedError
