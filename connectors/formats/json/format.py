"""JSON as one of the formats: its parser, and what a payload would cost it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from connectors.formats.bounds import AnyObject, Bounds
from connectors.formats.format import NOTHING, Enveloped, MakeTyped
from connectors.formats.json.payload import loads
from connectors.formats.passing import Passing
from connectors.formats.paths import ABSENT, getter
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError

#: What a parser makes of an object, an array, half a text, and a number or a place in any of them,
#: bytes. For the dearest of each kind, but that numbers alone are never too many: those of a digit
#: or two take next to nothing. Measured with msgspec on CPython 3.11.
_OBJECT, _ARRAY, _QUOTE, _VALUE = 192, 104, 29, 27

#: Numbers with exponents of three digits in one message at most. The parser takes up to 35 µs for
#: one that is near what a float can hold, a hundred times what it takes for others.
_MAX_EXTREME = 1000

#: Around a line they mean nothing; with the last of them JSON text sequences begin each (RFC 7464).
_BLANKS = b"\0 \t\r\n\x1e"

_elements = msgspec.json.Decoder(list[AnyObject]).decode


def _make_typed(kind: Any) -> Any:  # noqa: ANN401  (a type made while it runs)
    return msgspec.json.Decoder(kind).decode


class JsonFormat:
    """Reads JSON; a ``Format``.

    Args:
        feed: The feed's configuration.
        limits: What one message may hold.
        has_lines: Whether a message may be several values, a line each.
        inside: Where in an envelope the message itself stands; None: there is none around it.
        embedded: Where in it texts stand that are JSON themselves, and are read as what they hold.
    """

    is_utf8 = True
    pick = None

    def __init__(
        self,
        feed: FeedConfig,
        limits: IngestConfig,
        *,
        has_lines: bool = False,
        inside: str | None = None,
        embedded: Sequence[str] = (),
    ) -> None:
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        self._takes_literals = not feed.strict
        is_all = inside is None and not embedded
        self.make_typed: MakeTyped | None = _make_typed if is_all else None
        self._embedded = [(path, parts_of(path)) for path in embedded]
        self._records = () if feed.records is None else parts_of(feed.records)
        self._inside = inside
        self._passing = Passing.of(feed) if inside is not None or embedded else None
        self._get_inside = None if inside is None else getter(inside)
        self.unseen_bytes = self._bounds.unseen_bytes
        self.check_count = self._bounds.check_count
        self._has_lines = has_lines

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        objects = payload.count(b"{")
        size = (
            _OBJECT * objects
            + _ARRAY * payload.count(b"[")
            + _QUOTE * payload.count(b'"')
            + _VALUE * payload.count(b",")
        )
        self._bounds.check_size(payload, size)
        if (extreme := _extreme_numbers(payload)) > _MAX_EXTREME:
            raise DataError(
                "too_many_records",
                f"{extreme} numbers with exponents of three digits, such as 1e-320; "
                f"{_MAX_EXTREME} are the most",
            )
        return self._bounds.check_objects(payload, objects, _elements)

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        del topic
        content = self._content(payload)
        if type(content) is str and self._takes_literals and content.lstrip()[:1] in ("{", "["):
            # Some write their JSON into a text of JSON.
            content = self._parsed(content, "")
        if self._get_inside is None:
            return self._with_texts_opened(content)
        if self._passing is not None and self._passing.begin(content):
            return Enveloped(NOTHING, content)
        inner = self._unwrapped(self._get_inside(content))
        return Enveloped(self._with_texts_opened(inner), content)

    def _is_passed(self, content: object) -> bool:
        """Whether a message, or one of its records, says itself that it is passed over."""
        return self._passing is not None and self._passing.is_message(content)

    def _with_texts_opened(self, content: object) -> object:
        """A message with what the texts hold that are JSON; as it is where it is passed over."""
        opened = content
        try:
            for path, parts in self._embedded:
                opened = self._opened(opened, path, parts)
        except DataError:
            if not self._is_passed(content):
                raise
            return content
        return opened

    def _opened(
        self, value: object, path: str, parts: tuple[str, ...], way: tuple[str, ...] = ()
    ) -> object:
        """The same with what the texts hold that are JSON, at the end of this path.

        Args:
            value: A message, or a part of one.
            path: The whole path.
            parts: What is left of it from there.
            way: The keys that lead there.
        """
        if not parts:
            return self._parsed(value, path)
        key, *rest = parts
        if type(value) is list and key.isdecimal() and int(key) < len(value):
            value[int(key)] = self._opened(value[int(key)], path, tuple(rest), (*way, key))
        elif type(value) is list:
            for at, each in enumerate(value):
                try:
                    value[at] = self._opened(each, path, parts, way)
                except DataError as error:
                    if way != self._records:
                        raise
                    # One that is none is one bad record.
                    if not self._is_passed(each):
                        value[at] = error.with_traceback(None)
        elif type(value) is dict:
            whole = ".".join(parts)
            key, rest = (whole, []) if whole in value else (key, rest)
            if key in value:
                value[key] = self._opened(value[key], path, tuple(rest), (*way, key))
        return value

    def _parsed(self, text: object, path: str) -> object:
        """What a text holds that is JSON; anything but a text as it is."""
        if type(text) is not str:
            return text
        if not text.strip():
            return None
        try:
            inner = text.encode()
            if len(inner) > self.unseen_bytes:
                self.check(inner)
            return loads(inner, takes_literals=self._takes_literals)
        except (DataError, UnicodeEncodeError) as error:
            reason = error.reason if isinstance(error, DataError) else "not_utf8"
            where = f'the text at "{path}"' if path else "the text that the message is"
            raise DataError(reason, f"{where}: {error}"[:200]) from None

    def _unwrapped(self, value: object) -> object:
        """What stands in an envelope."""
        if value is ABSENT or value is None:
            raise DataError("missing_records", f'no message at "{self._inside}"')
        if type(value) is not str:
            return value
        where = f'the text at "{self._inside}"'
        try:
            inner = value.encode()
            if not value.lstrip().startswith(("{", "[")):
                where = f'what is in base64 at "{self._inside}"'
                # Some end it with a line break, or have one after each 76 letters.
                inner = base64.b64decode(inner.translate(None, _BLANKS), validate=True)
        except ValueError as error:
            raise DataError(
                "not_json", f'"{self._inside}" is neither JSON nor base64: {error}'[:200]
            ) from None
        try:
            if len(inner) > self.unseen_bytes:
                self.check(inner)
            return self._content(inner)
        except DataError as error:
            raise DataError(error.reason, f"{where}: {error.detail}"[:200]) from None

    def _content(self, payload: bytes) -> object:
        try:
            return loads(payload, takes_literals=self._takes_literals)
        except DataError as error:
            if not self._has_lines or error.reason == "compressed":
                raise
            self.check_count(payload.strip(_BLANKS).count(b"\n"))
            stripped = [line.strip(_BLANKS).rstrip(b",") for line in payload.split(b"\n")]
            lines = list(filter(None, stripped))
            if not lines or lines == [payload]:
                raise
        every: list[object] = []
        for line in lines:
            found = self._line(line)
            # A line may have several records itself.
            every += found if type(found) is list else [found]
        return every

    def _line(self, line: bytes) -> object:
        try:
            return loads(line, takes_literals=self._takes_literals)
        except DataError as error:
            # A bad line among good ones is one bad record.
            return error.with_traceback(None)


def _extreme_numbers(payload: bytes) -> int:
    """How many exponents of three digits or more there are; some may stand in texts."""
    # Some more bytes, so that there is something to look at behind the last one. Bytes and not
    # places are worked on, because a text may be full of that letter.
    text = np.frombuffer(payload + b"\0\0\0\0", np.uint8)
    count = len(payload)
    # Below "0" a byte wraps around to a large number.
    is_digit = text - np.uint8(ord("0")) < 10
    two, three = is_digit[2:], is_digit[3:]
    is_long = is_digit[1 : count + 1] & two[:count] & three[:count]
    after = text[1 : count + 1]
    is_signed = (after == ord("+")) | (after == ord("-"))
    is_long |= is_signed & two[:count] & three[:count] & is_digit[4:]
    return int(np.count_nonzero(is_long & ((text[:count] | 0x20) == ord("e"))))
