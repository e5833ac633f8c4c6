"""Texts that are not UTF-8, for any format that is text."""

from __future__ import annotations

from connectors.formats.format import Conversation, Fields, Format
from headgate.config.feed import FeedConfig
from headgate.core.errors import DataError

#: What all formats read.
UTF_8 = "utf-8"


def with_charset(form: Format, feed: FeedConfig) -> Format:
    """The format with what its feed says of the characters of its messages."""
    return form if feed.charset == UTF_8 else _Recoded(form, feed.charset)


class _Recoded:
    """Reads messages whose characters are written otherwise; a ``Format``."""

    make_typed = None
    is_utf8 = False

    def __init__(self, form: Format, charset: str) -> None:
        self._form = form
        self._charset = charset
        self.pick = form.pick
        self.check_count = form.check_count
        # A byte may become three.
        self.unseen_bytes = form.unseen_bytes // 3
        # Of those that have them; what is read as a table would be read before it is recoded.
        self.fields: Fields | None = getattr(form, "fields", None)
        self.conversation: Conversation | None = getattr(form, "conversation", None)

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is read; see ``Format.check``."""
        return self._form.check(self._text(payload))

    def read(self, topic: bytes, payload: bytes) -> object:
        """What a payload holds; see ``Format.read``."""
        try:
            text = self._text(payload)
        except DataError:
            if self.conversation is not None:
                self.conversation.skip(topic)
            raise
        return self._form.read(topic, text)

    def _text(self, payload: bytes) -> bytes:
        try:
            return payload.decode(self._charset).encode()
        except UnicodeError as error:
            reason = getattr(error, "reason", str(error))
            raise DataError("not_utf8", f"no {self._charset} text: {reason}"[:200]) from None
