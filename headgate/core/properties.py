"""What MQTT 5 says beside a message, as far as anybody asks for it."""

from __future__ import annotations

from typing import Final, NamedTuple

#: So much of a content type is kept where a message is refused, characters.
_KEPT: Final = 100


class Properties(NamedTuple):
    """What is said beside a message, as it was sent.

    Attributes:
        content_type: What it is; empty where nothing says that.
        user: Names and values of the user properties that are asked for, each name once.
        correlation: Which request it answers; empty where nothing says that.
    """

    content_type: bytes = b""
    user: tuple[tuple[bytes, bytes], ...] = ()
    correlation: bytes = b""


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        content_type: Whether the content type is.
        user: Names of user properties.
        correlation: Whether it is which request a message answers.
    """

    content_type: bool
    user: frozenset[bytes]
    correlation: bool = False


#: Of a message that says nothing.
NOTHING = Properties()


def kept_type(content_type: bytes) -> str:
    """A content type as quarantine keeps it: text, and of a long one the beginning and ``…``."""
    text = content_type.decode(errors="replace")
    return text if len(text) <= _KEPT else f"{text[:_KEPT]}…"


def noted(detail: str, content_type: str) -> str:
    """The detail of a refusal with the content type of its message, if there is any, for people.

    Nothing takes that apart again: a detail may quote what a sender wrote.
    """
    return f"{detail}; content type {content_type}" if content_type else detail
