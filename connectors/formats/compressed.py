"""Compression around any format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from connectors.formats.charset import UTF_8, with_charset
from connectors.formats.format import (
    Conversation,
    Fields,
    Format,
    MakeTable,
    MakeTyped,
    ReadTable,
    Wanted,
)
from connectors.formats.inflate import STARTS, compression_of, inflated
from connectors.formats.tables import in_pieces
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.components import component
from headgate.core.errors import DataError

#: What ``feed.NAME.compression`` says where nothing is known.
_AUTO, _NONE = "auto", "none"

#: What breaks lines and begins records in texts.
_BREAKS = str.maketrans(dict.fromkeys("\t\r\n\0\x1e\ufeff", " "))


def format_of(feed: FeedConfig, limits: IngestConfig) -> Format:
    """What reads a feed's messages, however they are compressed and their characters written."""
    form: Format = component("formats", feed.format.name).make(feed.format.table, feed, limits)
    return with_compression(with_charset(form, feed), feed, limits)


def with_compression(form: Format, feed: FeedConfig, limits: IngestConfig) -> Format:
    """The format with what its feed says of compression around its messages."""
    if feed.compression == _NONE or (feed.compression == _AUTO and feed.may_begin_anyhow):
        return form
    if feed.compression == _AUTO:
        return _Recognized(form, limits.max_payload, feed.charset)
    return _Known(form, feed.compression, limits.max_payload)


class _Around:
    """What both have in common."""

    def __init__(self, form: Format, most: int) -> None:
        self._form = form
        self._most = most
        self.pick = form.pick
        self.check_count = form.check_count
        self.unseen_bytes = form.unseen_bytes
        # Of those that have them; see ``Format`` and ``Conversation``.
        self.fields: Fields | None = getattr(form, "fields", None)
        self.conversation: Conversation | None = getattr(form, "conversation", None)

    def _read(self, topic: bytes, payload: bytes, kind: str) -> object:
        try:
            content = self._content(payload, kind)
        except DataError:
            if self.conversation is not None:
                self.conversation.skip(topic)
            raise
        return self._form.read(topic, content)

    def _content(self, payload: bytes, kind: str) -> bytes:
        if not payload:
            raise DataError("empty", "nothing in it; so are retained messages cleared")
        content = inflated(payload, kind, self._most)
        if len(content) > self.unseen_bytes:
            self._form.check(content)
        return content


class _Recognized(_Around):
    """Messages that may be compressed, which is seen by their first bytes; a ``Format``."""

    def __init__(self, form: Format, most: int, charset: str) -> None:
        super().__init__(form, most)
        # Of most others than UTF-8 any bytes are text, compressed ones too.
        self._charset = None if charset == UTF_8 else charset
        self.make_typed = form.make_typed
        # Of those that have one.
        self.make_table: MakeTable | None = getattr(form, "make_table", None)
        self.is_utf8 = form.is_utf8

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is parsed; see ``Format.check``."""
        # Of a compressed one its bytes say nothing.
        return not compression_of(payload) and self._form.check(payload)

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        if self._charset is not None and payload[:2] in STARTS:
            return self._read_as_it_begins(topic, payload, self._charset)
        try:
            return self._form.read(topic, payload)
        except DataError:
            # Only then is it looked at: a good payload needs no more than its parser.
            kind = compression_of(payload) if payload[:2] in STARTS else ""
            if not kind:
                raise
        return self._read(topic, payload, kind)

    def _read_as_it_begins(self, topic: bytes, payload: bytes, charset: str) -> object:
        """What a payload holds that begins as a compressed one does, and may be a text."""
        kind = compression_of(payload)
        try:
            content = inflated(payload, kind, self._most) if kind else payload
        except DataError as error:
            # Some of these beginnings are letters.
            if error.reason != "compressed" or not _is_text(payload, charset):
                if self.conversation is not None:
                    self.conversation.skip(topic)
                raise
            content = payload
        if len(content) > self.unseen_bytes:
            self._form.check(content)
        return self._form.read(topic, content)


class _Known(_Around):
    """Messages that are compressed as the configuration says; a ``Format``."""

    # What is in them is looked at where it is read.
    is_utf8 = False

    def __init__(self, form: Format, kind: str, most: int) -> None:
        super().__init__(form, most)
        self._kind = kind
        self.make_typed: MakeTyped | None = None if form.make_typed is None else self._typed

    def _typed(self, kind: Any) -> Callable[[bytes], Any]:  # noqa: ANN401  (made while it runs)
        assert self._form.make_typed is not None  # noqa: S101  (for the type checker)
        inner = self._form.make_typed(kind)

        def read(payload: bytes) -> object:
            content = self._unpacked(payload)
            if content is None:
                raise msgspec.ValidationError("not to be read, or to be looked at first")
            if self._form.is_utf8 and not content.isascii():
                content.decode()
            return inner(content)

        return read

    def make_table(self, wanted: Wanted) -> ReadTable | None:
        """What reads many payloads; see ``Format``."""
        make: MakeTable | None = getattr(self._form, "make_table", None)
        inner = None if make is None else make(wanted)
        if inner is None:
            return None
        return lambda topics, payloads: in_pieces(inner, topics, map(self._unpacked, payloads))

    def _unpacked(self, payload: bytes) -> bytes | None:
        """What is in a payload; None for what the careful way has to look at first."""
        try:
            content = inflated(payload, self._kind, self._most)
        except DataError:
            return None
        return content if len(content) <= self.unseen_bytes else None

    def check(self, payload: bytes) -> bool:
        """Its bytes say nothing; what is in it is looked at where it is read."""
        del payload
        return True

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        return self._read(topic, payload, self._kind)


def _is_text(payload: bytes, charset: str) -> bool:
    """Whether a payload has nothing but what people and devices write into texts."""
    try:
        text = payload.decode(charset)
    except UnicodeError:
        return False
    return text.translate(_BREAKS).isprintable()
